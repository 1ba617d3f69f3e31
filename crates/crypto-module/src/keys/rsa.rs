//! RSA: signatures, OAEP and PKCS#1 v1.5 encryption (RFC 8017).

use std::sync::OnceLock;

use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeyPair, KeyPairComponents, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaParameters, RsaSignatureEncoding,
};
use model::{EncryptionAlgorithm, KeyKind, RsaSize, SignatureAlgorithm};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{NewKey, PublicKey, RsaFactors, RsaMaterial, stripped};
use crate::Error;
use crate::aws_lc::{self, RsaPrivateKey};
use crate::secret::{Plaintext, SecretBytes};

/// A parsed private key. Signing is what it is mostly used for; the other forms are made at their first use.
pub(crate) struct RsaKey {
    pair: KeyPair,
    oaep: OnceLock<OaepPrivateDecryptingKey>,
    pkcs1: OnceLock<Pkcs1PrivateDecryptingKey>,
    raw: OnceLock<RsaPrivateKey>,
}

/// The most that PKCS#1 v1.5 padding adds.
const PKCS1_PADDING: usize = 11;

impl RsaKey {
    pub(super) fn parse(material: &SecretBytes) -> Result<Self, Error> {
        let pair = KeyPair::from_pkcs8(material.expose()).map_err(|_| Error::Tampered)?;
        Ok(Self { pair, oaep: OnceLock::new(), pkcs1: OnceLock::new(), raw: OnceLock::new() })
    }

    pub(super) fn weight(&self) -> u32 {
        // Numbers, Montgomery contexts and blinding, up to four forms: some 24 times the modulus.
        u32::try_from(self.pair.public_modulus_len() * 24).unwrap_or(u32::MAX)
    }

    pub(super) fn sign(&self, algorithm: SignatureAlgorithm, input: &[u8]) -> Result<Vec<u8>, Error> {
        let size = self.pair.public_modulus_len();
        let Some((encoding, hash)) = signing(algorithm) else {
            if input.len() > size - PKCS1_PADDING {
                return Err(Error::InvalidInput { what: "RSNULL signs at most the modulus less 11 bytes" });
            }
            return self.raw()?.sign_raw(input).ok_or(Error::Unavailable);
        };
        let digest = Digest::import_less_safe(input, hash)?;
        // Exactly the modulus: another length panics in the library.
        let mut signature = vec![0; size];
        self.pair.sign_digest(encoding, &digest, &mut signature)?;
        Ok(signature)
    }

    /// Every failure is the same [`Error::Refused`], so that nothing tells why a ciphertext was bad.
    pub(super) fn decrypt(&self, algorithm: EncryptionAlgorithm, ciphertext: &[u8]) -> Result<Plaintext, Error> {
        let size = self.pair.public_modulus_len();
        if ciphertext.len() != size {
            return Err(Error::Refused);
        }
        let mut out = Zeroizing::new(vec![0; size]);
        let opened = match oaep(algorithm) {
            Some(parameters) => {
                let key = made_once(&self.oaep, || Ok(OaepPrivateDecryptingKey::new(self.decrypting()?)?))?;
                key.decrypt(parameters, ciphertext, &mut out, None)
            }
            None => {
                let key = made_once(&self.pkcs1, || Ok(Pkcs1PrivateDecryptingKey::new(self.decrypting()?)?))?;
                key.decrypt(ciphertext, &mut out)
            }
        };
        let len = opened.map_err(|_| Error::Refused)?.len();
        out.truncate(len);
        Ok(Plaintext::new(out))
    }

    fn decrypting(&self) -> Result<PrivateDecryptingKey, Error> {
        PrivateDecryptingKey::from_pkcs8(self.pair.as_der()?.as_ref()).map_err(|_| Error::Unavailable)
    }

    fn raw(&self) -> Result<&RsaPrivateKey, Error> {
        made_once(&self.raw, || RsaPrivateKey::from_pkcs8(self.pair.as_der()?.as_ref()).ok_or(Error::Unavailable))
    }
}

/// The value of `cell`, made now if it is empty. Two threads may both make it; one result is kept.
fn made_once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

pub(super) fn generate(size: RsaSize, exponent: u64) -> Result<NewKey, Error> {
    let (n, material) = aws_lc::generate_rsa(size.bits(), exponent).ok_or(Error::Unavailable)?;
    let e = stripped(&exponent.to_be_bytes()).into();
    Ok(NewKey { kind: KeyKind::Rsa(size), public: PublicKey::Rsa { n, e }, material })
}

/// Reads a public exponent: odd, 3 to 2^32.
pub(crate) fn exponent(bytes: &[u8]) -> Option<u64> {
    let bytes = stripped(bytes);
    if bytes.len() > 4 {
        return None;
    }
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (value >= 3 && value % 2 == 1).then_some(value)
}

