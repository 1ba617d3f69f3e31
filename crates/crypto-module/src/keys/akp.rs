//! ML-DSA (FIPS 204).

use bytes::Bytes;
use model::{KeyKind, MlDsa};
use zeroize::Zeroizing;

use super::{NewKey, PublicKey};
use crate::Error;
use crate::aws_lc::{Message, MlDsaPrivateKey, MlDsaPublicKey};
use crate::seal;
use crate::secret::SecretBytes;

const SEED: usize = 32;
const LONGEST_CONTEXT: usize = 255;
/// How material begins.
const FORM_SEED: u8 = 1;
const FORM_EXPANDED: u8 = 2;

/// A parsed private key.
pub(crate) struct AkpKey(MlDsaPrivateKey);

impl AkpKey {
    pub(super) fn parse(set: MlDsa, material: &[u8]) -> Result<Self, Error> {
        let (form, private) = material.split_first().ok_or(Error::Tampered)?;
        let expected = match *form {
            FORM_SEED => SEED,
            FORM_EXPANDED => expanded_len(set),
            _ => return Err(Error::Tampered),
        };
        if private.len() != expected {
            return Err(Error::Tampered);
        }
        MlDsaPrivateKey::from_bytes(set, private).map(Self).ok_or(Error::Tampered)
    }

    pub(super) fn sign(&self, message: &[u8], mode: Message<'_>) -> Result<Vec<u8>, Error> {
        self.0.sign(checked(message, mode)?, mode).ok_or(Error::Unavailable)
    }
}

pub(super) fn generate(set: MlDsa) -> Result<NewKey, Error> {
    let mut material = Zeroizing::new([FORM_SEED; 1 + SEED]);
    seal::random(&mut material[1..])?;
    let public = MlDsaPrivateKey::from_bytes(set, &material[1..]).and_then(|key| key.public());
    let public = public.ok_or(Error::Unavailable)?;
    let material = SecretBytes::copy_of(&*material);
    Ok(NewKey { kind: KeyKind::Akp(set), public: PublicKey::Akp { set, public }, material })
}

pub(super) fn import(set: MlDsa, public: Box<[u8]>, private: &SecretBytes) -> Result<NewKey, Error> {
    let form = match private.len() {
        SEED => FORM_SEED,
        len if len == expanded_len(set) => FORM_EXPANDED,
        _ => return Err(Error::KeyMaterial { what: "an ML-DSA private key is a 32-byte seed or the expanded form" }),
    };
    let mismatch = Error::KeyMaterial { what: "the private part does not belong to the public part" };
    let derived = MlDsaPrivateKey::from_bytes(set, private.expose()).and_then(|key| key.public());
    if derived.as_ref() != Some(&public) {
        return Err(mismatch);
    }
    let mut material = Zeroizing::new(Vec::with_capacity(1 + private.len()));
    material.push(form);
    material.extend_from_slice(private.expose());
    let material = SecretBytes::copy_of(&material);
    Ok(NewKey { kind: KeyKind::Akp(set), public: PublicKey::Akp { set, public }, material })
}

pub(super) fn verify(
    set: MlDsa,
    public: &[u8],
    message: &[u8],
    mode: Message<'_>,
    signature: &[u8],
) -> Result<bool, Error> {
    let message = checked(message, mode)?;
    if public.len() != public_len(set) {
        return Err(Error::InvalidInput { what: "the ML-DSA public key has the wrong length" });
    }
    if signature.len() != signature_len(set) {
        return Ok(false);
    }
    let key = MlDsaPublicKey::from_bytes(set, public);
    Ok(key.ok_or(Error::Unavailable)?.verify(message, mode, signature))
}

/// What the caller's fields mean together.
pub(super) fn mode(context: &Option<Bytes>, external_mu: bool) -> Result<Message<'_>, Error> {
    match (context, external_mu) {
        (Some(context), false) if context.len() > LONGEST_CONTEXT => {
            Err(Error::InvalidInput { what: "an ML-DSA context has at most 255 bytes" })
        }
        (Some(context), false) => Ok(Message::Whole { context }),
        (None, false) => Ok(Message::Whole { context: &[] }),
        (None, true) => Ok(Message::Mu),
        (Some(_), true) => Err(Error::InvalidInput { what: "an external mu already contains the context" }),
    }
}

fn checked<'a>(message: &'a [u8], mode: Message<'_>) -> Result<&'a [u8], Error> {
    match mode {
        Message::Mu if message.len() != 64 => Err(Error::InvalidInput { what: "an external mu has 64 bytes" }),
        _ => Ok(message),
    }
}

/// Length of an encoded public key (FIPS 204, table 2).
pub(crate) fn public_len(set: MlDsa) -> usize {
    match set {
        MlDsa::MlDsa44 => 1312,
        MlDsa::MlDsa65 => 1952,
        MlDsa::MlDsa87 => 2592,
    }
}

fn expanded_len(set: MlDsa) -> usize {
    match set {
        MlDsa::MlDsa44 => 2560,
        MlDsa::MlDsa65 => 4032,
        MlDsa::MlDsa87 => 4896,
    }
}

/// Length of a signature (FIPS 204, table 2).
pub(crate) fn signature_len(set: MlDsa) -> usize {
    match set {
        MlDsa::MlDsa44 => 2420,
        MlDsa::MlDsa65 => 3309,
        MlDsa::MlDsa87 => 4627,
    }
}
