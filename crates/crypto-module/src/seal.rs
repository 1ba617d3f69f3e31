//! Derivation and the one seal that protects everything at rest; see `SPEC.md`, sections 1 and 2.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac};
use zeroize::Zeroizing;

use crate::Error;
use crate::codec::{Reader, VERSION, put_long};

/// Length of every symmetric key of the hierarchy.
pub(crate) const KEY: usize = 32;
const SALT: usize = 32;
const TAG: usize = 16;
/// The longest plaintext of one seal: a value of 1 MiB and the fields around it.
const LONGEST: usize = (1 << 20) + (1 << 16);

/// What a seal protects. Part of the additional data, so that one thing never opens as another.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    PoolRoot,
    SealingKey,
    KeyMaterial,
    KeyRecord,
    Value,
    Head,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::PoolRoot => b"pool root",
            Self::SealingKey => b"sealing key",
            Self::KeyMaterial => b"key material",
            Self::KeyRecord => b"key record",
            Self::Value => b"value",
            Self::Head => b"head",
        }
    }
}

/// SP 800-108 KBKDF in counter mode with HMAC-SHA-512.
pub(crate) fn derive(parent: &[u8; KEY], label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let algorithm = get_kbkdf_ctr_hmac_algorithm(KbkdfCtrHmacAlgorithmId::Sha512).ok_or(Error::Unavailable)?;
    let bits = u32::try_from(out.len() * 8).map_err(|_| Error::Unavailable)?;
    let mut fixed = Vec::with_capacity(label.len() + 1 + context.len() + 4);
    fixed.extend_from_slice(label.as_bytes());
    fixed.push(0);
    fixed.extend_from_slice(context);
    fixed.extend_from_slice(&bits.to_be_bytes());
    Ok(kbkdf_ctr_hmac(algorithm, parent, &fixed, out)?)
}

/// Fills `out` from the library's generator.
pub(crate) fn random(out: &mut [u8]) -> Result<(), Error> {
    Ok(aws_lc_rs::rand::fill(out)?)
}

/// Seals `plaintext` under a key derived for this seal alone.
pub(crate) fn seal(
    parent: &[u8; KEY],
    purpose: Purpose,
    bindings: &[&[u8]],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    if plaintext.len() > LONGEST {
        return Err(Error::InvalidInput { what: "the value is longer than 1 MiB" });
    }
    let mut salt = [0; SALT];
    random(&mut salt)?;
    let (key, nonce) = seal_key(parent, &salt)?;
    let aad = additional_data(purpose, bindings)?;

    let mut sealed = Vec::with_capacity(1 + SALT + plaintext.len() + TAG);
    sealed.push(VERSION);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plaintext);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed[1 + SALT..])?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] made with the same arguments.
///
/// # Errors
/// [`Error::Tampered`] for everything else.
pub(crate) fn open(
    parent: &[u8; KEY],
    purpose: Purpose,
    bindings: &[&[u8]],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut reader = Reader::new(sealed);
    reader.version()?;
    let salt = reader.array::<SALT>()?;
    let body = reader.rest();
    if body.len() < TAG || body.len() > LONGEST + TAG {
        return Err(Error::Tampered);
    }
    let (key, nonce) = seal_key(parent, &salt)?;
    let aad = additional_data(purpose, bindings)?;
    let mut plaintext = Zeroizing::new(body.to_vec());
    let len = key.open_in_place(nonce, Aad::from(aad), &mut plaintext).map_err(|_| Error::Tampered)?.len();
    plaintext.truncate(len);
    Ok(plaintext)
}

fn seal_key(parent: &[u8; KEY], salt: &[u8; SALT]) -> Result<(LessSafeKey, Nonce), Error> {
    let mut derived = Zeroizing::new([0; KEY + NONCE_LEN]);
    derive(parent, "strongroom/1/seal", salt, &mut *derived)?;
    let (key, nonce) = derived.split_at(KEY);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?);
    Ok((key, Nonce::try_assume_unique_for_key(nonce)?))
}

fn additional_data(purpose: Purpose, bindings: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let len = bindings.iter().map(|binding| binding.len() + 4).sum::<usize>();
    let mut aad = Vec::with_capacity(len + 32);
    aad.push(VERSION);
    for field in [purpose.label()].iter().chain(bindings) {
        put_long(&mut aad, field, "a path is too long")?;
    }
    Ok(aad)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    #[test]
    fn derivation_is_hmac_over_counter_label_zero_context_and_bits() {
        let parent = [7; KEY];
        let mut out = [0; 44];
        derive(&parent, "label", b"context", &mut out).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA512, &parent);
        let expected = hmac::sign(&key, b"\x00\x00\x00\x01label\x00context\x00\x00\x01\x60");
        assert_eq!(out, expected.as_ref()[..44]);
    }

    #[test]
    fn a_seal_opens_only_with_the_same_parent_purpose_and_bindings() {
        let sealed = seal(&[1; KEY], Purpose::Value, &[b"a", b"b"], b"text").unwrap();
        assert_eq!(sealed.len(), 1 + 32 + 4 + 16);
        assert_eq!(**open(&[1; KEY], Purpose::Value, &[b"a", b"b"], &sealed).unwrap(), *b"text");
        for (parent, purpose, bindings) in [
            ([2; KEY], Purpose::Value, [&b"a"[..], b"b"]),
            ([1; KEY], Purpose::Head, [b"a", b"b"]),
            ([1; KEY], Purpose::Value, [b"ab", b""]),
        ] {
            assert!(matches!(open(&parent, purpose, &bindings, &sealed), Err(Error::Tampered)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let sealed = seal(&[1; KEY], Purpose::Value, &[b"a"], b"text").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1 << (index % 8);
            assert!(matches!(open(&[1; KEY], Purpose::Value, &[b"a"], &changed), Err(Error::Tampered)));
            assert!(matches!(open(&[1; KEY], Purpose::Value, &[b"a"], &sealed[..index]), Err(Error::Tampered)));
        }
    }

    #[test]
    fn two_seals_of_the_same_text_share_nothing() {
        let [a, b] = [(); 2].map(|()| seal(&[1; KEY], Purpose::Value, &[], &[0; 64]).unwrap());
        assert_ne!(a[1..33], b[1..33]);
        assert_ne!(a[33..], b[33..]);
    }

    #[test]
    fn a_value_longer_than_the_limit_is_refused() {
        assert!(seal(&[1; KEY], Purpose::Value, &[], &vec![0; LONGEST]).is_ok());
        assert!(matches!(seal(&[1; KEY], Purpose::Value, &[], &vec![0; LONGEST + 1]), Err(Error::InvalidInput { .. })));
    }
}
