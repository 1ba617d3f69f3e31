//! The boundary: the only code that ever holds a pool's plaintext keys.
//!
//! # Terms
//!
//! A [`NodeKey`] protects the roots of all pools of a cell. An [`Engine`] is what the pools of one process share:
//! threads, a bounded cache of opened keys, a small stock of RSA keys made ahead of need. It opens pools; an open pool is
//! a [`Module`]. A module gives out a [`SealedKey`] for every key version: authentic facts, the public part, and the
//! material still sealed. Whoever wants something done with a key hands the `SealedKey` back with the request.
//!
//! Where keys come from, how they are sealed and what every stored byte means is in `SPEC.md` beside this crate.
//!
//! # Example
//!
//! ```
//! use crypto_module::{Engine, GenerateKey, KeyFacts, Module, NodeKey, Options, SignInput};
//! use model::{Attributes, Curve, KeyKind, PoolName, SignatureAlgorithm, UnixTime};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let engine = Engine::start(&Options { rsa_stock: 0, ..Options::default() })?;
//! let node_key = NodeKey::ephemeral()?;
//! let (sealed_root, module) = engine.create_pool(&node_key, &PoolName::parse("contoso")?)?;
//!
//! let kind = KeyKind::Ec(Curve::P256);
//! let now = UnixTime(1_800_000_000);
//! let key = module
//!     .generate(GenerateKey {
//!         path: "keys/orders/1".into(),
//!         key_path: "keys/orders".into(),
//!         sealing_key: module.new_sealing_key("keys/orders")?,
//!         kind,
//!         public_exponent: None,
//!         exportable: false,
//!         facts: KeyFacts {
//!             attributes: Attributes { enabled: true, not_before: None, expires: None, created: now, updated: now },
//!             operations: kind.default_operations(),
//!             tags: Default::default(),
//!             release_policy: None,
//!         },
//!     })
//!     .await?;
//! let input = SignInput {
//!     algorithm: SignatureAlgorithm::Es256,
//!     digest_or_message: vec![7; 32].into(),
//!     context: None,
//!     external_mu: false,
//! };
//! assert_eq!(module.sign(&key, input).await?.len(), 64);
//! # assert!(engine.open_pool(&node_key, &PoolName::parse("contoso")?, &sealed_root).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it never does
//!
//! It returns no plaintext of a key, in a result, an error, a `Debug` text or a log line. It does not say why something
//! sealed did not open, or why a ciphertext did not decrypt. It decides no policy of use: whether a key is enabled, valid
//! and meant for an operation is for the pool to ask of `model` before it calls; what the module itself guards is what
//! must hold even if the pool errs: facts are authentic, an immutable policy stays, a key that is not exportable stays in.

mod aws_lc;
mod codec;
mod engine;
mod error;
mod head;
mod hierarchy;
mod keys;
mod lock;
mod log;
mod module;
mod record;
mod seal;
mod secret;
mod software;
mod workers;

pub use engine::{Engine, Options};
pub use error::Error;
pub use head::{Element, Elements, Head};
pub use hierarchy::NodeKey;
pub use keys::{KeyMaterial, PublicKey, RsaFactors, RsaMaterial, verify_with_public};
pub use lock::{HardeningReport, harden_process};
pub use log::{JournalKey, LogKey};
pub use module::{
    DecryptInput, EncryptInput, Encrypted, GenerateKey, ImportKey, LONGEST_INPUT, MOST_RANDOM_BYTES, Module, SignInput,
    VerifyInput,
};
pub use record::{KeyFacts, LONGEST_RELEASE_POLICY, Origin, ReleasePolicyRecord, SealedKey};
pub use secret::{Plaintext, SecretBytes};
pub use software::Software;
