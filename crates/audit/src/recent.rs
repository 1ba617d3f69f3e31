//! The ids of the records that were appended idempotently of late.

use std::collections::{HashMap, VecDeque};

/// How many ids a log remembers: far more than changes can be under way.
const REMEMBERED: usize = 4096;

/// Where the newest of them stand.
#[derive(Default)]
pub(crate) struct Recent {
    order: VecDeque<u128>,
    places: HashMap<u128, u64>,
    complete_from: u64,
}

impl Recent {
    /// Remembers nothing yet of the records from `index` on.
    pub(crate) fn from(index: u64) -> Self {
        Self { complete_from: index, ..Self::default() }
    }

    /// The index from which on every id is remembered.
    pub(crate) fn complete_from(&self) -> u64 {
        self.complete_from
    }

    /// Remembers that `id` stands at `index`, above all others so far.
    pub(crate) fn insert(&mut self, id: u128, index: u64) {
        if self.places.insert(id, index).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
            && let Some(place) = self.places.remove(&oldest)
        {
            self.complete_from = self.complete_from.max(place + 1);
        }
    }

    /// Where `id` stands, if it is remembered at `since` or above.
    pub(crate) fn find(&self, id: u128, since: u64) -> Option<u64> {
        self.places.get(&id).copied().filter(|&place| place >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_only_at_or_above_the_asked_place() {
        let mut recent = Recent::from(10);
        recent.insert(1, 12);
        assert_eq!((recent.find(1, 12), recent.find(1, 13), recent.find(2, 0)), (Some(12), None, None));
    }

    #[test]
    fn the_oldest_are_forgotten_and_that_is_known() {
        let mut recent = Recent::from(0);
        for n in 0..REMEMBERED as u64 + 2 {
            recent.insert(u128::from(n), n * 10);
        }
        assert_eq!(recent.complete_from(), 11);
        assert_eq!((recent.find(1, 0), recent.find(2, 0)), (None, Some(20)));
    }
}
