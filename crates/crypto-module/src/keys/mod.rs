//! Keys in the open: made, taken in, used. What a key can do is in the file of its type.

mod akp;
mod ec;
mod oct;
mod rsa;

use std::fmt;

use model::{Curve, KeyKind, MlDsa, RsaSize};

use crate::module::{DecryptInput, EncryptInput, Encrypted, LONGEST_INPUT, SignInput, VerifyInput};
use crate::secret::{Plaintext, SecretBytes};
use crate::{Error, module};

pub(crate) use akp::{public_len as ml_dsa_public_len, signature_len as ml_dsa_signature_len};

/// The public part of a key. Numbers are big-endian.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublicKey {
    /// RSA modulus and exponent, without leading zeros.
    Rsa {
        /// The modulus.
        n: Box<[u8]>,
        /// The public exponent.
        e: Box<[u8]>,
    },
    /// A point on a curve, both coordinates padded to the field's length.
    Ec {
        /// The curve.
        curve: Curve,
        /// The first coordinate.
        x: Box<[u8]>,
        /// The second coordinate.
        y: Box<[u8]>,
    },
    /// An ML-DSA public key as FIPS 204 encodes it.
    Akp {
        /// The parameter set.
        set: MlDsa,
        /// The encoded key.
        public: Box<[u8]>,
    },
    /// An oct key has none.
    None,
}

impl PublicKey {
    fn kind(&self) -> Option<KeyKind> {
        match self {
            Self::Rsa { n, .. } => RsaSize::from_bits(n.len() as u64 * 8).map(KeyKind::Rsa),
            Self::Ec { curve, .. } => Some(KeyKind::Ec(*curve)),
            Self::Akp { set, .. } => Some(KeyKind::Akp(*set)),
            Self::None => None,
        }
    }
}

/// A key made elsewhere, to take in. Numbers are big-endian; leading zero bytes are tolerated.
#[derive(Debug)]
pub enum KeyMaterial {
    /// An RSA key pair of 2048, 3072 or 4096 bits.
    Rsa(RsaMaterial),
    /// An EC key pair.
    Ec {
        /// The curve.
        curve: Curve,
        /// The first coordinate of the public point.
        x: Box<[u8]>,
        /// The second coordinate of the public point.
        y: Box<[u8]>,
        /// The private scalar.
        d: SecretBytes,
    },
    /// A symmetric key of 16 to 64 bytes.
    Oct {
        /// The key.
        k: SecretBytes,
    },
    /// An ML-DSA key pair.
    Akp {
        /// The parameter set.
        set: MlDsa,
        /// The public key as FIPS 204 encodes it.
        public: Box<[u8]>,
        /// The 32-byte seed, or the expanded private key as FIPS 204 encodes it.
        private: SecretBytes,
    },
}

impl KeyMaterial {
    /// Whether factors have to be found, which can take seconds.
    pub(crate) fn lacks_factors(&self) -> bool {
        matches!(self, Self::Rsa(RsaMaterial { factors: None, .. }))
    }
}

/// The parts of an RSA key pair.
pub struct RsaMaterial {
    /// The modulus.
    pub n: Box<[u8]>,
    /// The public exponent: odd, 3 to 2^32.
    pub e: Box<[u8]>,
    /// The private exponent.
    pub d: SecretBytes,
    /// The primes and what follows from them; recovered from the others if absent.
    pub factors: Option<RsaFactors>,
}

/// The primes of an RSA key and the parts of the Chinese remainder form.
#[derive(Debug)]
pub struct RsaFactors {
    /// First prime.
    pub p: SecretBytes,
    /// Second prime.
    pub q: SecretBytes,
    /// `d mod (p − 1)`.
    pub dp: SecretBytes,
    /// `d mod (q − 1)`.
    pub dq: SecretBytes,
    /// The inverse of `q` modulo `p`.
    pub qi: SecretBytes,
}

impl fmt::Debug for RsaMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaMaterial").field("n", &self.n).field("e", &self.e).finish_non_exhaustive()
    }
}

/// A key just made or taken in, ready to be sealed.
pub(crate) struct NewKey {
    pub(crate) kind: KeyKind,
    pub(crate) public: PublicKey,
    /// In the form of `SPEC.md`, section 4.
    pub(crate) material: SecretBytes,
}

