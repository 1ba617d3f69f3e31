//! From a request's head to its answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};

use super::bodies::Held;
use super::lines::Line;
use super::{Application, Inbound, Outbound, Shared};

/// How much of a refused body is read away, so that the client gets to see the answer.
const DRAIN_BYTES: usize = 4 * 1024 * 1024;
/// For how long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Answers one request. Never fails: what goes wrong is an answer.
pub(super) async fn respond<A: Application>(
    request: Request<Incoming>,
    peer: SocketAddr,
    line: Arc<Line>,
    shared: Arc<Shared<A>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let _request = line.request();
    let version = request.version();
    let outbound = match receive(request, peer, &shared).await {
        Ok((inbound, held)) => work(inbound, held, &line, &shared).await,
        Err(refusal) => refusal.answer(version, shared.limits.body_bytes),
    };
    Ok(outbound.map(Full::new))
}

/// Reads the whole request, within the limits.
async fn receive<A>(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Shared<A>,
) -> Result<(Inbound, Held), Refusal> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let host = host(&head.uri, &head.headers, head.version)?;
    let limit = shared.limits.body_bytes;
    let mut held = shared.bodies.begin(peer.ip());
    let body = if body.is_end_stream() {
        Bytes::new()
    } else if body.size_hint().lower() > limit as u64 {
        drain(body);
        return Err(Refusal::TooLarge);
    } else if !held.grow(size(&head)) {
        drain(body);
        return Err(Refusal::NoRoom);
    } else {
        match tokio::time::timeout(shared.limits.body_timeout, collect(body, limit, &mut held)).await {
            Ok(body) => body?,
            Err(_) => return Err(Refusal::Slow),
        }
    };
    let http2 = head.version == Version::HTTP_2;
    let (method, uri, headers) = (head.method, head.uri, head.headers);
    Ok((Inbound { method, uri, headers, body, host, peer, received, http2 }, held))
}

/// Bytes of a head, about.
fn size(head: &request::Parts) -> usize {
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields + head.uri.path().len() + head.uri.query().map_or(0, str::len)
}

/// Lets the application answer; in a task of its own where the work must not be torn in half.
async fn work<A: Application>(inbound: Inbound, held: Held, line: &Arc<Line>, shared: &Arc<Shared<A>>) -> Outbound {
    let counted = (line.answering(), shared.traffic.request(), held);
    let application = Arc::clone(&shared.application);
    let outcome = if application.must_finish(&inbound.method, inbound.uri.path()) {
        let call = tokio::spawn(async move {
            let _counted = counted;
            application.answer(inbound).await
        });
        call.await.map_err(|_| ())
    } else {
        let _counted = counted;
        AssertUnwindSafe(application.answer(inbound)).catch_unwind().await.map_err(|_| ())
    };
    // The panic itself has been logged by the hook, with its place; the client gets nothing of it.
    outcome.unwrap_or_else(|()| {
        let message = "The request could not be completed because of an internal error.";
        azure_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    })
}

/// The host that the client asked for.
fn host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Option<String>, Refusal> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.as_str().to_ascii_lowercase()));
    }
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host.to_ascii_lowercase())),
            Err(_) => Err(Refusal::Host("The Host header is not readable text.")),
        },
        (None, _) if version == Version::HTTP_10 => Ok(None),
        (None, _) => Err(Refusal::Host("The request has no Host header.")),
        (Some(_), Some(_)) => Err(Refusal::Host("The request has more than one Host header.")),
    }
}

async fn collect(mut body: Incoming, limit: usize, held: &mut Held) -> Result<Bytes, Refusal> {
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        if joined.len() + chunk.len() > limit {
            drain(body);
            return Err(Refusal::TooLarge);
        }
        if !held.grow(chunk.len()) {
            drain(body);
            return Err(Refusal::NoRoom);
        }
        // Nearly every body comes in one piece: it is handed on as it is. A part is copied, since while the rest is
        // waited for it would keep the whole buffer that it was read into.
        if joined.is_empty() && body.is_end_stream() {
            return Ok(chunk);
        }
        joined.extend_from_slice(&chunk);
    }
    Ok(joined.freeze())
}

/// Reads away some of a refused body: a client that is still writing would otherwise find a reset, not the answer.
fn drain(mut body: Incoming) {
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, async move {
        let mut seen = 0;
        while seen < DRAIN_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    }));
}

/// Why a request does not reach the application.
enum Refusal {
    /// Its host is missing, doubled or unreadable.
    Host(&'static str),
    /// Its body is larger than allowed.
    TooLarge,
    /// Its body did not arrive in time.
    Slow,
    /// Its body broke off.
    Broken,
    /// There is no memory for its body among all the others.
    NoRoom,
}

impl Refusal {
    /// The answer; what is not fully read ends an HTTP/1.1 connection.
    fn answer(self, version: Version, limit: usize) -> Outbound {
        let mut answer = match self {
            Self::Host(message) => return azure_error(StatusCode::BAD_REQUEST, "BadParameter", message),
            Self::TooLarge => azure_error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestBodyTooLarge",
                &format!("The request body is too large. The maximum size is {limit} bytes."),
            ),
            Self::Slow => azure_error(
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "The request body did not arrive in time. Send it again, faster.",
            ),
            Self::Broken => azure_error(StatusCode::BAD_REQUEST, "BadParameter", "The request body ended too early."),
            Self::NoRoom => {
                let message = "Too many request bodies are being received. Try again in a second.";
                let mut answer = azure_error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                answer
            }
        };
        if version != Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// An error in the shape of the data plane, with an activity id in message and `x-ms-request-id`.
#[must_use]
pub fn azure_error(status: StatusCode, code: &str, message: &str) -> Outbound {
    let activity = activity_id();
    let message = format!("{message} (Activity ID: {activity})");
    let body = serde_json::json!({"error": {"code": code, "message": message}}).to_string();
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(activity) = HeaderValue::from_str(&activity) {
        headers.insert("x-ms-request-id", activity);
    }
    answer
}

/// A new id for one request, as Azure writes them.
#[must_use]
pub fn activity_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
