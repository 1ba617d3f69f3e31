//! Points in time and spans, as the interface counts them.

use std::fmt;

/// Whole seconds since 1970-01-01T00:00:00Z, the unit of every time on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// This time moved by `seconds`, held at the ends of the range instead of wrapping.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This time moved by whole days of 86,400 seconds.
    #[must_use]
    pub fn plus_days(self, days: Days) -> Self {
        self.plus_seconds(i64::from(days.0) * 86_400)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Days(pub u16);
