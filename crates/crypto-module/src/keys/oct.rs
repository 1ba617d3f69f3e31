//! Symmetric keys: AES in its modes, AES key wrap, HMAC.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use bytes::Bytes;
use model::{EncryptionAlgorithm, KeyKind, OctSize, SignatureAlgorithm};
use subtle::{Choice, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroizing;

use super::{NewKey, PublicKey};
use crate::Error;
use crate::aws_lc::{self, Wrap};
use crate::module::{DecryptInput, EncryptInput, Encrypted, LONGEST_INPUT};
use crate::seal;
use crate::secret::{Plaintext, SecretBytes};

const BLOCK: usize = 16;
const TAG: usize = 16;

/// A symmetric key. Its schedule is computed for each use, which takes less than a microsecond.
pub(crate) struct OctKey(SecretBytes);

impl OctKey {
    pub(super) fn new(material: &SecretBytes) -> Self {
        Self(SecretBytes::copy_of(material.expose()))
    }

    pub(super) fn mac(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(hmac::sign(&self.hmac_key(algorithm)?, message).as_ref().to_vec())
    }

    pub(super) fn verify_mac(&self, algorithm: SignatureAlgorithm, message: &[u8], mac: &[u8]) -> Result<bool, Error> {
        Ok(hmac::verify(&self.hmac_key(algorithm)?, message, mac).is_ok())
    }

    fn hmac_key(&self, algorithm: SignatureAlgorithm) -> Result<hmac::Key, Error> {
        let hash = match algorithm {
            SignatureAlgorithm::Hs256 => hmac::HMAC_SHA256,
            SignatureAlgorithm::Hs384 => hmac::HMAC_SHA384,
            SignatureAlgorithm::Hs512 => hmac::HMAC_SHA512,
            _ => return Err(Error::Unavailable),
        };
        Ok(hmac::Key::new(hash, self.0.expose()))
    }

    pub(super) fn encrypt(&self, input: &EncryptInput) -> Result<Encrypted, Error> {
        let plaintext = &input.plaintext[..];
        if plaintext.len() > LONGEST_INPUT {
            return Err(Error::InvalidInput { what: "the input is longer than 1 MiB" });
        }
        match Mode::of(input.algorithm)? {
            Mode::Gcm => self.seal_gcm(input),
            Mode::Cbc(padding) => {
                let iv = block(input.iv.as_ref(), "AES-CBC needs an iv of 16 bytes")?;
                let value = self.encrypt_cbc(iv, plaintext, padding)?;
                Ok(Encrypted { value, iv: Some(iv.to_vec()), tag: None })
            }
            Mode::Wrap(wrap) => {
                let fits = match wrap {
                    Wrap::Plain => plaintext.len() >= 16 && plaintext.len().is_multiple_of(8),
                    Wrap::Padded => !plaintext.is_empty(),
                };
                if !fits {
                    return Err(Error::InvalidInput {
                        what: "AES key wrap takes 16 bytes or more, a multiple of 8; with padding, 1 byte or more",
                    });
                }
                let value = aws_lc::aes_wrap(self.0.expose(), wrap, plaintext).ok_or(Error::Unavailable)?;
                Ok(Encrypted { value, iv: None, tag: None })
            }
        }
    }

    pub(super) fn decrypt(&self, input: &DecryptInput) -> Result<Plaintext, Error> {
        if input.ciphertext.len() > LONGEST_INPUT + BLOCK {
            return Err(Error::InvalidInput { what: "the input is longer than 1 MiB" });
        }
        match Mode::of(input.algorithm)? {
            Mode::Gcm => self.open_gcm(input),
            Mode::Cbc(padding) => {
                let iv = block(input.iv.as_ref(), "AES-CBC needs an iv of 16 bytes")?;
                self.decrypt_cbc(iv, &input.ciphertext, padding)
            }
            Mode::Wrap(wrap) => {
                aws_lc::aes_unwrap(self.0.expose(), wrap, &input.ciphertext).map(Plaintext::new).ok_or(Error::Refused)
            }
        }
    }

    fn seal_gcm(&self, input: &EncryptInput) -> Result<Encrypted, Error> {
        if input.iv.is_some() {
            return Err(Error::InvalidInput { what: "the iv of AES-GCM is chosen by the service" });
        }
        let mut iv = [0; aead::NONCE_LEN];
        seal::random(&mut iv)?;
        let mut value = input.plaintext.to_vec();
        let aad = Aad::from(aad(input.aad.as_ref())?);
        let nonce = Nonce::assume_unique_for_key(iv);
        let tag = self.gcm_key()?.seal_in_place_separate_tag(nonce, aad, &mut value)?;
        Ok(Encrypted { value, iv: Some(iv.to_vec()), tag: Some(tag.as_ref().to_vec()) })
    }

    fn open_gcm(&self, input: &DecryptInput) -> Result<Plaintext, Error> {
        let what = "AES-GCM needs an iv of 12 bytes and an authentication tag of 16";
        let (Some(iv), Some(tag)) = (&input.iv, &input.tag) else {
            return Err(Error::InvalidInput { what });
        };
        let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| Error::InvalidInput { what })?;
        if tag.len() != TAG {
            return Err(Error::InvalidInput { what });
        }
        let aad = Aad::from(aad(input.aad.as_ref())?);
        let mut out = Zeroizing::new(vec![0; input.ciphertext.len()]);
        self.gcm_key()?
            .open_separate_gather(nonce, aad, &input.ciphertext, tag, &mut out)
            .map_err(|_| Error::Refused)?;
        Ok(Plaintext::new(out))
    }

    fn gcm_key(&self) -> Result<LessSafeKey, Error> {
        let algorithm = match self.0.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            32 => &aead::AES_256_GCM,
            _ => return Err(Error::Unavailable),
        };
        Ok(LessSafeKey::new(UnboundKey::new(algorithm, self.0.expose())?))
    }

    fn encrypt_cbc(&self, iv: [u8; BLOCK], plaintext: &[u8], padding: Padding) -> Result<Vec<u8>, Error> {
        let (len, fill) = match padding {
            Padding::Zeros if plaintext.is_empty() => {
                return Err(Error::InvalidInput { what: "AES-CBC without padding needs some input" });
            }
            Padding::Zeros => (plaintext.len().next_multiple_of(BLOCK), 0),
            Padding::Pkcs7 => {
                let count = BLOCK - plaintext.len() % BLOCK;
                // 1 to 16.
                (plaintext.len() + count, count as u8)
            }
        };
        let mut value = Vec::with_capacity(len);
        value.extend_from_slice(plaintext);
        value.resize(len, fill);
        let key = EncryptingKey::cbc(self.cipher_key()?)?;
        key.less_safe_encrypt(&mut value, EncryptionContext::Iv128(FixedLength::from(iv)))?;
        Ok(value)
    }

    fn decrypt_cbc(&self, iv: [u8; BLOCK], ciphertext: &[u8], padding: Padding) -> Result<Plaintext, Error> {
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
            return Err(Error::Refused);
        }
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let key = DecryptingKey::cbc(self.cipher_key()?)?;
        key.decrypt(&mut text, DecryptionContext::Iv128(FixedLength::from(iv)))?;
        if padding == Padding::Pkcs7 {
            let len = without_padding(&text).ok_or(Error::Refused)?;
            text.truncate(len);
        }
        Ok(Plaintext::new(text))
    }

    fn cipher_key(&self) -> Result<UnboundCipherKey, Error> {
        let algorithm = match self.0.len() {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            32 => &cipher::AES_256,
            _ => return Err(Error::Unavailable),
        };
        Ok(UnboundCipherKey::new(algorithm, self.0.expose())?)
    }
}

