//! How much memory bodies of requests may take.
//!
//! A body has to be held before anybody knows who sends it, and one HTTP/2 connection may bring a hundred at a time. So
//! what one source has in our hands is bounded, and what all have together. A small body is taken even when all
//! together have used up theirs: nearly every request is one, and large ones alone shall wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::source;

/// How many bodies of the largest size one source may have in our hands, with the heads that came with them.
const OF_ONE_SOURCE: usize = 64;
/// How many all may have together.
const OF_ALL: usize = 256;
/// Up to here a body is small, its head included.
const SMALL: usize = 64 * 1024;

/// The bodies of all requests in work.
#[derive(Debug)]
pub(super) struct Bodies {
    cap: usize,
    cap_per_source: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    bytes: usize,
    sources: HashMap<IpAddr, usize>,
}

/// One body, or what is there of it. Its bytes are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    source: IpAddr,
    bodies: Arc<Bodies>,
}

impl Bodies {
    /// Room for bodies of at most `largest` bytes each.
    pub(super) fn new(largest: usize) -> Self {
        let (cap, cap_per_source) = (largest.saturating_mul(OF_ALL), largest.saturating_mul(OF_ONE_SOURCE));
        Self { cap, cap_per_source, table: Mutex::default() }
    }

    /// A body from `address` of which nothing is here yet.
    pub(super) fn begin(self: &Arc<Self>, address: IpAddr) -> Held {
        Held { bytes: 0, source: source(address), bodies: Arc::clone(self) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Takes room for further bytes; whether there was.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let mut table = self.bodies.table();
        let own = table.sources.get(&self.source).copied().unwrap_or(0);
        let small = self.bytes + bytes <= SMALL;
        let fits = own + bytes <= self.bodies.cap_per_source && (small || table.bytes + bytes <= self.bodies.cap);
        if fits {
            table.bytes += bytes;
            *table.sources.entry(self.source).or_default() += bytes;
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut table = self.bodies.table();
        table.bytes -= self.bytes;
        if let Some(own) = table.sources.get_mut(&self.source) {
            *own -= self.bytes;
            if *own == 0 {
                table.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 1024 * 1024;

    fn body(bodies: &Arc<Bodies>, last: u8, bytes: usize) -> Option<Held> {
        let mut held = bodies.begin([192, 0, 2, last].into());
        held.grow(bytes).then_some(held)
    }

    #[test]
    fn one_source_has_its_bound_and_leaves_room_for_others() {
        let bodies = Arc::new(Bodies::new(LARGEST));
        let mut held: Vec<_> = (0..100).filter_map(|_| body(&bodies, 1, LARGEST)).collect();
        assert_eq!(held.len(), OF_ONE_SOURCE);
        assert!(body(&bodies, 1, 1).is_none(), "not even a small one");
        assert!(body(&bodies, 2, LARGEST).is_some());
        held.pop();
        assert!(body(&bodies, 1, LARGEST).is_some());
    }

    #[test]
    fn when_all_is_used_up_small_bodies_are_still_taken() {
        let bodies = Arc::new(Bodies::new(LARGEST));
        let held: Vec<_> = (0..=255).filter_map(|n: u8| body(&bodies, n / 64, LARGEST)).collect();
        assert_eq!(held.len(), OF_ALL);
        assert!(body(&bodies, 9, SMALL + 1).is_none());
        let mut growing = body(&bodies, 9, SMALL).unwrap();
        assert!(!growing.grow(1));
    }

    #[test]
    fn bytes_are_given_back() {
        let bodies = Arc::new(Bodies::new(LARGEST));
        let mut held = bodies.begin([192, 0, 2, 1].into());
        assert!(held.grow(10) && held.grow(20));
        assert_eq!(bodies.table().bytes, 30);
        drop(held);
        assert_eq!(bodies.table().bytes, 0);
        assert!(bodies.table().sources.is_empty());
    }
}
