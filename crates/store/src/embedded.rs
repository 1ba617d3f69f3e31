//! The backend for one node: a database in one file, or in memory.
//!
//! Reads go straight to a snapshot of the database. Commits are taken from a bounded queue by one thread, which
//! writes everything that arrived while the disk was busy in one transaction, so that concurrent callers share a
//! sync. See `SPEC.md` for the file.

mod disk;
mod file;
mod history;
mod tables;
mod writer;

use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Cause, Commit, CommitError, Entry, OpenError, Page, Path, Prefix, ReadError, Revision, Store, Watch, WatchError,
};
use disk::Gauge;
pub use disk::{Disk, Memory};
use file::Unwritten;
use history::History;
use tables::{Failure, Snapshot};
use writer::{Request, Writer};

/// Commits that may wait for the writer; who comes later waits for a place. Bounds their memory to 128 MiB.
const QUEUE: usize = 128;

/// A store in one file, or in memory, owned by this process.
///
/// Dropping it waits for the commits under way and closes the file. Nothing is kept back: what was acknowledged is
/// on disk already.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    history: History,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    /// `None` only while it is dropped.
    writer: Option<thread::JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store in `file`, or makes it, readable for its owner alone.
    ///
    /// An empty file is not a store: it may be what is left of one, and to begin anew in it would roll everything
    /// back unseen.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then left as it was.
    pub fn open(file: &std::path::Path) -> Result<Self, OpenError> {
        Self::open_syncing(file, std::fs::File::sync_all)
    }

    fn open_syncing(
        file: &std::path::Path,
        sync: impl Fn(&std::fs::File) -> std::io::Result<()>,
    ) -> Result<Self, OpenError> {
        let old = Arc::new(file::open(file)?);
        let disk: Arc<dyn Disk> = old.clone();
        let gauge = Arc::new(Gauge::default());
        let database = file::database(&disk, &gauge)?;
        tables::prepare(&database)?;
        if !tables::is_to_be_erased(&database)? {
            return Self::of(database, disk, gauge);
        }
        match file::rewritten(file, &database, sync) {
            Ok(new) => {
                drop(database);
                file::wipe(&old);
                let database = file::database(&new, &gauge)?;
                Self::of(database, new, gauge)
            }
            // What would be written now into a file without a name would be gone with this process.
            Err(Unwritten::Unnamed(error)) => Err(error),
            Err(Unwritten::Unchanged(error)) => {
                tracing::warn!(%error, "what was purged is still in freed parts of the store's file");
                Self::of(database, disk, gauge)
            }
        }
    }

    /// A new, empty store that lives as long as this value.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the system refuses memory or a thread.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::on(Arc::new(Memory::default()))
    }

    /// Opens the store on `disk`, or makes it if the disk is empty. For disks that are no file, and for faults.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn on(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let gauge = Arc::new(Gauge::default());
        let database = file::database(&disk, &gauge)?;
        Self::of(database, disk, gauge)
    }

    fn of(database: Database, disk: Arc<dyn Disk>, gauge: Arc<Gauge>) -> Result<Self, OpenError> {
        let head = tables::prepare(&database)?;
        let database = file::compacted(database, &disk, &gauge)?;
        let shared = Arc::new(Shared { disk, gauge, open: RwLock::new(Open { database: Some(database), count: 0 }) });
        let (history, publisher) = history::starting_after(head);
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(shared.clone(), publisher, head);
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(|error| OpenError::Io { source: Cause::new(error) })?;
        Ok(Self { shared, history, requests: Some(requests), writer: Some(writer) })
    }

    /// Hands `request` to the writer, waiting for a place in its queue.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<oneshot::Receiver<T>, WriterGone> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(WriterGone)?;
        requests.send(request(reply)).await.map_err(|_| WriterGone)?;
        Ok(answer)
    }

    /// Has the database opened again, after a read failed on what was opened as the `count`-th.
    ///
    /// After one failed access the database refuses all others, so without this a single bad moment of the disk
    /// would end all reads until the next commit.
    async fn reopened(&self, count: u64) -> Result<(), ReadError> {
        let gone = |gone: WriterGone| ReadError::Unavailable { source: Cause::new(gone) };
        let answer = self.ask(|reply| Request::Reopen { count, reply }).await.map_err(gone)?;
        answer.await.map_err(|_| gone(WriterGone))?.map_err(|source| ReadError::Unavailable { source })
    }
}

