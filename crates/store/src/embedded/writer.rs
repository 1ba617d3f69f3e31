//! The one thread that writes: it groups commits into transactions, and mends the database after a failure.
//!
//! # After a failure
//!
//! Once any access to the disk has failed, the database refuses everything until it is opened again. So the writer
//! opens it again, at once, and then reads whether the failed transaction is there. Opening writes and syncs the
//! header, which is all that can be lacking of a transaction that is visible: the rest of it was synced before the
//! header named it. Its outcome is then certain, either way.
//!
//! Only if the database cannot be opened either, and the transaction had got as far as a sync, is the outcome
//! unknown. It is settled by the opening that succeeds at last, before anybody can read: whatever a reader then finds
//! stays so.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, PoisonError};

use redb::Database;
use tokio::sync::{mpsc, oneshot};

use super::history::Publisher;
use super::tables::{self, Batch, Failure};
use super::{Shared, file};
use crate::{Cause, Commit, CommitError, Event, Path, Revision};

/// Most bytes of paths and values in a transaction, but for the commit that passes it. Keeps the dirty pages within
/// the database's cache and the wait of the first caller short.
const BATCH_BYTES: usize = 8 << 20;

/// What the writer is asked for. A caller that no longer waits for the reply is none of its concern.
pub(super) enum Request {
    Commit {
        commit: Commit,
        reply: Reply,
    },
    /// Open the database again, unless that happened since it was opened for the `count`-th time.
    Reopen {
        count: u64,
        reply: oneshot::Sender<Result<(), Cause>>,
    },
}

