//! Why an operation of a pool ends without its result.

use model::rbac::Scope;
use model::{AlgorithmError, DataAction, KeyName, Unusable};

/// What was looked for and is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// No live key of the name, or no such version of it.
    Key(KeyName),
    /// No deleted key of the name.
    DeletedKey(KeyName),
    /// No role definition of the id.
    RoleDefinition,
    /// No role assignment of the name at the scope.
    RoleAssignment,
    /// No setting of the name.
    Setting,
}

/// Why an operation ends without its result, named by what its caller can do next.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Ask someone for the right.
    #[error("Not authorized to access {} on {scope}", action.as_str())]
    NotPermitted {
        /// The right that is missing.
        action: DataAction,
        /// Where it is needed.
        scope: Scope,
    },
    /// The token names fewer groups than the caller is in, and nobody can be asked for the rest.
    #[error("Not authorized to access {} on {scope}: the token does not list all groups of the caller, and the groups could not be read", action.as_str())]
    GroupsUnreadable {
        /// The right that the listed groups do not give.
        action: DataAction,
        /// Where it is needed.
        scope: Scope,
    },
    /// There is no such thing.
    #[error("not found")]
    NotFound(Missing),
    /// The key is disabled, outside its validity, or not meant for this.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Recover or purge the deleted key first.
    #[error(
        "Key {0} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged."
    )]
    DeletedButRecoverable(KeyName),
    /// Wait until the key is gone.
    #[error("Key {0} is being purged; retry later.")]
    BeingPurged(KeyName),
    /// Nobody may purge before the retention ends.
    #[error("purge protection is on: deleted keys are purged when their retention ends, not before")]
    PurgeProtected,
    /// Give the role to someone else first.
    #[error(
        "this is the last assignment of Managed HSM Administrator at /; assign the role to another principal first"
    )]
    LastAdministrator,
    /// Roles that came with the product stay as they are.
    #[error("a built-in role cannot be changed or deleted")]
    BuiltInRole,
    /// The role to assign does not exist.
    #[error("the role definition to assign does not exist")]
    UnknownRole,
    /// Custom roles live at `/`.
    #[error("custom roles are defined at the scope / only")]
    RoleScope,
    /// Remove something first, or have the quota raised.
    #[error("the limit of {limit} {what} is reached")]
    Quota {
        /// What is counted.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
    },
    /// The attributes contradict each other.
    #[error("nbf must be earlier than exp")]
    ValidityOrder,
    /// Operations that the key type does not have, or `import` beside others.
    #[error("these key operations cannot be combined or do not fit the key type")]
    KeyOperations,
    /// The algorithm is not one of the operation, or does not fit the key.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// The input is wrong; the text says how.
    #[error("{0}")]
    Input(String),
    /// The next version's expiry lies beyond the calendar.
    #[error("the rotation policy's expiryTime leads past the end of the calendar")]
    Calendar,
    /// Try again shortly: more work is queued than there are hands.
    #[error("the pool is busy; retry shortly")]
    Busy,
    /// Try again: others changed the same key at the same time, again and again.
    #[error("the key is being changed by other requests; retry shortly")]
    Contention,
    /// Try again later: the store or the audit log cannot be written.
    #[error("{what} is unavailable; retry later")]
    Unavailable {
        /// Which part.
        what: &'static str,
    },
    /// Something stored or computed is not what it must be. The log has the detail.
    #[error("internal error")]
    Internal,
}
