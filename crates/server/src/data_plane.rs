//! The data plane of one pool: authenticate, parse, hand to the pool, write the answer.
//!
//! Each file below stands for one published document and turns one kind of call into one method of [`pool::Pool`].
//! Whether a caller may, and what is recorded, is decided there; here is only HTTP.

mod errors;
mod keys;
mod rbac;
mod settings;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use audit::{Class, Decision, FailedTokens, Record, Summary};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use model::Caller;
use pool::{Call, Clock, Outcome, Pool};
use uuid::Uuid;
use wire::body::BodyError;
use wire::challenge::Challenge;
use wire::errors::{ErrorBody, codes};
use wire::headers;
use wire::routes::{self, Route};
use wire::urls::BaseUrl;

use crate::edge::{Inbound, Outbound, Refusal};
use crate::jwks::{AuthError, Authenticator};
use errors::Failure;

/// Counts of failed tokens that are recorded together: fewer than the log's queue takes of such records.
const COUNTS_AT_ONCE: usize = 256;

/// The longest text of a client's own that a record repeats.
const LONGEST_ECHO: usize = 256;

/// The most that a record repeats of method and path together.
const LONGEST_REQUEST_LINE: usize = 1024;

/// The data plane of one pool.
pub struct DataPlane {
    pool: Pool,
    authenticator: Authenticator,
    /// Says whether tokens are good. Who issues them does not know of a pool whose own clock is moved on.
    clock: Arc<dyn Clock>,
    region: HeaderValue,
    failed_tokens: Mutex<FailedTokens>,
    /// Held by whoever records what was counted.
    counting: tokio::sync::Mutex<()>,
    strangers: Arc<Strangers>,
}

/// How many requests nobody was known to have made, since the start.
#[derive(Debug, Default)]
pub struct Strangers {
    without_token: AtomicU64,
    with_failed_token: AtomicU64,
}

impl Strangers {
    /// Requests without a token, as most clients begin: they are told where to get one. Counted here, and recorded
    /// nowhere.
    #[must_use]
    pub fn without_token(&self) -> u64 {
        self.without_token.load(Ordering::Relaxed)
    }

    /// Requests whose token failed. The audit log has them too.
    #[must_use]
    pub fn with_failed_token(&self) -> u64 {
        self.with_failed_token.load(Ordering::Relaxed)
    }
}

/// An answer before its headers.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    fn ok(body: Vec<u8>) -> Result<Self, Failure> {
        Ok(Self { status: StatusCode::OK, body })
    }
}

/// What every handler needs of a request.
struct Request<'a> {
    pool: &'a Pool,
    call: Call,
    base: BaseUrl,
    route: Route,
    body: Bytes,
}

impl DataPlane {
    /// The data plane of `pool`, for tokens that `authenticator` accepts, in `region`. Whom it does not know it counts
    /// among `strangers`.
    #[must_use]
    pub fn new(
        pool: Pool,
        authenticator: Authenticator,
        clock: Arc<dyn Clock>,
        region: &str,
        strangers: Arc<Strangers>,
    ) -> Self {
        let region = HeaderValue::from_str(region).unwrap_or(HeaderValue::from_static("local"));
        Self {
            pool,
            authenticator,
            clock,
            region,
            failed_tokens: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
            strangers,
        }
    }

    /// The pool behind it.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Answers one request. `challenge` says where a client without a token is sent.
    pub async fn answer(&self, request: Inbound, challenge: &Challenge) -> Outbound {
        self.respond(request, None, challenge).await
    }

    /// Answers a request whose body was refused: its caller is known by the head, and recorded with the refusal.
    pub async fn refuse(&self, request: Inbound, refusal: Refusal, challenge: &Challenge) -> Outbound {
        self.respond(request, Some(refusal), challenge).await
    }

    async fn respond(&self, request: Inbound, refusal: Option<Refusal>, challenge: &Challenge) -> Outbound {
        let id = Uuid::new_v4();
        let received = request.received;
        let reply = Reply { method: request.method.clone(), source: request.peer.ip(), id, received };
        let echo = echo(&request.headers);

        let caller = match self.authenticate(&request, id).await {
            Ok(caller) => caller,
            Err(refused) => return reply.with_echo(echo, reply.refused(&refused, challenge)),
        };
        let answer = match self.route(request, refusal, caller, id).await {
            Ok(request) => dispatch(request).await,
            Err(failure) => Err(failure),
        };
        let mut answer = match answer {
            Ok(answer) => reply.success(answer),
            Err(failure) => reply.failure(&failure),
        };
        answer.headers_mut().insert(KEYVAULT_REGION.clone(), self.region.clone());
        if let Ok(network) = HeaderValue::from_str(&headers::network(reply.source)) {
            answer.headers_mut().insert(KEYVAULT_NETWORK.clone(), network);
        }
        reply.with_echo(echo, answer)
    }

