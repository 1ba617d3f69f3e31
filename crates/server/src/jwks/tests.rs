//! An issuer on loopback whose documents change under the readers' feet.

mod trust;

use std::collections::HashMap;
use std::sync::Mutex;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Audience, TokenError};
use model::UnixTime;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const RESOURCE: &str = "https://managedhsm.example.net";

/// Nothing happens by itself within a test.
const QUIET: Timing =
    Timing { refresh: Duration::from_secs(600), pause: Duration::from_secs(600), keep: Duration::from_secs(600) };

struct SigningKey(EcdsaKeyPair, &'static str);

impl SigningKey {
    fn new(kid: &'static str) -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), kid)
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({"kty": "EC", "crv": "P-256", "kid": self.1, "x": encode(x), "y": encode(y)})
    }

    fn token(&self, issuer: &str) -> String {
        let header = json!({"alg": "ES256", "kid": self.1});
        let claims = json!({"iss": issuer, "aud": RESOURCE, "tid": "t", "oid": "ann", "exp": NOW.0 + 60});
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn jwks(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

#[derive(Default)]
struct Documents {
    /// Status and headers after it, then the body, by path.
    answers: HashMap<String, (String, String)>,
    asked: HashMap<String, usize>,
}

/// Serves documents on loopback.
#[derive(Clone)]
struct TestIssuer {
    origin: String,
    documents: Arc<Mutex<Documents>>,
    /// Told when `/held` was asked for, and waited for before it is answered.
    held: Arc<(Notify, Notify)>,
}

impl TestIssuer {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS as it is at each connection, or without.
    async fn start_with(tls: Option<Arc<ArcSwap<ServerConfig>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let issuer = Self { origin: origin.clone(), documents: Arc::default(), held: Arc::default() };
        issuer.publish(
            "/.well-known/openid-configuration",
            &json!({"issuer": origin, "jwks_uri": format!("{origin}/keys")}).to_string(),
        );
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, tls) = (serving.clone(), tls.as_ref().map(|tls| tls.load_full()));
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => {
                            // Who does not trust us ends the handshake.
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serving.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        issuer
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        if path == "/held" {
            self.held.0.notify_one();
            self.held.1.notified().await;
        }
        // Long enough for others to ask in the meantime.
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(self.answer(&path).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }

    fn answer(&self, path: &str) -> String {
        let mut documents = self.documents.lock().unwrap();
        *documents.asked.entry(path.into()).or_default() += 1;
        let gone = ("404 Not Found".to_owned(), String::new());
        let (status, body) = documents.answers.get(path).unwrap_or(&gone);
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn publish(&self, path: &str, body: &str) {
        self.publish_as(path, "200 OK", body);
    }

    fn publish_as(&self, path: &str, status: &str, body: &str) {
        self.documents.lock().unwrap().answers.insert(path.into(), (status.into(), body.into()));
    }

    fn asked_for_keys(&self) -> usize {
        self.documents.lock().unwrap().asked.get("/keys").copied().unwrap_or_default()
    }

    fn outgoing(&self) -> Arc<Outgoing> {
        let url = Url::parse(&self.origin).unwrap();
        Arc::new(Outgoing::new([&url], Loopback::Allowed, &[]).unwrap())
    }

    fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer {
            names: vec![self.origin.clone()],
            tenants: vec!["t".into()],
            pinned: KeySet::default(),
            metadata: metadata_address(&self.origin),
        }
    }

    fn authenticator(&self, timing: Timing) -> Authenticator {
        let keys = IssuerKeys::start_with(vec![self.trusted()], &self.outgoing(), timing).unwrap();
        Authenticator::new(keys, Audience::resources([RESOURCE]))
    }
}

/// Waits until `holds`, and fails if it does not within some seconds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come to pass");
}

#[tokio::test]
async fn a_token_is_verified_with_fetched_keys_and_remembered() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&key]));
    let authenticator = issuer.authenticator(QUIET);
    let token = key.token(&issuer.origin);
    let first = authenticator.authenticate(&token, NOW).await.unwrap();
    assert_eq!(first.principal.as_str(), "ann");
    let again = authenticator.authenticate(&token, NOW).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second answer comes from memory");
    assert_eq!(issuer.asked_for_keys(), 1);
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&key]));
    let authenticator = issuer.authenticator(QUIET);
    let token = key.token(&issuer.origin);
    authenticator.authenticate(&token, NOW).await.unwrap();
    let at = |seconds| authenticator.authenticate(&token, UnixTime(NOW.0 + seconds));
    assert!(at(119).await.is_ok());
    assert_eq!(at(120).await, Err(TokenError::Expired.into()));
    assert!(!authenticator.remembers(&token));
}

