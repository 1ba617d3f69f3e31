//! The clock of `strongroom dev`: the machine's, and how far its user has moved it on.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use pool::Clock;
use serde_json::{Value, json};

use crate::files::{read_optional, write_private};

/// The furthest the clock goes ahead: beyond it, times would leave the range of the interface.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366 * 100);

/// A clock that can be moved forward, and stays moved over restarts.
#[derive(Debug)]
pub struct DevClock {
    /// Milliseconds ahead of the machine's clock.
    ahead: AtomicI64,
    file: PathBuf,
    moving: Mutex<()>,
}

/// Why the clock was not moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Write `P90D`, `PT12H`, `90d` or `12h`.
    #[error("{0:?} is no span of time such as P90D or 90d")]
    Span(String),
    /// Time in a pool only goes forward, and not beyond a hundred years.
    #[error("the clock can be moved forward by at most 100 years in all")]
    Range,
    /// The new time would be forgotten at the next start.
    #[error("the clock's file cannot be used")]
    File(#[from] std::io::Error),
}

impl DevClock {
    /// The clock kept in `folder`.
    ///
    /// # Errors
    /// [`ClockError::File`], also if the file is not one that the clock wrote.
    pub fn open(folder: &Path) -> Result<Self, ClockError> {
        let file = folder.join("clock");
        let ahead = match read_optional(&file)? {
            None => 0,
            Some(bytes) => parse(&bytes).ok_or(std::io::ErrorKind::InvalidData).map_err(std::io::Error::from)?,
        };
        Ok(Self { ahead: AtomicI64::new(ahead), file, moving: Mutex::new(()) })
    }

    /// Moves the clock by an ISO 8601 duration or a friendly one (`90d`), months and years by the calendar.
    ///
    /// # Errors
    /// [`ClockError`]; the clock stands as before then.
    pub fn advance(&self, by: &str) -> Result<(), ClockError> {
        let _alone = self.moving.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ahead = further(self.now_millis(), self.ahead.load(Ordering::Acquire), by)?;
        write_private(&self.file, format!("{ahead}\n").as_bytes())?;
        self.ahead.store(ahead, Ordering::Release);
        Ok(())
    }

    /// What `clock show` shows.
    #[must_use]
    pub fn show(&self) -> Value {
        let now = Timestamp::from_millisecond(self.now_millis()).unwrap_or(Timestamp::MAX);
        let ahead = self.ahead.load(Ordering::Acquire) / 1000;
        json!({"now": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "ahead_seconds": ahead})
    }
}

impl Clock for DevClock {
    fn now_millis(&self) -> i64 {
        Timestamp::now().as_millisecond().saturating_add(self.ahead.load(Ordering::Acquire))
    }
}

/// What the clock's file says.
pub(crate) fn parse(file: &[u8]) -> Option<i64> {
    let ahead = std::str::from_utf8(file).ok()?.trim().parse().ok()?;
    (0..=max_ahead_millis()).contains(&ahead).then_some(ahead)
}

/// How far ahead the clock is after it has been moved on by `by` at `now`, when it was `ahead`; all in milliseconds.
pub(crate) fn further(now: i64, ahead: i64, by: &str) -> Result<i64, ClockError> {
    let span: Span = by.trim().parse().map_err(|_| ClockError::Span(by.to_owned()))?;
    let now = Timestamp::from_millisecond(now).map_err(|_| ClockError::Range)?;
    let then = now.to_zoned_datetime(TimeZone::UTC).checked_add(span).map_err(|_| ClockError::Range)?.timestamp();
    let moved = then.as_millisecond() - now.as_millisecond();
    let ahead = ahead.saturating_add(moved);
    if moved <= 0 || ahead > max_ahead_millis() {
        return Err(ClockError::Range);
    }
    Ok(ahead)
}

fn max_ahead_millis() -> i64 {
    MAX_AHEAD.as_secs() * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn ahead(clock: &DevClock) -> i64 {
        clock.now_millis() - Timestamp::now().as_millisecond()
    }

    #[test]
    fn the_clock_moves_on_and_stays_moved_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let clock = DevClock::open(folder.path()).unwrap();
        assert!(ahead(&clock).abs() < 1000);
        clock.advance("90d").unwrap();
        clock.advance("P1D").unwrap();
        clock.advance("PT12H").unwrap();
        let again = DevClock::open(folder.path()).unwrap();
        assert!((ahead(&again) - 91 * DAY - DAY / 2).abs() < 2000);
        assert_eq!(again.show()["ahead_seconds"], (91 * DAY + DAY / 2) / 1000);
    }

    #[test]
    fn years_are_calendar_years() {
        let folder = tempfile::tempdir().unwrap();
        let clock = DevClock::open(folder.path()).unwrap();
        clock.advance("P1Y").unwrap();
        let days = (ahead(&clock) + DAY / 2) / DAY;
        assert!((365..=366).contains(&days), "{days}");
    }

    #[test]
    fn time_never_goes_back_nor_leaves_its_range() {
        let folder = tempfile::tempdir().unwrap();
        let clock = DevClock::open(folder.path()).unwrap();
        for by in ["-1d", "-P1D", "P0D", "P101Y", "P9000Y"] {
            assert!(matches!(clock.advance(by), Err(ClockError::Range)), "{by}");
        }
        for by in ["", "tomorrow", "90", "P"] {
            assert!(matches!(clock.advance(by), Err(ClockError::Span(_))), "{by}");
        }
        assert!(ahead(&clock).abs() < 1000);
    }

    #[test]
    fn a_foreign_clock_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clock"), "-5").unwrap();
        assert!(DevClock::open(folder.path()).is_err());
    }
}
