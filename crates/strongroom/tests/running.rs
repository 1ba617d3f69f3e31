//! What an operator relies on while a node runs: files that are read again, authorities that are trusted, modes of files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A node with its folder, killed when dropped.
struct Node<'a> {
    child: Child,
    folder: &'a Path,
    name: &'static str,
}

impl<'a> Node<'a> {
    /// Starts one in `folder`, with its standard error in a file there called `name`.
    fn start(folder: &'a Path, name: &'static str, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join(name)).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder, name }
    }

    /// A development node with data at `<name>-data`, once it is ready, and its environment.
    fn dev(folder: &'a Path, name: &'static str, more: &[&str]) -> (Self, BTreeMap<String, String>) {
        let (data, env) = (format!("{name}-data"), format!("{name}-env"));
        let arguments = [&["dev", "--port", "0", "--data", &data, "--env-file", &env], more].concat();
        let node = Self::start(folder, name, &arguments);
        node.until("ready", || folder.join(&env).exists());
        let text = fs::read_to_string(folder.join(env)).unwrap();
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        (node, text.lines().map(pair).collect())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join(self.name)).unwrap()
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that finds `hosts` on this machine at `port` and trusts the authority in `ca` alone.
fn client(hosts: &[&str], port: u16, ca: &Path) -> Client {
    server::tls::install_provider();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ca = Certificate::from_pem(&fs::read(ca).unwrap()).unwrap();
    let builder = Client::builder().no_proxy().tls_certs_only([ca]).timeout(PATIENCE);
    hosts.iter().fold(builder, |builder, host| builder.resolve(host, here)).build().unwrap()
}

/// Makes a folder of a development node, for its certificates.
fn certificates(folder: &Path, name: &str) {
    let arguments = ["dev", "--port", "0", "--once", "--data", name];
    let made = Command::new(env!("CARGO_BIN_EXE_strongroom")).args(arguments).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Replaces a file as tools that renew certificates do.
fn replace(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, path).unwrap();
}

fn configuration(level: &str) -> String {
    format!(
        r#"
        listen = ["127.0.0.1:0"]
        data_folder = "node"
        tls = {{ certificate = "server.pem", key = "server-key.pem" }}
        seal = {{ kind = "key-file", key_file = "node.key" }}
        issuer.enabled = true
        outgoing.trust_ca = ["bundle.pem"]
        log.level = "{level}"
        [pools.finance]
        tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
        administrators = ["5bc7e1d4-8e1e-4a0e-9d7a-3d1c1c5a8f10"]
    "#
    )
}

/// `strongroom serve` with the certificate of the development node `one`, whose authority is in its CA bundle.
fn serve(folder: &Path, level: &str) {
    certificates(folder, "one");
    for name in ["server.pem", "server-key.pem"] {
        fs::copy(folder.join("one/tls").join(name), folder.join(name)).unwrap();
    }
    fs::copy(folder.join("one/tls/ca.pem"), folder.join("bundle.pem")).unwrap();
    fs::write(folder.join("strongroom.toml"), configuration(level)).unwrap();
}

/// The status document, if the node answers.
fn status(folder: &Path) -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["status", "--config", "strongroom.toml"])
        .current_dir(folder)
        .output()
        .unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

const SERVE: [&str; 3] = ["serve", "--config", "strongroom.toml"];
const HOST: &str = "finance.managedhsm.localhost";

