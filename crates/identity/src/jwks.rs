//! The public keys of an issuer, as it publishes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde::Deserialize;

use crate::token::{Algorithm, is_key_id, object};

/// The longest key-set document that is read.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// The most keys, usable or not, that a document may hold.
pub const MAX_KEYS: usize = 64;

/// Why a document is no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeySetError {
    /// The document is longer than [`MAX_JWKS_BYTES`].
    #[error("the key set is longer than {MAX_JWKS_BYTES} bytes")]
    TooLong,
    /// The document holds more than [`MAX_KEYS`] keys.
    #[error("the key set holds more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// The document is no JSON object with a list `keys` of JWKs.
    #[error("the key set is not a JSON object with a list of keys")]
    Malformed,
    /// Two different keys have the same id, so that a token could mean either.
    #[error("the key set gives one key id to two keys")]
    AmbiguousKey,
}

/// The signing keys of one issuer, by key id.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeySet(BTreeMap<Arc<str>, Arc<Key>>);

impl KeySet {
    /// Reads a JWK set.
    ///
    /// Keys that we would never use are left out, as RFC 7517 §5 wants: symmetric (`oct`) and unknown types, RSA below
    /// 2048 or above 8192 bits, curves but P-256 and P-384, keys for encryption, keys bound to another algorithm, and
    /// keys without an id. The set may therefore be empty. Certificates in `x5c` are not looked at.
    ///
    /// # Errors
    /// [`KeySetError`], when the document as a whole cannot be trusted to say what it means.
    pub fn parse_jwks(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > MAX_JWKS_BYTES {
            return Err(KeySetError::TooLong);
        }
        let document: Document = object(document).ok_or(KeySetError::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = BTreeMap::new();
        for key in document.keys.iter().filter_map(Key::from_jwk) {
            let key = Arc::new(key);
            match set.insert(key.id.clone(), key.clone()) {
                Some(other) if other != key => return Err(KeySetError::AmbiguousKey),
                _ => {}
            }
        }
        Ok(Self(set))
    }

    /// This set and the keys of `other` whose ids it does not have.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (id, key) in &other.0 {
            self.0.entry(id.clone()).or_insert_with(|| key.clone());
        }
        self
    }

    /// The key of that id.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&Arc<Key>> {
        self.0.get(id)
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no token at all can be verified with this set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One public key of an issuer. Two keys are equal if all of id, numbers and algorithm are.
#[derive(PartialEq, Eq)]
pub struct Key {
    id: Arc<str>,
    numbers: Numbers,
    /// The only algorithm the key is for, where the issuer says so.
    algorithm: Option<Algorithm>,
}

#[derive(PartialEq, Eq)]
enum Numbers {
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// The uncompressed point.
    P256(Vec<u8>),
    /// The uncompressed point.
    P384(Vec<u8>),
}

