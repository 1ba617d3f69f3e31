//! What the issuer says no with, in Entra ID's words, because clients and their users look for its numbers.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use model::UnixTime;
use serde_json::json;
use uuid::Uuid;

use super::json_answer;

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// There is nothing at this path.
    NoSuchPath,
    /// The path is there, the method is not; the value is the one that is.
    Method(&'static str),
    /// The tenant in the path is not the one of this issuer.
    Tenant,
    /// Instance discovery for a host that is not this issuer.
    Instance,
    /// The form is no form, too long, or says a thing twice.
    Form,
    /// A form field that must be there.
    Missing(&'static str),
    /// Any grant but client credentials.
    GrantType,
    /// A scope that is not one resource followed by `/.default`.
    Scope,
    /// No client secret, neither in the form nor in the header.
    NoSecret,
    /// An unknown client, or a wrong secret: which of them is not said.
    Client,
    /// The account is disabled. Said only to who knows its secret.
    Disabled,
    /// Too many failures; seconds to wait.
    TooMany(i64),
    /// The cryptographic library failed.
    Signing,
}

impl Refusal {
    /// Status, OAuth error, number, text.
    ///
    /// Source: RFC 6749 §5.2; the observed answers of azure-identity's authority; Entra ID's published list of error
    /// codes.
    fn terms(self) -> (StatusCode, &'static str, u32, String) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "invalid_request",
                90_023,
                "There is nothing at this address. This issuer serves service principals with a client \
                 secret; it has no interactive sign-in."
                    .into(),
            ),
            Self::Method(allowed) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request",
                900_561,
                format!("The endpoint only accepts {allowed} requests."),
            ),
            Self::Tenant => (
                bad,
                "invalid_request",
                90_002,
                "The tenant in the address was not found. Check that it is the tenant id of the pool.".into(),
            ),
            Self::Instance => (bad, "invalid_instance", 50_049, "Unknown or invalid instance.".into()),
            Self::Form => (
                bad,
                "invalid_request",
                9_002_313,
                "Invalid request. Send one application/x-www-form-urlencoded form of at most 64 KiB, each \
                  field once, and client credentials in one place only."
                    .into(),
            ),
            Self::Missing(field) => (
                bad,
                "invalid_request",
                900_144,
                format!("The request body must contain the following parameter: '{field}'."),
            ),
            Self::GrantType => (
                bad,
                "unsupported_grant_type",
                70_003,
                "The app requested an unsupported grant type. This issuer knows 'client_credentials'.".into(),
            ),
            Self::Scope => (
                bad,
                "invalid_scope",
                1_002_012,
                "The provided value for scope is not valid. Client credential flows must have a scope \
                 value with /.default suffixed to the resource identifier (application ID URI)."
                    .into(),
            ),
            Self::NoSecret => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                7_000_218,
                "The request body must contain the following parameter: 'client_secret'.".into(),
            ),
            Self::Client => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                7_000_215,
                "Invalid client secret provided, or no such client. Ensure that client id and client \
                 secret are those of one account of this issuer."
                    .into(),
            ),
            Self::Disabled => (bad, "unauthorized_client", 7_000_112, "The application is disabled.".into()),
            Self::TooMany(seconds) => (
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                90_055,
                format!("Too many failed attempts from this address. Try again in {seconds} seconds."),
            ),
            Self::Signing => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                90_013,
                "The token could not be signed. Try again; if it stays so, look at the server's log.".into(),
            ),
        }
    }

    pub(super) fn answer(self, request: &HeaderMap, source: IpAddr, now: UnixTime) -> Response<Bytes> {
        let (status, error, number, text) = self.terms();
        let (trace, correlation) = (Uuid::new_v4(), correlation_id(request));
        let timestamp = jiff::Timestamp::from_second(now.0).map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
        let timestamp = timestamp.unwrap_or_default();
        tracing::info!(%source, error, number, %trace, %correlation, "token request refused");
        let description =
            format!("AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}");
        let body = json!({
            "error": error, "error_description": description, "error_codes": [number],
            "timestamp": timestamp, "trace_id": trace.to_string(), "correlation_id": correlation.to_string(),
        });
        let mut answer = json_answer(status, &body);
        let headers = answer.headers_mut();
        match self {
            Self::Method(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::TooMany(seconds) => {
                headers.insert(RETRY_AFTER, seconds.into());
            }
            // RFC 6749 §5.2 wants it where the client used the header, and it harms nobody else.
            Self::Client | Self::NoSecret => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
            }
            _ => {}
        }
        answer
    }
}

/// The id the client gave to its request, if it is one.
fn correlation_id(request: &HeaderMap) -> Uuid {
    request
        .get("client-request-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| Uuid::try_parse(id).ok())
        .unwrap_or_else(Uuid::new_v4)
}
