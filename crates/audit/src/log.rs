//! One log: the handle that the pool appends through, and its state.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

use crate::checkpoint::{Checkpoint, Origin, Signer, VerifierKey};
use crate::error::{AppendError, CheckpointError};
use crate::journal::LogKey;
use crate::merkle::Frontier;
use crate::node::{Item, Placed, Shared};
use crate::recent::Recent;
use crate::record::Record;
use crate::settle::{Request, Settling};
use crate::tiles::Tail;

/// Whose record it is, which decides what it may use when space or time run short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Of a known caller who may do what it asked for.
    Authenticated,
    /// Of anybody else: a token that failed, or a known caller who may not. Never uses the reserve of space, nor the slots of the queue that are kept for the others.
    Unauthenticated,
}

/// The log of one pool on one node. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    pub(crate) node: Arc<Shared>,
    pub(crate) state: Arc<LogState>,
}

/// A record that is going to be appended. While it is held, the journal may wait a moment for that record, so that one
/// write makes many durable.
#[must_use = "it announces for as long as it is held"]
pub struct Announcement(Arc<Shared>);

impl Drop for Announcement {
    fn drop(&mut self) {
        self.0.over();
    }
}

/// What is known of a log while its node is open.
pub(crate) struct LogState {
    pub(crate) key: LogKey,
    pub(crate) verifier: VerifierKey,
    pub(crate) folder: PathBuf,
    pub(crate) signer: OnceLock<Arc<dyn Signer>>,
    /// How many records are durable.
    pub(crate) size: AtomicU64,
    /// How many of them are durable in tiles.
    pub(crate) settled: AtomicU64,
    /// The bytes of the full tiles.
    pub(crate) stored: AtomicU64,
    /// The greatest change among the records that the journal held when the log was opened.
    pub(crate) newest_change: u64,
    pub(crate) live: Mutex<Live>,
    pub(crate) settling: Mutex<Settling>,
    pub(crate) extension: Mutex<String>,
    pub(crate) latest: Mutex<Option<Checkpoint>>,
}

/// What every append changes.
pub(crate) struct Live {
    pub(crate) frontier: Frontier,
    /// What the tiles do not have yet.
    pub(crate) tail: Tail,
    pub(crate) recent: Recent,
}

impl LogState {
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settling(&self) -> MutexGuard<'_, Settling> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn latest(&self) -> MutexGuard<'_, Option<Checkpoint>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn extension(&self) -> MutexGuard<'_, String> {
        self.extension.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Announces a record; to be held until that record is durable.
    pub fn announce(&self) -> Announcement {
        self.node.announced.add();
        Announcement(self.node.clone())
    }

    /// Appends `record`, and resolves to its index once it is durable.
    ///
    /// The record is queued before this returns: dropping the future gives up the answer, not the record.
    ///
    /// # Errors
    /// [`AppendError`], by what the caller can do. A record that was refused may be found in the log all the same.
    pub fn append(
        &self,
        record: &Record,
        class: Class,
    ) -> impl Future<Output = Result<u64, AppendError>> + Send + use<> {
        let placed = self.enqueue(record, class, None);
        async move {
            match placed?.await {
                Ok(Ok(Placed::At(index))) => Ok(index),
                Ok(Err(error)) => Err(error),
                Ok(Ok(Placed::Unsure)) | Err(_) => Err(AppendError::Closed),
            }
        }
    }

    /// Appends the record of a committed change, unless a record with its id already stands at `since` or above, and
    /// resolves to its index once it is durable. `since` is the log's size before the change was committed.
    ///
    /// Only ids that were appended by this method are looked for. No file is read unless more than 4,096 of them stand
    /// above `since`, or `since` lies before what the journal held when the node was opened.
    ///
    /// # Errors
    /// [`AppendError`], by what the caller can do; calling again is safe.
    pub async fn append_once(&self, record: &Record, since: u64) -> Result<u64, AppendError> {
        let mut since = since;
        loop {
            let complete_from = self.state.live().recent.complete_from();
            if since < complete_from {
                if let Some(index) = self.find_settled(record.id, since, complete_from).await? {
                    return Ok(index);
                }
                since = complete_from;
            }
            match self.enqueue(record, Class::Authenticated, Some(since))?.await {
                Ok(Ok(Placed::At(index))) => return Ok(index),
                Ok(Ok(Placed::Unsure)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(AppendError::Closed),
            }
        }
    }

    /// How many records are durable.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state.size.load(Ordering::Acquire)
    }

    /// Signs what the log holds now, and brings its folder to a state that verifies without the journal.
    ///
    /// # Errors
    /// [`CheckpointError`] if it could not be signed or written.
    pub async fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        let (reply, answer) = oneshot::channel();
        self.node.request(Request::Checkpoint { log: self.state.clone(), reply });
        answer.await.unwrap_or(Err(CheckpointError::Closed))
    }

    /// Sets the lines that stand in checkpoints from the next one on. Empty lines, control characters and what exceeds
    /// 4 KiB are left out.
    pub fn set_extension(&self, lines: String) {
        *self.state.extension() = lines;
    }

    /// The newest checkpoint: the one that was found when the log was opened, until there is a newer one.
    #[must_use]
    pub fn latest_checkpoint(&self) -> Option<Checkpoint> {
        self.state.latest().clone()
    }

    /// The greatest [`Record::change`] of those appended by [`append_once`](Self::append_once) that the journal held
    /// when the log was opened, 0 if none: what a checkpoint may not have had the time to remember.
    #[must_use]
    pub fn newest_change(&self) -> u64 {
        self.state.newest_change
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        self.state.verifier.origin()
    }

    /// The key that its checkpoints verify under.
    #[must_use]
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.state.verifier
    }

    fn enqueue(
        &self,
        record: &Record,
        class: Class,
        once: Option<u64>,
    ) -> Result<oneshot::Receiver<Result<Placed, AppendError>>, AppendError> {
        let (reply, answer) = oneshot::channel();
        record.with_json(|json| {
            self.node.enqueue(json, class, |entry| Item { log: self.state.clone(), id: record.id, once, entry, reply })
        })?;
        Ok(answer)
    }

    /// Looks for an id among the records from `since` up to `until`, in the files.
    async fn find_settled(&self, id: u128, since: u64, until: u64) -> Result<Option<u64>, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.node.request(Request::Find { log: self.state.clone(), id, since, until, reply });
        match answer.await {
            Ok(found) => found.map_err(AppendError::unwritable),
            Err(_) => Err(AppendError::Closed),
        }
    }
}
