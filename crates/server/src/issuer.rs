//! The built-in token issuer, what answers on host `login.<domain>`.
//!
//! It gives service principals access tokens for a client secret, in exactly the form in which azure-identity, MSAL and
//! `az` ask Entra ID for them, so that they work against an installation that has no identity provider. There is one
//! tenant, that of the pool. A tenant literally named `adfs` is answered too, because clients skip their check of the
//! authority with Microsoft for that name; its tokens carry the real tenant id all the same.
//!
//! [`TokenIssuer::answer`] is a function from a request to an answer. It signs (about a millisecond of arithmetic), and
//! waits for nothing.
//!
//! | request | answer |
//! |---|---|
//! | `GET /{tenant}[/v2.0]/.well-known/openid-configuration` | metadata |
//! | `GET /{tenant}/discovery[/v2.0]/keys` | the key set |
//! | `POST /{tenant}/oauth2[/v2.0]/token` | a token |
//! | `GET /common/discovery/instance` | where the metadata is, for this host |
//!
//! The audience of a token is the scope without one trailing `/.default`, or the form field `resource` as it is. Tokens
//! are for whatever audience was asked for: an issuer vouches for who somebody is, and what they may do there is
//! decided there.

mod accounts;
mod attempts;
mod files;
mod form;
mod refusal;
mod signing;

use std::net::IpAddr;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use http::{Method, Request, Response, StatusCode};
use identity::{KeySet, KeySetError};
use model::UnixTime;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::jwks::TrustedIssuer;

pub use accounts::{Account, Accounts, Secret};
pub use files::FileError;
pub use signing::SigningKey;

use attempts::{Attempts, TooMany};
use form::TokenRequest;
use refusal::Refusal;

/// How long a token is valid, in seconds.
const LIFETIME: i64 = 3600;

/// The issuer of one tenant.
pub struct TokenIssuer {
    origin: String,
    tenant: Uuid,
    key: SigningKey,
    accounts: Accounts,
    attempts: Attempts,
}

impl TokenIssuer {
    /// An issuer that clients reach at `origin`, such as `https://login.managedhsm.localhost:8443`, without a slash at
    /// its end.
    #[must_use]
    pub fn new(origin: &str, tenant: Uuid, key: SigningKey, accounts: Accounts) -> Self {
        Self { origin: origin.trim_end_matches('/').to_owned(), tenant, key, accounts, attempts: Attempts::new() }
    }

    /// The accounts it knows.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What a verifier needs to accept this issuer's tokens, without asking it over the network.
    ///
    /// # Errors
    /// [`KeySetError`], which its own key set does not give.
    pub fn trusted(&self) -> Result<TrustedIssuer, KeySetError> {
        Ok(TrustedIssuer {
            names: vec![self.name()],
            tenants: vec![self.tenant.to_string()],
            pinned: KeySet::parse_jwks(self.key.jwks().to_string().as_bytes())?,
            metadata: None,
        })
    }

    /// Answers a request whose `Host` is this issuer's. `source` is the address it comes from, by which failed attempts
    /// are counted: behind a proxy, that of the client.
    #[must_use]
    pub fn answer(&self, request: &Request<Bytes>, source: IpAddr, now: UnixTime) -> Response<Bytes> {
        self.respond(request, source, now).unwrap_or_else(|refusal| refusal.answer(request.headers(), source, now))
    }

    /// Claim `iss`, the same in all tokens.
    fn name(&self) -> String {
        format!("{}/{}/v2.0", self.origin, self.tenant)
    }

    fn respond(&self, request: &Request<Bytes>, source: IpAddr, now: UnixTime) -> Result<Response<Bytes>, Refusal> {
        let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
        let only = |method: &Method, name| (request.method() == method).then_some(()).ok_or(Refusal::Method(name));
        let get = || only(&Method::GET, "GET");
        if path[..] == ["common", "discovery", "instance"] {
            get()?;
            return self.instance(request.uri().query().unwrap_or_default());
        }
        let [segment, rest @ ..] = &path[..] else { return Err(Refusal::NoSuchPath) };
        let endpoint = Endpoint::parse(rest).ok_or(Refusal::NoSuchPath)?;
        let tenant = self.tenant_path(segment).ok_or(Refusal::Tenant)?;
        match endpoint {
            Endpoint::Metadata(version) => {
                get().map(|()| json_answer(StatusCode::OK, &self.metadata(&tenant, version)))
            }
            Endpoint::Keys => get().map(|()| json_answer(StatusCode::OK, &self.key.jwks())),
            Endpoint::Token => {
                only(&Method::POST, "POST")?;
                self.token(&TokenRequest::parse(request)?, source, now)
            }
        }
    }

    /// The tenant's segment as our own addresses write it.
    fn tenant_path(&self, segment: &str) -> Option<String> {
        if segment.eq_ignore_ascii_case("adfs") {
            return Some("adfs".to_owned());
        }
        (Uuid::try_parse(segment).ok()? == self.tenant).then(|| self.tenant.to_string())
    }

