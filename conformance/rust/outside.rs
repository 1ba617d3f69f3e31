//! The other side of every cryptographic result: the same arithmetic by libraries that the pool does not use.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{AesGcm, Nonce};
use azure_security_keyvault_keys::models::{CurveName, JsonWebKey, KeyType};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rand_core::{OsRng, RngCore};
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use sha1::Sha1;

/// Additional data of everything that is sealed with GCM here.
pub const CONTEXT: &[u8] = b"context";

/// A ciphertext or wrapped key, and what it takes to open it.
#[derive(Clone, Default, Debug)]
pub struct Sealed {
    pub value: Vec<u8>,
    pub iv: Option<Vec<u8>>,
    pub tag: Option<Vec<u8>>,
}

/// A key made outside.
pub enum Private {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::SecretKey),
    P256K(k256::SecretKey),
    P384(p384::SecretKey),
    P521(p521::SecretKey),
    Oct(Vec<u8>),
}

/// One key of each type and size of the table, ML-DSA apart.
pub static KEYS: LazyLock<BTreeMap<(&str, &str), Private>> = LazyLock::new(|| {
    let rsa = |size| Private::Rsa(Box::new(RsaPrivateKey::new(&mut OsRng, size).unwrap()));
    BTreeMap::from([
        (("RSA", "2048"), rsa(2048)),
        (("RSA", "3072"), rsa(3072)),
        (("RSA", "4096"), rsa(4096)),
        (("EC", "P-256"), Private::P256(p256::SecretKey::random(&mut OsRng))),
        (("EC", "P-256K"), Private::P256K(k256::SecretKey::random(&mut OsRng))),
        (("EC", "P-384"), Private::P384(p384::SecretKey::random(&mut OsRng))),
        (("EC", "P-521"), Private::P521(p521::SecretKey::random(&mut OsRng))),
        (("oct", "128"), Private::Oct(random(16))),
        (("oct", "192"), Private::Oct(random(24))),
        (("oct", "256"), Private::Oct(random(32))),
    ])
});

pub fn random(length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    OsRng.fill_bytes(&mut octets);
    octets
}

/// What is handed in to be signed: a digest, or the message where the algorithm takes that.
pub fn signing_input(algorithm: &str) -> Vec<u8> {
    let message = b"message";
    match &algorithm[2..] {
        _ if algorithm.starts_with("HS") || algorithm == "RSNULL" => message.to_vec(),
        "256" | "256K" => Sha256::digest(message).to_vec(),
        "384" => Sha384::digest(message).to_vec(),
        _ => Sha512::digest(message).to_vec(),
    }
}

/// Does the same for whichever curve a key lies on.
macro_rules! on_its_curve {
    ($private:expr, $curve:ident, $secret:ident => $body:expr) => {
        match $private {
            Private::P256($secret) => {
                use p256 as $curve;
                $body
            }
            Private::P256K($secret) => {
                use k256 as $curve;
                $body
            }
            Private::P384($secret) => {
                use p384 as $curve;
                $body
            }
            Private::P521($secret) => {
                use p521 as $curve;
                $body
            }
            Private::Rsa(_) | Private::Oct(_) => panic!("not a key on a curve"),
        }
    };
}

impl Private {
    /// The key as it is imported, every private part of it.
    pub fn jwk(&self) -> JsonWebKey {
        let octets = |number: &BigUint| Some(number.to_bytes_be());
        match self {
            Self::Oct(k) => JsonWebKey {
                kty: Some(KeyType::OctHsm),
                k: Some(k.clone()),
                key_ops: Some(
                    ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"].map(str::to_owned).to_vec(),
                ),
                ..Default::default()
            },
            Self::Rsa(key) => JsonWebKey {
                kty: Some(KeyType::Rsa),
                n: octets(key.n()),
                e: octets(key.e()),
                d: octets(key.d()),
                p: octets(&key.primes()[0]),
                q: octets(&key.primes()[1]),
                dp: octets(key.dp().unwrap()),
                dq: octets(key.dq().unwrap()),
                qi: octets(&key.crt_coefficient().unwrap()),
                ..Default::default()
            },
            _ => {
                let (d, point) = on_its_curve!(self, curve, secret => {
                    let public: curve::PublicKey = secret.public_key();
                    let point = public.to_encoded_point(false);
                    (secret.to_bytes().to_vec(), point.as_bytes().to_vec())
                });
                let (x, y) = point[1..].split_at(point.len() / 2);
                JsonWebKey {
                    kty: Some(KeyType::Ec),
                    crv: Some(self.curve()),
                    d: Some(d),
                    x: Some(x.to_vec()),
                    y: Some(y.to_vec()),
                    ..Default::default()
                }
            }
        }
    }

