//! The one writer of a pool: gives changes their order and commits each with its record and the next head.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit::{AppendError, Record};
use bytes::Bytes;
use crypto_module::{Element, Elements, Head, Module, SealedKey};
use store::{Commit, CommitError, Expect, Path, Revision, Store, Write};
use tokio::sync::{mpsc, oneshot};

use crate::Inner;
use crate::admission::outbox_path;
use crate::error::Error;
use crate::paths::Paths;
use crate::records::{LogRecord, OutboxRecord, encode};
use crate::view::{Effect, State};

/// Changes that may wait for their turn.
const QUEUE: usize = 1024;
/// Writes of one change, so that head, outbox entry, log size and deletions of delivered entries fit beside them.
pub(crate) const WRITES_PER_CHANGE: usize = 48;
/// Delivered outbox entries deleted beside one change.
const CLEANED_PER_COMMIT: usize = 12;
/// How often an unknown outcome is read back before the change is given up as unavailable: for some three seconds.
const READ_BACK_TRIES: u32 = 7;

/// What a change writes, and what it does to the state once it is durable.
#[derive(Default)]
pub(crate) struct Planned {
    /// New values by path; `None` deletes. At most [`WRITES_PER_CHANGE`].
    pub(crate) writes: Vec<(Path, Option<Bytes>)>,
    pub(crate) effects: Vec<Effect>,
}

/// The record of a change that is durable and applied, on its way to the log.
pub(crate) struct Waiting {
    pub(crate) outbox: Path,
    pub(crate) record: Record,
    /// The log's size before the commit.
    pub(crate) since: u64,
}

/// A change that is durable and applied, in the hands of whoever asked for it. Dropped before its record is known to
/// stand in the log, for whatever reason, it is the writer's to try again.
pub(crate) struct Committed {
    waiting: Option<Waiting>,
    reports: Arc<Reports>,
}

impl Committed {
    /// Appends the record, unless it stands in the log already.
    pub(crate) async fn deliver(mut self, log: &audit::Log) -> Result<(), AppendError> {
        if let Some(waiting) = &self.waiting {
            log.append_once(&waiting.record, waiting.since).await?;
        }
        if let Some(Waiting { outbox, .. }) = self.waiting.take() {
            self.reports.lock().delivered.push(outbox);
        }
        Ok(())
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.reports.lock().undelivered.push(waiting);
        }
    }
}

/// What became of records since the writer last looked. Beside its queue, so that none is lost when that is full.
#[derive(Default)]
struct Reports(Mutex<Report>);

#[derive(Default)]
struct Report {
    /// Outbox entries whose records stand in the log.
    delivered: Vec<Path>,
    undelivered: Vec<Waiting>,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Plan = Box<dyn FnMut(&State, &Inner) -> Result<Planned, Error> + Send>;

enum Job {
    Change { record: Box<Record>, plan: Plan, done: oneshot::Sender<Result<Committed, Error>> },
    Deliver,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Handle(mpsc::Sender<Job>);

impl Handle {
    /// Plans and commits one change; see [`crate::Permit::commit`].
    pub(crate) async fn commit<T, P>(&self, record: Record, mut plan: P) -> Result<(Committed, T), Error>
    where
        T: Send + 'static,
        P: FnMut(&State, &Inner) -> Result<(Planned, T), Error> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let output = slot.clone();
        let plan: Plan = Box::new(move |state, pool| {
            let (planned, value) = plan(state, pool)?;
            *output.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(planned)
        });
        let (done, outcome) = oneshot::channel();
        let job = Job::Change { record: Box::new(record), plan, done };
        self.0.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable { what: "the store" },
        })?;
        let committed = outcome.await.map_err(|_| Error::Unavailable { what: "the store" })??;
        let value = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.map(|value| (committed, value)).ok_or(Error::Internal)
    }

    /// Finds out what is not known yet, and tries to deliver what waits.
    pub(crate) fn deliver(&self) {
        let _ = self.0.try_send(Job::Deliver);
    }
}

