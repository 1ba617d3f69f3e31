//! The boundary as its callers see it: one trait, plain requests and replies.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{EncryptionAlgorithm, KeyKind, SignatureAlgorithm};

use crate::{Element, Error, Head, KeyFacts, KeyMaterial, LogKey, Plaintext, SealedKey};

/// The longest caller data of one call, in bytes.
pub const LONGEST_INPUT: usize = 1 << 20;

/// The most random bytes of one call.
pub const MOST_RANDOM_BYTES: usize = 128;

/// A request for a new key version.
#[derive(Clone, Debug)]
pub struct GenerateKey {
    /// Where the version will be stored.
    pub path: String,
    /// Where its key's name is stored.
    pub key_path: String,
    /// The sealed sealing key of the key's name, from [`Module::new_sealing_key`].
    pub sealing_key: Bytes,
    /// What to make. Generated oct keys are AES keys: 16, 24 or 32 bytes.
    pub kind: KeyKind,
    /// RSA only: the public exponent, big-endian, odd, 3 to 2^32; 65537 if absent.
    pub public_exponent: Option<Box<[u8]>>,
    /// Whether the version may ever leave by release.
    pub exportable: bool,
    /// The first facts.
    pub facts: KeyFacts,
}

/// A request to take in a key version made elsewhere.
#[derive(Debug)]
pub struct ImportKey {
    /// Where the version will be stored.
    pub path: String,
    /// Where its key's name is stored.
    pub key_path: String,
    /// The sealed sealing key of the key's name.
    pub sealing_key: Bytes,
    /// The key itself.
    pub material: KeyMaterial,
    /// Whether the version may ever leave by release.
    pub exportable: bool,
    /// The first facts.
    pub facts: KeyFacts,
}

/// What to sign.
#[derive(Clone, Debug)]
pub struct SignInput {
    /// The algorithm; must fit the key.
    pub algorithm: SignatureAlgorithm,
    /// The digest where the algorithm has one (its length is checked), else the message: for RSNULL at most the modulus
    /// less 11 bytes, for HMAC and ML-DSA at most 1 MiB.
    pub digest_or_message: Bytes,
    /// ML-DSA only: the context, at most 255 bytes.
    pub context: Option<Bytes>,
    /// ML-DSA only: `digest_or_message` is the 64-byte message representative mu, which contains the context already.
    pub external_mu: bool,
}

/// What to verify.
#[derive(Clone, Debug)]
pub struct VerifyInput {
    /// The algorithm; must fit the key.
    pub algorithm: SignatureAlgorithm,
    /// As for [`SignInput`].
    pub digest_or_message: Bytes,
    /// The signature or MAC. One of the wrong length is not valid; it is no error.
    pub signature: Bytes,
    /// ML-DSA only: the context, at most 255 bytes.
    pub context: Option<Bytes>,
    /// ML-DSA only: as for [`SignInput`].
    pub external_mu: bool,
}

/// What to encrypt or wrap.
#[derive(Clone)]
pub struct EncryptInput {
    /// The algorithm; must fit the key.
    pub algorithm: EncryptionAlgorithm,
    /// The data or key, at most 1 MiB; the algorithm may want less.
    pub plaintext: Bytes,
    /// AES-CBC: 16 bytes, needed. AES-GCM: refused, the module draws it. Others: ignored.
    pub iv: Option<Bytes>,
    /// AES-GCM: additional authenticated data. Others: ignored.
    pub aad: Option<Bytes>,
}

impl fmt::Debug for EncryptInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptInput").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// What an encrypt or wrap gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The ciphertext, without IV and tag.
    pub value: Vec<u8>,
    /// AES-GCM: the 12 bytes drawn. AES-CBC: the 16 bytes given.
    pub iv: Option<Vec<u8>>,
    /// AES-GCM: 16 bytes.
    pub tag: Option<Vec<u8>>,
}

/// What to decrypt or unwrap.
#[derive(Clone, Debug)]
pub struct DecryptInput {
    /// The algorithm; must fit the key.
    pub algorithm: EncryptionAlgorithm,
    /// The ciphertext, without IV and tag.
    pub ciphertext: Bytes,
    /// AES-GCM: 12 bytes. AES-CBC: 16 bytes. Others: ignored.
    pub iv: Option<Bytes>,
    /// AES-GCM: 16 bytes. Others: ignored.
    pub tag: Option<Bytes>,
    /// AES-GCM: the additional data of the encryption. Others: ignored.
    pub aad: Option<Bytes>,
}

/// The cryptographic module of one pool: the only thing that holds its plaintext keys.
///
/// Used as `Arc<dyn Module>`. Every request is an owned value, so the module may live in another process or be a real
/// HSM. Calls with `async` may wait for a worker; the others compute where they stand and take microseconds.
#[async_trait]
pub trait Module: Send + Sync {
    /// Makes the sealing key of a new key name and seals it, bound to `key_path`. Removing every copy of the result
    /// destroys all versions of the key.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn new_sealing_key(&self, key_path: &str) -> Result<Bytes, Error>;

