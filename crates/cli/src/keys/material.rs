//! Private keys in files, as the JSON Web Key that the pool imports.
//!
//! No key is checked here beyond its form: whether its parts belong together is the pool's to say, inside its boundary.

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use wire::base64url;

use super::der::{BIT_STRING, Der, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, explicit};
use crate::error::Error;

/// Members of a JSON Web Key that make up the key itself; others in a file are not sent.
const MEMBERS: &[&str] =
    &["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi", "crv", "x", "y", "k", "alg", "pub", "priv"];

/// RFC 8017: `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// RFC 5480: `id-ecPublicKey`, 1.2.840.10045.2.1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// Curves by their object ids (RFC 5480, SEC 2), with their name and the bytes of a coordinate.
const CURVES: &[(&[u8], &str, usize)] = &[
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256", 32),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "P-256K", 32),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384", 48),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521", 66),
];

/// The key in a JSON Web Key file.
///
/// # Errors
/// [`Error::Input`] unless the file is a JSON object with a text `kty`; nothing of the file is in it.
pub(super) fn from_jwk(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let jwk: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|_| Error::Input("the file holds no JSON Web Key: it is no JSON object".to_owned()))?;
    if !jwk.get("kty").is_some_and(Value::is_string) {
        return Err(Error::Input("the file holds no JSON Web Key: it has no member kty".to_owned()));
    }
    Ok(jwk.into_iter().filter(|(name, _)| MEMBERS.contains(&name.as_str())).collect())
}

/// The key in a PEM file: PKCS#8 (RFC 5208, RFC 5958), PKCS#1 (RFC 8017) or SEC1 (RFC 5915).
///
/// # Errors
/// [`Error::Input`] if there is no unencrypted RSA or EC key in it, or an EC key without its public point; nothing of
/// the file is in it.
pub(super) fn from_pem(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|_| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        Error::Input(if encrypted {
            "the private key is encrypted; decrypt it first, with openssl pkey for example".to_owned()
        } else {
            "the file holds no private key in PEM".to_owned()
        })
    })?;
    let read = match &key {
        PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => rsa(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => ec(der.secret_sec1_der(), None),
        _ => None,
    };
    read.ok_or_else(|| {
        Error::Input(
            "the file holds no RSA key, and no EC key on P-256, P-256K, P-384 or P-521 together with its public point"
                .to_owned(),
        )
    })
}

fn pkcs8(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut outer = Der::sequence(bytes)?;
    outer.value(INTEGER)?;
    let mut algorithm = Der::inside(outer.value(SEQUENCE)?);
    let id = algorithm.value(OBJECT_ID)?;
    let key = outer.value(OCTET_STRING)?;
    match id {
        RSA => rsa(key),
        EC => ec(key, algorithm.optional(OBJECT_ID)),
        _ => None,
    }
}

fn rsa(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut key = Der::sequence(bytes)?;
    // Version 0: two primes.
    if key.value(INTEGER)? != [0] {
        return None;
    }
    let mut jwk = kty("RSA");
    for member in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        jwk.insert(member.to_owned(), number(key.integer()?));
    }
    Some(jwk)
}

/// `curve` is the object id that stands outside the key, as in PKCS#8.
fn ec(bytes: &[u8], curve: Option<&[u8]>) -> Option<Map<String, Value>> {
    let mut key = Der::sequence(bytes)?;
    if key.value(INTEGER)? != [1] {
        return None;
    }
    let scalar = key.value(OCTET_STRING)?;
    let inner = key.optional(explicit(0)).and_then(|id| Der::inside(id).value(OBJECT_ID));
    let id = curve.or(inner)?;
    let (_, name, width) = CURVES.iter().find(|(known, ..)| *known == id)?;
    // No unused bits, then an uncompressed point.
    let point = Der::inside(key.value(explicit(1))?).value(BIT_STRING)?.strip_prefix(&[0, 4])?;
    if point.len() != 2 * width {
        return None;
    }
    let mut jwk = kty("EC");
    jwk.insert("crv".to_owned(), json!(name));
    for (member, bytes) in [("x", &point[..*width]), ("y", &point[*width..]), ("d", scalar)] {
        jwk.insert(member.to_owned(), number(bytes));
    }
    Some(jwk)
}

/// The same without the armour of PEM.
pub(super) fn fuzz_der(bytes: &[u8]) {
    let _ = (pkcs8(bytes), rsa(bytes), ec(bytes, None));
}

fn kty(kty: &str) -> Map<String, Value> {
    [("kty".to_owned(), json!(kty))].into_iter().collect()
}

fn number(bytes: &[u8]) -> Value {
    json!(base64url::encode(bytes))
}

#[cfg(test)]
mod tests;
