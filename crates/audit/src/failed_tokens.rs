//! Requests whose token failed: recorded one by one up to a rate, then counted, so that nobody can fill the log.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many failures of one source are recorded singly within [`WINDOW`].
const SINGLE: u32 = 10;

/// How many failures of all sources together are recorded singly within [`WINDOW`].
const SINGLE_OF_ALL: u32 = 600;

/// After how long a count becomes one record, and singles are allowed again, in milliseconds.
const WINDOW: i64 = 60_000;

/// How many sources are told apart; all others share one count.
const SOURCES: usize = 4096;

/// What to do about one failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Append a record of its own.
    Record,
    /// Nothing: it is in the count of the next summary.
    Counted,
}

/// Failures that were counted and not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Where they came from; an IPv6 source is a network of 64 bits, `None` stands for many sources.
    pub source: Option<IpAddr>,
    /// How many.
    pub count: u64,
    /// When the first of them was seen, in milliseconds since 1970.
    pub since: i64,
}

/// Decides for each failure whether it is recorded or counted. Its memory is bounded, whoever asks.
#[derive(Debug, Default)]
pub struct FailedTokens {
    sources: HashMap<IpAddr, Window>,
    others: Window,
    all: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<i64>,
    recorded: u32,
    counted: u64,
    since: i64,
}

impl Window {
    /// Allows singles again once the window is over. A clock that goes back begins a new one.
    fn turn(&mut self, now: i64) {
        if self.is_over(now) {
            self.began = Some(now);
            self.recorded = 0;
        }
    }

    fn is_over(&self, now: i64) -> bool {
        self.began.is_none_or(|began| now < began || now.saturating_sub(began) >= WINDOW)
    }

    fn count(&mut self, now: i64) {
        if self.counted == 0 {
            self.since = now;
        }
        self.counted = self.counted.saturating_add(1);
    }

    /// The summary, once it is due: a minute after its first failure.
    fn summary(&mut self, source: Option<IpAddr>, now: i64) -> Option<Summary> {
        let due = self.counted > 0 && (now < self.since || now.saturating_sub(self.since) >= WINDOW);
        if due { self.take(source) } else { None }
    }

    /// The summary, due or not.
    fn take(&mut self, source: Option<IpAddr>) -> Option<Summary> {
        let count = std::mem::take(&mut self.counted);
        (count > 0).then_some(Summary { source, count, since: self.since })
    }

    fn put_back(&mut self, summary: &Summary) {
        self.since = if self.counted == 0 { summary.since } else { self.since.min(summary.since) };
        self.counted = self.counted.saturating_add(summary.count);
    }
}

impl FailedTokens {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of one failure from `source`. `now` is in milliseconds since 1970.
    ///
    /// A source is one IPv4 address, or the 64-bit network of an IPv6 address, since whoever has one address of such a
    /// network has them all.
    pub fn observe(&mut self, source: IpAddr, now: i64) -> Decision {
        self.all.turn(now);
        let may = self.all.recorded < SINGLE_OF_ALL;
        let window = self.window(source);
        window.turn(now);
        if window.recorded < SINGLE && may {
            window.recorded += 1;
            self.all.recorded += 1;
            return Decision::Record;
        }
        window.count(now);
        Decision::Counted
    }

    /// Takes note of a failure from `source` that should have been recorded, and could not be.
    pub fn count(&mut self, source: IpAddr, now: i64) {
        self.window(source).count(now);
    }

    /// Takes a count back that should have been recorded, and could not be.
    pub fn put_back(&mut self, summary: &Summary) {
        match summary.source {
            Some(source) => self.window(source).put_back(summary),
            None => self.others.put_back(summary),
        }
    }

