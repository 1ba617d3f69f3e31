//! How long the journal waits for more records before it writes what it has.
//!
//! A batch costs the processor and the disk the same for one record as for fifty. While requests are under way whose
//! records have not come yet, the journal therefore leaves a pause between its writes, in proportion to how long they take;
//! it writes at once as soon as every record that is announced has come. Whoever is alone never waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// From the beginning of one write to that of the next, while records are awaited: this many times what a write takes.
const PERIOD: u32 = 3;

/// The longest pause, however slow the disk is.
const LONGEST: Duration = Duration::from_millis(2);

/// How many records are announced: those that are awaited, and those that came and are not durable yet.
#[derive(Default)]
pub(crate) struct Announced(AtomicUsize);

impl Announced {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether more are announced than the `present` ones.
    pub(crate) fn more_than(&self, present: usize) -> bool {
        self.0.load(Ordering::Relaxed) > present
    }
}

/// When the last write began, and how long it took.
#[derive(Default)]
pub(crate) struct Pace(Option<(Instant, Duration)>);

impl Pace {
    /// Notes a write that began at `began` and has just ended.
    pub(crate) fn wrote(&mut self, began: Instant) {
        self.0 = Some((began, began.elapsed()));
    }

    /// Until when the next write may wait for more records.
    pub(crate) fn deadline(&self, now: Instant) -> Instant {
        match self.0 {
            Some((began, took)) => (began + took * PERIOD).min(now + LONGEST),
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_time_of_a_write_up_to_its_limit() {
        let now = Instant::now();
        let after = |took| Pace(Some((now, took))).deadline(now + took);
        assert_eq!(Pace::default().deadline(now), now);
        assert_eq!(after(Duration::from_micros(300)), now + Duration::from_micros(900));
        let slow = Duration::from_secs(1);
        assert_eq!(after(slow), now + slow + LONGEST);
    }

    #[test]
    fn a_write_long_ago_asks_for_no_pause() {
        let now = Instant::now();
        let pace = Pace(Some((now, Duration::from_millis(1))));
        assert!(pace.deadline(now + Duration::from_secs(1)) < now + Duration::from_secs(1));
    }
}
