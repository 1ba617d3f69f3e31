//! Load: a number of connections, either each as fast as it is answered, or together at a fixed rate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::http1::{Connection, Target};
use crate::machine;
use crate::process::Child;

/// Connections of every measurement.
pub(crate) const CONNECTIONS: usize = 64;

/// How long a load runs before it is counted.
const WARM_UP: Duration = Duration::from_millis(400);

/// How long requests at a fixed rate may still be answered after the last one was due.
const LATE: Duration = Duration::from_secs(10);

/// Requests that are sent in random order; whole, as bytes.
pub(crate) type Requests = Arc<Vec<Vec<u8>>>;

/// What a load as fast as possible came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Answers a second.
    pub(crate) rate: f64,
    /// The part of its core that the load itself used, 0 to 1. Near 1 the load was measured, not the server.
    pub(crate) load: f64,
    /// The time on its core that the server took for each answer; other programs on the core are not in it.
    pub(crate) core_time: Duration,
}

/// Every connection sends its next request when the last one is answered. Counts answers of `server` within `window`.
pub(crate) async fn closed_loop(
    server: &Child,
    target: &Target,
    requests: &Requests,
    window: Duration,
) -> anyhow::Result<Throughput> {
    let connections = connect(target).await?;
    let from = Instant::now() + WARM_UP;
    let until = from + window;
    let mut tasks = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let mut choice = Choice::new(requests, number);
        tasks.spawn(async move {
            let mut answered = 0_u64;
            loop {
                connection.exchange(choice.next()).await?;
                let now = Instant::now();
                if now >= until {
                    return anyhow::Ok(answered);
                }
                answered += u64::from(now >= from);
            }
        });
    }
    tokio::time::sleep_until(from.into()).await;
    let used = (machine::thread_time(), server.core_time()?);
    tokio::time::sleep_until(until.into()).await;
    let used = (machine::thread_time() - used.0, server.core_time()? - used.1);
    let mut answered = 0;
    while let Some(task) = tasks.join_next().await {
        answered += task??;
    }
    let answered = answered as f64;
    Ok(Throughput {
        rate: answered / window.as_secs_f64(),
        load: used.0.as_secs_f64() / window.as_secs_f64(),
        core_time: used.1.div_f64(answered.max(1.0)),
    })
}

/// A request is due every `1 / rate` seconds, whether or not earlier ones are answered, for `window`. Returns how long
/// after it was due each was answered: one that waits for a free connection is counted with its wait.
pub(crate) async fn fixed_rate(
    target: &Target,
    requests: &Requests,
    rate: f64,
    window: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let connections = connect(target).await?;
    let due = Arc::new(Due::default());
    let mut tasks = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let mut choice = Choice::new(requests, number);
        let due = Arc::clone(&due);
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while let Some(at) = due.take().await {
                connection.exchange(choice.next()).await?;
                latencies.push((at, at.elapsed()));
            }
            anyhow::Ok(latencies)
        });
    }
    let begun = Instant::now();
    let counted = begun + WARM_UP;
    let total = ((WARM_UP + window).as_secs_f64() * rate) as u64;
    let mut given = 0;
    while given < total {
        // Timers are too coarse for this; the core has nothing else to do.
        let at = begun + Duration::from_secs_f64(given as f64 / rate);
        if Instant::now() < at {
            tokio::task::yield_now().await;
        } else {
            due.give(at);
            given += 1;
        }
    }
    due.end();
    let mut latencies = Vec::with_capacity(usize::try_from(total)?);
    let all = async {
        while let Some(task) = tasks.join_next().await {
            latencies.extend(task??.into_iter().filter(|(at, _)| *at >= counted).map(|(_, latency)| latency));
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(LATE, all).await;
    ensure!(in_time.is_ok(), "the server cannot keep up with {rate:.0} requests a second");
    in_time??;
    Ok(latencies)
}

/// The value below which 99 of 100 lie.
pub(crate) fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    let at = (values.len() * 99).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or_default()
}

async fn connect(target: &Target) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(target).await?);
    }
    Ok(connections)
}

/// Draws requests at random, cheaply.
struct Choice {
    requests: Requests,
    state: u64,
}

impl Choice {
    fn new(requests: &Requests, number: usize) -> Self {
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        Self { requests: Arc::clone(requests), state: seed | 1 }
    }

    fn next(&mut self) -> &[u8] {
        // Marsaglia's xorshift; quality does not matter.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        &self.requests[(self.state % self.requests.len() as u64) as usize]
    }
}

/// Requests that are due and wait for a free connection.
#[derive(Default)]
struct Due {
    waiting: Mutex<(VecDeque<Instant>, bool)>,
    changed: Notify,
}

impl Due {
    fn give(&self, at: Instant) {
        self.waiting().0.push_back(at);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.waiting().1 = true;
        self.changed.notify_waiters();
    }

    /// When the next request was due, as soon as that is now; `None` at the end.
    async fn take(&self) -> Option<Instant> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.waiting();
                if let Some(at) = waiting.0.pop_front() {
                    return Some(at);
                }
                if waiting.1 {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, (VecDeque<Instant>, bool)> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_the_smallest_value_that_99_of_100_do_not_pass() {
        let millis = |n| Duration::from_millis(n);
        assert_eq!(p99((1..=100).map(millis).collect()), millis(99));
        assert_eq!(p99((1..=200).rev().map(millis).collect()), millis(198));
        assert_eq!(p99(vec![millis(5)]), millis(5));
    }
}
