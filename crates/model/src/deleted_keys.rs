//! Soft delete: what a deletion leaves and for how long.

use crate::{Days, UnixTime};

/// How long a deleted key can be recovered: 7 to 90 days, fixed when the pool is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention(Days);

impl Retention {
    /// The default and longest retention.
    pub const LONGEST: Self = Self(Days(90));

    /// A retention of `days`, if 7 to 90.
    #[must_use]
    pub fn new(days: Days) -> Option<Self> {
        (7..=90).contains(&days.0).then_some(Self(days))
    }

    /// The number of days.
    #[must_use]
    pub fn days(self) -> Days {
        self.0
    }

    /// When a key deleted at `deleted` is purged by itself.
    #[must_use]
    pub fn purge_date(self, deleted: UnixTime) -> UnixTime {
        deleted.plus_days(self.0)
    }
}

/// Whether anyone may purge a deleted key before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PurgeProtection {
    /// The right to purge suffices.
    Off,
    /// Nobody may.
    On,
}

/// The published name of what a deletion leaves.
///
/// Source: common document, `DeletionRecoveryLevel`.
#[must_use]
pub fn recovery_level(retention: Retention, protection: PurgeProtection) -> &'static str {
    match (retention == Retention::LONGEST, protection) {
        (true, PurgeProtection::Off) => "Recoverable+Purgeable",
        (false, PurgeProtection::Off) => "CustomizedRecoverable+Purgeable",
        (true, PurgeProtection::On) => "Recoverable",
        (false, PurgeProtection::On) => "CustomizedRecoverable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_7_to_90_days() {
        for (days, legal) in [(6, false), (7, true), (90, true), (91, false)] {
            assert_eq!(Retention::new(Days(days)).is_some(), legal);
        }
        let week = Retention::new(Days(7)).unwrap();
        assert_eq!(week.purge_date(UnixTime(10)), UnixTime(10 + 7 * 86_400));
        assert_eq!(recovery_level(week, PurgeProtection::Off), "CustomizedRecoverable+Purgeable");
        assert_eq!(recovery_level(Retention::LONGEST, PurgeProtection::On), "Recoverable");
    }
}
