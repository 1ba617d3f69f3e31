//! The first commit of a pool.

use std::sync::Arc;

use bytes::Bytes;
use crypto_module::Module;
use model::deleted_keys::{PurgeProtection, Retention};
use model::rbac::{ADMINISTRATOR, Guid, RoleAssignment, Scope};
use model::{Days, PoolName, PrincipalId, UnixTime};
use store::{Commit, CommitError, Expect, ReadError, Store, Write};
use uuid::Uuid;

use crate::paths::Paths;
use crate::records::{PropertiesRecord, RoleAssignmentRecord, SettingsRecord, Unreadable, encode};

/// Version of everything a pool stores.
pub(crate) const FORMAT: u32 = 1;

/// What is fixed when a pool is founded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Properties {
    /// How long deleted keys can be recovered.
    pub retention: Retention,
    /// Whether they can be purged before that.
    pub purge_protection: PurgeProtection,
    /// When the pool was founded.
    pub created: UnixTime,
}

impl Properties {
    pub(crate) fn record(self) -> PropertiesRecord {
        PropertiesRecord {
            format: FORMAT,
            retention_days: self.retention.days().0,
            purge_protection: self.purge_protection == PurgeProtection::On,
            created: self.created.0,
        }
    }

    pub(crate) fn from_record(record: &PropertiesRecord) -> Result<Self, Unreadable> {
        if record.format != FORMAT {
            return Err(Unreadable);
        }
        Ok(Self {
            retention: Retention::new(Days(record.retention_days)).ok_or(Unreadable)?,
            purge_protection: if record.purge_protection { PurgeProtection::On } else { PurgeProtection::Off },
            created: UnixTime(record.created),
        })
    }
}

/// What a new pool begins with.
#[derive(Clone, Debug)]
pub struct Founding {
    /// Its retention, purge protection and date.
    pub properties: Properties,
    /// Who administers it: each gets Managed HSM Administrator at `/`.
    pub administrators: Vec<PrincipalId>,
    /// Further first assignments, as principal and role, at `/`.
    pub assignments: Vec<(PrincipalId, Guid)>,
}

/// Why a pool could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// Name at least one administrator: a pool without one can never be given to anybody.
    #[error("a new pool needs at least one administrator")]
    NoAdministrator,
    /// More first assignments than one commit carries.
    #[error("a new pool takes at most 40 first role assignments")]
    TooManyAssignments,
    /// The module could not seal the first values.
    #[error("the cryptographic module failed")]
    Module(#[source] crypto_module::Error),
    /// The store did not take the commit; `Conflict` means that the pool exists.
    #[error("the store did not take the new pool")]
    Store(#[source] CommitError),
}

/// The sealed root of `pool`, or `None` if the store holds no such pool.
///
/// # Errors
/// [`ReadError`] from the store.
pub async fn sealed_root(store: &dyn Store, pool: &PoolName) -> Result<Option<Bytes>, ReadError> {
    Ok(store.get(&Paths::new(pool).root()).await?.map(|entry| entry.value))
}

/// Writes the first commit of `pool`: its sealed root, properties, settings, first assignments and head.
///
/// # Errors
/// [`FoundingError`]; nothing is written then.
pub async fn found(
    store: &dyn Store,
    module: &Arc<dyn Module>,
    pool: &PoolName,
    sealed_root: Bytes,
    founding: &Founding,
) -> Result<(), FoundingError> {
    if founding.administrators.is_empty() {
        return Err(FoundingError::NoAdministrator);
    }
    let paths = Paths::new(pool);
    let settings = SettingsRecord { allow_key_management_operations_through_arm: false };
    let mut values =
        vec![(paths.properties(), encode(&founding.properties.record())), (paths.settings(), encode(&settings))];
    let administrators = founding.administrators.iter().map(|principal| (principal.clone(), ADMINISTRATOR));
    for (principal, role) in administrators.chain(founding.assignments.iter().cloned()) {
        let name = Guid(Uuid::new_v4().as_u128());
        let assignment = RoleAssignment { name, scope: Scope::Root, principal, role };
        values.push((paths.role_assignment(&Scope::Root, name), encode(&RoleAssignmentRecord::new(&assignment))));
    }
    if values.len() > 42 {
        return Err(FoundingError::TooManyAssignments);
    }

    let mut writes = vec![Write::Put(paths.root(), sealed_root)];
    let mut elements = Vec::new();
    for (path, value) in values {
        let sealed = module.seal_value(path.as_str(), 1, &value).map_err(FoundingError::Module)?;
        elements.push(module.element(path.as_str(), &sealed));
        writes.push(Write::Put(path, sealed));
    }
    let (_, sealed_head) = module.advance_head(&module.empty_head(), &[], &elements).map_err(FoundingError::Module)?;
    writes.push(Write::Put(paths.head(), sealed_head));
    let expect = vec![(paths.head(), Expect::Absent), (paths.root(), Expect::Absent)];
    let commit = Commit::new(expect, writes).expect("at most 44 small values");
    store.commit(commit).await.map(drop).map_err(FoundingError::Store)
}
