//! Lists in pages: how many, after which name, and the link to the next.
//!
//! A list is continued by name, not by position, since keys come and go between pages. The `$skiptoken` is opaque to
//! clients: `1.` and the base64url of the name after which to go on. It is no secret and proves nothing; one that was made
//! up merely continues elsewhere in a list that the caller may read anyway.

use model::rbac::{AssignmentFilter, Guid};
use model::{KeyName, KeyVersion, Scope};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base64url;
use crate::urls::BaseUrl;
use crate::versions::ApiVersion;

/// How many role assignments an answer holds. The interface has no parameter for it.
pub const ASSIGNMENTS_PER_PAGE: usize = 100;

/// The longest `$skiptoken` that is read; the longest ever written is shorter.
const MAX_TOKEN: usize = 512;

/// What may stand in a query value as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How many items an answer holds at most: 1 to 25, and 25 where the request does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSize(u8);

impl PageSize {
    /// The default and largest size.
    pub const LARGEST: Self = Self(25);

    /// Reads `maxresults`.
    ///
    /// Returns `None` unless a decimal number from 1 to 25.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|n| (1..=25).contains(n)).map(Self)
    }

    /// The number of items.
    #[must_use]
    pub fn items(self) -> usize {
        usize::from(self.0)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// How many items at most.
    pub size: PageSize,
    /// Begin with the first item after this one, or with the first of all. The item itself may be gone.
    pub after: Option<T>,
}

/// The place in the order of role assignments: as they are keyed in [`model::rbac::Access::assignments`].
pub type AssignmentPlace = (Scope, Guid);

/// The link to the keys after `last`.
#[must_use]
pub fn keys_after(base: &BaseUrl, version: ApiVersion, size: PageSize, last: &KeyName) -> String {
    link(base, "/keys", version, &format!("&maxresults={}", size.0), last)
}

/// The link to the versions of `name` after `last`.
#[must_use]
pub fn versions_after(base: &BaseUrl, version: ApiVersion, name: &KeyName, size: PageSize, last: KeyVersion) -> String {
    link(base, &format!("/keys/{name}/versions"), version, &format!("&maxresults={}", size.0), &last)
}

/// The link to the deleted keys after `last`.
#[must_use]
pub fn deleted_keys_after(base: &BaseUrl, version: ApiVersion, size: PageSize, last: &KeyName) -> String {
    link(base, "/deletedkeys", version, &format!("&maxresults={}", size.0), last)
}

/// The link to the role assignments after `last`, of a list at `scope` with `filter`.
#[must_use]
pub fn role_assignments_after(
    base: &BaseUrl,
    version: ApiVersion,
    scope: &Scope,
    filter: &AssignmentFilter,
    last: &AssignmentPlace,
) -> String {
    let filter = match filter {
        AssignmentFilter::Exactly => String::new(),
        AssignmentFilter::AtScope => "&$filter=atScope%28%29".to_owned(),
        AssignmentFilter::Principal(principal) => {
            format!("&$filter={}", utf8_percent_encode(&format!("principalId eq '{principal}'"), QUERY))
        }
    };
    let scope = if *scope == Scope::Root { String::new() } else { scope.to_string() };
    let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
    link(base, &path, version, &filter, last)
}

fn link(base: &BaseUrl, path: &str, version: ApiVersion, query: &str, last: &impl Cursor) -> String {
    format!("{base}{path}?api-version={version}{query}&$skiptoken={}", write_token(last))
}

/// A name by which a list can be continued.
pub(crate) trait Cursor: Sized {
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>;
}

