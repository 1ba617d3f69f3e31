//! How long the journal waits for more records before it writes what it has.
//!
//! A batch costs the processor and the disk the same for one record as for fifty. While requests are under way whose
//! records have not come yet, the journal therefore leaves a pause between its writes, in proportion to how long they take
//! and to how many are awaited; it writes at once as soon as every record that is announced has come. Whoever is alone
//! never waits, and whoever is one of many waits longer for the others' work than for this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest pause, however slow the disk is and however many are awaited.
const LONGEST: Duration = Duration::from_millis(4);

/// The niceness of the threads of the audit log. Requests that are ready to be worked on come first on a core that has
/// more to do than it can: their records then go to the disk together.
const NICENESS: i32 = 8;

/// Makes the calling thread one of the audit log.
pub(crate) fn lower_priority() {
    // On Linux this is the priority of the calling thread alone.
    if rustix::process::setpriority_process(None, NICENESS).is_err() {
        tracing::warn!("the audit log works at normal priority: the system refused a lower one");
    }
}

/// How many records are announced: those that are awaited, and those that came and whose requests are not over yet.
#[derive(Default)]
pub(crate) struct Announced {
    announced: AtomicUsize,
    /// How many have come, while the journal waits for more; otherwise 0.
    present: AtomicUsize,
}

impl Announced {
    pub(crate) fn add(&self) {
        self.announced.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the journal waits, and now for nothing. It says that it waits before it looks at what is announced, so
    /// one of the two sees the other.
    pub(crate) fn remove(&self) -> bool {
        let left = self.announced.fetch_sub(1, Ordering::SeqCst) - 1;
        let present = self.present.load(Ordering::SeqCst);
        present > 0 && left <= present
    }

    /// How many are awaited beside the `present` ones.
    pub(crate) fn beside(&self, present: usize) -> usize {
        self.announced.load(Ordering::SeqCst).saturating_sub(present)
    }

    /// The journal waits and has `present` ones; with 0 it does not wait. To be called under the lock of the queue.
    pub(crate) fn wait_with(&self, present: usize) {
        self.present.store(present, Ordering::SeqCst);
    }

    /// One more has come, so that there are `present` ones. To be called under the lock of the queue.
    pub(crate) fn came(&self, present: usize) {
        if self.present.load(Ordering::SeqCst) > 0 {
            self.wait_with(present);
        }
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

    /// Until when the next write may wait for the `awaited` records: from the beginning of the last write to that of the
    /// next, at least three times what it took.
    pub(crate) fn deadline(&self, now: Instant, awaited: usize) -> Instant {
        let times = u32::try_from(awaited / 2).unwrap_or(u32::MAX).saturating_add(3);
        match self.0 {
            Some((began, took)) => (began + took.saturating_mul(times)).min(now + LONGEST),
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_time_of_a_write_and_with_who_is_awaited_up_to_its_limit() {
        let now = Instant::now();
        let after = |took, awaited| Pace(Some((now, took))).deadline(now + took, awaited);
        assert_eq!(Pace::default().deadline(now, 9), now);
        let quick = Duration::from_micros(300);
        assert_eq!(after(quick, 1), now + 3 * quick);
        assert_eq!(after(quick, 10), now + 8 * quick);
        assert_eq!(after(quick, usize::MAX), now + quick + LONGEST);
        let slow = Duration::from_secs(1);
        assert_eq!(after(slow, 1), now + slow + LONGEST);
    }

    #[test]
    fn a_write_long_ago_asks_for_no_pause() {
        let now = Instant::now();
        let pace = Pace(Some((now, Duration::from_millis(1))));
        assert!(pace.deadline(now + Duration::from_secs(1), 1000) < now + Duration::from_secs(1));
    }
}
