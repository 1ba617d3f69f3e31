//! The issuer's own key.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::files::{self, FileError};

/// RSA of 2048 bits, for RS256: the one algorithm that every client and every verifier of tokens knows.
pub struct SigningKey {
    key: RsaKeyPair,
    jwk: Value,
    kid: String,
}

impl SigningKey {
    /// The key kept in `folder`, made there if there is none.
    ///
    /// It is kept because clients keep their tokens: `az` has them on disk and goes on using them after a restart. The
    /// file is `signing-key.p8`, PKCS#8 in DER.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load_or_create(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join("signing-key.p8");
        let broken = || FileError::Malformed(path.clone());
        if let Some(der) = files::read(&path)? {
            return Self::from_pkcs8(&der).ok_or_else(broken);
        }
        let failed = || FileError::Generation(path.clone());
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| failed())?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| failed())?;
        files::replace(&path, der.as_ref())?;
        Self::from_pkcs8(der.as_ref()).ok_or_else(failed)
    }

    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let key = RsaKeyPair::from_pkcs8(der).ok()?;
        if key.public_modulus_len() != KeySize::Rsa2048.len() {
            return None;
        }
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
        let (e, n) = (URL_SAFE_NO_PAD.encode(public.e), URL_SAFE_NO_PAD.encode(public.n));
        // RFC 7638: these members, in this order, without spaces.
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, thumbprint.as_bytes()));
        let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e});
        Some(Self { key, jwk, kid })
    }

    /// The public half as a JWK set.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// A signed token of these claims, or `None` if the cryptographic library fails.
    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": self.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = SigningKey::load_or_create(folder.path()).unwrap();
        let again = SigningKey::load_or_create(folder.path()).unwrap();
        assert_eq!(first.jwks(), again.jwks());
        let path = folder.path().join("signing-key.p8");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let set = identity::KeySet::parse_jwks(first.jwks().to_string().as_bytes()).unwrap();
        assert!(set.key(&first.kid).is_some());
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-key.p8");
        files::replace(&path, b"no key").unwrap();
        assert!(matches!(SigningKey::load_or_create(folder.path()), Err(FileError::Malformed(_))));
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