pub(super) fn generate(size: OctSize) -> Result<NewKey, Error> {
    let mut bytes = Zeroizing::new([0; 64]);
    let bytes = &mut bytes[..size.bytes()];
    seal::random(bytes)?;
    Ok(NewKey { kind: KeyKind::Oct(size), public: PublicKey::None, material: SecretBytes::copy_of(bytes) })
}

/// Takes 16 to 64 bytes. Leading zeros are part of a symmetric key.
pub(super) fn import(k: SecretBytes) -> Result<NewKey, Error> {
    match OctSize::from_bytes(k.len()).filter(|size| size.bytes() >= 16) {
        Some(size) => Ok(NewKey { kind: KeyKind::Oct(size), public: PublicKey::None, material: k }),
        None => Err(Error::KeyMaterial { what: "a symmetric key has 16 to 64 bytes" }),
    }
}

enum Mode {
    Gcm,
    Cbc(Padding),
    Wrap(Wrap),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    /// Zero bytes up to a whole block; not removed.
    Zeros,
    Pkcs7,
}

impl Mode {
    fn of(algorithm: EncryptionAlgorithm) -> Result<Self, Error> {
        use EncryptionAlgorithm as A;
        match algorithm {
            A::A128Gcm | A::A192Gcm | A::A256Gcm => Ok(Self::Gcm),
            A::A128Cbc | A::A192Cbc | A::A256Cbc => Ok(Self::Cbc(Padding::Zeros)),
            A::A128CbcPad | A::A192CbcPad | A::A256CbcPad => Ok(Self::Cbc(Padding::Pkcs7)),
            A::A128Kw | A::A192Kw | A::A256Kw | A::CkmAesKeyWrap => Ok(Self::Wrap(Wrap::Plain)),
            A::CkmAesKeyWrapPad => Ok(Self::Wrap(Wrap::Padded)),
            A::RsaOaep | A::RsaOaep256 | A::Rsa15 => Err(Error::Unavailable),
        }
    }
}

fn block(iv: Option<&Bytes>, what: &'static str) -> Result<[u8; BLOCK], Error> {
    iv.and_then(|iv| iv[..].try_into().ok()).ok_or(Error::InvalidInput { what })
}

fn aad(aad: Option<&Bytes>) -> Result<&[u8], Error> {
    let aad = aad.map_or(&[][..], |aad| &aad[..]);
    if aad.len() > LONGEST_INPUT {
        return Err(Error::InvalidInput { what: "the additional data is longer than 1 MiB" });
    }
    Ok(aad)
}

/// The length of `text` without its PKCS#7 padding, found in a time that does not depend on the padding.
fn without_padding(text: &[u8]) -> Option<usize> {
    let last = *text.last()?;
    let block = &text[text.len().checked_sub(BLOCK)?..];
    let mut good = !last.ct_eq(&0) & last.ct_lt(&(BLOCK as u8 + 1));
    for (index, byte) in block.iter().rev().enumerate() {
        let outside: Choice = !(index as u8).ct_lt(&last);
        good &= outside | byte.ct_eq(&last);
    }
    bool::from(good).then(|| text.len() - usize::from(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off_only_if_every_byte_of_it_is_right() {
        for count in 1..=16_u8 {
            let mut text = vec![0xaa; 32];
            text[32 - usize::from(count)..].fill(count);
            assert_eq!(without_padding(&text), Some(32 - usize::from(count)));
            if count > 1 {
                text[32 - usize::from(count)] ^= 1;
                assert_eq!(without_padding(&text), None);
            }
        }
        for last in [0, 17, 32, 255] {
            assert_eq!(without_padding(&[last; 32]), None);
        }
        assert_eq!(without_padding(&[]), None);
        assert_eq!(without_padding(&[16; 16]), Some(0));
    }
}