#[tokio::test]
async fn on_a_hang_up_certificate_bundles_and_log_level_are_read_again_and_no_connection_ends() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path();
    serve(folder, "warn");
    certificates(folder, "two");
    let node = Node::start(folder, "log", &SERVE);
    node.until("ready", || status(folder).is_some());
    let before = status(folder).unwrap();
    let bundle = &before["ca_bundles"][0];
    assert_eq!(bundle["file"], "bundle.pem");
    // The certificates may be a second old, or not.
    assert!(matches!(bundle["days_left"].as_u64(), Some(3649 | 3650)), "{bundle}");
    assert!(bundle["nearest_expiry"].as_str().unwrap().ends_with('Z'), "{bundle}");
    assert!(matches!(before["certificate_days_left"].as_u64(), Some(389 | 390)), "{before}");

    let port = before["listening"][0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let url = format!("https://{HOST}:{port}/keys?api-version=7.4");
    let open = client(&[HOST], port, &folder.join("one/tls/ca.pem"));
    let other = client(&[HOST], port, &folder.join("two/tls/ca.pem"));
    assert_eq!(open.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert!(other.get(&url).send().await.is_err(), "the certificate is of another authority");
    let accepted = status(folder).unwrap()["connections_accepted"].clone();
    assert!(!node.log().contains("INFO"), "{}", node.log());

    // A leaf does for a certificate that ends earlier than the authority.
    let tls = folder.join("two/tls");
    let bundle = [fs::read(tls.join("ca.pem")).unwrap(), fs::read(tls.join("server.pem")).unwrap()].concat();
    replace(&folder.join("bundle.pem"), &bundle);
    for name in ["server.pem", "server-key.pem"] {
        replace(&folder.join(name), &fs::read(tls.join(name)).unwrap());
    }
    replace(&folder.join("strongroom.toml"), configuration("info").as_bytes());
    node.hang_up();
    node.until("at the new log level", || node.log().contains("log level read again"));
    node.until("with the new bundle", || {
        status(folder).unwrap()["ca_bundles"][0]["days_left"].as_u64().is_some_and(|days| days < 1000)
    });

    assert_eq!(open.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(status(folder).unwrap()["connections_accepted"], accepted, "the open connection was used");
    assert_eq!(other.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let late = client(&[HOST], port, &folder.join("one/tls/ca.pem"));
    assert!(late.get(&url).send().await.is_err(), "the former certificate is gone");
}

#[test]
fn a_changed_configuration_changes_the_log_level_and_a_broken_one_nothing() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path();
    serve(folder, "warn");
    let node = Node::start(folder, "log", &SERVE);
    node.until("ready", || status(folder).is_some());
    assert!(!node.log().contains("INFO"), "{}", node.log());
    replace(&folder.join("strongroom.toml"), configuration("info").as_bytes());
    node.until("at the new log level by itself", || node.log().contains("log level read again"));

    let said = |what: &str| node.log().matches(what).count();
    let broken = ["log.level = \"error\"\nlog.colour = 1", "log.level = \"server=loud\"", "log.level = "];
    for (count, text) in (1..).zip(broken) {
        replace(&folder.join("strongroom.toml"), text.as_bytes());
        node.hang_up();
        node.until("told of the broken configuration", || said("log level cannot be read again") == count);
    }
    // Lines of level info are still written.
    let certificates = said("TLS certificate read again");
    node.hang_up();
    node.until("still at the level info", || said("TLS certificate read again") > certificates);
    replace(&folder.join("bundle.pem"), b"");
    node.hang_up();
    node.until("told of the broken bundle", || said("CA bundles cannot be read again") > 0);
    replace(&folder.join("strongroom.toml"), configuration("warn").as_bytes());
    assert!(status(folder).unwrap()["ca_bundles"][0]["days_left"].as_u64().is_some_and(|days| days > 3000));
}

#[test]
fn certificates_near_their_end_are_warned_of_and_expired_ones_are_errors() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path();
    // A server certificate lasts 390 days, an authority 3,650.
    let made = |days_ago, name: &str| {
        let at = folder.join(name);
        fs::create_dir(&at).unwrap();
        testkit::certificates_made(days_ago, &at);
        at
    };
    let (near, older) = (made(385, "near"), made(3645, "older"));
    for name in ["server.pem", "server-key.pem"] {
        fs::copy(near.join(name), folder.join(name)).unwrap();
    }
    fs::copy(older.join("ca.pem"), folder.join("bundle.pem")).unwrap();
    fs::write(folder.join("strongroom.toml"), configuration("warn")).unwrap();
    let node = Node::start(folder, "log", &SERVE);
    node.until("ready", || status(folder).is_some());
    let warned = |what: &str, file: &str| {
        let says = format!("{what}: a certificate expires in less than 7 days: renew it file={file} days_left=");
        node.log().lines().any(|line| line.contains(" WARN ") && line.contains(&says))
    };
    node.until("warning of the certificate", || warned("TLS certificate", "server.pem"));
    node.until("warning of the bundle", || warned("CA bundles", "bundle.pem"));
    let shown = status(folder).unwrap();
    assert!(matches!(shown["certificate_days_left"].as_u64(), Some(4 | 5)), "{shown}");

    let over = made(400, "over");
    for name in ["server.pem", "server-key.pem"] {
        replace(&folder.join(name), &fs::read(over.join(name)).unwrap());
    }
    node.hang_up();
    let error = "TLS certificate: a certificate has expired: replace it";
    node.until("told of the expired one", || {
        node.log().lines().any(|line| line.contains(" ERROR ") && line.contains(error))
    });
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_over_tls_if_its_authority_is_given_by_trust_ca() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path();
    // One development node is the issuer of the others.
    let (_issuer, of_issuer) = Node::dev(folder, "issuer", &[]);
    let (authority, tenant) = (&of_issuer["STRONGROOM_AUTHORITY"], &of_issuer["STRONGROOM_TENANT_ID"]);
    let issuer = format!("{authority}/{tenant}/v2.0");
    let ca = of_issuer["STRONGROOM_CA_FILE"].as_str();
    let port = |url: &str| url.rsplit(':').next().unwrap().parse().unwrap();
    let login = client(&["login.localhost"], port(authority), Path::new(ca));
    let trusting = Node::dev(folder, "trusting", &["--issuer", &issuer, "--trust-ca", ca]);
    let wary = Node::dev(folder, "wary", &["--issuer", &issuer]);
    for ((node, environment), expected) in [(trusting, StatusCode::FORBIDDEN), (wary, StatusCode::UNAUTHORIZED)] {
        let pool = &environment["STRONGROOM_POOL_URL"];
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https://managedhsm.localhost:{}/.default",
            of_issuer["STRONGROOM_ADMIN_CLIENT_ID"],
            of_issuer["STRONGROOM_ADMIN_CLIENT_SECRET"],
            port(pool),
        );
        let request = login.post(format!("{authority}/{tenant}/oauth2/v2.0/token")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let host = "dev.managedhsm.localhost";
        let client = client(&[host], port(pool), Path::new(&environment["STRONGROOM_CA_FILE"]));
        let listing = client.get(format!("{pool}/keys?api-version=7.4")).bearer_auth(token).send().await.unwrap();
        // An administrator there is known, and nobody, here.
        assert_eq!(listing.status(), expected, "{}: {}", node.name, listing.text().await.unwrap());
        let untrusted = node.log().contains("keys not fetched") && node.log().contains("invalid peer certificate");
        assert_eq!(untrusted, expected == StatusCode::UNAUTHORIZED, "{}", node.log());
    }
}

#[test]
fn everything_in_the_data_folder_is_for_its_owner_alone() {
    let base = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_strongroom")])
        .args(["dev", "--port", "0", "--once", "--data", "data"])
        .current_dir(base.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (mut folders, mut files) = (vec![base.path().join("data")], 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 10, "{files}");
}
