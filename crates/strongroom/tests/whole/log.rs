//! The audit log of a node, as `strongroom audit` shows it.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::node::run;

/// What the tests look at in a record.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) request_id: Option<String>,
    pub(crate) correlation: Option<String>,
    pub(crate) status: u16,
    pub(crate) operation: String,
    /// Of how many requests it tells, if of more than one.
    pub(crate) count: Option<u64>,
}

/// Checks every log below `folder`.
pub(crate) fn verify(folder: &Path) {
    let output = run(["audit".as_ref(), "verify".as_ref(), folder.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the audit log does not verify: {said}");
}

/// Every record below `folder`.
pub(crate) fn records(folder: &Path) -> Vec<Record> {
    records_since(folder, 0)
}

/// The records below `folder` of requests that came from `since` on, in seconds since 1970, and some from before it.
pub(crate) fn records_since(folder: &Path, since: u64) -> Vec<Record> {
    let since = since.saturating_sub(60).to_string();
    let show = ["audit", "show", "--output", "json", "--since", &since];
    let output = run(show.iter().map(AsRef::as_ref).chain([folder.as_os_str()]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Answers that were received, and what must stand in the log about them.
#[derive(Default)]
pub(crate) struct Expected {
    /// Status by request id.
    answered: HashMap<String, u16>,
    /// Whether the change took place, by the client's id of a request that was not answered.
    changed: HashMap<String, bool>,
}

impl Expected {
    pub(crate) fn answered(&mut self, id: &str, status: u16) {
        let twice = self.answered.insert(id.to_owned(), status);
        assert!(twice.is_none(), "two answers have the id {id}");
    }

    pub(crate) fn changed(&mut self, correlation: &str, changed: bool) {
        self.changed.insert(correlation.to_owned(), changed);
    }

    /// Expects what `more` expects, too.
    pub(crate) fn extend(&mut self, more: Self) {
        self.answered.extend(more.answered);
        self.changed.extend(more.changed);
    }

    /// How much is known, for people.
    pub(crate) fn summary(&self) -> String {
        let happened = self.changed.values().filter(|changed| **changed).count();
        format!(
            "{} answers; {} unanswered changes, of which {happened} took place",
            self.answered.len(),
            self.changed.len()
        )
    }

    /// Every answer has exactly one record, with its status; every change has exactly one record, answered or not;
    /// and what has a record of success has happened.
    pub(crate) fn check(&self, records: &[Record]) {
        let mut by_id: HashMap<&str, Vec<&Record>> = HashMap::new();
        let mut successes: HashMap<&str, usize> = HashMap::new();
        for record in records {
            if let Some(id) = &record.request_id {
                by_id.entry(id).or_default().push(record);
            }
            if let (Some(correlation), true) = (&record.correlation, record.status < 400) {
                *successes.entry(correlation).or_default() += 1;
            }
        }
        for (id, status) in &self.answered {
            let found = by_id.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
            let shown: Vec<_> = found.iter().map(|record| (record.operation.as_str(), record.status)).collect();
            assert!(
                shown.len() == 1 && shown[0].1 == *status,
                "answer {id} had status {status}; the log says {shown:?}"
            );
        }
        for (correlation, changed) in &self.changed {
            let found = successes.get(correlation.as_str()).copied().unwrap_or_default();
            assert_eq!(found, usize::from(*changed), "{correlation}: records of success; it happened: {changed}");
        }
    }
}