    async fn authenticate(&self, request: &Inbound, id: Uuid) -> Result<Arc<Caller>, Refused> {
        let mut given = request.headers.get_all(AUTHORIZATION).iter();
        let Some(header) = given.next() else {
            self.strangers.without_token.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::NoToken);
        };
        // Of two, somebody before us may have looked at the other one.
        let only = given.next().is_none();
        let token = header.to_str().ok().filter(|_| only).and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let outcome = match token {
            None => Err(AuthError::Token(identity::TokenError::Malformed("authorization header"))),
            Some(token) => self.authenticator.authenticate(token, self.clock.now()).await,
        };
        match outcome {
            Ok(caller) => Ok(caller),
            Err(error) => {
                self.note_failed_token(request, id, &error).await;
                // The same where the issuer cannot be asked for a key: whoever cannot be identified is challenged, and
                // learns at the issuer that it is out of reach. Record and log say which it was.
                Err(Refused::BadToken)
            }
        }
    }

    /// Records how many tokens failed that were not recorded singly. To be called every few seconds.
    pub async fn count_failed_tokens(&self) {
        let _alone = self.counting.lock().await;
        let due = self.failed_tokens().drain(self.pool.clock().now_millis());
        self.record_counts(due).await;
    }

    /// Records what was counted and is not due yet. To be called once nothing is answered any more.
    pub async fn count_the_last_failed_tokens(&self) {
        // Whoever is at it ends first: what it has drained is in its hands alone.
        let _alone = self.counting.lock().await;
        let left = self.failed_tokens().drain_all();
        self.record_counts(left).await;
    }

    /// Many at a time, so that they share what they wait for.
    async fn record_counts(&self, summaries: Vec<Summary>) {
        for some in summaries.chunks(COUNTS_AT_ONCE) {
            let recorded = some.iter().map(|summary| {
                self.append_failed(&Record {
                    source: summary.source,
                    count: Some(summary.count),
                    status: 401,
                    code: Some(codes::UNAUTHORIZED.into()),
                    reason: Some("tokens that failed, counted".into()),
                    ..self.pool.blank_record("Authentication")
                })
            });
            let recorded = futures_util::future::join_all(recorded).await;
            for (summary, _) in some.iter().zip(recorded).filter(|(_, recorded)| !recorded) {
                self.failed_tokens().put_back(summary);
            }
        }
    }

    fn failed_tokens(&self) -> MutexGuard<'_, FailedTokens> {
        self.failed_tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a token that failed, within what one source may take of the log. Never the reason for a 503.
    async fn note_failed_token(&self, request: &Inbound, id: Uuid, error: &AuthError) {
        self.strangers.with_failed_token.fetch_add(1, Ordering::Relaxed);
        let (source, now) = (request.peer.ip(), self.pool.clock().now_millis());
        let decision = self.failed_tokens().observe(source, now);
        if decision == Decision::Record {
            let record = Record {
                source: Some(source),
                request_id: Some(id.as_u128()),
                request: Some(request_line(request)),
                user_agent: short_header(&request.headers, &USER_AGENT),
                correlation: short_header(&request.headers, &CLIENT_REQUEST_ID),
                status: 401,
                code: Some(codes::UNAUTHORIZED.into()),
                reason: Some(error.to_string().into()),
                ..self.pool.blank_record("Authentication")
            };
            if !self.append_failed(&record).await {
                self.failed_tokens().count(source, now);
            }
        }
    }

    /// Whether it is recorded.
    /// Queues a record of failed tokens before this returns, and resolves to whether it is durable.
    fn append_failed(&self, record: &Record) -> impl Future<Output = bool> + use<> {
        let appended = self.pool.log().append(record, Class::Unauthenticated);
        async {
            appended
                .await
                .inspect_err(|error| tracing::debug!(%error, "failed tokens were not recorded; they stay counted"))
                .is_ok()
        }
    }

    /// Reads the request line of an authenticated request. What cannot be read, or was refused before, is recorded too.
    async fn route(
        &self,
        request: Inbound,
        refusal: Option<Refusal>,
        caller: Arc<Caller>,
        id: Uuid,
    ) -> Result<Request<'_>, Failure> {
        let method_override = METHOD_OVERRIDES
            .iter()
            .find_map(|name| request.headers.get(name))
            // Unreadable is another method, not none.
            .map(|value| value.to_str().unwrap_or("\u{fffd}"));
        let call = Call {
            caller,
            source: request.peer.ip(),
            request_id: id,
            correlation: short_header(&request.headers, &CLIENT_REQUEST_ID),
            user_agent: short_header(&request.headers, &USER_AGENT),
            request: request_line(&request),
            received: request.received,
            success: Outcome { status: 200, code: None },
            failure: errors::outcome,
        };
        let parsed = routes::parse(request.method.as_str(), request.uri.path(), request.uri.query(), method_override);
        let failure = match (refusal, parsed) {
            (Some(refusal), _) => Failure::from(&refusal),
            (None, Ok(route)) => match request.host.as_deref().and_then(BaseUrl::https) {
                Some(base) => return Ok(Request { pool: &self.pool, call, base, route, body: request.body }),
                None => Failure::bad_request("the Host header names no host"),
            },
            (None, Err(error)) => Failure::from(error),
        };
        self.pool.record_refusal(&call, failure.outcome(), &failure.message).await?;
        Err(failure)
    }
}

