//! The outer form of a token: three parts, a header that asks for nothing we do not do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, IgnoredAny};

use crate::TokenError;

/// The longest token that is read.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A signature algorithm that an issuer may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
}

impl Algorithm {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            _ => None,
        }
    }
}

/// A token taken apart, nothing of it verified.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: String,
    /// What is signed: header and claims as they were sent.
    pub(crate) message: &'a [u8],
    pub(crate) claims: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    pub(crate) fn parse(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed("length"));
        }
        let parts: Vec<&[u8]> = token.splitn(4, |b| *b == b'.').collect();
        let [header, claims, signature] = parts[..] else { return Err(TokenError::Malformed("parts")) };
        let decoded = |part: &[u8], name| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(name));
        let parsed: Header = object(&decoded(header, "header")?).ok_or(TokenError::Malformed("header"))?;
        if parsed.crit || !is_known_type(parsed.typ.as_deref()) {
            return Err(TokenError::Malformed("header"));
        }
        Ok(Self {
            algorithm: Algorithm::parse(&parsed.alg).ok_or(TokenError::Algorithm)?,
            key_id: parsed.kid.filter(|id| is_key_id(id)).ok_or(TokenError::Malformed("key id"))?,
            message: &token[..header.len() + 1 + claims.len()],
            claims: decoded(claims, "claims")?,
            signature: decoded(signature, "signature")?,
        })
    }
}

/// Members we act on. Others, such as `jwk`, `jku`, `x5u` and `x5c`, are skipped unread.
#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// Source: RFC 8725 §3.11, RFC 9068 §2.1. Other types are for other uses, such as a logout or a proof of possession.
fn is_known_type(name: Option<&str>) -> bool {
    name.is_none_or(|name| ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// A key id is 1 to 256 visible ASCII characters, so that it can be shown in a message as it is.
pub(crate) fn is_key_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Notes that a member is there, whatever its value, `null` included.
pub(crate) fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Reads a JSON object. A member that `T` names may come once only; a list in place of the object, which serde would
/// read by position, is refused.
pub(crate) fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}