impl Cursor for KeyName {
    fn write(&self) -> String {
        self.folded().to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

impl Cursor for KeyVersion {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

impl Cursor for AssignmentPlace {
    fn write(&self) -> String {
        format!("{} {}", self.0, self.1)
    }
    fn read(text: &str) -> Option<Self> {
        let (scope, name) = text.split_once(' ')?;
        Some((Scope::parse(scope).ok()?, Guid::parse(name)?))
    }
}

pub(crate) fn write_token(last: &impl Cursor) -> String {
    format!("1.{}", base64url::encode(last.write().as_bytes()))
}

/// Reads a `$skiptoken` of a list in the order of `T`.
pub(crate) fn read_token<T: Cursor>(token: &str) -> Option<T> {
    let encoded = token.strip_prefix("1.").filter(|_| token.len() <= MAX_TOKEN)?;
    T::read(std::str::from_utf8(&base64url::decode(encoded).ok()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{self, Call};
    use model::PrincipalId;
    use proptest::prelude::*;

    fn base() -> BaseUrl {
        BaseUrl::https("dev.managedhsm.localhost:8443").unwrap()
    }

    /// What the server makes of a link when the client follows it as it is.
    fn followed(link: &str) -> routes::Route {
        let (path, query) = link.strip_prefix(base().as_str()).unwrap().split_once('?').unwrap();
        routes::parse("GET", path, Some(query), None).unwrap()
    }

    #[test]
    fn a_page_has_1_to_25_items() {
        for (text, size) in [("1", Some(1)), ("25", Some(25)), ("07", Some(7))] {
            assert_eq!(PageSize::parse(text).map(PageSize::items), size);
        }
        for bad in ["", "0", "26", "-1", "+1", "1.0", "x", "256", "001"] {
            assert_eq!(PageSize::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_next_link_leads_to_the_rest_of_the_list() {
        let (size, name) = (PageSize::parse("3").unwrap(), KeyName::parse("Orders").unwrap());
        let link = keys_after(&base(), ApiVersion::CLIENT, size, &name);
        assert_eq!(
            link,
            "https://dev.managedhsm.localhost:8443/keys?api-version=2025-07-01&maxresults=3&$skiptoken=1.b3JkZXJz"
        );
        assert_eq!(followed(&link).call, Call::ListKeys(Page { size, after: Some(name.clone()) }));

        let deleted = deleted_keys_after(&base(), ApiVersion::CLIENT, size, &name);
        assert_eq!(followed(&deleted).call, Call::ListDeletedKeys(Page { size, after: Some(name.clone()) }));

        let last = KeyVersion([7; 16]);
        let versions = versions_after(&base(), ApiVersion::CLIENT, &name, size, last);
        assert_eq!(followed(&versions).call, Call::ListKeyVersions(name, Page { size, after: Some(last) }));
    }

    #[test]
    fn a_next_link_of_assignments_keeps_scope_and_filter() {
        let key = Scope::parse("keys/orders").unwrap();
        let place = (key.clone(), Guid(7));
        for filter in [
            AssignmentFilter::Exactly,
            AssignmentFilter::AtScope,
            AssignmentFilter::Principal(PrincipalId::parse("a&b=c%d").unwrap()),
        ] {
            for scope in [Scope::Root, Scope::Keys, key.clone()] {
                let link = role_assignments_after(&base(), ApiVersion::CLIENT, &scope, &filter, &place);
                let expected = Call::ListRoleAssignments { scope, filter: filter.clone(), after: Some(place.clone()) };
                assert_eq!(followed(&link).call, expected, "{link}");
            }
        }
    }

    proptest! {
        #[test]
        fn tokens_read_back(name in "[0-9a-zA-Z-]{1,127}", guid: u128) {
            let name = KeyName::parse(&name).unwrap();
            prop_assert_eq!(read_token(&write_token(&name)), Some(name.clone()));
            let place = (Scope::Key(name), Guid(guid));
            prop_assert!(write_token(&place).len() <= MAX_TOKEN);
            prop_assert_eq!(read_token(&write_token(&place)), Some(place));
        }

        #[test]
        fn any_token_is_answered(text: String) {
            let _ = (read_token::<KeyName>(&text), read_token::<KeyVersion>(&text), read_token::<AssignmentPlace>(&text));
            let forged = format!("1.{}", base64url::encode(text.as_bytes()));
            let _ = (read_token::<KeyName>(&forged), read_token::<AssignmentPlace>(&forged));
        }
    }
}
