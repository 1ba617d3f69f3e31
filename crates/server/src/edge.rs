//! The network edge: TLS connections in, whole requests to one [`Application`], whole answers out.
//!
//! Everything about sockets ends here. An application sees a request whose body is complete and bounded, and
//! returns an answer; it never learns of slow senders, resets, half-closed connections or HTTP versions.
//!
//! ```text
//! accept → admit (caps) → ClientHello → handshake → HTTP/1.1 or h2 → body → Application::answer → answer
//! ```
//!
//! Work that changes state runs in a task of its own ([`Application::must_finish`]), so that a client that hangs
//! up cannot tear it in half. A panic in an application answers 500 and ends nothing else.

mod admission;
mod answer;
mod bodies;
mod connection;
mod lines;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use hyper_util::rt::TokioExecutor;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use admission::Admission;
pub use answer::{Refusal, activity_id, azure_error};
use bodies::Bodies;
pub use lines::Traffic;

/// Connections the kernel may hold for us between two accepts.
const BACKLOG: u32 = 4096;

/// How long to wait before accepting again when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests.
pub trait Application: Send + Sync + 'static {
    /// Answers one request. Every failure is an answer too.
    fn answer(&self, request: Inbound) -> impl Future<Output = Outbound> + Send;

    /// Answers a request of which only the head is good: its body is refused, and empty here. Over HTTP/1.1 the answer
    /// ends the connection.
    fn refuse(&self, request: Inbound, refusal: Refusal) -> impl Future<Output = Outbound> + Send;

    /// Whether the call must run to its end even if the client hangs up: true for all that changes state.
    ///
    /// Asked before the body is read, on every request: it has to be cheap.
    fn must_finish(&self, method: &Method, path: &str) -> bool;
}

/// One complete request.
#[derive(Debug)]
pub struct Inbound {
    /// The method.
    pub method: Method,
    /// The target as it came: origin form on HTTP/1.1, with scheme and authority on HTTP/2.
    pub uri: Uri,
    /// All header fields.
    pub headers: HeaderMap,
    /// The body, at most [`Limits::body_bytes`] long.
    pub body: Bytes,
    /// `:authority`, the target's authority or `Host`, in that order; lower case, port kept. `None` only on HTTP/1.0.
    pub host: Option<String>,
    /// The other end of the connection. An IPv4 address that came through an IPv6 socket is shown as IPv4.
    pub peer: SocketAddr,
    /// When the head of the request was complete.
    pub received: Instant,
    /// Whether it came over HTTP/2.
    pub http2: bool,
}

/// One complete answer.
pub type Outbound = http::Response<Bytes>;

/// What a client may take of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. Beyond it the longest idle connection of the heaviest source makes room, if the
    /// newcomer's source is lighter.
    pub connections: usize,
    /// Connections of one IPv4 address or one IPv6 /64 network. Beyond it its own longest idle one makes room.
    pub connections_per_source: usize,
    /// TLS handshakes of one source that are worked on at the same time, so that a flood of them from one place keeps
    /// nobody else waiting for long. Others of that source wait, within the time-out.
    pub handshakes_per_source: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head. Enforced within 5 seconds.
    pub header_timeout: Duration,
    /// Size of a request's head.
    pub header_bytes: usize,
    /// Size of a request's body. All bodies in work may take 256 times as much, those of one source 64 times.
    pub body_bytes: usize,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// How long a connection may stay without a request. Enforced within 5 seconds.
    pub idle_timeout: Duration,
    /// Concurrent requests of one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long requests in flight may take to finish once the server stops.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 4_000,
            handshakes_per_source: 16,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            header_bytes: 48 * 1024,
            body_bytes: 1024 * 1024,
            body_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            http2_streams: 128,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Opens a listening socket. Port 0 picks a free one.
///
/// # Errors
/// What the system says: the port is taken, not ours to open, or the address is not of this machine.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What every connection shares.
struct Shared<A> {
    application: Arc<A>,
    tls: Arc<ServerConfig>,
    limits: Limits,
    traffic: Arc<Traffic>,
    admission: Arc<Admission>,
    bodies: Arc<Bodies>,
    http1: hyper::server::conn::http1::Builder,
    http2: hyper::server::conn::http2::Builder<TokioExecutor>,
}

/// Serves `application` on all `listeners` until `stop` is ready, then finishes what is in flight, for at most
/// [`Limits::shutdown_grace`], and returns.
///
/// `traffic` is counted while it runs, for the status document.
pub async fn serve<A: Application>(
    listeners: Vec<TcpListener>,
    tls: Arc<ServerConfig>,
    limits: Limits,
    application: Arc<A>,
    traffic: Arc<Traffic>,
    stop: impl Future<Output = ()>,
) {
    let shared = Arc::new(Shared {
        application,
        tls,
        admission: Arc::new(Admission::new(&limits)),
        bodies: Arc::new(Bodies::new(limits.body_bytes)),
        http1: http1(&limits),
        http2: http2(&limits),
        limits,
        traffic,
    });
    let accepting: Vec<_> =
        listeners.into_iter().map(|listener| tokio::spawn(accept(listener, Arc::clone(&shared)))).collect();

    pin!(stop).await;
    for task in accepting {
        task.abort();
    }
    shared.admission.close_all();
    if tokio::time::timeout(shared.limits.shutdown_grace, shared.traffic.quiet()).await.is_err() {
        tracing::warn!(
            connections = shared.traffic.connections(),
            requests = shared.traffic.requests(),
            "stopped with connections still open"
        );
    }
}

fn http1(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Head and idle time-outs are ours (see `lines`): one coarse timer a connection instead of one a request.
    // `pipeline_flush` stays off: with it, hyper never sends its answer to a malformed head.
    builder
        .header_read_timeout(None)
        .half_close(true)
        .max_header_size(limits.header_bytes)
        .max_buf_size((limits.header_bytes + 16 * 1024).max(64 * 1024));
    builder
}

fn http2(limits: &Limits) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        // Streams that a client opens and resets at once, and streams that we had to reset: GOAWAY beyond these.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(256 * 1024);
    builder
}

async fn accept<A: Application>(listener: TcpListener, shared: Arc<Shared<A>>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, &shared),
            Err(error) => {
                // A client that left before we took it is its own affair; anything else wants room and time.
                if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset)
                {
                    tracing::error!(%error, "cannot accept connections");
                    shared.admission.shed_one();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn admit<A: Application>(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared<A>>) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    shared.traffic.count_accepted();
    match shared.admission.admit(peer.ip()) {
        Some(place) => {
            let open = shared.traffic.connection();
            tokio::spawn(connection::attend(stream, peer, place, open, Arc::clone(shared)));
        }
        None => shared.traffic.count_refused(),
    }
}

#[cfg(test)]
mod tests;