type Reply = oneshot::Sender<Result<Revision, CommitError>>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    publisher: Publisher,
    /// Last revision that is durable and published.
    head: Revision,
    /// A transaction of unknown outcome, whose events are to be published should it turn out to be there.
    unsettled: Vec<Event>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, publisher: Publisher, head: Revision) -> Self {
        Self { shared, publisher, head, unsettled: Vec::new() }
    }

    /// Serves the queue until nobody can ask any more, then closes the database.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.blocking_recv() {
            match request {
                Request::Commit { commit, reply } => self.serve(commit, reply, &mut queue),
                Request::Reopen { count, reply } => {
                    let _ = reply.send(self.reopen_since(count));
                }
            }
        }
        let database = self.shared.open.write().unwrap_or_else(PoisonError::into_inner).database.take();
        if let Some(Err(error)) = database.map(Database::close) {
            // What was acknowledged is durable; the next opening repairs the rest.
            tracing::warn!(%error, "could not close the store cleanly");
        }
    }

    /// Writes a commit, and all others that wait, in one transaction, and answers them all.
    fn serve(&mut self, commit: Commit, reply: Reply, queue: &mut mpsc::Receiver<Request>) {
        let mut reopens = VecDeque::new();
        let mut next = Some((commit, reply));
        let mut bytes = 0;
        let jobs = std::iter::from_fn(|| {
            if let Some(job) = next.take() {
                bytes += job.0.size();
                return Some(job);
            }
            while bytes < BATCH_BYTES {
                match queue.try_recv().ok()? {
                    Request::Commit { commit, reply } => {
                        bytes += commit.size();
                        return Some((commit, reply));
                    }
                    Request::Reopen { count, reply } => reopens.push_back((count, reply)),
                }
            }
            None
        });
        self.write(jobs);
        for (count, reply) in reopens {
            let _ = reply.send(self.reopen_since(count));
        }
    }

    fn write(&mut self, jobs: impl Iterator<Item = (Commit, Reply)>) {
        self.shared.gauge.take_fault();
        if let Err(cause) = self.opened() {
            let error = self.refused(cause);
            return jobs.for_each(|(_, reply)| answer(reply, Err(error.clone())));
        }
        let mut replies = Vec::new();
        let jobs = jobs.map(|(commit, reply)| {
            replies.push(reply);
            commit
        });
        match self.transaction(jobs) {
            Ok(done) => {
                self.publish(done.events);
                acknowledge(replies, done.outcomes);
            }
            Err(broken) => self.recover(broken, replies),
        }
    }

    /// Applies `commits` in one transaction.
    fn transaction(&self, commits: impl Iterator<Item = Commit>) -> Result<Done, Broken> {
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.database.as_ref().ok_or_else(Failure::closed)?;

        let change = tables::begin(database)?;
        let mut batch = Batch::new(&change)?;
        let mut outcomes = Vec::new();
        for commit in commits {
            outcomes.push(batch.apply(&commit)?);
        }
        let events = batch.finish()?;
        let done = Done { events, outcomes };
        if done.events.is_empty() {
            change.abort().map_err(Failure::from)?;
            return Ok(done);
        }
        let syncs = self.shared.gauge.syncs();
        match change.commit() {
            Ok(()) => Ok(done),
            // Before the header names a transaction, a sync of everything else has succeeded.
            Err(error) if self.shared.gauge.syncs() == syncs => Err(Failure::from(error).into()),
            Err(error) => Err(Broken { failure: error.into(), perhaps: Some(done) }),
        }
    }

    /// Finds out what became of a transaction that failed, and answers accordingly.
    fn recover(&mut self, broken: Broken, replies: Vec<Reply>) {
        let mut error = self.refused(broken.failure.into_cause());
        tracing::warn!(%error, source = %cause(&error), commits = replies.len(), "a transaction failed");
        match broken.perhaps {
            None => {
                // Whether or not this succeeds, the commits are not there.
                let _ = self.reopen();
            }
            Some(Done { events, outcomes }) => {
                let last = events.last().map(|event| event.revision);
                self.unsettled = events;
                match self.reopen() {
                    Ok(()) if Some(self.head) == last => return acknowledge(replies, outcomes),
                    Ok(()) => {}
                    Err(_) => error = CommitError::OutcomeUnknown { source: cause(&error) },
                }
            }
        }
        for reply in replies {
            answer(reply, Err(error.clone()));
        }
    }

    /// Sees to it that the database is open.
    fn opened(&mut self) -> Result<(), Cause> {
        let closed = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).database.is_none();
        if closed { self.reopen() } else { Ok(()) }
    }

    fn reopen_since(&mut self, count: u64) -> Result<(), Cause> {
        let stale = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).count == count;
        if stale { self.reopen() } else { self.opened() }
    }

    /// Opens the database again, once nobody uses the old one, and settles what was unsettled.
    fn reopen(&mut self) -> Result<(), Cause> {
        let shared = self.shared.clone();
        let mut open = shared.open.write().unwrap_or_else(PoisonError::into_inner);
        // Closed before the new one is opened: both have a cache of the same disk.
        drop(open.database.take());
        let (database, head) = self.open_at_head().inspect_err(|error| {
            tracing::warn!(%error, "could not open the store again");
        })?;
        // Before readers are let in, so that nobody reads what a watch could still miss.
        if let Some(last) = self.unsettled.last()
            && last.revision == head
        {
            let events = std::mem::take(&mut self.unsettled);
            self.publish(events);
        }
        self.unsettled.clear();
        open.database = Some(database);
        open.count += 1;
        tracing::info!(revision = %head, "opened the store again");
        Ok(())
    }

    fn open_at_head(&self) -> Result<(Database, Revision), Cause> {
        let database = file::database(&self.shared.disk, &self.shared.gauge).map_err(Cause::new)?;
        let head = tables::prepare(&database).map_err(Cause::new)?;
        let unsettled = self.unsettled.last().map(|event| event.revision);
        if head != self.head && Some(head) != unsettled {
            return Err(Cause::new(format!("the store went from revision {} to {head} by itself", self.head)));
        }
        Ok((database, head))
    }

    fn publish(&mut self, events: Vec<Event>) {
        if let Some(last) = events.last() {
            self.head = last.revision;
            self.publisher.publish(events);
        }
    }

    /// The error of a commit that is certainly not there.
    fn refused(&self, cause: Cause) -> CommitError {
        // The disk's first word tells more than the database's last.
        let (kind, source) = self.shared.gauge.take_fault().unwrap_or((ErrorKind::Other, cause));
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                CommitError::NoSpace { source }
            }
            _ => CommitError::Unwritable { source },
        }
    }
}

/// What a transaction did.
struct Done {
    /// To be published once it is durable.
    events: Vec<Event>,
    /// The answer to each of its commits, in their order: a revision, or the path that is not as expected.
    outcomes: Vec<Result<Revision, Path>>,
}

/// A transaction that failed.
struct Broken {
    failure: Failure,
    /// What it did, if it may be there nevertheless.
    perhaps: Option<Done>,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { failure, perhaps: None }
    }
}

fn acknowledge(replies: Vec<Reply>, outcomes: Vec<Result<Revision, Path>>) {
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        answer(reply, outcome.map_err(|path| CommitError::Conflict { path }));
    }
}

fn answer(reply: Reply, outcome: Result<Revision, CommitError>) {
    // Whoever dropped the future does not want to know.
    let _ = reply.send(outcome);
}

fn cause(error: &CommitError) -> Cause {
    match error {
        CommitError::NoSpace { source }
        | CommitError::Unwritable { source }
        | CommitError::OutcomeUnknown { source } => source.clone(),
        CommitError::Conflict { path } => Cause::new(format!("{path} is not as expected")),
    }
}
