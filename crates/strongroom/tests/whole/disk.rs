//! A disk that is full, takes no write or is read-only: requests are refused, nothing is lost, and it goes on by itself
//! once it can.
//!
//! The disks are real: a small file system in memory, and one in a file that is made read-only under the running node.
//! Mounting them takes root, or `sudo` that asks for nothing; without, these tests fail. One more disk takes no write
//! because the node's process gets a limit on the size of files.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, getegid, geteuid, prlimit};
use serde_json::json;

use crate::issuers::Issuer;
use crate::load::{Chance, Load, Office, make_keys};
use crate::log::{self, Expected};
use crate::node::{Dev, dev_command, free_port, program, refusal};
use crate::serve::Served;

/// The disk of a node, at `base/data`.
enum Disk {
    /// A file system in memory, with a file that takes all the space when it is to be full.
    Memory(Mount),
    /// A file system in a file.
    Image(Mount, PathBuf),
    /// The machine's own, and a limit for the process.
    Limit,
}

impl Disk {
    fn small(base: &Path) -> Self {
        Self::Memory(Mount::in_memory(&base.join("data")))
    }

    fn image(base: &Path) -> Self {
        let image = base.join("image");
        File::create(&image).unwrap().set_len(192 << 20).unwrap();
        let owner = format!("root_owner={}:{}", geteuid().as_raw(), getegid().as_raw());
        assert!(quiet(as_root("mkfs.ext4").args(["-q", "-E", &owner]).arg(&image)), "mkfs.ext4 makes no file system");
        let mount = Mount::new(&["-o", "loop", image.to_str().unwrap()], &base.join("data"));
        // The node is to find an empty folder.
        assert!(quiet(as_root("rmdir").arg(base.join("data/lost+found"))));
        Self::Image(mount, image)
    }

    /// From now on, nothing can be written.
    fn starve(&self, node: Pid) {
        match self {
            Self::Memory(mount) => {
                let mut filler = File::create(mount.at.join("filler")).unwrap();
                let block = vec![1; 1 << 16];
                while filler.write_all(&block).is_ok() {}
                while filler.write_all(&[1]).is_ok() {}
            }
            // What ext4 does to itself after an error.
            Self::Image(mount, _) => mount.remount("abort"),
            Self::Limit => limit(node, Some(0)),
        }
    }

    /// It can be written again. Answers whether the node can go on as it is.
    fn feed(&self, node: Pid) -> bool {
        match self {
            Self::Memory(mount) => fs::remove_file(mount.at.join("filler")).unwrap(),
            Self::Image(..) => return false,
            Self::Limit => limit(node, None),
        }
        true
    }

    /// What an operator does before the node is started again.
    fn repair(&self) {
        if let Self::Image(mount, image) = self {
            mount.end();
            // Answers 1 when it has found something and put it right.
            quiet(as_root("e2fsck").arg("-p").arg(image));
            mount.begin();
        }
    }
}