    fn window(&mut self, source: IpAddr) -> &mut Window {
        use std::collections::hash_map::Entry;
        let known = self.sources.len();
        match self.sources.entry(network(source)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) if known < SOURCES => unknown.insert(Window::default()),
            Entry::Vacant(_) => &mut self.others,
        }
    }

    /// The counts that are due, each to become one record, in no order. Call it every few seconds. Sources that have
    /// been quiet for a minute are forgotten.
    pub fn drain(&mut self, now: i64) -> Vec<Summary> {
        let mut due: Vec<_> =
            self.sources.iter_mut().filter_map(|(source, window)| window.summary(Some(*source), now)).collect();
        due.extend(self.others.summary(None, now));
        self.sources.retain(|_, window| window.counted > 0 || !window.is_over(now));
        due
    }

    /// All counts, due or not: for the end, when nothing is seen any more.
    pub fn drain_all(&mut self) -> Vec<Summary> {
        let windows = self.sources.iter_mut().map(|(source, window)| (Some(*source), window));
        windows.chain([(None, &mut self.others)]).filter_map(|(source, window)| window.take(source)).collect()
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_source_is_recorded_singly_up_to_its_rate_and_counted_then() {
        let mut tokens = FailedTokens::new();
        let decisions: Vec<_> = (0..i64::from(SINGLE) + 5).map(|n| tokens.observe(HERE, n)).collect();
        let (singles, counted) = decisions.split_at(SINGLE as usize);
        assert!(singles.iter().all(|decision| *decision == Decision::Record));
        assert_eq!(counted, [Decision::Counted; 5]);
        assert_eq!(tokens.observe(THERE, 20), Decision::Record, "another source has its own rate");
    }

    #[test]
    fn a_count_becomes_one_summary_a_minute_after_it_began() {
        let mut tokens = FailedTokens::new();
        for n in 0..i64::from(SINGLE) + 5 {
            tokens.observe(HERE, n);
        }
        let since = i64::from(SINGLE);
        assert_eq!(tokens.drain(since + WINDOW - 1), []);
        assert_eq!(tokens.drain(since + WINDOW), [Summary { source: Some(HERE), count: 5, since }]);
        assert_eq!(tokens.drain(since + 2 * WINDOW), []);
        assert_eq!(tokens.observe(HERE, since + 2 * WINDOW), Decision::Record);
    }

    #[test]
    fn many_sources_share_one_count_and_no_failure_is_lost() {
        let mut tokens = FailedTokens::new();
        let failures = SOURCES as u32 * 3;
        let recorded = (0..failures).filter(|&n| tokens.observe(v4(n), 0) == Decision::Record).count();
        assert_eq!(recorded, SINGLE_OF_ALL as usize);
        assert_eq!(tokens.sources.len(), SOURCES);
        let summaries = tokens.drain(WINDOW);
        assert!(summaries.iter().any(|summary| summary.source.is_none()));
        let counted: u64 = summaries.iter().map(|summary| summary.count).sum();
        assert_eq!(counted + recorded as u64, u64::from(failures));
        assert_eq!(tokens.sources.len(), 0, "quiet sources are forgotten");
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let mut tokens = FailedTokens::new();
        for n in 0..SINGLE {
            assert_eq!(tokens.observe(format!("2001:db8::{n:x}").parse().unwrap(), 0), Decision::Record);
        }
        assert_eq!(tokens.observe("2001:db8::ffff:1".parse().unwrap(), 0), Decision::Counted);
        assert_eq!(tokens.observe("2001:db8:0:1::1".parse().unwrap(), 0), Decision::Record);
        assert_eq!(tokens.drain(WINDOW)[0].source, Some("2001:db8::".parse().unwrap()));
    }

    #[test]
    fn a_clock_that_goes_back_stops_nothing() {
        let mut tokens = FailedTokens::new();
        for _ in 0..=SINGLE {
            tokens.observe(HERE, 10 * WINDOW);
        }
        assert_eq!(tokens.drain(0).len(), 1);
        assert_eq!(tokens.observe(HERE, 0), Decision::Record);
    }

    #[test]
    fn what_could_not_be_recorded_is_in_the_next_count() {
        let mut tokens = FailedTokens::new();
        assert_eq!(tokens.observe(HERE, 7), Decision::Record);
        tokens.count(HERE, 7);
        let due = tokens.drain(7 + WINDOW);
        assert_eq!(due, [Summary { source: Some(HERE), count: 1, since: 7 }]);
        tokens.put_back(&due[0]);
        tokens.put_back(&Summary { source: None, count: 3, since: 9 });
        let mut again = tokens.drain(7 + 2 * WINDOW);
        again.sort_by_key(|summary| summary.count);
        assert_eq!(again, [due[0], Summary { source: None, count: 3, since: 9 }]);
    }

    #[test]
    fn at_the_end_every_count_is_told_due_or_not() {
        let mut tokens = FailedTokens::new();
        for source in [HERE, THERE] {
            for _ in 0..=SINGLE {
                tokens.observe(source, 0);
            }
        }
        assert_eq!(tokens.drain(1), []);
        assert_eq!(tokens.drain_all().iter().map(|summary| summary.count).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(tokens.drain_all(), []);
    }

    proptest::proptest! {
        #[test]
        fn every_failure_is_recorded_or_counted_once(events: Vec<(u8, bool, i32)>) {
            let mut tokens = FailedTokens::new();
            let (mut seen, mut told) = (0_u64, 0_u64);
            for (source, drain, now) in &events {
                if *drain {
                    told += tokens.drain(i64::from(*now)).iter().map(|summary| summary.count).sum::<u64>();
                } else {
                    seen += 1;
                    told += u64::from(tokens.observe(v4(u32::from(*source)), i64::from(*now)) == Decision::Record);
                }
            }
            told += tokens.drain(i64::MAX).iter().map(|summary| summary.count).sum::<u64>();
            proptest::prop_assert_eq!(seen, told);
        }
    }
}
