//! When certificates end, and when somebody is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{Days, UnixTime};
use x509_cert::der::Decode;

/// The end of the certificate in a file, or the nearest end of those in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The file.
    pub file: PathBuf,
    /// `notAfter`.
    pub at: UnixTime,
}

impl Expiry {
    /// Whole days from `now` to the end; negative when it is over.
    #[must_use]
    pub fn days_left(&self, now: UnixTime) -> i64 {
        (self.at.0 - now.0).div_euclid(86_400)
    }
}

/// `notAfter` of a certificate, DER.
pub(super) fn expiry(der: &[u8]) -> Option<UnixTime> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    i64::try_from(until).ok().map(UnixTime)
}

/// Remaining days below which the log warns, once for each.
const WARN_DAYS: [Days; 3] = [Days(1), Days(7), Days(30)];

/// How near an end is, nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Expired,
    Within(Days),
}

/// Remembers which warnings were given.
#[derive(Debug, Default)]
pub(crate) struct ExpiryWarnings {
    given: BTreeMap<PathBuf, (UnixTime, Stage)>,
}

impl ExpiryWarnings {
    /// Warns if the end has come nearer by a stage since the last look, or if another certificate has been put in place
    /// that ends soon. `what` is what ends.
    pub(crate) fn look(&mut self, what: &str, expiry: &Expiry, now: UnixTime) {
        let Some(stage) = warning(self.given.get(&expiry.file).copied(), expiry.at, now) else { return };
        self.given.insert(expiry.file.clone(), (expiry.at, stage));
        let (file, days_left) = (expiry.file.display(), expiry.days_left(now));
        match stage {
            Stage::Expired => tracing::error!(%file, days_left, "{what}: a certificate has expired: replace it"),
            Stage::Within(Days(days)) => {
                tracing::warn!(%file, days_left, "{what}: a certificate expires in less than {days} days: renew it");
            }
        }
    }
}

/// The warning that is due at `now` of something that ends at `end`. `given` is the last warning, and of which end.
fn warning(given: Option<(UnixTime, Stage)>, end: UnixTime, now: UnixTime) -> Option<Stage> {
    let stage = match end < now {
        true => Stage::Expired,
        false => Stage::Within(WARN_DAYS.into_iter().find(|days| end < now.plus_days(*days))?),
    };
    let warned = given.is_some_and(|(of, given)| of == end && given <= stage);
    (!warned).then_some(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: UnixTime = UnixTime(100 * 86_400);
    const DAY: i64 = 86_400;

    #[test]
    fn a_warning_is_due_below_thirty_seven_and_one_days_and_after_the_end() {
        let within = |days| Some(Stage::Within(Days(days)));
        for (seconds_left, due) in [
            (365 * DAY, None),
            (30 * DAY, None),
            (30 * DAY - 1, within(30)),
            (7 * DAY, within(30)),
            (7 * DAY - 1, within(7)),
            (DAY, within(7)),
            (DAY - 1, within(1)),
            (0, within(1)),
            (-1, Some(Stage::Expired)),
            (-365 * DAY, Some(Stage::Expired)),
        ] {
            assert_eq!(warning(None, END, END.plus_seconds(-seconds_left)), due, "{seconds_left} seconds before");
        }
    }

    #[test]
    fn a_warning_is_given_once_for_each_stage_and_each_certificate() {
        let within = |days| Stage::Within(Days(days));
        for (given, days_left, due) in [
            (within(30), 20, None),
            (within(30), 5, Some(within(7))),
            (within(7), 5, None),
            (within(7), 20, None),
            (within(30), -1, Some(Stage::Expired)),
            (Stage::Expired, -1, None),
            (Stage::Expired, -300, None),
        ] {
            let now = END.plus_seconds(-days_left * DAY + 1);
            assert_eq!(warning(Some((END, given)), END, now), due, "{given:?}, {days_left} days before");
        }
        let (other, now) = (END.plus_days(Days(1)), END.plus_days(Days(2)));
        assert_eq!(warning(Some((END, Stage::Expired)), other, now), Some(Stage::Expired));
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        let expiry = Expiry { file: "a".into(), at: END };
        for (seconds_left, days) in [(DAY, 1), (DAY - 1, 0), (0, 0), (-1, -1), (-DAY, -1), (-DAY - 1, -2)] {
            assert_eq!(expiry.days_left(END.plus_seconds(-seconds_left)), days, "{seconds_left}");
        }
    }

    #[test]
    fn nonsense_has_no_end() {
        assert_eq!(expiry(b"not a certificate"), None);
    }
}
