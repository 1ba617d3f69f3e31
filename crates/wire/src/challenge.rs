//! The challenge of a 401, in the narrow grammar that the parsers of all clients share.
//!
//! `Bearer ` and then items apart by a comma and one space; names in lower case, values in double quotes without a
//! space, comma, quote or equals sign. Some clients split at each of those.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use model::UnixTime;

/// Why a challenge cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Not `https://<host>[:<port>]`.
    #[error("the token issuer's address must be https://<host>[:<port>] and nothing more")]
    Authority,
    /// A character that clients refuse.
    #[error("a tenant has letters, digits, '-' and '.' only")]
    Tenant,
    /// Not an address of the characters that clients take for a scope.
    #[error("the resource must be https://<host>[:<port>], of letters, digits and '_-.:/' only")]
    Resource,
}

/// Where a client gets a token, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge(String);

impl Challenge {
    /// A challenge that sends clients of `tenant` to `authority` for a token whose audience is `resource`: the pool's own
    /// address less its first label, port included.
    ///
    /// # Errors
    /// [`ChallengeError`]; clients would misread what it refuses.
    ///
    /// Source: recorded answers; the challenge parsers of the published SDKs.
    pub fn new(authority: &str, tenant: &str, resource: &str) -> Result<Self, ChallengeError> {
        if !is_address(authority) {
            return Err(ChallengeError::Authority);
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if tenant.is_empty() || !tenant.bytes().all(legal) {
            return Err(ChallengeError::Tenant);
        }
        if !is_address(resource) {
            return Err(ChallengeError::Resource);
        }
        Ok(Self(format!("Bearer authorization=\"{authority}/{tenant}\", resource=\"{resource}\"")))
    }

    /// For a request without a token.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.0
    }

    /// For a request whose token is not accepted.
    #[must_use]
    pub fn invalid_token(&self) -> String {
        format!("{}, error=\"invalid_token\"", self.0)
    }

    /// For a request whose token was revoked: the client is to bring one that was issued at `not_before` or later.
    #[must_use]
    pub fn insufficient_claims(&self, not_before: UnixTime) -> String {
        let mut claims = format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{not_before}"}}}}}}"#);
        // Spaces instead of base64's padding: an equals sign inside a value makes some clients drop the item.
        while claims.len() % 3 != 0 {
            claims.push(' ');
        }
        format!("{}, error=\"insufficient_claims\", claims=\"{}\"", self.0, STANDARD_NO_PAD.encode(claims))
    }
}

/// `https://host[:port]`, of characters that every client takes.
fn is_address(text: &str) -> bool {
    text.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TENANT: &str = "9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11";

    fn challenge() -> Challenge {
        Challenge::new("https://login.localhost:8443", TENANT, "https://managedhsm.localhost:8443").unwrap()
    }

    /// Items as the strictest clients find them: split at comma and space, each with one equals sign.
    fn items(header: &str) -> Vec<(String, String)> {
        let rest = header.strip_prefix("Bearer ").unwrap();
        let item = |text: &str| {
            assert_eq!(text.matches('=').count(), 1, "{text}");
            let (name, value) = text.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap();
            assert!(!value.contains([' ', ',', '"']), "{value}");
            (name.to_owned(), value.to_owned())
        };
        rest.split(", ").map(item).collect()
    }

    #[test]
    fn the_header_is_exactly_what_the_live_service_sends() {
        let live = Challenge::new("https://login.microsoftonline.com", TENANT, "https://managedhsm.azure.net").unwrap();
        assert_eq!(
            live.plain(),
            "Bearer authorization=\"https://login.microsoftonline.com/9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11\", \
             resource=\"https://managedhsm.azure.net\""
        );
    }

    #[test]
    fn a_revoked_token_is_answered_with_claims_that_every_client_can_read() {
        let header = challenge().insufficient_claims(UnixTime(1_726_077_595));
        let items = items(&header);
        assert_eq!(items[2], ("error".to_owned(), "insufficient_claims".to_owned()));
        let claims = base64::engine::general_purpose::URL_SAFE.decode(&items[3].1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["access_token"]["nbf"]["value"], "1726077595");
    }

    #[test]
    fn what_clients_would_misread_is_refused() {
        let r = "https://managedhsm.localhost";
        for bad in
            ["", "login.localhost", "http://a", "https://", "https://a/", "https://a,b", "https://a b", "https://a\""]
        {
            assert_eq!(Challenge::new(bad, TENANT, r), Err(ChallengeError::Authority), "{bad:?}");
            assert_eq!(Challenge::new("https://a", TENANT, bad), Err(ChallengeError::Resource), "{bad:?}");
        }
        for bad in ["", "a b", "a/b", "a,b", "a=b", "ä"] {
            assert_eq!(Challenge::new("https://a", bad, r), Err(ChallengeError::Tenant), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_challenge_keeps_to_the_grammar(at in 0_i64..253_402_300_800) {
            let plain = items(challenge().plain());
            prop_assert_eq!(plain.len(), 2);
            prop_assert_eq!(items(&challenge().invalid_token()).len(), 3);
            prop_assert_eq!(items(&challenge().insufficient_claims(UnixTime(at))).len(), 4);
        }
    }
}
