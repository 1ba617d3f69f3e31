//! `strongroom serve`: one node from a configuration file, with certificates of the operator's.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::issuers::Issuer;
use crate::node::{Http, Node, Session, free_port, program, run};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const ADMINISTRATOR: &str = "5bc7e1d4-8e1e-4a0e-9d7a-3d1c1c5a8f10";

/// A running node of `strongroom serve` with the pool `finance` and one trusted issuer.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) http: Http,
    administrator: Session,
}

impl Served {
    /// Starts one with its data in `base/data`. `more` is added to its configuration.
    pub(crate) async fn start(base: &Path, port: u16, issuer: &Issuer, more: &str) -> Self {
        let text = format!(
            "listen = [\"127.0.0.1:{port}\"]\ndata_folder = \"{base}/data\"\n\
             [tls]\ncertificate = \"{base}/tls/server.pem\"\nkey = \"{base}/tls/server-key.pem\"\n\
             [seal]\nkind = \"key-file\"\nkey_file = \"{base}/node.key\"\n{}{more}",
            tables(base, issuer),
            base = base.display(),
        );
        Self::start_from(base, port, issuer, &text).await
    }

    /// Starts one from a whole configuration.
    async fn start_from(base: &Path, port: u16, issuer: &Issuer, configuration: &str) -> Self {
        make_certificates(&base.join("tls"));
        fs::write(base.join("keys.json"), issuer.keys().to_string()).unwrap();
        let file = base.join("strongroom.toml");
        fs::write(&file, configuration).unwrap();
        let mut command = program(["serve", "--config"]);
        command.arg(&file);
        let mut node = Node::spawn(command, port, &base.join("errors"));
        node.wait_until("ready", || run(["status".as_ref(), "--config".as_ref(), file.as_os_str()]).status.success());
        let http = trusting(&base.join("tls"), port);
        let administrator = http.with(&issuer.token(port, TENANT, ADMINISTRATOR));
        Self { node, http, administrator }
    }

    /// Calls as the pool's first administrator.
    pub(crate) fn administrator(&self) -> Session {
        self.administrator.clone()
    }

    /// The same, once it may use keys too.
    pub(crate) async fn crypto_user(&self) -> Session {
        let role = json!({"properties": {
            "roleDefinitionId": "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b",
            "principalId": ADMINISTRATOR,
        }});
        let assignment = "/providers/Microsoft.Authorization/roleAssignments/bbbbbbbb-0000-4000-8000-000000000001";
        assert_eq!(self.administrator.put(assignment, &role).await.status, 201);
        self.administrator()
    }
}

/// Issuer and pool, as a configuration has them.
fn tables(base: &Path, issuer: &Issuer) -> String {
    format!(
        "[issuers.test]\nissuer = \"{}\"\ntenants = [\"{TENANT}\"]\nkeys_file = \"{}/keys.json\"\nfetch_keys = false\n\
         [pools.finance]\ntenant = \"{TENANT}\"\nadministrators = [\"{ADMINISTRATOR}\"]\n",
        issuer.name,
        base.display(),
    )
}

/// An authority and a server certificate in `folder`, if there are none yet: those of a development node serve as well
/// as any.
fn make_certificates(folder: &Path) {
    if folder.exists() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let made =
        run(["dev".as_ref(), "--once".as_ref(), "--port".as_ref(), port.as_ref(), "--data".as_ref(), data.path()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::create_dir(folder).unwrap();
    for name in ["ca.pem", "server.pem", "server-key.pem"] {
        fs::copy(data.path().join("tls").join(name), folder.join(name)).unwrap();
    }
}

/// A client that trusts the authority in `folder` alone, with no connection yet.
fn trusting(folder: &Path, port: u16) -> Http {
    Http::new(&format!("https://finance.managedhsm.localhost:{port}"), &fs::read(folder.join("ca.pem")).unwrap(), port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_configuration_serves_once_paths_are_right_and_a_pool_is_named() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let issuer = Issuer::new("https://issuer.example.net", "a");
    let printed = run(["serve", "--print-config"]);
    assert!(printed.status.success() && printed.stderr.is_empty());
    let mut text = String::from_utf8(printed.stdout).unwrap();
    for (printed, wanted) in [
        ("0.0.0.0:8443", format!("127.0.0.1:{port}")),
        ("/var/lib/strongroom", format!("{}/data", base.display())),
        ("/etc/strongroom/server.pem", format!("{}/tls/server.pem", base.display())),
        ("/etc/strongroom/server-key.pem", format!("{}/tls/server-key.pem", base.display())),
        ("/etc/strongroom/node.key", format!("{}/node.key", base.display())),
    ] {
        let printed = format!("\"{printed}\"");
        assert_eq!(text.matches(&printed).count(), 1, "{printed} in {text}");
        text = text.replace(&printed, &format!("\"{wanted}\""));
    }
    text += &tables(base, &issuer);
    let served = Served::start_from(base, port, &issuer, &text).await;
    let made =
        served.crypto_user().await.post("/keys/first/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();
    assert_eq!(made["attributes"]["recoverableDays"], 90);
    assert!(served.node.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_open_connections_and_broken_ones_are_not_taken() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let issuer = Issuer::new("https://issuer.example.net", "a");
    let served = Served::start(base, port, &issuer, "").await;
    let other = base.join("other");
    make_certificates(&other);
    let health = async |http: &Http| http.client.get(format!("{}/healthz", http.pool)).send().await.is_ok();
    let (old, new) = (|| trusting(&base.join("tls"), port), || trusting(&other, port));
    let accepted = || {
        let status = run(["status".as_ref(), "--config".as_ref(), base.join("strongroom.toml").as_os_str()]);
        serde_json::from_slice::<Value>(&status.stdout).unwrap()["connections_accepted"].as_u64().unwrap()
    };

    // One connection from before, used without a pause.
    let before = old();
    assert!(health(&before).await);
    let enough = Arc::new(AtomicBool::new(false));
    let asking = {
        let (http, url, enough) = (before.clone(), format!("{}/healthz", before.pool), Arc::clone(&enough));
        tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                http.client.get(&url).send().await.unwrap().bytes().await.unwrap();
            }
        })
    };
    // First the chain, as a tool would that is not careful: half a replacement is none.
    fs::copy(other.join("server.pem"), base.join("tls/server.pem")).unwrap();
    served.node.signal(Signal::HUP);
    wait_for("the refusal of the pair", || served.node.said().contains("stays in use")).await;
    assert!(health(&old()).await && !health(&new()).await);
    fs::copy(other.join("server-key.pem"), base.join("tls/server-key.pem")).unwrap();
    served.node.signal(Signal::HUP);
    wait_for("the new certificate", || served.node.said().contains("TLS certificate read again")).await;
    assert!(health(&new()).await && !health(&old()).await, "new connections get the new certificate");

    for (file, garbage) in [("server.pem", "no certificate"), ("server-key.pem", ""), ("server.pem", "-----BEGIN")] {
        let refusals = served.node.said().matches("stays in use").count();
        let path = base.join("tls").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, garbage).unwrap();
        served.node.signal(Signal::HUP);
        wait_for("another refusal", || served.node.said().matches("stays in use").count() > refusals).await;
        assert!(health(&new()).await, "{garbage:?} in {file}");
        fs::write(&path, good).unwrap();
    }
    enough.store(true, Ordering::Relaxed);
    asking.await.unwrap();
    let connections = accepted();
    assert!(health(&before).await);
    assert_eq!(accepted(), connections, "the connection from before is gone");
    assert!(served.node.stop().success());
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