// Names that every request is asked for or every answer carries, read once.
static CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static(headers::CLIENT_REQUEST_ID);
static RETURN_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static(headers::RETURN_CLIENT_REQUEST_ID);
static KEYVAULT_REGION: HeaderName = HeaderName::from_static(headers::KEYVAULT_REGION);
static KEYVAULT_NETWORK: HeaderName = HeaderName::from_static(headers::KEYVAULT_NETWORK);
static SERVER_LATENCY: HeaderName = HeaderName::from_static(headers::SERVER_LATENCY);
static REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);
static METHOD_OVERRIDES: LazyLock<Vec<HeaderName>> =
    LazyLock::new(|| headers::METHOD_OVERRIDES.iter().map(|name| HeaderName::from_static(name)).collect());
static ALWAYS: LazyLock<Vec<(HeaderName, HeaderValue)>> = LazyLock::new(|| {
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    headers::ALWAYS.iter().copied().map(field).collect()
});

/// Whether a request changes state, by its method and path alone: then it must run to its end.
///
/// Cryptographic operations are POSTs that change nothing and are most of the traffic.
#[must_use]
pub fn must_finish(method: &Method, path: &str) -> bool {
    if *method == Method::GET {
        return false;
    }
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let place = (segments.next(), segments.next(), segments.next_back());
    let is = |word: &str, names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    // The place counts, not the word alone: a POST to a key of the name `sign` may say that it means DELETE.
    let pure = match place {
        (Some(only), None, None) => is(only, &["rng"]),
        (Some(keys), Some(_), Some(last)) => {
            is(keys, &["keys"]) && is(last, &["sign", "verify", "encrypt", "decrypt", "wrapkey", "unwrapkey"])
        }
        _ => false,
    };
    !(*method == Method::POST && pure)
}

async fn dispatch(request: Request<'_>) -> Result<Answer, Failure> {
    use routes::Call as C;
    match &request.route.call {
        C::ListRoleDefinitions(_)
        | C::GetRoleDefinition(..)
        | C::PutRoleDefinition(..)
        | C::DeleteRoleDefinition(..)
        | C::ListRoleAssignments { .. }
        | C::GetRoleAssignment(..)
        | C::PutRoleAssignment(..)
        | C::DeleteRoleAssignment(..) => Box::pin(rbac::answer(request)).await,
        C::ListSettings | C::GetSetting(_) | C::UpdateSetting(_) => Box::pin(settings::answer(request)).await,
        _ => keys::answer(request).await,
    }
}

impl Request<'_> {
    /// Parses the body. A refusal is decided and recorded like any other outcome: a caller without the right learns
    /// no more than that.
    async fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, BodyError>) -> Result<T, Failure> {
        match parse(&self.body) {
            Ok(parsed) => Ok(parsed),
            Err(error) => Err(self.refuse(&error.message).await),
        }
    }

    /// Refuses the request for what its body says.
    async fn refuse(&self, why: &str) -> Failure {
        let operation = self.route.operation();
        self.pool.refuse(&self.call, operation, self.route.call.scope(), why).await.into()
    }
}

/// Why a request gets no further than the door.
enum Refused {
    NoToken,
    BadToken,
}

/// Writes answers to one request.
struct Reply {
    method: Method,
    source: IpAddr,
    id: Uuid,
    received: Instant,
}

