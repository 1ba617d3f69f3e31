//! Who is asking.

use std::fmt;
use std::sync::Arc;

use crate::UnixTime;

/// The object id of a person, group, service principal or managed identity. Compared without case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalId(Arc<str>);

impl PrincipalId {
    /// Takes an object id as a token or an assignment names it: 1 to 128 visible ASCII characters, usually a GUID.
    ///
    /// Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let legal = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        legal.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The id in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id, to be kept without copying it.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The groups a token speaks of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Groups {
    /// The token lists them all.
    Listed(Vec<PrincipalId>),
    /// The token lists some and says that there are more than it can carry.
    Overage(Vec<PrincipalId>),
}

impl Groups {
    /// The groups that the token itself lists.
    #[must_use]
    pub fn listed(&self) -> &[PrincipalId] {
        match self {
            Self::Listed(ids) | Self::Overage(ids) => ids,
        }
    }
}

/// The principal authenticated on one request, as its token describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Claim `oid`.
    pub principal: PrincipalId,
    /// Claim `tid`, lower case.
    pub tenant: Arc<str>,
    /// Claim `iss`, as written.
    pub issuer: Arc<str>,
    /// Claim `appid` or `azp`: the application that asked.
    pub application: Option<Arc<str>>,
    /// Claim `upn`, where a person is signed in.
    pub upn: Option<Arc<str>>,
    /// Claim `groups`, or its overage marker.
    pub groups: Groups,
    /// Claim `jti` or `uti`.
    pub token_id: Option<Arc<str>>,
    /// Claim `iat`.
    pub issued_at: Option<UnixTime>,
    /// Claim `exp`.
    pub expires_at: UnixTime,
}

impl Caller {
    /// The principal and its listed groups: every id to which an assignment may have been made.
    pub fn principals(&self) -> impl Iterator<Item = &PrincipalId> {
        std::iter::once(&self.principal).chain(self.groups.listed())
    }
}