    fn metadata(&self, tenant: &str, version: Version) -> Value {
        let base = format!("{}/{tenant}", self.origin);
        let v2 = match version {
            Version::One => "",
            Version::Two => "/v2.0",
        };
        json!({
            "issuer": self.name(),
            // MSAL insists on it; nothing answers there.
            "authorization_endpoint": format!("{base}/oauth2{v2}/authorize"),
            "token_endpoint": format!("{base}/oauth2{v2}/token"),
            "jwks_uri": format!("{base}/discovery{v2}/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    /// Tells clients that ask whether this host is an authority that it is one, for itself alone.
    fn instance(&self, query: &str) -> Result<Response<Bytes>, Refusal> {
        let asked = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "authorization_endpoint")
            .and_then(|(_, address)| Url::parse(&address).ok())
            .ok_or(Refusal::Instance)?;
        let own = Url::parse(&self.origin).map_err(|_| Refusal::Instance)?;
        if asked.origin() != own.origin() {
            return Err(Refusal::Instance);
        }
        let host = self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host);
        let metadata = format!("{}/{}/v2.0/.well-known/openid-configuration", self.origin, self.tenant);
        let body = json!({
            "tenant_discovery_endpoint": metadata,
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        });
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn token(&self, request: &TokenRequest, source: IpAddr, now: UnixTime) -> Result<Response<Bytes>, Refusal> {
        let account = self.authenticated(request, source, now)?;
        let mut unique = [0; 16];
        rand::fill(&mut unique).map_err(|_| Refusal::Signing)?;
        let (client_id, object_id) = (account.client_id().to_string(), account.object_id().to_string());
        let mut claims = json!({
            "aud": request.audience,
            "iss": self.name(),
            "iat": now.0,
            "nbf": now.0,
            "exp": now.0 + LIFETIME,
            "appid": client_id,
            "azp": client_id,
            "idtyp": "app",
            "oid": object_id,
            "sub": object_id,
            "tid": self.tenant.to_string(),
            "uti": URL_SAFE_NO_PAD.encode(unique),
            "ver": "2.0",
        });
        if request.handles_claims {
            claims["xms_cc"] = json!(["CP1"]);
        }
        let token = self.key.sign(&claims).ok_or(Refusal::Signing)?;
        let body = json!({
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "ext_expires_in": LIFETIME,
            "expires_on": now.0 + LIFETIME,
            "not_before": now.0,
            "access_token": token,
        });
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn authenticated(&self, request: &TokenRequest, source: IpAddr, now: UnixTime) -> Result<&Account, Refusal> {
        // What is no id at all shares one counter.
        let client_id = Uuid::try_parse(&request.client_id).unwrap_or_default();
        self.attempts.begin(client_id, source, now).map_err(|TooMany(seconds)| Refusal::TooMany(seconds))?;
        let account = self.accounts.find(&request.client_id).ok_or(Refusal::Client)?;
        if !account.has_secret(&request.client_secret) {
            return Err(Refusal::Client);
        }
        self.attempts.succeeded(client_id, source, now);
        if !account.enabled() {
            return Err(Refusal::Disabled);
        }
        Ok(account)
    }
}

/// The two generations of Entra ID's addresses. They differ in nothing else here.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

enum Endpoint {
    Metadata(Version),
    Keys,
    Token,
}

impl Endpoint {
    /// Reads what follows the tenant.
    fn parse(path: &[&str]) -> Option<Self> {
        match path {
            [".well-known", "openid-configuration"] => Some(Self::Metadata(Version::One)),
            ["v2.0", ".well-known", "openid-configuration"] => Some(Self::Metadata(Version::Two)),
            ["discovery", "keys"] | ["discovery", "v2.0", "keys"] => Some(Self::Keys),
            ["oauth2", "token"] | ["oauth2", "v2.0", "token"] => Some(Self::Token),
            _ => None,
        }
    }
}

/// See [`crate::fuzzing::token_request`].
pub(crate) fn fuzz_request(bytes: &[u8]) {
    let (header, form) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let mut request = Request::new(Bytes::copy_from_slice(form.strip_prefix(b"\n").unwrap_or(form)));
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    if let Ok(header) = HeaderValue::from_bytes(header)
        && !header.is_empty()
    {
        request.headers_mut().insert(http::header::AUTHORIZATION, header);
    }
    match TokenRequest::parse(&request) {
        Ok(asked) => assert!(asked.audience.bytes().all(|byte| byte.is_ascii_graphic())),
        Err(refusal) => {
            let answer = refusal.answer(request.headers(), IpAddr::from([127, 0, 0, 1]), UnixTime(0));
            assert!(answer.status().is_client_error());
        }
    }
}

/// See [`crate::fuzzing::node_files`].
pub(crate) fn fuzz_files(bytes: &[u8]) {
    if let Some(accounts) = Accounts::parse(bytes) {
        let written = accounts.to_json().expect("accounts are JSON");
        assert!(Accounts::parse(&written).is_some(), "what was read is written so that it can be read");
    }
    let _ = SigningKey::from_pkcs8(bytes);
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

#[cfg(test)]
mod tests;