/// Generates an RSA key; takes 0.1 seconds to several.
pub(crate) fn generate_rsa(size: RsaSize, exponent: u64) -> Result<NewKey, Error> {
    rsa::generate(size, exponent)?.proven()
}

/// Reads a public exponent: odd, 3 to 2^32.
pub(crate) use rsa::exponent as rsa_exponent;

/// Generates a key of any type but RSA.
pub(crate) fn generate(kind: KeyKind) -> Result<NewKey, Error> {
    match kind {
        KeyKind::Rsa(size) => rsa::generate(size, 65537)?.proven(),
        KeyKind::Ec(curve) => ec::generate(curve)?.proven(),
        KeyKind::Oct(size) => oct::generate(size),
        KeyKind::Akp(set) => akp::generate(set)?.proven(),
    }
}

/// Checks material from elsewhere and brings it into our form.
pub(crate) fn import(material: KeyMaterial) -> Result<NewKey, Error> {
    let new = match material {
        KeyMaterial::Rsa(parts) => rsa::import(parts)?,
        KeyMaterial::Ec { curve, x, y, d } => ec::import(curve, &x, &y, &d)?,
        KeyMaterial::Oct { k } => return oct::import(k),
        KeyMaterial::Akp { set, public, private } => akp::import(set, public, &private)?,
    };
    new.proven().map_err(|error| match error {
        Error::Unavailable => Error::KeyMaterial { what: "the private part does not belong to the public part" },
        other => other,
    })
}

impl NewKey {
    /// Signs with the private part and verifies with the public one: a pair that does not work is never stored.
    fn proven(self) -> Result<Self, Error> {
        use model::SignatureAlgorithm as A;
        let algorithm = match self.kind {
            KeyKind::Rsa(_) => A::Rs256,
            KeyKind::Ec(Curve::P256) => A::Es256,
            KeyKind::Ec(Curve::P256K) => A::Es256K,
            KeyKind::Ec(Curve::P384) => A::Es384,
            KeyKind::Ec(Curve::P521) => A::Es512,
            KeyKind::Akp(set) => A::of_ml_dsa(set),
            KeyKind::Oct(_) => return Ok(self),
        };
        let digest = vec![0x5a; algorithm.digest_len().unwrap_or(32)];
        let input =
            SignInput { algorithm, digest_or_message: digest.clone().into(), context: None, external_mu: false };
        let signature = OpenKey::parse(self.kind, &self.public, &self.material)
            .and_then(|key| key.sign(&input))
            .map_err(|_| Error::Unavailable)?;
        let input = VerifyInput {
            algorithm,
            digest_or_message: digest.into(),
            signature: signature.into(),
            context: None,
            external_mu: false,
        };
        if verify_with_public(&self.public, &input)? { Ok(self) } else { Err(Error::Unavailable) }
    }
}

/// A key version in the open, parsed and ready to compute with. Lives only in the cache and while it is used.
pub(crate) enum OpenKey {
    Rsa(rsa::RsaKey),
    Ec(ec::EcKey),
    Oct(oct::OctKey),
    Akp(akp::AkpKey),
}

impl OpenKey {
    /// Parses authentic material.
    pub(crate) fn parse(kind: KeyKind, public: &PublicKey, material: &SecretBytes) -> Result<Self, Error> {
        match (kind, public) {
            (KeyKind::Rsa(_), _) => rsa::RsaKey::parse(material).map(Self::Rsa),
            (KeyKind::Ec(curve), PublicKey::Ec { x, y, .. }) => {
                ec::EcKey::parse(curve, x, y, material.expose()).map(Self::Ec)
            }
            (KeyKind::Oct(_), _) => Ok(Self::Oct(oct::OctKey::new(material))),
            (KeyKind::Akp(set), _) => akp::AkpKey::parse(set, material.expose()).map(Self::Akp),
            _ => Err(Error::Tampered),
        }
    }

