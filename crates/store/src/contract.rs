//! The contract between a pool and whatever keeps its records.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Commit, CommitError, Path, Prefix, ReadError, Revision, WatchError, Write};

/// Most bytes of values in a [`Page`].
pub const MAX_PAGE_BYTES: usize = 1 << 20;

/// Sealed bytes at ordered paths with revisions.
///
/// Every backend passes the same laws (the `laws` module, with the feature of that name).
#[async_trait]
pub trait Store: Send + Sync {
    /// The entry at `path`, if there is one. Sees every commit that was acknowledged before the call.
    ///
    /// # Errors
    /// [`ReadError`] if the store cannot be read.
    async fn get(&self, path: &Path) -> Result<Option<Entry>, ReadError>;

    /// Entries with `prefix`, in path order, beginning after `after`: as many as there are, but at most `limit` and
    /// at most [`MAX_PAGE_BYTES`] of values. If there is an entry, the page holds at least one, even for a `limit`
    /// of 0, so that a loop over pages always ends.
    ///
    /// A page is one state of the store, the one at [`Page::revision`]. Two pages may be of two states: whoever needs
    /// one state watches from the revision after the first page's.
    ///
    /// # Errors
    /// [`ReadError`] if the store cannot be read.
    async fn list(&self, prefix: &Prefix, after: Option<&Path>, limit: usize) -> Result<Page, ReadError>;

    /// Writes everything in `commit` and answers its revision, or writes nothing. Durable when it answers `Ok`.
    ///
    /// A caller that drops the future does not take the commit back: it may still happen.
    ///
    /// # Errors
    /// [`CommitError`]; only after [`CommitError::OutcomeUnknown`] may anything be written.
    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError>;

    /// Every change with `prefix` at revision `from` and later, in revision order, one event a commit; first those
    /// that were, then those to come.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] if the history no longer reaches back to `from`.
    async fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watch, WatchError>;
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub path: Path,
    /// What was put there.
    pub value: Bytes,
    /// The commit that last wrote it.
    pub revision: Revision,
}

/// Some entries of one state of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in path order.
    pub entries: Vec<Entry>,
    /// Whether there are more after the last.
    pub more: bool,
    /// The revision that the store was at.
    pub revision: Revision,
}

/// What one commit changed under a watch's prefix; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The commit.
    pub revision: Revision,
    /// Its writes. A delete of what was absent is none, and what is erased is deleted.
    pub writes: Vec<Write>,
}

/// A running watch.
pub struct Watch(Box<dyn Feed>);

impl Watch {
    /// A watch fed by a backend.
    pub fn new(feed: impl Feed + 'static) -> Self {
        Self(Box::new(feed))
    }

    /// The next event, as soon as there is one. Dropping the future loses none.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] if the reader was so slow that the history went past it; [`WatchError::Closed`]
    /// once the store is closed and everything before that was answered.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        self.0.next().await
    }
}

/// A backend's side of a [`Watch`].
#[async_trait]
pub trait Feed: Send {
    /// As [`Watch::next`].
    async fn next(&mut self) -> Result<Event, WatchError>;
}