#[tokio::test]
async fn a_token_that_fails_is_not_remembered() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&SigningKey::new("a")]));
    let authenticator = issuer.authenticator(QUIET);
    let token = key.token(&issuer.origin);
    assert_eq!(authenticator.authenticate(&token, NOW).await, Err(TokenError::Signature.into()));
    assert!(!authenticator.remembers(&token));
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_remembered_tokens_with_it() {
    let (issuer, old, new) = (TestIssuer::start().await, SigningKey::new("old"), SigningKey::new("new"));
    issuer.publish("/keys", &jwks(&[&old]));
    let often = Timing { refresh: Duration::from_millis(50), pause: Duration::from_millis(50), ..QUIET };
    let authenticator = issuer.authenticator(often);
    let token = old.token(&issuer.origin);
    authenticator.authenticate(&token, NOW).await.unwrap();
    issuer.publish("/keys", &jwks(&[&new]));
    until("the end of the old key", async || {
        matches!(authenticator.authenticate(&token, NOW).await, Err(AuthError::Token(TokenError::UnknownKey { .. })))
    })
    .await;
    assert!(!authenticator.remembers(&token));
    assert!(authenticator.authenticate(&new.token(&issuer.origin), NOW).await.is_ok());
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_but_not_twice_within_the_pause() {
    let (issuer, old, new) = (TestIssuer::start().await, SigningKey::new("old"), SigningKey::new("new"));
    issuer.publish("/keys", &jwks(&[&old]));
    let authenticator = issuer.authenticator(Timing { pause: Duration::from_millis(300), ..QUIET });
    authenticator.authenticate(&old.token(&issuer.origin), NOW).await.unwrap();
    issuer.publish("/keys", &jwks(&[&old, &new]));
    let token = new.token(&issuer.origin);
    let refusal = authenticator.authenticate(&token, NOW).await.unwrap_err();
    assert!(matches!(refusal, AuthError::Token(TokenError::UnknownKey { .. })), "{refusal:?}");
    assert_eq!(issuer.asked_for_keys(), 1, "too soon after the first fetch");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(authenticator.authenticate(&token, NOW).await.is_ok());
    assert_eq!(issuer.asked_for_keys(), 2);
}

#[tokio::test]
async fn all_who_meet_an_unknown_key_at_once_share_one_fetch() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&key]));
    let authenticator = Arc::new(issuer.authenticator(QUIET));
    let token: Arc<str> = key.token(&issuer.origin).into();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (authenticator, token) = (authenticator.clone(), token.clone());
            tokio::spawn(async move { authenticator.authenticate(&token, NOW).await.is_ok() })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(issuer.asked_for_keys(), 1);
}

#[tokio::test]
async fn keys_outlive_an_outage_but_not_one_longer_than_they_are_kept() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&key]));
    let often = Timing {
        refresh: Duration::from_millis(50),
        pause: Duration::from_millis(50),
        keep: Duration::from_millis(1500),
    };
    let authenticator = issuer.authenticator(often);
    let token = key.token(&issuer.origin);
    authenticator.authenticate(&token, NOW).await.unwrap();
    issuer.publish_as("/keys", "500 Oops", "");
    let asked = issuer.asked_for_keys();
    until("a failed fetch", async || issuer.asked_for_keys() > asked + 2).await;
    assert!(authenticator.authenticate(&token, NOW).await.is_ok(), "kept");
    let unreachable = AuthError::IssuerUnreachable { issuer: issuer.origin.as_str().into() };
    until("the end of the kept keys", async || {
        authenticator.authenticate(&token, NOW).await.as_ref() == Err(&unreachable)
    })
    .await;
}

#[tokio::test]
async fn while_an_issuer_was_never_reached_its_tokens_may_be_tried_again_later() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    let outcome = issuer.authenticator(QUIET).authenticate(&key.token(&issuer.origin), NOW).await;
    assert_eq!(outcome, Err(AuthError::IssuerUnreachable { issuer: issuer.origin.as_str().into() }));
}