/// Everything the writer knows beyond the view.
pub(crate) struct Writer {
    pub(crate) paths: Paths,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) module: Arc<dyn Module>,
    pub(crate) head: Head,
    pub(crate) head_revision: Revision,
    /// The element of every stored value, head and root apart.
    pub(crate) elements: Elements,
    /// Outbox entries found when the pool was opened, or refused by the log since.
    pub(crate) undelivered: Vec<Waiting>,
    /// Outbox entries whose records stand in the log.
    pub(crate) delivered: Vec<Path>,
    /// A commit whose outcome is not known; nothing else is committed until it is.
    pub(crate) unresolved: Option<InFlight>,
}

/// A commit on its way.
pub(crate) struct InFlight {
    outbox: Path,
    record: Record,
    since: u64,
    head: Head,
    removed: Vec<Path>,
    added: Vec<(Path, Element)>,
    effects: Vec<Effect>,
}

/// Makes the channel to a writer that is not yet running.
pub(crate) fn channel() -> (Handle, Inbox) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (Handle(sender), Inbox { jobs, reports: Arc::default() })
}

/// The writer's end of the channel.
pub(crate) struct Inbox {
    jobs: mpsc::Receiver<Job>,
    reports: Arc<Reports>,
}

impl Writer {
    /// Serves `inbox` until the pool is dropped.
    pub(crate) async fn run(mut self, mut inbox: Inbox, pool: std::sync::Weak<Inner>) {
        while let Some(job) = inbox.jobs.recv().await {
            let Some(pool) = pool.upgrade() else { return };
            {
                let mut report = inbox.reports.lock();
                self.delivered.append(&mut report.delivered);
                self.undelivered.append(&mut report.undelivered);
            }
            match job {
                Job::Change { record, plan, done } => {
                    let outcome = self.change(&pool, *record, plan).await;
                    let reports = inbox.reports.clone();
                    // Whoever asked may be gone; the record still goes its way.
                    let _ = done.send(outcome.map(|waiting| Committed { waiting: Some(waiting), reports }));
                }
                Job::Deliver => {
                    if self.settle_unresolved(&pool).await.is_ok() {
                        self.deliver(&pool).await;
                    }
                }
            }
        }
    }

    async fn change(&mut self, pool: &Inner, record: Record, mut plan: Plan) -> Result<Waiting, Error> {
        self.settle_unresolved(pool).await?;
        self.deliver(pool).await;
        // A change that is refused should not happen either: only those under way when the log fails may.
        if !self.undelivered.is_empty() {
            return Err(Error::Unavailable { what: "the audit log" });
        }
        let planned = plan(&pool.view.read(), pool)?;
        let (commit, in_flight) = self.prepare(pool, record, planned)?;
        match self.store.commit(commit).await {
            Ok(revision) => Ok(self.applied(pool, in_flight, revision)),
            Err(CommitError::OutcomeUnknown { .. }) => {
                self.unresolved = Some(in_flight);
                match self.resolve(pool, READ_BACK_TRIES).await? {
                    Some(waiting) => Ok(waiting),
                    None => Err(Error::Unavailable { what: "the store" }),
                }
            }
            Err(error) => {
                tracing::error!(%error, "the store refused a change");
                Err(Error::Unavailable { what: "the store" })
            }
        }
    }

    /// Finds out what became of a change that was given up. One look: those who wait in the queue behind a store that
    /// fails must not wait for each other.
    async fn settle_unresolved(&mut self, pool: &Inner) -> Result<(), Error> {
        if let Some(waiting) = self.resolve(pool, 1).await? {
            // Whoever asked was told to try again later; the change happened, and its record still goes its way.
            self.undelivered.push(waiting);
        }
        Ok(())
    }

