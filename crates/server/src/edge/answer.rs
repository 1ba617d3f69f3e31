//! From a request's head to its answer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONNECTION, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use wire::errors::codes;
use wire::headers;

use super::bodies::Held;
use super::lines::Line;
use super::{Application, Inbound, Limits, Outbound, Shared};

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
        Err((refusal, head)) => {
            let mut answer = match head {
                Some(inbound) => unharmed(shared.application.refuse(inbound, refusal)).await,
                None => refusal.answer(),
            };
            // What is not fully read ends an HTTP/1.1 connection.
            if version != Version::HTTP_2 {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    };
    Ok(outbound.map(Full::new))
}

/// Reads the whole request, within the limits. With a refusal comes the head, if it says where the request was to go.
async fn receive<A>(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Shared<A>,
) -> Result<(Inbound, Held), (Refusal, Option<Inbound>)> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let host = host(&head.uri, &head.headers, head.version).map_err(|refusal| (refusal, None))?;
    let mut held = shared.bodies.begin(peer.ip());
    let body = whole(body, size(&head), &shared.limits, &mut held).await;
    let http2 = head.version == Version::HTTP_2;
    let (method, uri, headers) = (head.method, head.uri, head.headers);
    let inbound = |body| Inbound { method, uri, headers, body, host, peer, received, http2 };
    match body {
        Ok(body) => Ok((inbound(body), held)),
        Err(refusal) => Err((refusal, Some(inbound(Bytes::new())))),
    }
}

/// Reads a body to its end, within the limits.
async fn whole(body: Incoming, head: usize, limits: &Limits, held: &mut Held) -> Result<Bytes, Refusal> {
    let limit = limits.body_bytes;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit as u64 {
        drain(body);
        return Err(Refusal::TooLarge { limit });
    }
    if !held.grow(head) {
        drain(body);
        return Err(Refusal::NoRoom);
    }
    let collected = tokio::time::timeout(limits.body_timeout, collect(body, limit, held)).await;
    collected.unwrap_or(Err(Refusal::Slow))
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
    if application.must_finish(&inbound.method, inbound.uri.path()) {
        let call = tokio::spawn(async move {
            let _counted = counted;
            application.answer(inbound).await
        });
        call.await.unwrap_or_else(|_| internal_error())
    } else {
        let _counted = counted;
        unharmed(application.answer(inbound)).await
    }
}

/// The answer, also if the application panics over it. The panic itself has been logged by the hook, with its place; the
/// client gets nothing of it.
async fn unharmed(answer: impl Future<Output = Outbound>) -> Outbound {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| internal_error())
}

fn internal_error() -> Outbound {
    let message = "The request could not be completed because of an internal error.";
    azure_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
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
            return Err(Refusal::TooLarge { limit });
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

/// Why the edge refuses a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its host is missing, doubled or unreadable.
    Host(&'static str),
    /// Its body is larger than allowed.
    TooLarge {
        /// The most that is, in bytes.
        limit: usize,
    },
    /// Its body did not arrive in time.
    Slow,
    /// Its body broke off.
    Broken,
    /// There is no memory for its body among all the others.
    NoRoom,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Host(_) | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Host(_) | Self::Broken => codes::BAD_PARAMETER,
            Self::TooLarge { .. } => codes::REQUEST_TOO_LARGE,
            Self::Slow => "RequestTimeout",
            Self::NoRoom => codes::SERVICE_UNAVAILABLE,
        }
    }

    /// What it says.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Host(message) => Cow::Borrowed(message),
            Self::TooLarge { limit } => {
                Cow::Owned(format!("The request body is too large. The maximum size is {limit} bytes."))
            }
            Self::Slow => Cow::Borrowed("The request body did not arrive in time. Send it again, faster."),
            Self::Broken => Cow::Borrowed("The request body ended too early."),
            Self::NoRoom => Cow::Borrowed("Too many request bodies are being received. Try again in a second."),
        }
    }

    /// The answer to a request that belongs to nobody.
    #[must_use]
    pub fn answer(&self) -> Outbound {
        let mut answer = azure_error(self.status(), self.code(), &self.message());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
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
    let map = answer.headers_mut();
    for (name, value) in headers::ALWAYS {
        map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(activity) = HeaderValue::from_str(&activity) {
        map.insert(headers::REQUEST_ID, activity);
    }
    answer
}

/// A new id for one request, as Azure writes them.
#[must_use]
pub fn activity_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