/// No more than `bytes` in any file. The shell that started the node has seen to it that the signal is ignored.
fn limit(node: Pid, bytes: Option<u64>) {
    prlimit(Some(node), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// A mounted file system, unmounted when dropped.
struct Mount {
    at: PathBuf,
    arguments: Vec<String>,
    mounted: Cell<bool>,
}

impl Mount {
    fn new(arguments: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mount = Self { at: at.to_owned(), arguments, mounted: Cell::new(false) };
        mount.begin();
        mount
    }

    /// 160 MiB, owned by whoever runs the test.
    fn in_memory(at: &Path) -> Self {
        let options = format!("size=160m,mode=0700,uid={},gid={}", geteuid().as_raw(), getegid().as_raw());
        Self::new(&["-t", "tmpfs", "-o", &options, "tmpfs"], at)
    }

    fn begin(&self) {
        let mounted = quiet(as_root("mount").args(&self.arguments).arg(&self.at));
        assert!(mounted, "nothing can be mounted here: run this as root, in a container with the right to mount");
        self.mounted.set(true);
    }

    fn end(&self) {
        let ended = !self.mounted.take() || quiet(as_root("umount").arg(&self.at));
        assert!(ended || std::thread::panicking(), "{} stays mounted", self.at.display());
    }

    /// Says to the system what else there is to say about it.
    fn remount(&self, options: &str) {
        assert!(quiet(as_root("mount").args(["-o", &format!("remount,{options}")]).arg(&self.at)));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command with root's rights.
fn as_root(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn quiet(command: &mut Command) -> bool {
    let run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// `strongroom dev`, in which a write beyond a limit is an error and not the end.
fn forgiving() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_strongroom"), "dev"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_503_until_there_is_space_again() {
    let base = tempfile::tempdir().unwrap();
    let disk = Disk::small(base.path());
    starved("full disk", base.path(), disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_write_is_a_503_until_it_does() {
    let base = tempfile::tempdir().unwrap();
    starved("unwritable disk", base.path(), Disk::Limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_a_503_and_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let disk = Disk::image(base.path());
    starved("read-only disk", base.path(), disk).await;
}

async fn starved(what: &str, base: &Path, disk: Disk) {
    let mut chance = Chance::seeded(what);
    let port = free_port();
    let expected = Arc::<Mutex<Expected>>::default();
    let mut dev = Dev::start_with(base, port, forgiving()).await;
    make_keys(&dev.of("USER")).await;

    let office = Office::new(&dev, &expected);
    let working = Load::new(&mut chance).start(&office);
    tokio::time::sleep(Duration::from_millis(300)).await;
    disk.starve(dev.node.id());
    tokio::time::sleep(Duration::from_millis(700)).await;
    everything_is_refused(&dev).await;
    office.close();
    let mut load = Load::gather(working).await;
    let refused = office.refused.load(Ordering::Relaxed);
    assert!(refused > 0, "nobody was refused");
    assert_eq!(office.lost.load(Ordering::Relaxed), 0, "a request got no answer");

    if disk.feed(dev.node.id()) {
        let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
        let begun = Instant::now();
        while dev.of("USER").post("/keys/signer/sign", &sign).await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not go on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        load = load.check(&Office::new(&dev, &expected)).await;
        load = undisturbed(load, &dev, &expected).await;
    }
    assert!(dev.node.stop().success());

    disk.repair();
    log::verify(&base.join("data/audit"));
    dev = Dev::start_with(base, port, forgiving()).await;
    load = load.check(&Office::new(&dev, &expected)).await;
    load = undisturbed(load, &dev, &expected).await;
    load.check(&Office::new(&dev, &expected)).await;
    assert!(dev.node.stop().success());
    log::verify(&base.join("data/audit"));
    let expected = expected.lock().unwrap();
    expected.check(&log::records(&base.join("data/audit")));
    eprintln!("{what}: {refused} refused; {}", expected.summary());
}

/// Some work with which nothing may go wrong.
async fn undisturbed(load: Load, dev: &Dev, expected: &Arc<Mutex<Expected>>) -> Load {
    let office = Office::new(dev, expected);
    let working = load.start(&office);
    tokio::time::sleep(Duration::from_millis(200)).await;
    office.close();
    let load = Load::gather(working).await;
    assert_eq!((office.refused.load(Ordering::Relaxed), office.lost.load(Ordering::Relaxed)), (0, 0));
    load
}

/// Whatever needs a record is answered 503 soon, whoever asks for whatever.
async fn everything_is_refused(dev: &Dev) {
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    let new = json!({"kty": "oct-HSM", "key_size": 128});
    let asked = [
        ("USER", Method::POST, "/keys/signer/sign", Some(&sign)),
        ("USER", Method::GET, "/keys/signer", None),
        ("USER", Method::GET, "/keys", None),
        ("USER", Method::GET, "/keys/there-is-none", None),
        ("USER", Method::GET, "/keys/not_a_name", None),
        ("USER", Method::POST, "/keys/new/create", Some(&new)),
        ("USER", Method::DELETE, "/keys/new", None),
        ("NOBODY", Method::GET, "/keys/signer", None),
    ];
    for (who, method, path, body) in asked {
        let begun = Instant::now();
        let answer = dev.of(who).send(method.clone(), path, body, "starved").await.unwrap();
        assert_eq!(answer.status, 503, "{method} {path} by {who}: {}", answer.body);
        assert_eq!(answer.code(), "ServiceUnavailable");
        assert!(begun.elapsed() < Duration::from_secs(10), "{method} {path} took {:?}", begun.elapsed());
    }
    let unknown = dev.http.with("nonsense").get("/keys/signer").await;
    assert_eq!(unknown.status, 401, "a bad token is that, whatever the disk says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_is_one_clear_line_and_is_not_touched() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let mount = Mount::in_memory(&base.join("data"));
    let dev = Dev::start(base, port).await;
    dev.of("USER").post("/keys/kept/create", &json!({"kty": "oct-HSM", "key_size": 128})).await.ok();
    assert!(dev.node.stop().success());
    let before = crate::start::contents(&base.join("data"));
    mount.remount("ro");
    let line = refusal(&dev_command(base, port, program(["dev"])).output().unwrap());
    assert!(line.contains("cannot be used"), "{line}");
    assert_eq!(crate::start::contents(&base.join("data")), before);
    mount.remount("rw");
    let dev = Dev::start(base, port).await;
    assert_eq!(dev.of("USER").get("/keys/kept").await.status, 200);
    // Before its disk goes.
    assert!(dev.node.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_at_its_limit_is_a_503_until_it_may_be_longer() {
    let base = tempfile::tempdir().unwrap();
    let (issuer, port) = (Issuer::new("https://issuer.example.net", "a"), free_port());
    let limit = "[audit]\nmax_size = \"64MiB\"\nreserve = \"1MiB\"\n";
    let served = Served::start(base.path(), port, &issuer, limit).await;
    let administrator = served.administrator();
    let path = format!("/keys/{}", "long-".repeat(200));
    let begun = Instant::now();
    let mut full = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (session, path) = (administrator.clone(), path.clone());
        full.spawn(async move {
            // Each is refused, and that takes a record as long as they get.
            loop {
                let answer = session.send(Method::GET, &path, None, &"c".repeat(250)).await.unwrap();
                match answer.status {
                    400 => {}
                    503 => return assert_eq!(answer.code(), "ServiceUnavailable"),
                    _ => panic!("{} {}", answer.status, answer.body),
                }
                assert!(begun.elapsed() < Duration::from_secs(90), "there is no limit");
            }
        });
    }
    while let Some(ended) = full.join_next().await {
        ended.unwrap();
    }
    for path in ["/keys", "/keys/none", "/"] {
        assert_eq!(administrator.get(path).await.status, 503, "{path}");
    }
    assert_eq!(served.http.with("nonsense").get("/keys").await.status, 401);
    assert!(served.node.stop().success());
    log::verify(&base.path().join("data/audit"));

    let served = Served::start(base.path(), port, &issuer, "[audit]\nmax_size = \"256MiB\"\n").await;
    let listed = served.administrator().get("/keys").await;
    assert_eq!(listed.status, 403, "an administrator is no user of keys: {}", listed.body);
    assert!(served.node.stop().success());
    log::verify(&base.path().join("data/audit"));
}
