//! How often somebody may fail to log in.
//!
//! Failures are counted per source, and per pair of client id and source; never per client id alone, or a stranger
//! could lock out an account by failing in its name. A stranger can use up the budget of the address it comes from, no
//! other. Memory is bounded: the least used counters go first.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use model::UnixTime;
use moka::sync::Cache;
use uuid::Uuid;

/// How long failures count, in seconds.
const WINDOW: i64 = 60;

/// Failures within a window for one account from one source.
const MAX_PER_ACCOUNT: u32 = 10;

/// Failures within a window from one source, over all accounts, existing or not.
const MAX_PER_SOURCE: u32 = 60;

/// How many counters of a kind are kept.
const MAX_COUNTERS: u64 = 100_000;

/// Too many failures: seconds until the next attempt is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooMany(pub(super) i64);

#[derive(Clone, Copy)]
struct Window {
    from: UnixTime,
    failures: u32,
}

pub(super) struct Attempts {
    by_source: Cache<IpAddr, Window>,
    by_account: Cache<(Uuid, IpAddr), Window>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { by_source: Cache::new(MAX_COUNTERS), by_account: Cache::new(MAX_COUNTERS) }
    }

    /// Counts an attempt as failed before it is made, so that attempts made at the same time count too.
    /// [`Attempts::succeeded`] takes it back.
    pub(super) fn begin(&self, client_id: Uuid, source: IpAddr, now: UnixTime) -> Result<(), TooMany> {
        let source = network(source);
        count(&self.by_source, source, MAX_PER_SOURCE, now)?;
        count(&self.by_account, (client_id, source), MAX_PER_ACCOUNT, now)
    }

    /// The attempt begun last proved who it was.
    pub(super) fn succeeded(&self, client_id: Uuid, source: IpAddr, now: UnixTime) {
        let source = network(source);
        self.by_account.invalidate(&(client_id, source));
        self.by_source.entry(source).and_upsert_with(|old| match old.map(|entry| entry.into_value()) {
            Some(window) => Window { failures: window.failures.saturating_sub(1), ..window },
            None => Window { from: now, failures: 0 },
        });
    }
}

fn count<K: Hash + Eq + Send + Sync + 'static>(
    counters: &Cache<K, Window>,
    key: K,
    max: u32,
    now: UnixTime,
) -> Result<(), TooMany> {
    let entry = counters.entry(key).and_upsert_with(|old| match old.map(|entry| entry.into_value()) {
        Some(window) if window.from <= now && now < window.from.plus_seconds(WINDOW) => {
            Window { failures: window.failures.saturating_add(1), ..window }
        }
        _ => Window { from: now, failures: 1 },
    });
    let window = entry.into_value();
    if window.failures > max {
        return Err(TooMany(window.from.plus_seconds(WINDOW).0 - now.0));
    }
    Ok(())
}

/// One party usually has a whole /64, so that single IPv6 addresses mean nothing.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1000);
    const HERE: &str = "192.0.2.1";
    const ACCOUNT: Uuid = Uuid::from_bytes([1; 16]);

    fn begin(attempts: &Attempts, source: &str, at: i64) -> Result<(), TooMany> {
        attempts.begin(ACCOUNT, source.parse().unwrap(), UnixTime(NOW.0 + at))
    }

    #[test]
    fn failures_use_up_the_budget_of_one_source_for_one_window() {
        let attempts = Attempts::new();
        for _ in 0..MAX_PER_ACCOUNT {
            assert_eq!(begin(&attempts, HERE, 0), Ok(()));
        }
        assert_eq!(begin(&attempts, HERE, 20), Err(TooMany(40)));
        assert_eq!(begin(&attempts, "192.0.2.2", 20), Ok(()), "the account is open to everybody else");
        assert_eq!(begin(&attempts, "::ffff:192.0.2.1", 20), Err(TooMany(40)), "the same address, mapped");
        assert_eq!(begin(&attempts, HERE, 60), Ok(()));
    }

    #[test]
    fn success_uses_up_nothing() {
        let attempts = Attempts::new();
        for _ in 0..1000 {
            assert_eq!(begin(&attempts, HERE, 0), Ok(()));
            attempts.succeeded(ACCOUNT, HERE.parse().unwrap(), NOW);
        }
    }

    #[test]
    fn trying_many_accounts_from_one_source_has_its_limit_too() {
        let attempts = Attempts::new();
        let allowed = (0..200u8).filter(|n| {
            let account = Uuid::from_bytes([*n; 16]);
            attempts.begin(account, HERE.parse().unwrap(), NOW).is_ok()
        });
        assert_eq!(allowed.count(), MAX_PER_SOURCE as usize);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_source() {
        let attempts = Attempts::new();
        let outcomes: Vec<_> = (0..20).map(|n| begin(&attempts, &format!("2001:db8:1:2::{n}"), 0)).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), MAX_PER_ACCOUNT as usize);
        assert_eq!(begin(&attempts, "2001:db8:1:3::1", 0), Ok(()));
    }
}