    /// About how many bytes the key takes in memory.
    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Rsa(key) => key.weight(),
            Self::Ec(_) => 2 << 10,
            Self::Oct(_) => 256,
            Self::Akp(_) => 12 << 10,
        }
    }

    /// Signs; the algorithm is known to fit.
    pub(crate) fn sign(&self, input: &SignInput) -> Result<Vec<u8>, Error> {
        check_message(input.algorithm, &input.digest_or_message)?;
        match self {
            Self::Rsa(key) => key.sign(input.algorithm, &input.digest_or_message),
            Self::Ec(key) => key.sign(&input.digest_or_message),
            Self::Oct(key) => key.mac(input.algorithm, &input.digest_or_message),
            Self::Akp(key) => key.sign(&input.digest_or_message, akp::mode(&input.context, input.external_mu)?),
        }
    }

    /// Verifies a MAC; the algorithm is known to fit. Signatures need only the public key.
    pub(crate) fn verify_mac(&self, input: &VerifyInput) -> Result<bool, Error> {
        check_message(input.algorithm, &input.digest_or_message)?;
        match self {
            Self::Oct(key) => key.verify_mac(input.algorithm, &input.digest_or_message, &input.signature),
            _ => Err(Error::Unavailable),
        }
    }

    /// Encrypts or wraps with a symmetric key; the algorithm is known to fit.
    pub(crate) fn encrypt(&self, input: &EncryptInput) -> Result<Encrypted, Error> {
        match self {
            Self::Oct(key) => key.encrypt(input),
            _ => Err(Error::Unavailable),
        }
    }

    /// Decrypts or unwraps; the algorithm is known to fit.
    pub(crate) fn decrypt(&self, input: &DecryptInput) -> Result<Plaintext, Error> {
        match self {
            Self::Rsa(key) => key.decrypt(input.algorithm, &input.ciphertext),
            Self::Oct(key) => key.decrypt(input),
            Self::Ec(_) | Self::Akp(_) => Err(Error::Unavailable),
        }
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenKey(..)")
    }
}

/// Verifies a signature with a public key alone, whoever's it is.
///
/// # Errors
/// [`Error::AlgorithmMismatch`] if the algorithm does not fit the key, [`Error::InvalidInput`] for a digest of the
/// wrong length, a key of a size we do not serve or a malformed point. An invalid signature is `Ok(false)`.
///
/// Source: keys document, operation `verify`.
pub fn verify_with_public(public: &PublicKey, input: &VerifyInput) -> Result<bool, Error> {
    let Some(kind) = public.kind() else {
        return Err(Error::InvalidInput { what: "the key has no public part of a known size" });
    };
    input.algorithm.check_key(kind)?;
    check_message(input.algorithm, &input.digest_or_message)?;
    let (message, signature) = (&input.digest_or_message[..], &input.signature[..]);
    match public {
        PublicKey::Rsa { n, e } => rsa::verify(n, e, input.algorithm, message, signature),
        PublicKey::Ec { curve, x, y } => ec::verify(*curve, x, y, message, signature),
        PublicKey::Akp { set, public } => {
            akp::verify(*set, public, message, akp::mode(&input.context, input.external_mu)?, signature)
        }
        PublicKey::None => Err(Error::InvalidInput { what: "an oct key has no public part" }),
    }
}

/// Encrypts or wraps with an RSA public key alone.
pub(crate) fn encrypt_with_public(public: &PublicKey, input: &EncryptInput) -> Result<Encrypted, Error> {
    match public {
        PublicKey::Rsa { n, e } => {
            let value = rsa::encrypt(n, e, input.algorithm, &input.plaintext)?;
            Ok(module::Encrypted { value, iv: None, tag: None })
        }
        _ => Err(Error::Unavailable),
    }
}

/// Requires a digest of the algorithm's length, or a message within the limit.
fn check_message(algorithm: model::SignatureAlgorithm, message: &[u8]) -> Result<(), Error> {
    match algorithm.digest_len() {
        Some(len) if message.len() == len => Ok(()),
        Some(32) => Err(Error::InvalidInput { what: "this algorithm signs a digest of 32 bytes" }),
        Some(48) => Err(Error::InvalidInput { what: "this algorithm signs a digest of 48 bytes" }),
        Some(_) => Err(Error::InvalidInput { what: "this algorithm signs a digest of 64 bytes" }),
        None if message.len() <= LONGEST_INPUT => Ok(()),
        None => Err(Error::InvalidInput { what: "the input is longer than 1 MiB" }),
    }
}

/// `number` without its leading zero bytes.
fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
