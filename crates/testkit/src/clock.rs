//! A clock that the test moves.

use std::sync::atomic::{AtomicI64, Ordering};

use model::{Days, UnixTime};

/// Stands still until it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: UnixTime) -> Self {
        Self(AtomicI64::new(now.0 * 1000))
    }

    /// Moves it on by `seconds`.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Moves it on by whole days.
    pub fn advance_days(&self, days: Days) {
        self.advance(i64::from(days.0) * 86_400);
    }
}

impl pool::Clock for TestClock {
    fn now_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
