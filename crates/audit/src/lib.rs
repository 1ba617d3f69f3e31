//! Who did what, on which key, from where, with which outcome: an append-only log that nobody can rewrite unseen.
//!
//! # Terms
//!
//! A [`Record`] is what one request leaves behind, as one JSON object. A [`Log`] holds the records of one pool on one
//! node as leaves of a Merkle tree (RFC 6962), named by its [`Origin`]. A [`Checkpoint`] is a signed statement of the
//! log's size and root: whoever has one can tell whether any record below it was changed, removed or put in between.
//! A [`Node`] holds all logs of one node, which become durable together (*group commit*).
//!
//! # Folders
//!
//! ```text
//! <node>/journal/            where records become durable first; see the journal's own chapter
//! <node>/<origin, '/' as '+'>/
//!     log.vkey               the key that the log's checkpoints verify under (C2SP signed-note)
//!     checkpoint             the newest checkpoint (C2SP tlog-checkpoint)
//!     checkpoints            all of them, thinned out with age
//!     tile/                  entries and hashes (C2SP tlog-tiles)
//!     settled                how much of the log needs no journal any more
//! ```
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use audit::{Class, JournalKey, Node, OpenError, Options, Origin, Record, Signer};
//!
//! async fn example(
//!     folder: &std::path::Path,
//!     key: Arc<dyn JournalKey>,
//!     signer: Arc<dyn Signer>,
//!     record: &Record,
//! ) -> Option<u64> {
//!     let node = Node::open(folder, Options::default(), key).ok()?;
//!     let log = node.log(&Origin::parse("strongroom.dev/contoso/a")?, signer).ok()?;
//!     log.append(record, Class::Authenticated).await.ok()
//! }
//! ```
//!
//! # What it never does
//!
//! It never acknowledges a record that is not on the disk, never changes one that it acknowledged, never holds a
//! private key, and never needs the pool, the network or a key to verify what it wrote.

mod checkpoint;
mod disk;
mod error;
mod failed_tokens;
#[cfg(test)]
mod faults;
mod gather;
mod journal;
mod log;
mod merkle;
mod node;
mod read;
mod recent;
mod record;
mod recover;
mod settle;
#[cfg(test)]
mod testing;
mod tiles;
mod verify;

pub use checkpoint::{Checkpoint, MAX_NOTE_BYTES, NoteError, Origin, SignError, Signer, VerifierKey, split_notes};
pub use error::{AppendError, CheckpointError, Damage, OpenError};
pub use failed_tokens::{Decision, FailedTokens, Summary};
pub use journal::{JournalError, JournalKey, parse_segment};
pub use log::{Announcement, Class, Log};
pub use merkle::{Hash, empty_root, leaf_hash, node_hash, verify_consistency, verify_inclusion};
pub use node::{Node, Options};
pub use read::{Filter, OutcomeFilter, Records, entry, read};
pub use record::{Caller, MAX_RECORD_BYTES, Record, RecordError};
pub use recover::parse_marker;
pub use tiles::{TileError, TileKind, TileName, parse_bundle, parse_hashes};
pub use verify::{Report, VerifyError, consistency_proof, inclusion_proof, root, verify};