    /// Puts a planned change, its outbox entry and the next head into one commit.
    fn prepare(&mut self, pool: &Inner, mut record: Record, planned: Planned) -> Result<(Commit, InFlight), Error> {
        debug_assert!(planned.writes.len() <= WRITES_PER_CHANGE);
        record.change = Some(self.head.sequence() + 1);
        let outbox = outbox_path(&self.paths, &record);
        let since = pool.log.size();
        let entry = OutboxRecord { since, record };
        let sealed_entry = self.seal(&outbox, 1, &encode(&entry))?;
        let OutboxRecord { record, .. } = entry;

        let erases = planned.effects.iter().any(|effect| matches!(effect, Effect::VersionGone(_) | Effect::KeyGone(_)));
        let mut writes = planned.writes;
        writes.push((outbox.clone(), Some(sealed_entry)));
        let log = self.paths.log(&pool.node);
        let sealed_size = self.seal(&log, 1, &encode(&LogRecord { node: pool.node.to_string(), size: since }))?;
        writes.push((log, Some(sealed_size)));
        let cleaned = self.delivered.len().min(CLEANED_PER_COMMIT);
        writes.extend(self.delivered[..cleaned].iter().map(|path| (path.clone(), None)));

        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let mut puts = Vec::with_capacity(writes.len() + 1);
        for (path, value) in writes {
            old.extend(self.elements.get(path.as_str()));
            match value {
                Some(value) => {
                    let element = self.module.element(path.as_str(), &value);
                    new.push(element);
                    added.push((path.clone(), element));
                    puts.push(Write::Put(path, value));
                }
                None => {
                    removed.push(path.clone());
                    puts.push(if erases { Write::Erase(path) } else { Write::Delete(path) });
                }
            }
        }
        let (head, sealed_head) = self.module.advance_head(&self.head, &old, &new).map_err(module_failed)?;
        puts.push(Write::Put(self.paths.head(), sealed_head));
        let expect = vec![(self.paths.head(), Expect::At(self.head_revision))];
        let commit = Commit::new(expect, puts).map_err(|error| {
            tracing::error!(%error, "a change does not fit one commit");
            Error::Internal
        })?;
        Ok((commit, InFlight { outbox, record, since, head, removed, added, effects: planned.effects }))
    }

    fn seal(&self, path: &Path, sequence: u64, value: &[u8]) -> Result<Bytes, Error> {
        self.module.seal_value(path.as_str(), sequence, value).map_err(module_failed)
    }

    /// Takes note of a durable commit.
    fn applied(&mut self, pool: &Inner, in_flight: InFlight, revision: Revision) -> Waiting {
        let InFlight { outbox, record, since, head, removed, added, effects } = in_flight;
        for path in &removed {
            self.elements.remove(path.as_str());
        }
        self.delivered.retain(|path| !removed.contains(path));
        for (path, element) in &added {
            self.elements.insert(path.as_str(), *element);
        }
        self.head = head;
        self.head_revision = revision;
        let gone: Vec<SealedKey> = effects.iter().filter_map(Effect::version_gone).cloned().collect();
        pool.view.apply(effects);
        gone.iter().for_each(|version| self.module.forget(version));
        pool.log.set_extension(head_line(self.head.sequence()));
        Waiting { outbox, record, since }
    }

    /// Reads back whether a commit of unknown outcome is there. Until that is known, nothing else is committed.
    async fn resolve(&mut self, pool: &Inner, tries: u32) -> Result<Option<Waiting>, Error> {
        let Some(in_flight) = self.unresolved.take() else { return Ok(None) };
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(50 << (attempt - 1))).await;
            }
            match self.store.get(&in_flight.outbox).await {
                Ok(Some(entry)) => return Ok(Some(self.applied(pool, in_flight, entry.revision))),
                Ok(None) => return Ok(None),
                Err(error) => tracing::warn!(%error, attempt, "the outcome of a change is not known yet"),
            }
        }
        self.unresolved = Some(in_flight);
        Err(Error::Unavailable { what: "the store" })
    }

    /// Moves waiting records to the log, stopping at the first refusal.
    async fn deliver(&mut self, pool: &Inner) {
        while let Some(Waiting { record, since, .. }) = self.undelivered.last() {
            if let Err(error) = pool.log.append_once(record, *since).await {
                tracing::warn!(%error, waiting = self.undelivered.len(), "records of changes wait in the outbox");
                return;
            }
            if let Some(Waiting { outbox, .. }) = self.undelivered.pop() {
                self.delivered.push(outbox);
            }
        }
    }
}

/// The line by which a checkpoint of the log remembers how far the store was.
pub(crate) fn head_line(sequence: u64) -> String {
    format!("head {sequence}")
}

/// A seal that fails has no remedy but the operator's.
pub(crate) fn module_failed(error: crypto_module::Error) -> Error {
    tracing::error!(%error, "the module failed");
    Error::Internal
}
