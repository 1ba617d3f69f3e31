//! Keys of the audit logs: those that sign checkpoints, and the one of a node's journal; see `SPEC.md`, section 6.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::Error;
use crate::hierarchy::{Master, Masters};
use crate::lock::Locked;
use crate::seal::{self, KEY};

/// The Ed25519 key of one log.
pub trait LogKey: Send + Sync {
    /// The public key (RFC 8032).
    fn public_key(&self) -> [u8; 32];

    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

pub(crate) struct SoftwareLogKey(Ed25519KeyPair);

impl SoftwareLogKey {
    pub(crate) fn derive(masters: &Masters, origin: &str) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; KEY]);
        seal::derive(masters.get(Master::Log), "strongroom/1/log", origin.as_bytes(), &mut *seed)?;
        Ed25519KeyPair::from_seed_unchecked(&*seed).map(Self).map_err(|_| Error::Unavailable)
    }
}

impl LogKey for SoftwareLogKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for SoftwareLogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(..)")
    }
}

/// The key under which a node authenticates what it writes to its audit journal.
pub struct JournalKey(Locked<KEY>);

impl JournalKey {
    pub(crate) fn derive(node_key: &[u8; KEY]) -> Result<Self, Error> {
        Locked::filled(|bytes| seal::derive(node_key, "strongroom/1/journal", b"", bytes)).map(Self)
    }

    /// HMAC-SHA-256 of `digest`.
    #[must_use]
    pub fn tag(&self, digest: &[u8; 32]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), digest);
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalKey(..)")
    }
}
