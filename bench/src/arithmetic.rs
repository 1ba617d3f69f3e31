//! The arithmetic of the requests, by the library alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use clap::ValueEnum;

/// What clients ask for in a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Operation {
    /// RS256 with 2048 bits.
    RsaSign,
    /// ES256.
    EcSign,
    /// A key of 32 bytes wrapped under an AES key of 256 bits.
    AesWrap,
}

impl Operation {
    /// As the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RsaSign => "RSA-2048 sign",
            Self::EcSign => "ES256 sign",
            Self::AesWrap => "AES-256 key wrap",
        }
    }
}

/// One key, ready to be used again and again.
pub(crate) enum Arithmetic {
    Rsa(Box<RsaKeyPair>, Digest),
    Ec(Box<EcdsaKeyPair>, Digest),
    /// The library takes a key anew for each wrap.
    Wrap([u8; 32]),
}

impl Arithmetic {
    /// Makes a key for `operation`.
    pub(crate) fn new(operation: Operation) -> anyhow::Result<Self> {
        let digest = Digest::import_less_safe(&[7; 32], &SHA256).context("32 bytes are a SHA-256 digest")?;
        Ok(match operation {
            Operation::RsaSign => Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048)?), digest),
            Operation::EcSign => Self::Ec(Box::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?), digest),
            Operation::AesWrap => Self::Wrap([7; 32]),
        })
    }

    /// Does it once.
    pub(crate) fn once(&self) -> anyhow::Result<()> {
        match self {
            Self::Rsa(key, digest) => {
                let mut signature = [0; 256];
                key.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature)?;
                black_box(&signature);
            }
            Self::Ec(key, digest) => drop(black_box(key.sign_digest(digest)?)),
            Self::Wrap(key) => {
                let mut wrapped = [0; 40];
                black_box(AesKek::new(&AES_256, key)?.wrap(&[9; 32], &mut wrapped)?);
            }
        }
        Ok(())
    }

    /// How often a second it can be done, in a thread that does nothing else for `window`.
    pub(crate) fn rate(&self, window: Duration) -> anyhow::Result<f64> {
        let (begun, mut done) = (Instant::now(), 0_u32);
        while begun.elapsed() < window {
            self.once()?;
            done += 1;
        }
        Ok(f64::from(done) / begun.elapsed().as_secs_f64())
    }
}
