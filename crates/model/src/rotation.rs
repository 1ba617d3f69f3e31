//! Rotation policies: when a key gets a new version by itself.

use std::fmt;

use jiff::{Span, SpanRelativeTo, Timestamp, ToSpan, Unit, civil, tz::Offset};

use crate::UnixTime;

/// Why a rotation policy is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RotationError {
    /// Not a positive ISO 8601 duration.
    #[error("a duration is ISO 8601, positive and at most 100 years, such as P90D, P18M or P2Y")]
    Duration,
    /// `expiryTime` under 28 days.
    #[error("expiryTime must be at least 28 days")]
    ExpiryTooShort,
    /// A trigger must name one of the two times.
    #[error("a trigger names exactly one of timeAfterCreate and timeBeforeExpiry")]
    Trigger,
    /// `timeAfterCreate` under 28 days.
    #[error("timeAfterCreate must be at least 28 days")]
    AfterCreateTooShort,
    /// `timeBeforeExpiry` leaves less than 28 days of life before it, or there is no expiry at all.
    #[error("timeBeforeExpiry needs an expiryTime, and must leave at least 28 days before it")]
    BeforeExpiryTooLong,
    /// Two actions of one kind.
    #[error("a policy has at most one action of each type")]
    TwoOfAKind,
}

/// A span of calendar time, as ISO 8601 writes it: `P90D`, `P18M`, `P1Y10D`, `PT48H`.
#[derive(Clone, Debug)]
pub struct Period(Span);

impl Period {
    /// Reads a positive duration of at most 100 years.
    ///
    /// # Errors
    /// [`RotationError::Duration`].
    pub fn parse(text: &str) -> Result<Self, RotationError> {
        let legal = text.len() <= 64 && text.starts_with('P');
        let span: Span = legal.then(|| text.parse().ok()).flatten().ok_or(RotationError::Duration)?;
        let period = Self(span);
        match period.rough_seconds() {
            Some(seconds) if seconds > 0 && seconds <= 100 * 366 * 86_400 => Ok(period),
            _ => Err(RotationError::Duration),
        }
    }

    /// The time that lies this span after `from`, by the calendar in UTC.
    ///
    /// Returns `None` past the end of the calendar.
    #[must_use]
    pub fn after(&self, from: UnixTime) -> Option<UnixTime> {
        let start = Offset::UTC.to_datetime(Timestamp::from_second(from.0).ok()?);
        Some(UnixTime(Offset::UTC.to_timestamp(start.checked_add(self.0).ok()?).ok()?.as_second()))
    }

    /// The time that lies this span before `from`, by the calendar in UTC.
    #[must_use]
    pub fn before(&self, from: UnixTime) -> Option<UnixTime> {
        let start = Offset::UTC.to_datetime(Timestamp::from_second(from.0).ok()?);
        Some(UnixTime(Offset::UTC.to_timestamp(start.checked_sub(self.0).ok()?).ok()?.as_second()))
    }

    /// Length in seconds, counted from a fixed day so that two spans can be compared.
    fn rough_seconds(&self) -> Option<i64> {
        let day = civil::date(2001, 1, 1);
        let seconds = self.0.total((Unit::Second, SpanRelativeTo::from(day))).ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "float casts saturate; the caller bounds the result")]
        Some(seconds as i64)
    }

    fn seconds(&self) -> i64 {
        self.rough_seconds().unwrap_or(i64::MAX)
    }
}

impl PartialEq for Period {
    fn eq(&self, other: &Self) -> bool {
        self.0.fieldwise() == other.0.fieldwise()
    }
}

impl Eq for Period {}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a lifetime action happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// This long after the version was made.
    AfterCreate(Period),
    /// This long before it expires.
    BeforeExpiry(Period),
}

impl Trigger {
    /// Takes the two members of which exactly one is set.
    ///
    /// # Errors
    /// [`RotationError::Trigger`] for none or both.
    pub fn new(after_create: Option<Period>, before_expiry: Option<Period>) -> Result<Self, RotationError> {
        match (after_create, before_expiry) {
            (Some(period), None) => Ok(Self::AfterCreate(period)),
            (None, Some(period)) => Ok(Self::BeforeExpiry(period)),
            _ => Err(RotationError::Trigger),
        }
    }
}

