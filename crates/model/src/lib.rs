//! Pure rules of a Managed HSM: what names are legal, what a key may be used for and when, who may do what,
//! and what a deletion means.
//!
//! Nothing here reads a clock, a file or a socket, draws randomness, or knows a JSON shape: time enters as
//! [`UnixTime`], callers enter as [`Caller`], and every rule is a function of its arguments. The other rings
//! (`wire`, `pool`, `server`) have a file of the same name for each part of the published interface.
//!
//! # Terms
//!
//! An [`Operation`] is one row of the one list of everything a caller can ask for. It names the [`DataAction`]
//! that permits it. A [`RoleDefinition`](rbac::RoleDefinition) is a set of data actions, a
//! [`RoleAssignment`](rbac::RoleAssignment) gives one to a principal at a [`Scope`].
//!
//! # Example
//!
//! ```
//! use model::{KeyName, Operation, Scope};
//!
//! let key = KeyName::parse("orders")?;
//! assert_eq!(Operation::Sign.data_action().as_str(), "Microsoft.KeyVault/managedHsm/keys/sign/action");
//! assert!(Scope::Keys.contains(&Scope::Key(key)));
//! # Ok::<(), model::NameError>(())
//! ```

mod algorithms;
pub mod deleted_keys;
mod keys;
mod names;
mod operation;
mod principal;
pub mod rbac;
pub mod rotation;
pub mod settings;
mod time;

pub use algorithms::{AlgorithmError, EncryptionAlgorithm, SignatureAlgorithm};
pub use keys::{
    Attributes, Curve, KeyKind, KeyOperation, KeyOperations, MlDsa, OctSize, RsaSize, TagError, Tags, Unusable,
};
pub use names::{KeyName, KeyRef, KeyVersion, NameError, PoolName};
pub use operation::{DataAction, Operation, ScopeRule};
pub use principal::{Caller, Groups, PrincipalId};
pub use rbac::Scope;
pub use time::{Days, UnixTime};
