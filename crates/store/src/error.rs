//! What can go wrong, named by what the caller can do next.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::{Path, Revision};

/// Why a commit was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// An expectation did not hold; nothing is written. Read again and decide anew.
    #[error("{path} is not as expected")]
    Conflict {
        /// The first path, in the order of the commit's expectations, that is not as expected.
        path: Path,
    },
    /// The disk is full; nothing is written. Works again, without a restart, once there is space.
    #[error("the store has no space left")]
    NoSpace {
        /// What the disk said.
        source: Cause,
    },
    /// The store cannot be written; nothing is written. An operator must look at the source.
    #[error("the store cannot be written")]
    Unwritable {
        /// What the disk or the database said.
        source: Cause,
    },
    /// The commit may or may not be there. Read it back before anything is answered.
    #[error("the store failed during a commit, whose outcome is unknown")]
    OutcomeUnknown {
        /// What the disk or the database said.
        source: Cause,
    },
}

/// Why nothing could be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be reached or read now. Works again, without a restart, once the cause is gone.
    #[error("the store cannot be read")]
    Unavailable {
        /// What the disk or the database said.
        source: Cause,
    },
    /// What is stored is not what this crate writes. An operator must restore the store.
    #[error("the store is damaged")]
    Damaged {
        /// What was found.
        source: Cause,
    },
}

/// Why a watch ends or cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Commits that the watch has not seen are gone from the history. List everything again, and watch from there.
    #[error("the history before revision {oldest} is gone")]
    Compacted {
        /// Oldest revision from which a watch can begin.
        oldest: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open, or this one has.
    #[error("the store is in use")]
    InUse,
    /// It was written by a version of this program with another format.
    #[error("the store has the format {found}, which this version cannot read")]
    OtherVersion {
        /// The format it names.
        found: String,
    },
    /// It is not one of our stores, and is left as it is.
    #[error("the file is not a store")]
    Foreign,
    /// It is one of our stores, but what it holds contradicts itself.
    #[error("the store is damaged")]
    Damaged {
        /// What was found.
        source: Cause,
    },
    /// The file could not be made, read or written.
    #[error("the store's file cannot be opened")]
    Io {
        /// What the system said.
        source: Cause,
    },
}

/// The failure underneath, shared by every caller whom it met.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Keeps `error` as a cause.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
