//! A data plane to ask, and an issuer that it trusts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use audit::Record;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use identity::{Audience, KeySet};
use pool::Clock as _;
use serde_json::{Value, json};
use server::data_plane::{DataPlane, Strangers};
use server::edge::{Inbound, Outbound, Refusal};
use server::jwks::{Authenticator, IssuerKeys, Loopback, Outgoing, TrustedIssuer};
use testkit::{Setup, TestPool};
use wire::challenge::Challenge;

const HOST: &str = "test.managedhsm.localhost:8443";
const RESOURCE: &str = "https://managedhsm.localhost:8443";
const ISSUER: &str = "https://issuer.example.net";

/// Where requests come from.
pub(crate) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The data plane of a test pool.
pub(crate) struct Plane {
    /// `None` only during a restart: while it is there, the pool cannot be closed.
    plane: Option<DataPlane>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) pool: TestPool,
    issuer: EcdsaKeyPair,
    keys: KeySet,
    challenge: Challenge,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// JSON, or null if there is none.
    pub(crate) body: Value,
}

impl Answer {
    fn of(answer: &Outbound) -> Self {
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        Self { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
    }

    /// Error code and message, in Azure's shape.
    pub(crate) fn error(&self) -> (&str, &str) {
        let text = |member: &str| self.body["error"][member].as_str().unwrap_or_else(|| panic!("{self:?}"));
        (text("code"), text("message"))
    }

    pub(crate) fn request_id(&self) -> &str {
        self.headers["x-ms-request-id"].to_str().unwrap()
    }
}

impl Plane {
    pub(crate) async fn start(setup: Setup) -> Self {
        let pool = setup.start().await;
        let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = issuer.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        let keys = KeySet::parse_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        let challenge = Challenge::new("https://login.localhost:8443", "t", RESOURCE).unwrap();
        let mut this = Self { plane: None, strangers: Arc::default(), pool, issuer, keys, challenge };
        this.build();
        this
    }

    fn build(&mut self) {
        let trusted = TrustedIssuer {
            names: vec![ISSUER.to_owned()],
            tenants: vec!["t".to_owned()],
            pinned: self.keys.clone(),
            metadata: None,
        };
        let outgoing = Arc::new(Outgoing::new([], Loopback::Refused, &[]).unwrap());
        let keys = IssuerKeys::start(vec![trusted], &outgoing).unwrap();
        let authenticator = Authenticator::new(keys, Audience::resources([RESOURCE]));
        let (pool, strangers) = (self.pool.pool().clone(), self.strangers.clone());
        let clock = pool.clock().clone();
        self.plane = Some(DataPlane::new(pool, authenticator, clock, "local", strangers));
    }

    /// Closes the pool and opens it again from what was durable.
    pub(crate) async fn restart(&mut self) {
        self.plane = None;
        self.pool.restart().await;
        self.build();
    }

    pub(crate) fn plane(&self) -> &DataPlane {
        self.plane.as_ref().unwrap()
    }

    /// A token of `principal`.
    pub(crate) fn token(&self, principal: &str) -> String {
        let now = self.pool.clock().now().0;
        let header = json!({"alg": "ES256", "kid": "1"});
        let claims = json!({"iss": ISSUER, "aud": RESOURCE, "tid": "t", "oid": principal, "exp": now + 3600});
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.issuer.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A request, without a version in its query.
    pub(crate) fn request(token: Option<&str>, method: &str, target: &str, body: impl Into<Bytes>) -> Inbound {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let version = if target.contains('?') { "&api-version=7.4" } else { "?api-version=7.4" };
        Inbound {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            uri: format!("{target}{version}").parse().unwrap(),
            headers,
            body: body.into(),
            host: Some(HOST.to_owned()),
            peer: SocketAddr::new(SOURCE, 1),
            received: Instant::now(),
            http2: false,
        }
    }

    pub(crate) async fn answer(&self, request: Inbound) -> Answer {
        Answer::of(&self.plane().answer(request, &self.challenge).await)
    }

    pub(crate) async fn refuse(&self, request: Inbound, refusal: Refusal) -> Answer {
        Answer::of(&self.plane().refuse(request, refusal, &self.challenge).await)
    }

    /// Asks as `principal`.
    pub(crate) async fn ask(&self, principal: &str, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.answer(Self::request(Some(&self.token(principal)), method, target, body)).await
    }

    /// The records that an answered request left.
    pub(crate) async fn records_of(&self, answer: &Answer) -> Vec<Record> {
        let id = uuid::Uuid::parse_str(answer.request_id()).unwrap().as_u128();
        self.pool.records().await.into_iter().filter(|record| record.request_id == Some(id)).collect()
    }

    /// All records of failed tokens.
    pub(crate) async fn failed_tokens(&self) -> Vec<Record> {
        self.pool.records().await.into_iter().filter(|record| record.operation == "Authentication").collect()
    }
}
