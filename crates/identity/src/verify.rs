//! The decision over one token.

use std::sync::Arc;

use model::{Caller, UnixTime};

use crate::claims::Claims;
use crate::issuers::{Audience, Issuer, Issuers};
use crate::jwks::{Key, KeySet};
use crate::token::Token;

/// By how many seconds an issuer's clock may differ from ours.
pub const LEEWAY_SECONDS: i64 = 60;

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token as we read them: the named part is missing, too long or ill-formed. Send a JWT of at most 16 KiB.
    #[error("the token's {0} is missing or malformed")]
    Malformed(&'static str),
    /// It is signed with an algorithm that is not accepted, or that its key is not for.
    #[error("the token's algorithm is not accepted for its key; RS256, PS256, ES256 and ES384 are known")]
    Algorithm,
    /// Nobody we know writes its `iss`.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// Its issuer is known but not the key it names: fetch the issuer's key set again.
    #[error("issuer {issuer} has no key {key_id} that is known here")]
    UnknownKey {
        /// A configured `iss`.
        issuer: Arc<str>,
        /// 1 to 256 visible ASCII characters, from the token.
        key_id: Arc<str>,
    },
    /// The key it names did not sign it.
    #[error("the token's signature is wrong")]
    Signature,
    /// Ask for a new one.
    #[error("the token has expired")]
    Expired,
    /// Wait, or set the clocks.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Ask for one for this resource.
    #[error("the token is for another audience")]
    Audience,
    /// Ask the tenant that this service belongs to.
    #[error("the token is from another tenant")]
    Tenant,
    /// It names no principal: claim `oid` is missing or no object id.
    #[error("the token names no principal in claim oid")]
    Principal,
}

/// The key that verified a token. What was concluded from the token holds only as long as its issuer has this key.
#[derive(Clone, Debug)]
pub struct SignedBy {
    pub(crate) issuer: Arc<str>,
    pub(crate) key: Arc<Key>,
}

/// Whether a token of that expiry is no longer accepted, our leeway granted.
#[must_use]
pub fn has_expired(expires_at: UnixTime, now: UnixTime) -> bool {
    now >= expires_at.plus_seconds(LEEWAY_SECONDS)
}

/// Known issuers and the audience that tokens must have been asked for.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuers: Arc<Issuers>,
    audience: Audience,
}

impl Verifier {
    /// A verifier over the issuers as they are now; make another when their keys change.
    #[must_use]
    pub fn new(issuers: Arc<Issuers>, audience: Audience) -> Self {
        Self { issuers, audience }
    }

    /// The caller a token speaks for.
    ///
    /// `token` is a compact JWS without the word `Bearer`.
    ///
    /// # Errors
    /// [`TokenError`]; claims are judged only after the signature, so all variants from `Expired` on are about a
    /// genuine token.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<Caller, TokenError> {
        self.verify_with_key(token, now).map(|(caller, _)| caller)
    }

    /// As [`Verifier::verify`], with the key on which the answer rests, for who wants to remember it.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub fn verify_with_key(&self, token: &str, now: UnixTime) -> Result<(Caller, SignedBy), TokenError> {
        let token = Token::parse(token.as_bytes())?;
        let claims = Claims::parse(&token.claims)?;
        // `iss` is not verified yet. It only chooses the key set, and the signature then proves the choice right.
        let (_, issuer) = self.issuers.find(&claims.iss).ok_or(TokenError::Issuer)?;
        let signed_by = SignedBy { issuer: claims.iss.as_str().into(), key: key_of(issuer, &token, &claims.iss)? };
        if !signed_by.key.verifies(token.algorithm, token.message, &token.signature) {
            return Err(TokenError::Signature);
        }
        let caller = claims.admitted(issuer, &self.audience, now)?;
        Ok((caller, signed_by))
    }
}

fn key_of(issuer: &Issuer, token: &Token<'_>, name: &str) -> Result<Arc<Key>, TokenError> {
    let unknown = || TokenError::UnknownKey { issuer: name.into(), key_id: token.key_id.as_str().into() };
    let key = issuer.keys().key(&token.key_id).ok_or_else(unknown)?;
    if !key.fits(token.algorithm) {
        return Err(TokenError::Algorithm);
    }
    Ok(key.clone())
}

/// See [`crate::fuzz`]: claims are admitted by an issuer that does not ask for a signature.
pub(crate) fn fuzz(bytes: &[u8], keys: KeySet) {
    let claims = match Token::parse(bytes) {
        Ok(token) => {
            if let Some(key) = keys.key(&token.key_id) {
                key.verifies(token.algorithm, token.message, &token.signature);
            }
            token.claims
        }
        Err(_) => bytes.to_vec(),
    };
    if let Ok(claims) = Claims::parse(&claims) {
        let issuer = Issuer::new([claims.iss.as_str()], ["t"], keys);
        // The answer is dropped: nothing verified these claims.
        let _ = claims.admitted(&issuer, &Audience::resources(["a"]), UnixTime(1_800_000_000));
    }
}