pub(super) fn import(parts: RsaMaterial) -> Result<NewKey, Error> {
    let n = stripped(&parts.n);
    let odd_size = Error::KeyMaterial { what: "an RSA modulus has 2048, 3072 or 4096 bits" };
    let size = n.first().filter(|first| **first >= 0x80).and_then(|_| RsaSize::from_bits(n.len() as u64 * 8));
    let size = size.ok_or(odd_size)?;
    let Some(value) = exponent(&parts.e) else {
        return Err(Error::KeyMaterial { what: "an RSA public exponent is odd, from 3 to 2^32" });
    };
    let inconsistent = || Error::KeyMaterial { what: "the parts of the RSA key do not belong together" };
    let e: Box<[u8]> = stripped(&value.to_be_bytes()).into();
    let d = stripped(parts.d.expose());
    if d.is_empty() || d.len() > n.len() {
        return Err(inconsistent());
    }
    let factors = match parts.factors {
        Some(factors) => factors,
        None => {
            let [p, q, dp, dq, qi] = aws_lc::recover_rsa_factors(n, &e, d).ok_or_else(inconsistent)?;
            RsaFactors { p, q, dp, dq, qi }
        }
    };
    let [p, q, dp, dq, qi] =
        [&factors.p, &factors.q, &factors.dp, &factors.dq, &factors.qi].map(|part| stripped(part.expose()));
    if [p, q, dp, dq, qi].iter().any(|part| part.is_empty() || part.len() > n.len()) {
        return Err(inconsistent());
    }
    let components =
        KeyPairComponents { public_key: PublicKeyComponents { n, e: &e[..] }, d, p, q, dP: dp, dQ: dq, qInv: qi };
    let pair = KeyPair::from_components(&components).map_err(|_| inconsistent())?;
    let material = SecretBytes::copy_of(pair.as_der()?.as_ref());
    Ok(NewKey { kind: KeyKind::Rsa(size), public: PublicKey::Rsa { n: n.into(), e }, material })
}

pub(super) fn verify(
    n: &[u8],
    e: &[u8],
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    if signature.len() != n.len() {
        return Ok(false);
    }
    let Some((parameters, hash)) = verifying(algorithm) else {
        if message.len() > n.len() - PKCS1_PADDING {
            return Ok(false);
        }
        let recovered = aws_lc::rsa_verify_raw(n, e, signature);
        return Ok(recovered.is_some_and(|recovered| recovered.ct_eq(message).into()));
    };
    let digest = Digest::import_less_safe(message, hash)?;
    let key = PublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| malformed())?;
    Ok(key.verify_digest_sig(&digest, signature).is_ok())
}

pub(super) fn encrypt(n: &[u8], e: &[u8], algorithm: EncryptionAlgorithm, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let too_long = || Error::InvalidInput { what: "the plaintext is too long for this key and algorithm" };
    let key: PublicEncryptingKey = PublicKeyComponents { n, e }.try_into().map_err(|_| malformed())?;
    let mut out = vec![0; n.len()];
    let len = match oaep(algorithm) {
        Some(parameters) => {
            let key = OaepPublicEncryptingKey::new(key)?;
            if plaintext.len() > key.max_plaintext_size(parameters) {
                return Err(too_long());
            }
            key.encrypt(parameters, plaintext, &mut out, None)?.len()
        }
        None => {
            let key = Pkcs1PublicEncryptingKey::new(key)?;
            if plaintext.len() > key.max_plaintext_size() {
                return Err(too_long());
            }
            key.encrypt(plaintext, &mut out)?.len()
        }
    };
    out.truncate(len);
    Ok(out)
}

fn malformed() -> Error {
    Error::InvalidInput { what: "the RSA public key is malformed" }
}

/// The padding and digest that sign, or `None` for RSNULL.
fn signing(algorithm: SignatureAlgorithm) -> Option<(&'static RsaSignatureEncoding, &'static digest::Algorithm)> {
    match algorithm {
        SignatureAlgorithm::Rs256 => Some((&RSA_PKCS1_SHA256, &SHA256)),
        SignatureAlgorithm::Rs384 => Some((&RSA_PKCS1_SHA384, &SHA384)),
        SignatureAlgorithm::Rs512 => Some((&RSA_PKCS1_SHA512, &SHA512)),
        SignatureAlgorithm::Ps256 => Some((&RSA_PSS_SHA256, &SHA256)),
        SignatureAlgorithm::Ps384 => Some((&RSA_PSS_SHA384, &SHA384)),
        SignatureAlgorithm::Ps512 => Some((&RSA_PSS_SHA512, &SHA512)),
        _ => None,
    }
}

/// The padding and digest that verify, or `None` for RSNULL.
fn verifying(algorithm: SignatureAlgorithm) -> Option<(&'static RsaParameters, &'static digest::Algorithm)> {
    match algorithm {
        SignatureAlgorithm::Rs256 => Some((&RSA_PKCS1_2048_8192_SHA256, &SHA256)),
        SignatureAlgorithm::Rs384 => Some((&RSA_PKCS1_2048_8192_SHA384, &SHA384)),
        SignatureAlgorithm::Rs512 => Some((&RSA_PKCS1_2048_8192_SHA512, &SHA512)),
        SignatureAlgorithm::Ps256 => Some((&RSA_PSS_2048_8192_SHA256, &SHA256)),
        SignatureAlgorithm::Ps384 => Some((&RSA_PSS_2048_8192_SHA384, &SHA384)),
        SignatureAlgorithm::Ps512 => Some((&RSA_PSS_2048_8192_SHA512, &SHA512)),
        _ => None,
    }
}

/// The OAEP parameters, or `None` for PKCS#1 v1.5.
fn oaep(algorithm: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match algorithm {
        EncryptionAlgorithm::RsaOaep => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaOaep256 => Some(&OAEP_SHA256_MGF1SHA256),
        _ => None,
    }
}
