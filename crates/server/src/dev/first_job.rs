//! The first job of a development node: a real client, over its own TLS socket, with a real token.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, StatusCode};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use crate::issuer::Secret;

/// The key it works with, made at the first start and used again at later ones.
const KEY: &str = "strongroom-first-job";
const API_VERSION: &str = "7.4";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to go and as whom.
pub(super) struct FirstJob {
    pub(super) pool: String,
    pub(super) resource: String,
    pub(super) token_endpoint: String,
    /// Names that lead to `address`, whatever the system's resolver says.
    pub(super) hosts: Vec<String>,
    pub(super) address: SocketAddr,
    pub(super) ca: CertificateDer<'static>,
    pub(super) client: Uuid,
    pub(super) secret: Secret,
}

/// One thing done, and how long it took.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) took: Duration,
}

/// Why the first job was not done.
#[derive(Debug, thiserror::Error)]
pub enum FirstJobError {
    /// The connection or its TLS.
    #[error("{what}")]
    Call {
        /// What was asked for.
        what: &'static str,
        /// Why it did not come.
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("{what}: answered {status}: {body}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        body: String,
    },
    /// The answer lacks something, or the signature is not valid.
    #[error("{0}: the answer is not what was expected")]
    Unexpected(&'static str),
}

impl FirstJob {
    /// Gets a token, makes an EC key if there is none yet, signs with it and verifies.
    pub(super) async fn run(&self) -> Result<Vec<Step>, FirstJobError> {
        let call = |what| move |source| FirstJobError::Call { what, source };
        let ca = reqwest::Certificate::from_der(&self.ca).map_err(call("trust"))?;
        let mut client = Client::builder().no_proxy().tls_certs_only([ca]).timeout(TIMEOUT);
        for host in &self.hosts {
            client = client.resolve(host, self.address);
        }
        let mut session =
            Session { client: client.build().map_err(call("connect"))?, token: String::new(), steps: vec![] };

        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client.to_string())
            .append_pair("client_secret", self.secret.reveal())
            .append_pair("scope", &format!("{}/.default", self.resource))
            .finish();
        let token = session.token("get a token", &self.token_endpoint, form).await?;
        session.token = token;

        let at = |path: &str| format!("{}/keys/{KEY}{path}?api-version={API_VERSION}", self.pool);
        let existing = session.client.get(at("")).bearer_auth(&session.token).send();
        let key = match existing.await.map_err(call("look for the key"))?.status() {
            StatusCode::NOT_FOUND => {
                session.post("create an EC P-256 key", &at("/create"), json!({"kty": "EC-HSM", "crv": "P-256"})).await?
            }
            _ => session.get("read its EC P-256 key", &at("")).await?,
        };
        let kid = key["key"]["kid"].as_str().ok_or(FirstJobError::Unexpected("create an EC P-256 key"))?;
        // The id names pool and version; the path below the pool is what this client needs.
        let version = kid.rsplit('/').next().unwrap_or_default();
        let digest = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"first job"));
        let sign = json!({"alg": "ES256", "value": digest});
        let signed = session.post("sign with it", &at(&format!("/{version}/sign")), sign).await?;
        let verify = json!({"alg": "ES256", "digest": digest, "value": signed["value"]});
        let verified = session.post("verify", &at(&format!("/{version}/verify")), verify).await?;
        match verified["value"] {
            Value::Bool(true) => Ok(session.steps),
            _ => Err(FirstJobError::Unexpected("verify")),
        }
    }
}

struct Session {
    client: Client,
    token: String,
    steps: Vec<Step>,
}

impl Session {
    async fn token(&mut self, what: &'static str, url: &str, form: String) -> Result<String, FirstJobError> {
        let request = self.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = self.send(what, request).await?;
        answer["access_token"].as_str().map(ToOwned::to_owned).ok_or(FirstJobError::Unexpected(what))
    }

    async fn post(&mut self, what: &'static str, url: &str, body: Value) -> Result<Value, FirstJobError> {
        let request = self.client.post(url).bearer_auth(&self.token).json(&body);
        self.send(what, request).await
    }

    async fn get(&mut self, what: &'static str, url: &str) -> Result<Value, FirstJobError> {
        let request = self.client.get(url).bearer_auth(&self.token);
        self.send(what, request).await
    }

    async fn send(&mut self, what: &'static str, request: reqwest::RequestBuilder) -> Result<Value, FirstJobError> {
        let begun = Instant::now();
        let failed = |source: reqwest::Error| FirstJobError::Call { what, source };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        self.steps.push(Step { what, took: begun.elapsed() });
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            return Err(FirstJobError::Refused { what, status, body });
        }
        serde_json::from_slice(&body).map_err(|_| FirstJobError::Unexpected(what))
    }
}
