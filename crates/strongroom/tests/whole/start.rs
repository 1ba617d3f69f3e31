//! Starting: what is refused in one clear line with nothing touched, and what is there again after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::Snapshot;

use crate::node::{ACCOUNTS, Dev, dev_command, free_port, program, refusal};

/// Mode and bytes of everything in a folder. Of sockets and folders there are no bytes.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path.clone(), (metadata.permissions().mode(), bytes));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Starts a node in `base` that must not start, and answers what it says. Nothing in the folder may change by it.
fn refused(base: &Path, port: u16) -> String {
    let before = contents(base);
    let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
    let after = contents(base);
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "{line}");
    for (path, was) in &before {
        assert!(after[path] == *was, "{} has changed, after: {line}", path.display());
    }
    line
}

/// A data folder with a key in it, and no node.
async fn used(base: &Path, port: u16) {
    let dev = Dev::start(base, port).await;
    for name in ["one", "two"] {
        dev.of("USER").post(&format!("/keys/{name}/create"), &json!({"kty": "oct-HSM", "key_size": 256})).await.ok();
    }
    assert!(dev.node.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_is_one_clear_line_and_is_not_touched() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    used(base, port).await;
    let data = base.join("data");

    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let line = refused(base, port);
    assert!(line.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{line}");
    drop(taken);

    let version = fs::read(data.join("version")).unwrap();
    for other in ["strongroom data 2\n", "", "strongroom data 1"] {
        fs::write(data.join("version"), other).unwrap();
        let line = refused(base, port);
        assert!(line.contains("was written by another version"), "{line}");
    }
    fs::write(data.join("version"), version).unwrap();

    // A file where a folder should be, and a place where nobody can make one.
    for path in [base.join("env"), PathBuf::from("/proc/strongroom")] {
        let before = contents(base);
        let arguments = ["dev".as_ref(), "--port".as_ref(), "0".as_ref(), "--data".as_ref(), path.as_os_str()];
        let line = refusal(&program(arguments).output().unwrap());
        assert!(line.contains(path.to_str().unwrap()), "{line}");
        assert!(contents(base) == before);
    }
    let dev = Dev::start(base, port).await;
    assert_eq!(dev.of("USER").list("/keys").await.len(), 3, "two, and the key of the first job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_is_refused_and_its_node_goes_on() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let dev = Dev::start(base, port).await;
    // Until the last records are settled and signed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let line = refused(base, free_port());
    assert!(line.contains("is in use by another process"), "{line}");
    dev.of("USER").post("/keys/on/create", &json!({"kty": "oct-HSM", "key_size": 128})).await.ok();
    assert!(dev.node.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_any_file_is_one_clear_line_and_is_not_written_over() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    used(base, port).await;
    let data = base.join("data");
    fs::write(data.join("clock"), "0\n").unwrap();
    let log = data.join("audit/strongroom+dev+dev");
    for (file, garbage) in [
        ("store.redb", &b"garbage"[..]),
        ("store.redb", b""),
        ("node.key", b"garbage"),
        ("node.key", &[0; 32]),
        ("clock", b"garbage"),
        ("issuer/accounts.json", b"{}garbage"),
        ("issuer/accounts.json", b""),
        ("issuer/signing-key.p8", b"garbage"),
        ("tls/ca.pem", b"garbage"),
        ("tls/server-key.pem", b"garbage"),
        ("audit/strongroom+dev+dev/log.vkey", b"garbage"),
        ("audit/strongroom+dev+dev/checkpoint", b"garbage"),
        ("audit/strongroom+dev+dev/settled", b"garbage"),
    ] {
        let path = data.join(file);
        assert!(path.exists() && log.exists(), "{file}");
        let good = fs::read(&path).unwrap();
        fs::write(&path, garbage).unwrap();
        let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
        assert!(fs::read(&path).unwrap() == garbage, "{file} was written over: {line}");
        assert!(line.len() > "strongroom: ".len() + 10, "{file}: {line}");
        fs::write(&path, good).unwrap();
    }
    // A key that is gone is not made anew over what only the old one opens.
    let (key, kept) = (data.join("node.key"), base.join("kept"));
    fs::rename(&key, &kept).unwrap();
    let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
    assert!(line.contains("node.key is not there") && !key.exists(), "{line}");
    fs::rename(&kept, &key).unwrap();

    let dev = Dev::start(base, port).await;
    assert_eq!(dev.of("USER").list("/keys").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_values_that_were_swapped_removed_or_put_back_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    used(base, port).await;
    let file = base.join("data/store.redb");
    let earlier = (Snapshot::of_file(&file).await, fs::read(&file).unwrap());
    let dev = Dev::start(base, port).await;
    dev.of("USER").patch("/keys/one", &json!({"attributes": {"enabled": false}})).await.ok();
    assert!(dev.node.stop().success());
    let good = fs::read(&file).unwrap();
    let now = Snapshot::of_file(&file).await;

    let versions: Vec<&String> = now.0.keys().filter(|path| path.matches('/').count() == 4).collect();
    let version_of = |name: &str| {
        let prefix = format!("pools/dev/keys/{name}/");
        (*versions.iter().find(|path| path.starts_with(&prefix)).unwrap()).clone()
    };
    let (one, two) = (version_of("one"), version_of("two"));
    let value = |path: &str| now.0.get(path);
    let before = |path: &str| earlier.0.0.get(path);
    assert_ne!(value(&one), before(&one), "the disabled version was written again");
    let head = "pools/dev/head";
    let role = now.0.keys().find(|path| path.contains("/roles/assignments/")).unwrap();
    for (what, changed) in [
        ("two versions swapped", now.with(&one, value(&two)).with(&two, value(&one))),
        (
            "two keys swapped",
            now.with("pools/dev/keys/one", value("pools/dev/keys/two"))
                .with("pools/dev/keys/two", value("pools/dev/keys/one")),
        ),
        ("a version removed", now.with(&one, None)),
        ("a role removed", now.with(role, None)),
        ("the enabled version put back", now.with(&one, before(&one))),
        ("it and the head put back", now.with(&one, before(&one)).with(head, before(head))),
        ("the head removed", now.with(head, None)),
        ("everything as it was before", earlier.0.clone()),
        ("everything removed", Snapshot::default()),
    ] {
        changed.write_file(&file).await;
        let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
        assert!(line.contains("pool dev cannot be opened") || line.contains("audit"), "{what}: {line}");
        fs::write(&file, &good).unwrap();
    }
    fs::write(&file, &earlier.1).unwrap();
    let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
    assert!(line.contains("pool dev cannot be opened"), "the file of before: {line}");
    fs::remove_file(&file).unwrap();
    let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
    assert!(line.contains("audit"), "no file: {line}");

    fs::write(&file, &good).unwrap();
    let dev = Dev::start(base, port).await;
    let one = dev.of("USER").get("/keys/one").await.ok();
    assert_eq!(one["attributes"]["enabled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_tokens_accounts_and_authority_are_the_same_after_a_restart() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let dev = Dev::start(base, port).await;
    let made = dev.of("USER").post("/keys/kept/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    let signed = dev.of("USER").post("/keys/kept/sign", &sign).await.ok();
    let (session, environment) = (dev.of("USER"), dev.environment.clone());
    let ca = fs::read(&environment["STRONGROOM_CA_FILE"]).unwrap();
    assert!(dev.node.stop().success());

    let begun = Instant::now();
    let dev = Dev::start(base, port).await;
    eprintln!("restart: ready after {:?}", begun.elapsed());
    assert_eq!(dev.environment, environment);
    assert_eq!(fs::read(&environment["STRONGROOM_CA_FILE"]).unwrap(), ca);
    assert_eq!(session.get("/keys/kept").await.ok(), made, "with the token from before");
    let verify = json!({"alg": "ES256", "digest": sign["value"], "value": signed["value"]});
    assert_eq!(session.post("/keys/kept/verify", &verify).await.ok()["value"], true);
    assert!(dev.node.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_file_is_complete_and_its_owners_alone() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let dev = Dev::start(base, port).await;
    let mut wanted: Vec<String> =
        ["POOL_URL", "CA_FILE", "AUTHORITY", "TENANT_ID", "DATA_FOLDER"].map(ToOwned::to_owned).into();
    for account in ACCOUNTS {
        wanted.extend(["CLIENT_ID", "CLIENT_SECRET", "OBJECT_ID"].map(|part| format!("{account}_{part}")));
    }
    for name in &wanted {
        let value = dev.environment.get(&format!("STRONGROOM_{name}"));
        assert!(value.is_some_and(|value| !value.is_empty()), "{name}");
    }
    assert_eq!(dev.environment["STRONGROOM_AUTHORITY"], format!("https://login.localhost:{port}"));
    let mode = fs::metadata(base.join("env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let nobody = dev.of("NOBODY").get("/keys").await;
    assert_eq!((nobody.status, nobody.code()), (403, "AccessDenied"));
}