impl Reply {
    fn refused(&self, refused: &Refused, challenge: &Challenge) -> Outbound {
        let challenge = match refused {
            Refused::NoToken => HeaderValue::from_str(challenge.plain()),
            Refused::BadToken => HeaderValue::from_str(&challenge.invalid_token()),
        };
        // The live service answers GET with these two bytes, anything else with none.
        let body = if self.method == Method::GET { &b"OK"[..] } else { b"" };
        let mut answer = self.write(StatusCode::UNAUTHORIZED, body.to_vec());
        if let Ok(value) = challenge {
            answer.headers_mut().insert(headers::WWW_AUTHENTICATE, value);
        }
        answer
    }

    fn success(&self, answer: Answer) -> Outbound {
        self.write(answer.status, answer.body)
    }

    fn failure(&self, failure: &Failure) -> Outbound {
        let body = ErrorBody { code: failure.code, message: &failure.message, inner: failure.inner };
        let mut answer = self.write(failure.status, body.to_json(model::rbac::Guid(self.id.as_u128())));
        if let Some(allow) = failure.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            answer.headers_mut().insert(headers::ALLOW, allow);
        }
        if let Some(seconds) = failure.retry_after {
            answer.headers_mut().insert(headers::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    fn write(&self, status: StatusCode, body: Vec<u8>) -> Outbound {
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = status;
        let map = answer.headers_mut();
        map.reserve(16);
        map.extend(ALWAYS.iter().cloned());
        let millis = u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX);
        map.insert(SERVER_LATENCY.clone(), HeaderValue::from(millis));
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        if let Ok(id) = HeaderValue::from_str(self.id.hyphenated().encode_lower(&mut text)) {
            map.insert(REQUEST_ID.clone(), id);
        }
        if self.method == Method::GET {
            map.insert(headers::BUILD_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        }
        if status == StatusCode::NO_CONTENT {
            map.remove(CONTENT_LENGTH);
        }
        answer
    }

    /// Sends the client's own id back, if it asked for that.
    fn with_echo(&self, echo: Option<HeaderValue>, mut answer: Outbound) -> Outbound {
        if let Some(id) = echo {
            answer.headers_mut().insert(CLIENT_REQUEST_ID.clone(), id);
        }
        answer
    }
}

fn echo(map: &HeaderMap) -> Option<HeaderValue> {
    let wanted = map.get(&RETURN_CLIENT_REQUEST_ID)?.to_str().ok()?.eq_ignore_ascii_case("true");
    map.get(&CLIENT_REQUEST_ID).filter(|id| wanted && id.len() <= LONGEST_ECHO).cloned()
}

fn short_header(map: &HeaderMap, name: &HeaderName) -> Option<Arc<str>> {
    let text = map.get(name)?.to_str().ok()?;
    Some(text.get(..LONGEST_ECHO).unwrap_or(text).into())
}

fn request_line(request: &Inbound) -> Arc<str> {
    // The method is the client's own word too, and a path may be cut only between characters.
    let mut line = format!("{} {}", request.method, request.uri.path());
    line.truncate(line.floor_char_boundary(LONGEST_REQUEST_LINE));
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_repeats_a_bounded_part_of_method_and_path() {
        let line = |method: &str, path: &str| {
            let peer = ([192, 0, 2, 1], 1).into();
            let (method, uri) = (Method::from_bytes(method.as_bytes()).unwrap(), path.parse().unwrap());
            let (headers, body, host, received) = (HeaderMap::new(), Bytes::new(), None, Instant::now());
            request_line(&Inbound { method, uri, headers, body, host, peer, received, http2: false })
        };
        assert_eq!(&*line("GET", "/keys/k"), "GET /keys/k");
        assert_eq!(line(&"M".repeat(30_000), "/").len(), 1024);
        for filler in ["x", "\u{e9}", "\u{10348}"] {
            assert!((1020..=1024).contains(&line("GET", &format!("/{}", filler.repeat(9000))).len()), "{filler}");
        }
    }

    #[test]
    fn only_what_changes_nothing_may_be_left_unfinished() {
        for pure in ["/rng", "/keys/k/sign", "/keys/k//Verify/", "/keys/k/00112233445566778899aabbccddeeff/unwrapkey"] {
            assert!(!must_finish(&Method::POST, pure), "{pure}");
            assert!(must_finish(&Method::PUT, pure), "{pure}");
        }
        // A POST may be a DELETE or a PATCH by its override header.
        for changing in
            ["/keys/sign", "/keys//sign", "/deletedkeys/rng", "/deletedkeys/sign/recover", "/keys/k/create", "/"]
        {
            assert!(must_finish(&Method::POST, changing), "{changing}");
        }
        assert!(!must_finish(&Method::GET, "/keys/k"));
    }
}
