//! Reading a log from its folder, for people.

use std::path::Path;

use crate::error::Damage;
use crate::record::Record;
use crate::recover::verifier_key;
use crate::tiles::{TILE_SIZE, parse_bundle};
use crate::verify::{Stored, VerifyError};

/// The records of a log from one index on; made by [`read`].
pub struct Records {
    stored: Stored,
    next: u64,
    /// The entries of the bundle that was read last, from `next` on, in reverse.
    bundle: Vec<Vec<u8>>,
    failed: bool,
}

/// Reads the log in `folder` from record `from` on, the journal beside it included. Nothing is verified: for that there
/// is [`verify`](crate::verify).
///
/// # Errors
/// [`VerifyError`] if the folder is no log's.
pub fn read(folder: &Path, from: u64) -> Result<Records, VerifyError> {
    let key = verifier_key(folder)?;
    let stored = Stored::open(folder, key.origin())?;
    Ok(Records { stored, next: from, bundle: Vec::new(), failed: false })
}

/// The bytes of record `index` of the log in `folder`, as the tree hashes them; `None` if it holds fewer.
///
/// # Errors
/// [`VerifyError`] if the folder is no log's, or a file in it is not what it must be.
pub fn entry(folder: &Path, index: u64) -> Result<Option<Vec<u8>>, VerifyError> {
    read(folder, index)?.entry(index)
}

impl Records {
    fn entry(&mut self, index: u64) -> Result<Option<Vec<u8>>, VerifyError> {
        if index >= self.stored.settled {
            return Ok(self.stored.in_journal(index).map(<[u8]>::to_vec));
        }
        if self.bundle.is_empty() {
            let bytes = self.stored.bundle(index)?;
            let entries = parse_bundle(&bytes).unwrap_or_default();
            let skip = (index % TILE_SIZE) as usize;
            self.bundle = entries.into_iter().skip(skip).rev().map(<[u8]>::to_vec).collect();
        }
        Ok(self.bundle.pop())
    }
}

impl Iterator for Records {
    type Item = Result<(u64, Record), VerifyError>;

    /// The next record. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let result = match self.entry(index) {
            Ok(entry) => Record::parse(&entry?).map_err(|_| Damage::NoRecord { index }.into()),
            Err(error) => Err(error),
        };
        self.failed = result.is_err();
        Some(result.map(|record| (index, record)))
    }
}

/// How a request ended, as far as a filter asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeFilter {
    /// With a status below 400.
    Succeeded,
    /// With a status of 400 or above.
    Failed,
    /// With exactly this status.
    Status(u16),
}

/// Which records to show. Every condition that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Not before this time, in milliseconds since 1970.
    pub from: Option<i64>,
    /// Before this time.
    pub until: Option<i64>,
    /// The object id, the application or the user principal name of the caller, in any case.
    pub caller: Option<String>,
    /// The name of the key, in any case.
    pub key: Option<String>,
    /// The operation, `KeySign` for example, in any case.
    pub operation: Option<String>,
    /// How it ended.
    pub outcome: Option<OutcomeFilter>,
}

impl Filter {
    /// Whether `record` is to be shown.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let holds = |wanted: &Option<String>, found: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(found);
        self.from.is_none_or(|from| record.time >= from)
            && self.until.is_none_or(|until| record.time < until)
            && holds(&self.caller, &|wanted| {
                record.caller.as_ref().is_some_and(|caller| {
                    let named = [Some(&caller.principal), caller.application.as_ref(), caller.upn.as_ref()];
                    named.into_iter().flatten().any(|name| name.eq_ignore_ascii_case(wanted))
                })
            })
            && holds(&self.key, &|wanted| {
                let key = record.scope.as_deref().and_then(|scope| scope.strip_prefix("/keys/"));
                key.is_some_and(|key| key.eq_ignore_ascii_case(wanted))
            })
            && holds(&self.operation, &|wanted| record.operation.eq_ignore_ascii_case(wanted))
            && self.outcome.is_none_or(|outcome| match outcome {
                OutcomeFilter::Succeeded => record.status < 400,
                OutcomeFilter::Failed => record.status >= 400,
                OutcomeFilter::Status(status) => record.status == status,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn an_empty_filter_shows_everything() {
        assert!(Filter::default().matches(&record(1)));
    }

    #[test]
    fn each_condition_decides_alone() {
        let text = |text: &str| Some(text.to_owned());
        let all = Filter::default;
        let record = record(5);
        let cases = [
            (Filter { from: Some(record.time), ..all() }, Filter { from: Some(record.time + 1), ..all() }),
            (Filter { until: Some(record.time + 1), ..all() }, Filter { until: Some(record.time), ..all() }),
            (Filter { caller: text("ADA@contoso.example"), ..all() }, Filter { caller: text("ada"), ..all() }),
            (Filter { key: text("Orders"), ..all() }, Filter { key: text("order"), ..all() }),
            (Filter { operation: text("keysign"), ..all() }, Filter { operation: text("KeyVerify"), ..all() }),
            (
                Filter { outcome: Some(OutcomeFilter::Succeeded), ..all() },
                Filter { outcome: Some(OutcomeFilter::Failed), ..all() },
            ),
            (
                Filter { outcome: Some(OutcomeFilter::Status(200)), ..all() },
                Filter { outcome: Some(OutcomeFilter::Status(201)), ..all() },
            ),
        ];
        for (shown, hidden) in cases {
            assert!(shown.matches(&record), "{shown:?}");
            assert!(!hidden.matches(&record), "{hidden:?}");
        }
    }
}
