//! ECDSA on four curves (FIPS 186-5; RFC 8812 for P-256K).

use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED,
    ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
};
use model::{Curve, KeyKind};
use zeroize::Zeroizing;

use super::{NewKey, PublicKey, stripped};
use crate::Error;
use crate::secret::SecretBytes;

/// A parsed private key.
pub(crate) struct EcKey {
    pair: EcdsaKeyPair,
    hash: &'static digest::Algorithm,
}

impl EcKey {
    pub(super) fn parse(curve: Curve, x: &[u8], y: &[u8], scalar: &[u8]) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing(curve), scalar, &point(x, y));
        Ok(Self { pair: pair.map_err(|_| Error::Tampered)?, hash: hash(curve) })
    }

    /// Signs a digest: `r ‖ s`, each padded to the field.
    pub(super) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = Digest::import_less_safe(digest, self.hash)?;
        Ok(self.pair.sign_digest(&digest)?.as_ref().to_vec())
    }
}

pub(super) fn generate(curve: Curve) -> Result<NewKey, Error> {
    let pair = EcdsaKeyPair::generate(signing(curve))?;
    let scalar = pair.private_key().as_be_bytes()?;
    let field = curve.field_bytes();
    // 04, then both coordinates.
    let coordinates = &pair.public_key().as_ref()[1..];
    let (x, y) = coordinates.split_at_checked(field).ok_or(Error::Unavailable)?;
    let material = SecretBytes::copy_of(&padded(scalar.as_ref(), field).ok_or(Error::Unavailable)?);
    Ok(NewKey { kind: KeyKind::Ec(curve), public: PublicKey::Ec { curve, x: x.into(), y: y.into() }, material })
}

pub(super) fn import(curve: Curve, x: &[u8], y: &[u8], d: &SecretBytes) -> Result<NewKey, Error> {
    let field = curve.field_bytes();
    let (Some(x), Some(y), Some(d)) = (padded(x, field), padded(y, field), padded(d.expose(), field)) else {
        return Err(Error::KeyMaterial { what: "a part of the EC key is longer than its curve's field" });
    };
    EcdsaKeyPair::from_private_key_and_public_key(signing(curve), &d, &point(&x, &y)).map_err(|_| {
        Error::KeyMaterial { what: "the point is not on the curve, or the private part does not belong to it" }
    })?;
    let public = PublicKey::Ec { curve, x: x.as_slice().into(), y: y.as_slice().into() };
    Ok(NewKey { kind: KeyKind::Ec(curve), public, material: SecretBytes::copy_of(&d) })
}

pub(super) fn verify(curve: Curve, x: &[u8], y: &[u8], digest: &[u8], signature: &[u8]) -> Result<bool, Error> {
    let field = curve.field_bytes();
    if x.len() != field || y.len() != field {
        return Err(Error::InvalidInput { what: "a coordinate has not the length of its curve's field" });
    }
    if signature.len() != 2 * field {
        return Ok(false);
    }
    let digest = Digest::import_less_safe(digest, hash(curve))?;
    let key = UnparsedPublicKey::new(verifying(curve), point(x, y));
    let key = key.parse().map_err(|_| Error::InvalidInput { what: "the point is not on the curve" })?;
    Ok(key.verify_digest_sig(&digest, signature).is_ok())
}

/// The uncompressed form of a point (SEC 1, section 2.3.3).
fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// `number` in exactly `len` bytes, if it fits.
fn padded(number: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let number = stripped(number);
    let mut out = Zeroizing::new(vec![0; len]);
    let start = len.checked_sub(number.len())?;
    out[start..].copy_from_slice(number);
    Some(out)
}

fn signing(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P256K => &ECDSA_P256K1_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

fn verifying(curve: Curve) -> &'static EcdsaVerificationAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P256K => &ECDSA_P256K1_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED,
    }
}

fn hash(curve: Curve) -> &'static digest::Algorithm {
    match curve {
        Curve::P256 | Curve::P256K => &SHA256,
        Curve::P384 => &SHA384,
        Curve::P521 => &SHA512,
    }
}
