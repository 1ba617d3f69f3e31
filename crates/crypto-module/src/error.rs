//! Why the module did not do what it was asked, by what the caller can do next.

use std::path::PathBuf;

/// Why a call failed. None of these texts holds a byte of a key, of caller data, or of a sealed value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of waiting work is full. Try again later.
    #[error("the cryptographic module has too much waiting work")]
    Busy,
    /// The caller's input has the wrong shape. Nothing was computed.
    #[error("{what}")]
    InvalidInput {
        /// What is wrong with which part, for the caller to read.
        what: &'static str,
    },
    /// The algorithm does not fit the key.
    #[error(transparent)]
    AlgorithmMismatch(#[from] model::AlgorithmError),
    /// Key material to import is malformed, inconsistent, or too weak.
    #[error("key material: {what}")]
    KeyMaterial {
        /// What is wrong, for the caller to read.
        what: &'static str,
    },
    /// The ciphertext does not decrypt or unwrap under this key. Every cause looks like this.
    #[error("the value cannot be decrypted with this key")]
    Refused,
    /// A sealed value did not open: it was changed, moved, or sealed under another root. Stop serving it.
    #[error("a sealed value does not open")]
    Tampered,
    /// The release policy of the key version is immutable, and the new facts would change or drop it.
    #[error("the release policy of this key version cannot be changed")]
    PolicyImmutable,
    /// The file of the node key cannot be used; an operator has to look.
    #[error("node key file {}: {problem}", .path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
        /// The operating system's answer, where it gave one.
        source: Option<std::io::Error>,
    },
    /// The module cannot work now: no memory, no thread, no randomness.
    #[error("the cryptographic module is not available")]
    Unavailable,
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    /// The library tells nothing but that it failed; where the caller's input can be the cause, the call site says so.
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Unavailable
    }
}
