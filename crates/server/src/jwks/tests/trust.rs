//! Authorities that come and go: an issuer over TLS whose certificate moves from one authority to another.

use std::path::{Path, PathBuf};

use crate::tls::{CaBundles, DevelopmentCertificates, Named, server_config};
use crate::watch::Watcher;

use super::*;

/// Two authorities, and what a server for `localhost` under each proves itself with.
struct Authorities {
    a: (PathBuf, Arc<ServerConfig>),
    b: (PathBuf, Arc<ServerConfig>),
    /// The bundle in use.
    bundle: PathBuf,
    _folder: tempfile::TempDir,
}

impl Authorities {
    /// With `a` in the bundle.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| authority(&folder.path().join(name)));
        let bundle = folder.path().join("bundle.pem");
        std::fs::copy(&a.0, &bundle).unwrap();
        Self { a, b, bundle, _folder: folder }
    }
}

fn authority(folder: &Path) -> (PathBuf, Arc<ServerConfig>) {
    crate::tls::install_provider();
    std::fs::create_dir(folder).unwrap();
    let now = UnixTime(jiff::Timestamp::now().as_second());
    let made = DevelopmentCertificates::open(folder, &Named { domain: "localhost".to_owned() }, now).unwrap();
    let mut tls = ServerConfig::clone(&*server_config(made.certificate).unwrap());
    // The test issuer speaks HTTP/1.1.
    tls.alpn_protocols.clear();
    (made.ca_file, Arc::new(tls))
}

#[tokio::test]
async fn keys_are_fetched_again_once_the_bundle_holds_the_issuers_new_authority() {
    let authorities = Authorities::new();
    let tls = Arc::new(ArcSwap::new(Arc::clone(&authorities.a.1)));
    let (issuer, old, new) =
        (TestIssuer::start_with(Some(Arc::clone(&tls))).await, SigningKey::new("old"), SigningKey::new("new"));
    issuer.publish("/keys", &jwks(&[&old]));
    let opened = CaBundles::open(std::slice::from_ref(&authorities.bundle)).unwrap();
    let url = Url::parse(&issuer.origin).unwrap();
    let outgoing = Arc::new(Outgoing::new([&url], Loopback::Allowed, &opened.roots).unwrap());
    let bundles = Arc::clone(&opened.bundles);
    let watcher = Watcher::start(vec![opened.watched(Arc::clone(&outgoing))]);
    let pause = Duration::from_millis(50);
    let timing = Timing { refresh: pause, pause, ..QUIET };
    let keys = IssuerKeys::start_with(vec![issuer.trusted()], &outgoing, timing).unwrap();
    let authenticator = Authenticator::new(keys, Audience::resources([RESOURCE]));
    until("the first keys", async || authenticator.authenticate(&old.token(&issuer.origin), NOW).await.is_ok()).await;

    tls.store(Arc::clone(&authorities.b.1));
    issuer.publish("/keys", &jwks(&[&old, &new]));
    let unreachable = Err(AuthError::IssuerUnreachable { issuer: issuer.origin.as_str().into() });
    until("the failure of a fetch", async || {
        authenticator.authenticate(&new.token(&issuer.origin), NOW).await == unreachable
    })
    .await;
    assert!(authenticator.authenticate(&old.token(&issuer.origin), NOW).await.is_ok(), "known keys stay");

    let first_end = bundles.expiries()[0].clone();
    std::fs::write(&authorities.bundle, "-----BEGIN CERTIFICATE-----").unwrap();
    watcher.hurry();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bundles.expiries()[0], first_end, "a broken bundle changes nothing");
    assert_eq!(authenticator.authenticate(&new.token(&issuer.origin), NOW).await, unreachable);

    std::fs::copy(&authorities.b.0, &authorities.bundle).unwrap();
    watcher.hurry();
    until("the new keys", async || authenticator.authenticate(&new.token(&issuer.origin), NOW).await.is_ok()).await;

    tls.store(Arc::clone(&authorities.a.1));
    let metadata = metadata_address(&issuer.origin).unwrap();
    let refused = outgoing.get(&metadata, 4096).await;
    assert!(matches!(refused, Err(OutgoingError::Unreachable(_))), "the former authority is trusted no more");
}

#[tokio::test]
async fn a_broken_bundle_leaves_the_present_one_in_use() {
    let authorities = Authorities::new();
    let tls = Arc::new(ArcSwap::new(Arc::clone(&authorities.a.1)));
    let issuer = TestIssuer::start_with(Some(tls)).await;
    let opened = CaBundles::open(std::slice::from_ref(&authorities.bundle)).unwrap();
    let url = Url::parse(&issuer.origin).unwrap();
    let outgoing = Arc::new(Outgoing::new([&url], Loopback::Allowed, &opened.roots).unwrap());
    let mut watched = opened.watched(Arc::clone(&outgoing));
    let metadata = metadata_address(&issuer.origin).unwrap();
    for content in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&authorities.bundle, content).unwrap();
        watched.look_now();
        assert!(outgoing.get(&metadata, 4096).await.is_ok());
    }
    std::fs::remove_file(&authorities.bundle).unwrap();
    watched.look_now();
    assert!(outgoing.get(&metadata, 4096).await.is_ok());
    std::fs::copy(&authorities.b.0, &authorities.bundle).unwrap();
    watched.look_now();
    assert!(outgoing.get(&metadata, 4096).await.is_err());
}

#[tokio::test]
async fn a_call_that_is_being_made_goes_on_when_the_authorities_change() {
    let authorities = Authorities::new();
    let tls = Arc::new(ArcSwap::new(Arc::clone(&authorities.a.1)));
    let issuer = TestIssuer::start_with(Some(tls)).await;
    issuer.publish("/held", "at last");
    let opened = CaBundles::open(std::slice::from_ref(&authorities.bundle)).unwrap();
    let url = Url::parse(&issuer.origin).unwrap();
    let outgoing = Arc::new(Outgoing::new([&url], Loopback::Allowed, &opened.roots).unwrap());
    let calling = Arc::clone(&outgoing);
    let held = url.join("/held").unwrap();
    let call = tokio::spawn(async move { calling.get(&held, 100).await });
    issuer.held.0.notified().await;
    std::fs::copy(&authorities.b.0, &authorities.bundle).unwrap();
    opened.watched(Arc::clone(&outgoing)).look_now();
    assert!(outgoing.get(&metadata_address(&issuer.origin).unwrap(), 4096).await.is_err(), "trusted for new calls");
    issuer.held.1.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), b"at last");
}
