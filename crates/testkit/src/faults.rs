//! A store that fails on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use store::{Cause, Commit, CommitError, Entry, Page, Path, Prefix, ReadError, Revision, Store, Watch, WatchError};

/// How a commit fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk is full; nothing is written.
    NoSpace,
    /// The store cannot be written; nothing is written.
    Unwritable,
    /// The outcome is unknown, and everything was written.
    UnknownApplied,
    /// The outcome is unknown, and nothing was written.
    UnknownLost,
}

/// What goes wrong with a store, and when. Outlives the store, so that a restart meets the same disk.
#[derive(Debug, Default)]
pub struct Faults {
    commits: AtomicU64,
    at: Mutex<BTreeMap<u64, Fault>>,
    always: Mutex<Option<Fault>>,
    reads_fail: AtomicBool,
    repeats: Mutex<Option<Entry>>,
    delay: Mutex<Duration>,
}

impl Faults {
    /// How many commits were asked for so far, failed ones included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Fails the commit that comes after `skipped` others from now on.
    pub fn fail_commit(&self, skipped: u64, fault: Fault) {
        lock(&self.at).insert(self.commits() + skipped, fault);
    }

    /// Fails every commit from now on, or none any more.
    pub fn fail_commits(&self, fault: Option<Fault>) {
        *lock(&self.always) = fault;
    }

    /// Lets every read fail, or none any more.
    pub fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// Lets every list that has the path of `entry` show `entry` too, before the one that is stored.
    pub fn repeat(&self, entry: Option<Entry>) {
        *lock(&self.repeats) = entry;
    }

    /// Lets every commit take at least this long.
    pub fn delay_commits(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    fn next(&self) -> (Option<Fault>, Duration) {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        let fault = lock(&self.at).remove(&number).or(*lock(&self.always));
        (fault, *lock(&self.delay))
    }

    fn check_read(&self) -> Result<(), ReadError> {
        if self.reads_fail.load(Ordering::SeqCst) {
            return Err(ReadError::Unavailable { source: Cause::new("a fault that the test asked for") });
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store in front of another one, with faults.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Puts `faults` in front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, path: &Path) -> Result<Option<Entry>, ReadError> {
        self.faults.check_read()?;
        self.inner.get(path).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Path>, limit: usize) -> Result<Page, ReadError> {
        self.faults.check_read()?;
        let mut page = self.inner.list(prefix, after, limit).await?;
        if let Some(extra) = &*lock(&self.faults.repeats)
            && let Some(at) = page.entries.iter().position(|entry| entry.path == extra.path)
        {
            page.entries.insert(at, extra.clone());
        }
        Ok(page)
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let (fault, delay) = self.faults.next();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let source = Cause::new("a fault that the test asked for");
        match fault {
            None => self.inner.commit(commit).await,
            Some(Fault::NoSpace) => Err(CommitError::NoSpace { source }),
            Some(Fault::Unwritable) => Err(CommitError::Unwritable { source }),
            Some(Fault::UnknownLost) => Err(CommitError::OutcomeUnknown { source }),
            Some(Fault::UnknownApplied) => {
                self.inner.commit(commit).await?;
                Err(CommitError::OutcomeUnknown { source })
            }
        }
    }

    async fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watch, WatchError> {
        self.inner.watch(prefix, from).await
    }
}
