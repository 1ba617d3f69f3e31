//! Who may vouch for callers, and for which resource.

use std::sync::Arc;

use crate::{KeySet, SignedBy};

/// One party whose tokens we accept, with its keys as last known.
#[derive(Clone, Debug)]
pub struct Issuer {
    names: Arc<[Box<str>]>,
    tenants: Arc<[Box<str>]>,
    keys: Arc<KeySet>,
}

impl Issuer {
    /// `names` are the `iss` values it writes, compared byte for byte; an issuer may have several, as Entra ID has for
    /// its two token versions. `tenants` are the `tid` values it may speak for, compared without case.
    #[must_use]
    pub fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        tenants: impl IntoIterator<Item = &'a str>,
        keys: KeySet,
    ) -> Self {
        Self {
            names: names.into_iter().map(Box::from).collect(),
            tenants: tenants.into_iter().map(Box::from).collect(),
            keys: Arc::new(keys),
        }
    }

    /// The `iss` values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// The keys as last known.
    #[must_use]
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub(crate) fn speaks_for(&self, tenant: &str) -> bool {
        self.tenants.iter().any(|known| known.eq_ignore_ascii_case(tenant))
    }
}

/// Two issuers claim the same `iss`, so that the keys for a token would not be clear.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("two issuers are configured for {0}")]
pub struct AmbiguousIssuer(pub Box<str>);

/// All issuers whose tokens are accepted; no two share an `iss`.
#[derive(Clone, Default, Debug)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// # Errors
    /// [`AmbiguousIssuer`] if an `iss` is named twice.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, AmbiguousIssuer> {
        let mut seen = std::collections::BTreeSet::new();
        for name in issuers.iter().flat_map(|issuer| issuer.names.iter()) {
            if !seen.insert(name) {
                return Err(AmbiguousIssuer(name.clone()));
            }
        }
        Ok(Self(issuers))
    }

    /// The same issuers, the one at `index` with other keys. An index out of range changes nothing.
    #[must_use]
    pub fn with_keys(&self, index: usize, keys: KeySet) -> Self {
        let mut issuers = self.0.clone();
        if let Some(issuer) = issuers.get_mut(index) {
            issuer.keys = Arc::new(keys);
        }
        Self(issuers)
    }

    /// The place, as [`Issuers::with_keys`] takes it, and the issuer that writes this `iss`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(usize, &Issuer)> {
        self.0.iter().enumerate().find(|(_, issuer)| issuer.names.iter().any(|known| known.as_ref() == name))
    }

    /// Whether the issuer still has the very key that once verified a token: same id, same numbers.
    #[must_use]
    pub fn still_hold(&self, signed_by: &SignedBy) -> bool {
        self.find(&signed_by.issuer)
            .and_then(|(_, issuer)| issuer.keys.key(signed_by.key.id()))
            .is_some_and(|key| Arc::ptr_eq(key, &signed_by.key) || *key == signed_by.key)
    }
}

/// The resources for which a token may have been asked, each with and without a trailing slash.
#[derive(Clone, Debug)]
pub struct Audience(Arc<[Box<str>]>);

impl Audience {
    /// Takes resources such as `https://managedhsm.example.net:8443`.
    #[must_use]
    pub fn resources<'a>(resources: impl IntoIterator<Item = &'a str>) -> Self {
        Self(resources.into_iter().map(|resource| resource.strip_suffix('/').unwrap_or(resource).into()).collect())
    }

    pub(crate) fn accepts(&self, audience: &str) -> bool {
        let bare = audience.strip_suffix('/').unwrap_or(audience);
        self.0.iter().any(|resource| resource.as_ref() == bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_slash_makes_no_difference_to_an_audience_and_anything_else_does() {
        for configured in ["https://hsm.example.net:8443", "https://hsm.example.net:8443/"] {
            let audience = Audience::resources([configured]);
            assert!(audience.accepts("https://hsm.example.net:8443"));
            assert!(audience.accepts("https://hsm.example.net:8443/"));
            for other in
                ["https://hsm.example.net", "https://hsm.example.net:8443//", "https://HSM.example.net:8443", ""]
            {
                assert!(!audience.accepts(other), "{other}");
            }
        }
        assert!(!Audience::resources([]).accepts(""));
    }

    #[test]
    fn an_issuer_name_belongs_to_one_issuer_only() {
        let issuer = |name| Issuer::new([name], ["t"], KeySet::default());
        assert!(Issuers::new(vec![issuer("a"), issuer("b")]).is_ok());
        assert_eq!(Issuers::new(vec![issuer("a"), issuer("a")]).err(), Some(AmbiguousIssuer("a".into())));
    }
}
