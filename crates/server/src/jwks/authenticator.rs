//! Tokens of one audience to callers, remembering what was verified.

use std::sync::Arc;

use aws_lc_rs::digest;
use identity::{Audience, Issuers, MAX_TOKEN_BYTES, SignedBy, TokenError, Verifier, has_expired};
use model::{Caller, UnixTime};
use moka::sync::Cache;

use super::{IssuerKeys, Refresh};

/// How many bytes of callers, roughly, are remembered.
const MAX_REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;

/// Why nobody was authenticated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// The token is no good: challenge the client for another.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token may be good, but it names a key that is not known and its issuer cannot be asked: try again later.
    #[error("the keys of issuer {issuer} cannot be fetched")]
    IssuerUnreachable {
        /// A configured `iss`.
        issuer: Arc<str>,
    },
}

/// Authenticates bearer tokens that were asked for one audience.
///
/// Several may share one [`IssuerKeys`], one for each audience; none accepts or remembers another's tokens.
pub struct Authenticator {
    keys: Arc<IssuerKeys>,
    audience: Audience,
    /// By the token's SHA-256, so that no token lies in memory for longer than its request.
    remembered: Cache<[u8; 32], Remembered>,
}

#[derive(Clone)]
struct Remembered {
    caller: Arc<Caller>,
    signed_by: Arc<SignedBy>,
    /// The token's, about that of the caller.
    bytes: u32,
}

impl Authenticator {
    /// An authenticator that remembers nothing yet.
    #[must_use]
    pub fn new(keys: Arc<IssuerKeys>, audience: Audience) -> Self {
        let remembered = Cache::builder()
            .max_capacity(MAX_REMEMBERED_BYTES)
            .weigher(|_, remembered: &Remembered| remembered.bytes.saturating_add(512))
            .build();
        Self { keys, audience, remembered }
    }

    /// The caller a token speaks for; `token` is what follows the word `Bearer`.
    ///
    /// A token that was verified before is answered without waiting. One that names an unknown key waits until its
    /// issuer has been asked for its keys, at most about 20 seconds.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(&self, token: &str, now: UnixTime) -> Result<Arc<Caller>, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed("length").into());
        }
        let hash = sha256(token);
        let issuers = self.keys.current();
        if let Some(caller) = self.remembered(&hash, &issuers, now) {
            return Ok(caller);
        }
        match self.verify(issuers, token, hash, now) {
            Err(TokenError::UnknownKey { issuer, key_id }) => match self.keys.refresh(&issuer).await {
                Refresh::Pinned => Err(TokenError::UnknownKey { issuer, key_id }.into()),
                refresh => match self.verify(self.keys.current(), token, hash, now) {
                    Err(TokenError::UnknownKey { issuer, .. }) if refresh == Refresh::Unreachable => {
                        Err(AuthError::IssuerUnreachable { issuer })
                    }
                    outcome => Ok(outcome?),
                },
            },
            outcome => Ok(outcome?),
        }
    }

    /// What was concluded from this token earlier, if it still holds: the token has not expired, and its issuer still
    /// has the key that verified it.
    fn remembered(&self, hash: &[u8; 32], issuers: &Issuers, now: UnixTime) -> Option<Arc<Caller>> {
        let found = self.remembered.get(hash)?;
        if has_expired(found.caller.expires_at, now) || !issuers.still_hold(&found.signed_by) {
            self.remembered.invalidate(hash);
            return None;
        }
        Some(found.caller)
    }

    fn verify(
        &self,
        issuers: Arc<Issuers>,
        token: &str,
        hash: [u8; 32],
        now: UnixTime,
    ) -> Result<Arc<Caller>, TokenError> {
        let (caller, signed_by) = Verifier::new(issuers, self.audience.clone()).verify_with_key(token, now)?;
        let caller = Arc::new(caller);
        let bytes = u32::try_from(token.len()).unwrap_or(u32::MAX);
        let remembered = Remembered { caller: caller.clone(), signed_by: Arc::new(signed_by), bytes };
        self.remembered.insert(hash, remembered);
        Ok(caller)
    }

    #[cfg(test)]
    pub(super) fn remembers(&self, token: &str) -> bool {
        self.remembered.contains_key(&sha256(token))
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}
