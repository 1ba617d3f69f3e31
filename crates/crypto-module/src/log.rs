//! Keys that sign checkpoints of audit logs; see `SPEC.md`, section 6.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::Error;
use crate::hierarchy::{Master, Masters};
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
