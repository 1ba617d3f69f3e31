//! What is known of each open connection, and of all together.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Limits;

/// What a connection is doing, as far as time-outs and shedding care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Phase {
    /// Shaking hands, or between two requests.
    Idle = 0,
    /// The first bytes of a request are here, its head is not complete.
    Head = 1,
    /// A request is being read or answered; its own time-outs hold.
    Request = 2,
}

/// The state of one connection. Written by the connection, read by its watch and by whoever looks for one to shed.
#[derive(Debug)]
pub(super) struct Line {
    phase: AtomicU8,
    /// Milliseconds of [`uptime`] at which the phase began.
    since: AtomicU64,
    /// Requests in the hands of the application. Several on HTTP/2.
    answering: AtomicU32,
    /// Asks the connection to end: what is in the application's hands is finished first.
    end: Notify,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(uptime()),
            answering: AtomicU32::new(0),
            end: Notify::new(),
        }
    }

    /// Bytes arrived. Only the first after an idle time matter.
    pub(super) fn bytes_arrived(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.enter(Phase::Head);
        }
    }

    /// The head of a request is complete. Dropping the value says that the answer is on its way, or that nobody waits
    /// for it any more: on HTTP/2 a client may give up one request and keep the connection.
    pub(super) fn request(self: &Arc<Self>) -> Requesting {
        self.enter(Phase::Request);
        Requesting(Arc::clone(self))
    }

    /// The application has the request until the value is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Nothing would be lost by closing now.
    pub(super) fn is_sheddable(&self) -> bool {
        self.answering.load(Ordering::Relaxed) == 0
    }

    /// When the present phase began, for "the longest idle".
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Whether the connection has used up its time.
    pub(super) fn is_overdue(&self, limits: &Limits) -> bool {
        let allowed = match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Idle as u8 => limits.idle_timeout,
            phase if phase == Phase::Head as u8 => limits.header_timeout,
            _ => return false,
        };
        self.is_sheddable() && u128::from(uptime().saturating_sub(self.since())) >= allowed.as_millis()
    }

    pub(super) fn ask_to_end(&self) {
        self.end.notify_one();
    }

    pub(super) async fn asked_to_end(&self) {
        self.end.notified().await;
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(uptime(), Ordering::Relaxed);
    }
}

/// One request between its head and its answer.
#[derive(Debug)]
pub(super) struct Requesting(Arc<Line>);

impl Drop for Requesting {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// One request in the hands of the application.
#[derive(Debug)]
pub(super) struct Answering(Arc<Line>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Milliseconds since the first connection.
fn uptime() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How often a connection looks at its own time-outs.
pub(super) fn watch_interval(limits: &Limits) -> Duration {
    (limits.header_timeout.min(limits.idle_timeout) / 2).clamp(Duration::from_millis(10), Duration::from_secs(5))
}

/// Counts of connections and requests of one edge.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicUsize,
    requests: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Told when a count above falls to zero.
    calm: Notify,
}

impl Traffic {
    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests in the hands of the application now, those whose client has left included.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed at once because a cap was reached, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection(self: &Arc<Self>) -> Counted {
        self.connections.fetch_add(1, Ordering::AcqRel);
        Counted { traffic: Arc::clone(self), what: |traffic| &traffic.connections }
    }

    pub(super) fn request(self: &Arc<Self>) -> Counted {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Counted { traffic: Arc::clone(self), what: |traffic| &traffic.requests }
    }

    /// Ready when nothing is open and nothing is being worked on.
    pub(super) async fn quiet(&self) {
        loop {
            let calm = self.calm.notified();
            if self.connections.load(Ordering::Acquire) == 0 && self.requests.load(Ordering::Acquire) == 0 {
                return;
            }
            calm.await;
        }
    }
}

/// One of the things counted, until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    traffic: Arc<Traffic>,
    what: fn(&Traffic) -> &AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if (self.what)(&self.traffic).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.traffic.calm.notify_waiters();
        }
    }
}