/// What happens then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionKind {
    /// A new version is made.
    Rotate,
    /// Kept for clients that set it; a pool has nobody to notify.
    Notify,
}

impl ActionKind {
    /// The published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotate => "Rotate",
            Self::Notify => "Notify",
        }
    }

    /// Reads a published name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rotate, Self::Notify].into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// One thing that a policy makes happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LifetimeAction {
    /// When.
    pub trigger: Trigger,
    /// What.
    pub kind: ActionKind,
}

/// A key's rotation policy. The empty one is the same as none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RotationPolicy {
    expiry: Option<Period>,
    actions: Vec<LifetimeAction>,
}

impl RotationPolicy {
    /// Takes a policy that keeps to the rules: every span at least 28 days, and at least 28 days of life before a
    /// trigger that counts from the expiry.
    ///
    /// # Errors
    /// [`RotationError`], naming the rule.
    ///
    /// Source: product article on key rotation.
    pub fn new(expiry: Option<Period>, actions: Vec<LifetimeAction>) -> Result<Self, RotationError> {
        let least = Period(28.days()).seconds();
        if expiry.as_ref().is_some_and(|expiry| expiry.seconds() < least) {
            return Err(RotationError::ExpiryTooShort);
        }
        for action in &actions {
            match &action.trigger {
                Trigger::AfterCreate(period) if period.seconds() < least => {
                    return Err(RotationError::AfterCreateTooShort);
                }
                Trigger::BeforeExpiry(period) if action.kind == ActionKind::Rotate => match &expiry {
                    Some(expiry) if period.seconds() <= expiry.seconds() - least => {}
                    _ => return Err(RotationError::BeforeExpiryTooLong),
                },
                _ => {}
            }
            if actions.iter().filter(|other| other.kind == action.kind).count() > 1 {
                return Err(RotationError::TwoOfAKind);
            }
        }
        Ok(Self { expiry, actions })
    }

    /// How long a version made by rotation lives.
    #[must_use]
    pub fn expiry(&self) -> Option<&Period> {
        self.expiry.as_ref()
    }

    /// What happens to a version of this key by itself.
    #[must_use]
    pub fn actions(&self) -> &[LifetimeAction] {
        &self.actions
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expiry.is_none() && self.actions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        Period::parse(text).unwrap()
    }

    fn rotate(trigger: Trigger) -> Vec<LifetimeAction> {
        vec![LifetimeAction { trigger, kind: ActionKind::Rotate }]
    }

    #[test]
    fn durations_are_iso_8601_and_positive() {
        for good in ["P28D", "P3M", "P1Y10D", "PT48H", "P2Y", "P18M"] {
            assert_eq!(period(good).to_string(), good);
        }
        for bad in ["", "P", "28D", "-P1D", "P0D", "P-1D", "1 day", "P101Y", "P9999999999999D", "P1D garbage"] {
            assert!(Period::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_month_is_counted_by_the_calendar() {
        let end_of_january = UnixTime(1_706_659_200); // 2024-01-31T00:00:00Z
        assert_eq!(period("P1M").after(end_of_january), Some(UnixTime(1_709_164_800))); // 2024-02-29
    }

    #[test]
    fn no_span_is_shorter_than_28_days() {
        assert_eq!(RotationPolicy::new(Some(period("P27D")), vec![]), Err(RotationError::ExpiryTooShort));
        let early = rotate(Trigger::AfterCreate(period("PT48H")));
        assert_eq!(RotationPolicy::new(None, early), Err(RotationError::AfterCreateTooShort));
        let p = |before: &str| RotationPolicy::new(Some(period("P56D")), rotate(Trigger::BeforeExpiry(period(before))));
        assert!(p("P28D").is_ok());
        assert_eq!(p("P29D"), Err(RotationError::BeforeExpiryTooLong));
        let endless = rotate(Trigger::BeforeExpiry(period("P30D")));
        assert_eq!(RotationPolicy::new(None, endless), Err(RotationError::BeforeExpiryTooLong));
    }

    #[test]
    fn a_trigger_names_one_time() {
        assert_eq!(Trigger::new(None, None), Err(RotationError::Trigger));
        assert_eq!(Trigger::new(Some(period("P30D")), Some(period("P30D"))), Err(RotationError::Trigger));
    }
}
