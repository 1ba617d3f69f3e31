//! Sealed bytes at ordered paths with revisions.
//!
//! A pool keeps everything it must not forget in one [`Store`]: a map from [`Path`] to bytes, in path order, where
//! every entry carries the [`Revision`] of the commit that last wrote it. That is the whole contract, and it is kept
//! small enough that a file on one disk and a cluster across three zones can both honour it: a caller cannot tell
//! which backend it runs on.
//!
//! # Terms
//!
//! A *commit* is a set of writes that happens entirely or not at all, provided that each of its *expectations* about
//! the present state holds. It has one revision, greater than that of every commit before it. When
//! [`Store::commit`] answers `Ok`, the commit is durable. A *watch* replays every commit from a revision on, in
//! revision order, and then follows.
//!
//! A commit that changes nothing, because it only deletes paths that are already absent, has no revision of its own:
//! it answers the revision that the store is at.
//!
//! # Limits
//!
//! The limits of the smaller backend are the contract's limits: [`MAX_PATH`] bytes a path, [`MAX_EXPECTATIONS`] and
//! [`MAX_WRITES`] a commit, [`MAX_COMMIT_BYTES`] of paths and values a commit. [`Commit::new`] enforces them, so
//! that no backend ever sees a commit that another would refuse.
//!
//! # Example
//!
//! ```
//! use store::{Commit, CommitError, Embedded, Expect, Path, Store, Write};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let store = Embedded::in_memory()?;
//! let path = Path::parse("pools/one/keys/orders")?;
//!
//! let first = Commit::new([(path.clone(), Expect::Absent)], [Write::Put(path.clone(), "sealed".into())])?;
//! let revision = store.commit(first.clone()).await?;
//! assert_eq!(store.get(&path).await?.map(|entry| entry.revision), Some(revision));
//!
//! // The path is taken now, so the same commit is refused, and nothing of it is written.
//! assert!(matches!(store.commit(first).await, Err(CommitError::Conflict { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it will never do
//!
//! It never looks into a value, and it keeps no secret: values arrive sealed, names in paths are clear. It is trusted
//! for availability, not for confidentiality or integrity.

mod commit;
mod contract;
mod embedded;
mod error;
#[cfg(feature = "laws")]
pub mod laws;
mod path;

pub use commit::{Commit, Expect, LimitError, MAX_COMMIT_BYTES, MAX_EXPECTATIONS, MAX_WRITES, Revision, Write};
pub use contract::{Entry, Event, Feed, MAX_PAGE_BYTES, Page, Store, Watch};
pub use embedded::{Disk, Embedded, Memory};
pub use error::{Cause, CommitError, OpenError, ReadError, WatchError};
pub use path::{MAX_PATH, Path, PathError, Prefix};
