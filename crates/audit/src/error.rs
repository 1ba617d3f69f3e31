//! What can go wrong, named by what the caller can do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::{NoteError, Origin, SignError};
use crate::journal::JournalError;

/// Why a record was not acknowledged. It may be found in the log all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// What is left is kept for authenticated requests.
    #[error("the space that is left in the audit log is kept for authenticated requests")]
    Reserved,
    /// More records wait than the queue takes. Try again later.
    #[error("too many records wait for the disk")]
    Busy,
    /// The disk or the limit of the log leaves no space, or the disk fails. Works again, without a restart, once the
    /// cause is gone.
    #[error("the audit log cannot be written")]
    Unwritable {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The node is closed.
    #[error("the audit log is closed")]
    Closed,
}

impl AppendError {
    pub(crate) fn unwritable(source: io::Error) -> Self {
        Self::Unwritable { source: Arc::new(source) }
    }
}

/// Why there is no new checkpoint.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The key could not sign.
    #[error("the checkpoint could not be signed")]
    Sign {
        /// What the holder of the key said.
        #[from]
        source: SignError,
    },
    /// The disk failed. Tried again at the next interval.
    #[error("the checkpoint could not be written")]
    Unwritable {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The node is closed.
    #[error("the audit log is closed")]
    Closed,
}

impl From<io::Error> for CheckpointError {
    fn from(source: io::Error) -> Self {
        Self::Unwritable { source: Arc::new(source) }
    }
}

/// Why a node's logs, or one of them, cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("{what}")]
    Options {
        /// What is wrong.
        what: &'static str,
    },
    /// Another process has the folder open.
    #[error("the folder of the audit logs is in use by another process")]
    InUse,
    /// The disk cannot be read or written.
    #[error("{path} cannot be read or written")]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The journal had held more than it does, or something else.
    #[error("the journal of the audit logs was changed")]
    Journal {
        /// What was found.
        source: Arc<JournalError>,
    },
    /// The log is not the one that its checkpoints are about.
    #[error("the audit log {origin} was changed")]
    Tampered {
        /// Which log.
        origin: Origin,
        /// What was found.
        source: Damage,
    },
    /// The log belongs to another key than the signer's.
    #[error("the audit log {origin} belongs to another key")]
    OtherKey {
        /// Which log.
        origin: Origin,
    },
    /// The first checkpoint could not be made.
    #[error("the audit log {origin} could not be signed")]
    Checkpoint {
        /// Which log.
        origin: Origin,
        /// What went wrong.
        source: CheckpointError,
    },
}

impl OpenError {
    pub(crate) fn disk(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Disk { path: path.into(), source: Arc::new(source) }
    }
}

/// How a log differs from what was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// A file that must be there is not.
    #[error("{path} is missing")]
    Missing {
        /// Its path below the log's folder.
        path: PathBuf,
    },
    /// Records stand in tiles that no checkpoint is about: they were added, or the checkpoints were put back.
    #[error("{settled} records stand in its tiles, but its newest checkpoint has {signed}")]
    Unsigned {
        /// How many stand there.
        settled: u64,
        /// How many are signed.
        signed: u64,
    },
    /// A file does not have the form it must have.
    #[error("{path} is damaged")]
    File {
        /// Its path below the log's folder.
        path: PathBuf,
    },
    /// A checkpoint is not one of this log.
    #[error("{path} holds a checkpoint that is not this log's")]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// Records are missing.
    #[error("record {index} is missing")]
    Record {
        /// The first that is missing.
        index: u64,
    },
    /// A record in the journal differs from the one in the tiles.
    #[error("record {index} differs between journal and tiles")]
    Conflict {
        /// Its index.
        index: u64,
    },
    /// The log ends before its newest checkpoint.
    #[error("the log holds {found} records, and its checkpoint is about {signed}")]
    Short {
        /// How many are there.
        found: u64,
        /// How many were signed.
        signed: u64,
    },
    /// The records are not the signed ones.
    #[error("the first {size} records are not those of the checkpoint of that size")]
    Root {
        /// The size of the checkpoint.
        size: u64,
    },
    /// A record differs from its hash in the tiles.
    #[error("record {index} or its hash was changed")]
    Entry {
        /// Its index.
        index: u64,
    },
    /// A leaf of the tree is not the JSON of a record.
    #[error("what stands at {index} is no record")]
    NoRecord {
        /// Its index.
        index: u64,
    },
    /// The history of checkpoints goes back in size.
    #[error("the checkpoint of size {size} stands after one of a greater size")]
    Order {
        /// The size of the later one.
        size: u64,
    },
}