#[async_trait]
impl Store for Embedded {
    // A point read costs microseconds, less than handing it to another thread.
    async fn get(&self, path: &Path) -> Result<Option<Entry>, ReadError> {
        match self.shared.read(|snapshot| snapshot.get(path)) {
            Err(Unread { count, failure: Failure::Disk(_) }) => {
                self.reopened(count).await?;
                Ok(self.shared.read(|snapshot| snapshot.get(path))?)
            }
            answer => Ok(answer?),
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Path>, limit: usize) -> Result<Page, ReadError> {
        let page = || {
            let (shared, prefix, after) = (self.shared.clone(), prefix.clone(), after.cloned());
            tokio::task::spawn_blocking(move || shared.read(|snapshot| snapshot.list(&prefix, after.as_ref(), limit)))
        };
        let failed = |error| ReadError::Unavailable { source: Cause::new(error) };
        match page().await.map_err(failed)? {
            Err(Unread { count, failure: Failure::Disk(_) }) => {
                self.reopened(count).await?;
                Ok(page().await.map_err(failed)??)
            }
            answer => Ok(answer?),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let answer = self
            .ask(|reply| Request::Commit { commit, reply })
            .await
            .map_err(|gone| CommitError::Unwritable { source: Cause::new(gone) })?;
        answer.await.unwrap_or_else(|_| Err(CommitError::OutcomeUnknown { source: Cause::new(WriterGone) }))
    }

    async fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watch, WatchError> {
        self.history.watch(prefix.clone(), from).map(Watch::new)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Without a sender the writer finishes its queue, closes the database and ends.
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    gauge: Arc<Gauge>,
    /// Read-locked by whoever uses the database, never across an await. Write-locked only by the writer, to open it
    /// again: that must wait until nobody uses the old one, because two of them over one disk would corrupt it.
    open: RwLock<Open>,
}

#[derive(Debug)]
struct Open {
    /// `None` while it failed and cannot be opened again.
    database: Option<Database>,
    /// How often it was opened again.
    count: u64,
}

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&Snapshot) -> Result<T, Failure>) -> Result<T, Unread> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = match &open.database {
            Some(database) => database.begin_read().map(Snapshot::new).map_err(Failure::from),
            None => Err(Failure::closed()),
        };
        snapshot.and_then(|snapshot| read(&snapshot)).map_err(|failure| Unread { count: open.count, failure })
    }
}

/// A failed read, and which opening of the database it met.
struct Unread {
    count: u64,
    failure: Failure,
}

impl From<Unread> for ReadError {
    fn from(unread: Unread) -> Self {
        match unread.failure {
            Failure::Disk(source) => Self::Unavailable { source },
            Failure::Damage(source) => Self::Damaged { source },
        }
    }
}

/// The writer's thread has ended, which only a panic in it can cause.
#[derive(Debug, thiserror::Error)]
#[error("the store's writer has ended")]
struct WriterGone;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;

    use super::*;
    use crate::{Commit, Path, Write};

    #[tokio::test]
    async fn a_store_written_anew_whose_name_may_be_lost_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        let path = |text| Path::parse(text).unwrap();
        let store = Embedded::open(&file).unwrap();
        for write in [
            Write::Put(path("a"), b"1".to_vec().into()),
            Write::Put(path("b"), b"2".to_vec().into()),
            Write::Erase(path("a")),
        ] {
            store.commit(Commit::new([], [write]).unwrap()).await.unwrap();
        }
        drop(store);
        let failing = |_: &File| Err(io::Error::other("a fault that the test asked for"));
        assert!(matches!(Embedded::open_syncing(&file, failing), Err(OpenError::Io { .. })));
        let store = Embedded::open(&file).unwrap();
        assert_eq!(store.get(&path("b")).await.unwrap().unwrap().value, b"2"[..]);
    }
}
