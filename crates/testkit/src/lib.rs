//! What tests of several crates share: a whole pool without a network, and every parser of foreign bytes.
//!
//! # Terms
//!
//! A [`TestPool`] is a real pool: the software module, an embedded store in memory, an audit log in a temporary folder.
//! Three things about it are the test's: its [`TestClock`] stands still until it is moved, its store goes through
//! [`Faults`], and [`TestPool::raw`] reaches the stored bytes behind its back. [`TestPool::restart`] closes everything
//! and opens it again from what was durable.
//!
//! [`PARSERS`](parsers::PARSERS) is the table of everything that reads bytes which others wrote; fuzzers and the replay
//! of their corpora run it.
//!
//! # Example
//!
//! ```
//! use testkit::{Setup, call, key_name, oct_key};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let mut pool = Setup::default().start().await;
//! oct_key(&pool, "orders").await;
//! pool.restart().await;
//! let (keys, more) = pool.pool().keys(&call(testkit::OWNER), None, 10).await?;
//! assert_eq!((keys[0].name.clone(), more), (key_name("orders"), false));
//! # Ok::<(), pool::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it never is
//!
//! A dependency of anything but tests. It panics where a test should stop.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod calls;
mod certificates;
mod clock;
mod faults;
mod operations;
pub mod parsers;
mod pool;
mod raw;

pub use calls::{call, call_of, caller, key_name, key_ref, outcome, principal};
pub use certificates::certificates_made;
pub use clock::TestClock;
pub use faults::{Fault, Faults, FaultyStore};
pub use operations::{ask, prepare, rotation_policy, sign_request};
pub use pool::{ADMIN, OWNER, Setup, TestPool, new_oct, oct_key};
pub use raw::Snapshot;