    fn curve(&self) -> CurveName {
        match self {
            Self::P256(_) => CurveName::P256,
            Self::P256K(_) => CurveName::P256K,
            Self::P384(_) => CurveName::P384,
            Self::P521(_) => CurveName::P521,
            Self::Rsa(_) | Self::Oct(_) => panic!("not a key on a curve"),
        }
    }

    /// A signature or a MAC.
    pub fn sign(&self, algorithm: &str, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Oct(key) => mac(algorithm, key, content),
            Self::Rsa(key) => match algorithm {
                "PS256" => key.sign_with_rng(&mut OsRng, Pss::new::<Sha256>(), content).unwrap(),
                "PS384" => key.sign_with_rng(&mut OsRng, Pss::new::<Sha384>(), content).unwrap(),
                "PS512" => key.sign_with_rng(&mut OsRng, Pss::new::<Sha512>(), content).unwrap(),
                _ => key.sign(pkcs1(algorithm), content).unwrap(),
            },
            _ => on_its_curve!(self, curve, secret => {
                let signature: curve::ecdsa::Signature =
                    curve::ecdsa::SigningKey::from_bytes(&secret.to_bytes()).unwrap().sign_prehash(content).unwrap();
                signature.to_bytes().to_vec()
            }),
        }
    }

    /// Whether a MAC is this key's over `content`.
    pub fn is_mac(&self, algorithm: &str, content: &[u8], found: &[u8]) -> bool {
        matches!(self, Self::Oct(key) if mac(algorithm, key, content) == found)
    }

    /// Encrypts or wraps.
    pub fn seal(&self, algorithm: &str, plaintext: &[u8]) -> Sealed {
        match self {
            Self::Oct(key) => aes_seal(key, algorithm, plaintext),
            Self::Rsa(key) => {
                Sealed { value: rsa_seal(&key.to_public_key(), algorithm, plaintext), ..Sealed::default() }
            }
            _ => panic!("keys on curves do not encrypt"),
        }
    }

    /// Decrypts or unwraps; the zero bytes that CBC was filled with included.
    pub fn open(&self, algorithm: &str, sealed: &Sealed) -> Vec<u8> {
        match self {
            Self::Oct(key) => aes_open(key, algorithm, sealed),
            Self::Rsa(key) => match algorithm {
                "RSA-OAEP" => key.decrypt(Oaep::new::<Sha1>(), &sealed.value).unwrap(),
                "RSA-OAEP-256" => key.decrypt(Oaep::new::<Sha256>(), &sealed.value).unwrap(),
                _ => key.decrypt(Pkcs1v15Encrypt, &sealed.value).unwrap(),
            },
            _ => panic!("keys on curves do not decrypt"),
        }
    }
}

/// Whether a signature is valid under the public half that the pool shows.
pub fn is_valid(jwk: &JsonWebKey, algorithm: &str, content: &[u8], signature: &[u8]) -> bool {
    if jwk.n.is_some() {
        let key = rsa_public(jwk);
        return match algorithm {
            "PS256" => key.verify(Pss::new::<Sha256>(), content, signature),
            "PS384" => key.verify(Pss::new::<Sha384>(), content, signature),
            "PS512" => key.verify(Pss::new::<Sha512>(), content, signature),
            _ => key.verify(pkcs1(algorithm), content, signature),
        }
        .is_ok();
    }
    let point = [&[4], jwk.x.as_deref().unwrap(), jwk.y.as_deref().unwrap()].concat();
    macro_rules! valid {
        ($curve:ident) => {{
            let signature = $curve::ecdsa::Signature::from_slice(signature).unwrap();
            // One of these libraries takes only the smaller of the two numbers that are equally good as s.
            let signature = signature.normalize_s().unwrap_or(signature);
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
            key.verify_prehash(content, &signature).is_ok()
        }};
    }
    match jwk.crv.as_ref().unwrap() {
        CurveName::P256 => valid!(p256),
        CurveName::P256K => valid!(k256),
        CurveName::P384 => valid!(p384),
        CurveName::P521 => valid!(p521),
        other => panic!("no such curve: {other}"),
    }
}

/// Encrypts under the public half that the pool shows.
pub fn seal_to(jwk: &JsonWebKey, algorithm: &str, plaintext: &[u8]) -> Sealed {
    Sealed { value: rsa_seal(&rsa_public(jwk), algorithm, plaintext), ..Sealed::default() }
}

fn rsa_public(jwk: &JsonWebKey) -> RsaPublicKey {
    let number = |octets: &Option<Vec<u8>>| BigUint::from_bytes_be(octets.as_deref().unwrap());
    RsaPublicKey::new(number(&jwk.n), number(&jwk.e)).unwrap()
}

