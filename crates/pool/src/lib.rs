//! One Managed HSM: one method per operation.
//!
//! # The way of a request
//!
//! Every operation is one call of `Pool::admitted`: it decides whether the caller may, runs the body with
//! the [`Permit`] that says so, settles the audit record, checks that nothing was taken away meanwhile, and only then
//! releases the answer. A `Permit` can be made nowhere else, and the store, the module and the keys are reached through
//! it alone, so a step cannot be left out.
//!
//! Reads and cryptography are served from a view in memory. Changes go to one writer, which
//! plans each against the newest view, commits it together with its audit record and the pool's next head, and applies
//! it before anyone is answered. Changes of one pool therefore have one order.
//!
//! # Terms
//!
//! *Head*: the authenticated digest over everything the pool has stored, replaced in every commit and checked when the
//! pool is opened. *Outbox*: audit records of changes, stored in the same commit as the change and moved to the log
//! before the change is answered.
//!
//! This crate never sees a plaintext key, a socket or an HTTP status.

mod admission;
mod clock;
mod deleted_keys;
mod error;
mod founding;
mod key_use;
mod keys;
mod open;
mod paths;
mod rbac;
mod records;
mod rotation;
mod settings;
mod view;
mod writer;

use std::sync::Arc;

use crypto_module::Module;
use model::PoolName;

pub use admission::{Call, Directory, DirectoryError, Outcome, Permit};
pub use clock::{Clock, SystemClock};
pub use deleted_keys::DeletedKeyVersion;
pub use error::{Error, Missing};
pub use founding::{Founding, FoundingError, Properties, found, sealed_root};
pub use key_use::{DecryptRequest, Decrypted, EncryptRequest, Encrypted, SignRequest, Signature, VerifyRequest};
pub use keys::{ImportRequest, KeyChange, KeyVersionState, NewKey};
pub use open::{LostLog, OpenError, Parts};
pub use rotation::StoredPolicy;
pub use view::Quotas;

/// An open pool. Cheap to clone; all clones are the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    name: PoolName,
    node: Arc<str>,
    paths: paths::Paths,
    properties: Properties,
    module: Arc<dyn Module>,
    view: view::View,
    writer: writer::Handle,
    log: audit::Log,
    clock: Arc<dyn Clock>,
    quotas: Quotas,
    directory: Option<Arc<dyn Directory>>,
    first_creations: keys::FirstCreations,
    in_making: keys::InMaking,
}

impl Pool {
    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &PoolName {
        &self.0.name
    }

    /// What was fixed when the pool was founded, and its purge protection.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.0.properties
    }

    /// The kind of module that holds the keys, as `hsmPlatform` names it.
    #[must_use]
    pub fn platform(&self) -> &'static str {
        self.0.module.platform()
    }

    /// The pool's audit log on this node.
    #[must_use]
    pub fn log(&self) -> &audit::Log {
        &self.0.log
    }

    /// The pool's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }
}

/// Feeds foreign bytes to the shape of every stored record, past the seal, and tells nothing about the outcome: what a
/// fuzzer calls. It must return for all bytes.
pub fn fuzz(bytes: &[u8]) {
    records::fuzz(bytes);
}