    /// Makes a key version.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a size or exponent that is not generated, or facts over their limits;
    /// [`Error::Busy`] if too many wait; [`Error::Tampered`] if the sealing key does not open.
    async fn generate(&self, request: GenerateKey) -> Result<SealedKey, Error>;

    /// Takes in a key version, after checking that its parts belong together and that it works.
    ///
    /// # Errors
    /// [`Error::KeyMaterial`] saying what is wrong; otherwise as [`Module::generate`].
    async fn import(&self, request: ImportKey) -> Result<SealedKey, Error>;

    /// Authenticates what the store holds for a key version. The material stays sealed until it is used.
    ///
    /// # Errors
    /// [`Error::Tampered`] unless `value` was made by this pool's module for these paths and this sealing key.
    fn load(&self, path: &str, key_path: &str, sealing_key: &Bytes, value: Bytes) -> Result<SealedKey, Error>;

    /// Makes the next record of a key version: same material, new facts, sequence one higher.
    ///
    /// # Errors
    /// [`Error::PolicyImmutable`] if the present policy is immutable and would change in any way;
    /// [`Error::InvalidInput`] if `created` would change or facts are over their limits.
    fn update(&self, key: &SealedKey, facts: KeyFacts) -> Result<SealedKey, Error>;

    /// Drops the opened form of `key` from the module's memory, as after a purge, and keeps none any more.
    fn forget(&self, key: &SealedKey);

    /// Signs. RSA: as long as the modulus. ECDSA: `r ‖ s`, each padded to the field. HMAC: the MAC.
    ///
    /// # Errors
    /// [`Error::AlgorithmMismatch`], [`Error::InvalidInput`] for a digest of the wrong length or data too long,
    /// [`Error::Busy`], [`Error::Tampered`].
    ///
    /// Source: keys document, operation `sign`; RFC 7518 section 3.
    async fn sign(&self, key: &SealedKey, input: SignInput) -> Result<Vec<u8>, Error>;

    /// Tells whether a signature or MAC is valid. MACs are compared in constant time.
    ///
    /// # Errors
    /// As [`Module::sign`]; an invalid signature is `Ok(false)`.
    async fn verify(&self, key: &SealedKey, input: VerifyInput) -> Result<bool, Error>;

    /// Encrypts data or wraps a key.
    ///
    /// # Errors
    /// [`Error::AlgorithmMismatch`], [`Error::InvalidInput`] for a length or IV that the algorithm does not take.
    async fn encrypt(&self, key: &SealedKey, input: EncryptInput) -> Result<Encrypted, Error>;

    /// Decrypts data or unwraps a key.
    ///
    /// # Errors
    /// [`Error::Refused`] for every ciphertext that does not decrypt, whatever the cause;
    /// [`Error::InvalidInput`] for an IV or tag that is missing or has the wrong length; [`Error::AlgorithmMismatch`],
    /// [`Error::Busy`], [`Error::Tampered`].
    async fn decrypt(&self, key: &SealedKey, input: DecryptInput) -> Result<Plaintext, Error>;

    /// Random bytes for a caller, 1 to [`MOST_RANDOM_BYTES`].
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for another count.
    fn random(&self, count: usize) -> Result<Vec<u8>, Error>;

    /// Seals any other value of the pool (at most 1 MiB), bound to its path.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if it is longer.
    fn seal_value(&self, path: &str, sequence: u64, value: &[u8]) -> Result<Bytes, Error>;

    /// Opens what [`Module::seal_value`] made for the same path: its sequence and value.
    ///
    /// # Errors
    /// [`Error::Tampered`].
    fn open_value(&self, path: &str, sealed: &[u8]) -> Result<(u64, Vec<u8>), Error>;

    /// The element that stands in the head for `value` (as stored) at `path`.
    fn element(&self, path: &str, value: &[u8]) -> Element;

    /// The head of a pool in which nothing is stored: sequence 0.
    fn empty_head(&self) -> Head;

    /// The head after a commit that takes `removed` away and puts `added` in, and its sealed form to store.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn advance_head(&self, head: &Head, removed: &[Element], added: &[Element]) -> Result<(Head, Bytes), Error>;

    /// Opens a stored head. Whether it is the newest is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Tampered`].
    fn open_head(&self, sealed: &[u8]) -> Result<Head, Error>;

    /// The signing key of the log with this origin line.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn log_key(&self, origin: &str) -> Result<Arc<dyn LogKey>, Error>;

    /// What `hsmPlatform` says of this module's keys.
    fn platform(&self) -> &'static str;
}