fn rsa_seal(key: &RsaPublicKey, algorithm: &str, plaintext: &[u8]) -> Vec<u8> {
    match algorithm {
        "RSA-OAEP" => key.encrypt(&mut OsRng, Oaep::new::<Sha1>(), plaintext),
        "RSA-OAEP-256" => key.encrypt(&mut OsRng, Oaep::new::<Sha256>(), plaintext),
        _ => key.encrypt(&mut OsRng, Pkcs1v15Encrypt, plaintext),
    }
    .unwrap()
}

fn pkcs1(algorithm: &str) -> Pkcs1v15Sign {
    match algorithm {
        "RS256" => Pkcs1v15Sign::new::<Sha256>(),
        "RS384" => Pkcs1v15Sign::new::<Sha384>(),
        "RS512" => Pkcs1v15Sign::new::<Sha512>(),
        "RSNULL" => Pkcs1v15Sign::new_unprefixed(),
        other => panic!("no such algorithm: {other}"),
    }
}

fn mac(algorithm: &str, key: &[u8], content: &[u8]) -> Vec<u8> {
    macro_rules! hmac {
        ($hash:ty) => {
            <Hmac<$hash> as Mac>::new_from_slice(key).unwrap().chain_update(content).finalize().into_bytes().to_vec()
        };
    }
    match algorithm {
        "HS256" => hmac!(Sha256),
        "HS384" => hmac!(Sha384),
        "HS512" => hmac!(Sha512),
        other => panic!("no such algorithm: {other}"),
    }
}

/// Does the same with AES of whichever size a key has.
macro_rules! of_its_size {
    ($key:expr, $aes:ident => $body:expr) => {
        match $key.len() {
            16 => {
                type $aes = Aes128;
                $body
            }
            24 => {
                type $aes = Aes192;
                $body
            }
            _ => {
                type $aes = Aes256;
                $body
            }
        }
    };
}

fn aes_seal(key: &[u8], algorithm: &str, plaintext: &[u8]) -> Sealed {
    of_its_size!(key, Aes => match algorithm {
        _ if algorithm.ends_with("GCM") => {
            let (cipher, iv) = (AesGcm::<Aes, U12>::new_from_slice(key).unwrap(), random(12));
            let payload = Payload { msg: plaintext, aad: CONTEXT };
            let mut value = cipher.encrypt(Nonce::from_slice(&iv), payload).unwrap();
            let tag = value.split_off(plaintext.len());
            Sealed { value, iv: Some(iv), tag: Some(tag) }
        }
        _ if algorithm.contains("CBC") => {
            let iv = random(16);
            let cipher = cbc::Encryptor::<Aes>::new_from_slices(key, &iv).unwrap();
            let value = if algorithm.ends_with("PAD") {
                cipher.encrypt_padded_vec_mut::<Pkcs7>(plaintext)
            } else {
                cipher.encrypt_padded_vec_mut::<NoPadding>(&zero_filled(plaintext))
            };
            Sealed { value, iv: Some(iv), tag: None }
        }
        _ => {
            let kek = aes_kw::Kek::<Aes>::try_from(key).unwrap();
            let value = if algorithm.ends_with("PAD") {
                kek.wrap_with_padding_vec(plaintext)
            } else {
                kek.wrap_vec(plaintext)
            };
            Sealed { value: value.unwrap(), ..Sealed::default() }
        }
    })
}

fn aes_open(key: &[u8], algorithm: &str, sealed: &Sealed) -> Vec<u8> {
    of_its_size!(key, Aes => match algorithm {
        _ if algorithm.ends_with("GCM") => {
            let cipher = AesGcm::<Aes, U12>::new_from_slice(key).unwrap();
            let msg = [sealed.value.as_slice(), sealed.tag.as_deref().unwrap()].concat();
            let nonce = Nonce::from_slice(sealed.iv.as_deref().unwrap());
            cipher.decrypt(nonce, Payload { msg: &msg, aad: CONTEXT }).unwrap()
        }
        _ if algorithm.contains("CBC") => {
            let cipher = cbc::Decryptor::<Aes>::new_from_slices(key, sealed.iv.as_deref().unwrap()).unwrap();
            if algorithm.ends_with("PAD") {
                cipher.decrypt_padded_vec_mut::<Pkcs7>(&sealed.value).unwrap()
            } else {
                cipher.decrypt_padded_vec_mut::<NoPadding>(&sealed.value).unwrap()
            }
        }
        _ => {
            let kek = aes_kw::Kek::<Aes>::try_from(key).unwrap();
            if algorithm.ends_with("PAD") {
                kek.unwrap_with_padding_vec(&sealed.value).unwrap()
            } else {
                kek.unwrap_vec(&sealed.value).unwrap()
            }
        }
    })
}

/// What CBC without padding encrypts.
pub fn zero_filled(plaintext: &[u8]) -> Vec<u8> {
    let mut filled = plaintext.to_vec();
    filled.resize(plaintext.len().next_multiple_of(16), 0);
    filled
}