impl Key {
    /// The key id, `kid`.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let family = match self.numbers {
            Numbers::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Numbers::P256(_) => algorithm == Algorithm::Es256,
            Numbers::P384(_) => algorithm == Algorithm::Es384,
        };
        family && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` over `message` was made with the private half. ECDSA signatures are `r ‖ s`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &Vec<u8>) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let key = match &self.numbers {
            Numbers::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Numbers::P256(point) | Numbers::P384(point) => DecodingKey::from_ec_der(point),
        };
        let algorithm = match algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        };
        // The provider is named here instead of installed for the process: the crate's own choice panics as soon as
        // some other dependency turns on a second one.
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let id = jwk.kid.as_deref().filter(|id| is_key_id(id))?;
        let numbers = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => rsa_numbers(jwk)?,
            ("EC", Some("P-256")) => Numbers::P256(point(jwk, 32)?),
            ("EC", Some("P-384")) => Numbers::P384(point(jwk, 48)?),
            _ => return None,
        };
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => Some(Algorithm::parse(name)?),
        };
        let key = Self { id: id.into(), numbers, algorithm };
        let usable = for_signatures && algorithm.is_none_or(|algorithm| key.fits(algorithm));
        usable.then_some(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

fn rsa_numbers(jwk: &Jwk) -> Option<Numbers> {
    let number = |text: &Option<String>| {
        let bytes = URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()?;
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        Some(bytes[zeros..].to_vec())
    };
    let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
    let sound = (2048..=8192).contains(&bits) && odd(&n) && odd(&e) && e.len() <= 4 && e != [1];
    sound.then_some(Numbers::Rsa { n, e })
}

/// The point in uncompressed form. Whether it lies on the curve is checked each time it is used.
fn point(jwk: &Jwk, width: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [&jwk.x, &jwk.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate.as_deref()?).ok()?;
        if bytes.len() != width {
            return None;
        }
        point.extend_from_slice(&bytes);
    }
    Some(point)
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(modulus: &[u8], more: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode(modulus);
        format!(r#"{{"kty":"RSA","kid":"k","e":"AQAB","n":"{n}"{more}}}"#)
    }

    fn usable(jwks: &[&str]) -> Result<usize, KeySetError> {
        let document = format!(r#"{{"keys":[{}]}}"#, jwks.join(","));
        KeySet::parse_jwks(document.as_bytes()).map(|set| set.len())
    }

    #[test]
    fn only_rsa_keys_of_at_least_2048_bits_are_taken() {
        let mut modulus = vec![0xff; 256];
        assert_eq!(usable(&[&rsa(&modulus, "")]), Ok(1));
        let mut padded = vec![0];
        padded.extend_from_slice(&modulus);
        assert_eq!(usable(&[&rsa(&padded, "")]), Ok(1), "a leading zero is not part of the number");
        modulus[0] = 0x7f;
        assert_eq!(usable(&[&rsa(&modulus, "")]), Ok(0), "2047 bits");
        assert_eq!(usable(&[&rsa(&[0xff; 128], "")]), Ok(0));
        assert_eq!(usable(&[&rsa(&[0xff; 1025], "")]), Ok(0));
        assert_eq!(usable(&[&rsa(&[], "")]), Ok(0));
    }

    #[test]
    fn keys_for_other_uses_or_algorithms_are_left_out() {
        let modulus = [0xff; 256];
        for good in ["", r#","use":"sig""#, r#","alg":"PS256""#, r#","key_ops":["verify"]"#] {
            assert_eq!(usable(&[&rsa(&modulus, good)]), Ok(1), "{good}");
        }
        for bad in
            [r#","use":"enc""#, r#","alg":"RS512""#, r#","alg":"ES256""#, r#","alg":"HS256""#, r#","key_ops":[]"#]
        {
            assert_eq!(usable(&[&rsa(&modulus, bad)]), Ok(0), "{bad}");
        }
    }

    #[test]
    fn a_symmetric_key_is_never_accepted_and_an_unknown_type_is_no_error() {
        assert_eq!(usable(&[r#"{"kty":"oct","kid":"k","k":"AAAA","alg":"HS256"}"#]), Ok(0));
        assert_eq!(usable(&[r#"{"kty":"OKP","kid":"k","crv":"Ed25519","x":"AAAA"}"#]), Ok(0));
        assert_eq!(usable(&[r#"{"kty":"AKP","kid":"k","pub":"AAAA"}"#]), Ok(0));
        let x = URL_SAFE_NO_PAD.encode([1; 66]);
        assert_eq!(usable(&[&format!(r#"{{"kty":"EC","kid":"k","crv":"P-521","x":"{x}","y":"{x}"}}"#)]), Ok(0));
    }

    #[test]
    fn coordinates_have_the_width_of_the_field() {
        let ec = |curve: &str, width: usize| {
            let x = URL_SAFE_NO_PAD.encode(vec![1; width]);
            format!(r#"{{"kty":"EC","kid":"k","crv":"{curve}","x":"{x}","y":"{x}"}}"#)
        };
        assert_eq!(usable(&[&ec("P-256", 32)]), Ok(1));
        assert_eq!(usable(&[&ec("P-384", 48)]), Ok(1));
        assert_eq!(usable(&[&ec("P-256", 31)]), Ok(0));
        assert_eq!(usable(&[&ec("P-384", 32)]), Ok(0));
    }

    #[test]
    fn one_id_for_two_keys_spoils_the_set_but_a_repeated_key_does_not() {
        let (a, b) = (rsa(&[0xff; 256], ""), rsa(&[0xef; 256], ""));
        assert_eq!(usable(&[&a, &a]), Ok(1));
        assert_eq!(usable(&[&a, &b]), Err(KeySetError::AmbiguousKey));
    }

    #[test]
    fn a_document_out_of_bounds_is_refused_whole() {
        let key = rsa(&[0xff; 256], "");
        assert_eq!(usable(&vec![key.as_str(); MAX_KEYS + 1]), Err(KeySetError::TooManyKeys));
        assert_eq!(KeySet::parse_jwks(&vec![b' '; MAX_JWKS_BYTES + 1]), Err(KeySetError::TooLong));
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"[[]]"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(KeySet::parse_jwks(bad.as_bytes()), Err(KeySetError::Malformed), "{bad}");
        }
        assert_eq!(usable(&[]), Ok(0));
    }

    #[test]
    fn the_first_of_two_sets_wins_where_ids_meet() {
        let set = |modulus: [u8; 256]| {
            KeySet::parse_jwks(format!(r#"{{"keys":[{}]}}"#, rsa(&modulus, "")).as_bytes()).unwrap()
        };
        let (pinned, fetched) = (set([0xff; 256]), set([0xef; 256]));
        assert_eq!(pinned.clone().with(&fetched), pinned);
        assert_eq!(KeySet::default().with(&fetched), fetched);
    }
}