#[tokio::test]
async fn pinned_keys_need_no_network_and_win_over_fetched_ones() {
    let (issuer, pinned, fetched) = (TestIssuer::start().await, SigningKey::new("a"), SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&fetched]));
    let pins = KeySet::parse_jwks(jwks(&[&pinned]).as_bytes()).unwrap();
    let only = TrustedIssuer { pinned: pins.clone(), metadata: None, ..issuer.trusted() };
    let also = TrustedIssuer { pinned: pins, ..issuer.trusted() };
    for (trusted, asks) in [(only, 0), (also, 1)] {
        let keys = IssuerKeys::start_with(vec![trusted], &issuer.outgoing(), QUIET).unwrap();
        until("the fetch", async || issuer.asked_for_keys() == asks).await;
        let authenticator = Authenticator::new(keys, Audience::resources([RESOURCE]));
        assert!(authenticator.authenticate(&pinned.token(&issuer.origin), NOW).await.is_ok());
        let other = authenticator.authenticate(&fetched.token(&issuer.origin), NOW).await;
        assert_eq!(other, Err(TokenError::Signature.into()));
    }
    let only = TrustedIssuer { metadata: None, ..issuer.trusted() };
    let keys = IssuerKeys::start_with(vec![only], &issuer.outgoing(), QUIET).unwrap();
    assert_eq!(keys.refresh(&issuer.origin).await, Refresh::Pinned);
    assert_eq!(keys.refresh("https://nobody.example.net").await, Refresh::Pinned);
}

#[tokio::test]
async fn what_is_verified_for_one_audience_is_not_remembered_for_another() {
    let (issuer, key) = (TestIssuer::start().await, SigningKey::new("a"));
    issuer.publish("/keys", &jwks(&[&key]));
    let keys = IssuerKeys::start_with(vec![issuer.trusted()], &issuer.outgoing(), QUIET).unwrap();
    let pool = Authenticator::new(keys.clone(), Audience::resources([RESOURCE]));
    let management = Authenticator::new(keys, Audience::resources(["https://management.example.net"]));
    let token = key.token(&issuer.origin);
    assert!(pool.authenticate(&token, NOW).await.is_ok());
    assert_eq!(management.authenticate(&token, NOW).await, Err(TokenError::Audience.into()));
}

#[tokio::test]
async fn documents_that_are_not_what_was_asked_for_are_refused() {
    let issuer = TestIssuer::start().await;
    let outgoing = issuer.outgoing();
    let fetch =
        async || fetch::key_set(&outgoing, &metadata_address(&issuer.origin).unwrap(), &issuer.trusted().names).await;
    let metadata = |body: String| issuer.publish("/.well-known/openid-configuration", &body);
    let own = |keys: &str| metadata(json!({"issuer": issuer.origin, "jwks_uri": keys}).to_string());

    issuer.publish("/keys", "{}");
    assert!(matches!(fetch().await, Err(FetchError::KeySet(_))));
    issuer.publish("/keys", &" ".repeat(identity::MAX_JWKS_BYTES + 1));
    assert!(matches!(fetch().await, Err(FetchError::Keys(OutgoingError::TooLong(_)))));
    issuer.publish("/moved", r#"{"keys":[]}"#);
    issuer.publish_as("/keys", &format!("302 Found\r\nlocation: {}/moved", issuer.origin), "");
    assert!(matches!(fetch().await, Err(FetchError::Keys(OutgoingError::Status(302)))));
    own(&format!("{}/moved", issuer.origin));
    assert!(fetch().await.unwrap().is_empty());

    own("https://169.254.169.254/keys");
    assert!(matches!(fetch().await, Err(FetchError::Keys(OutgoingError::NotAllowed(_)))));
    own("keys");
    assert!(matches!(fetch().await, Err(FetchError::Malformed)));
    metadata(json!({"issuer": "https://other.example.net", "jwks_uri": "x"}).to_string());
    assert!(matches!(fetch().await, Err(FetchError::OtherIssuer)));
    metadata(" ".repeat(64 * 1024 + 1));
    assert!(matches!(fetch().await, Err(FetchError::Metadata(OutgoingError::TooLong(_)))));
}

#[tokio::test]
async fn a_token_beyond_the_limit_is_refused() {
    let issuer = TestIssuer::start().await;
    let token = "x".repeat(identity::MAX_TOKEN_BYTES + 1);
    let outcome = issuer.authenticator(QUIET).authenticate(&token, NOW).await;
    assert_eq!(outcome, Err(TokenError::Malformed("length").into()));
}
