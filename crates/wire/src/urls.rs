//! Addresses: the one the client used, and the ones that name keys.

use std::fmt;

use model::{KeyName, KeyRef, KeyVersion};

/// Scheme, host and port exactly as the client used them, without a slash at the end: `https://dev.managedhsm.localhost:8443`.
///
/// Every identifier in an answer begins with it, since clients build their next request from identifiers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address of a client that sent `authority` (host and port, as in the `Host` header) over TLS.
    ///
    /// Returns `None` if that is no authority: 1 to 261 characters, a name, an IPv4 or a bracketed IPv6 address, and
    /// perhaps a port. Nothing that could end a JSON text, a header or a URL gets through.
    #[must_use]
    pub fn https(authority: &str) -> Option<Self> {
        is_authority(authority).then(|| Self(format!("https://{authority}")))
    }

    /// Reads `https://host[:port]`, slashes at the end tolerated.
    ///
    /// Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::https(text.strip_prefix("https://")?.trim_end_matches('/'))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_authority(text: &str) -> bool {
    if text.len() > 261 {
        return false;
    }
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets is its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let legal_port = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number != 0)
    });
    let legal_host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    legal_host && legal_port
}

/// Written as a key's identifier: `<base>/keys/<name>[/<version>]`.
pub(crate) struct Kid<'a> {
    pub(crate) base: &'a BaseUrl,
    pub(crate) name: &'a KeyName,
    pub(crate) version: Option<KeyVersion>,
}

impl fmt::Display for Kid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}", self.base, self.name)?;
        self.version.map_or(Ok(()), |version| write!(f, "/{version}"))
    }
}

impl serde::Serialize for Kid<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A key's identifier, as a client reads it from an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUrl {
    /// The pool's address.
    pub base: BaseUrl,
    /// The key, and the version where the identifier has one.
    pub key: KeyRef,
}

impl KeyUrl {
    /// Reads `https://host[:port]/keys/<name>[/<version>]`.
    ///
    /// Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (authority, path) = text.strip_prefix("https://")?.split_once('/')?;
        let mut segments = path.trim_end_matches('/').split('/');
        if segments.next()? != "keys" {
            return None;
        }
        let name = KeyName::parse(segments.next()?).ok()?;
        let version = segments.next().map(KeyVersion::parse).transpose().ok()?;
        if segments.next().is_some() {
            return None;
        }
        Some(Self { base: BaseUrl::https(authority)?, key: KeyRef { name, version } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_base_is_kept_as_the_client_wrote_it() {
        for good in ["Dev.ManagedHSM.localhost:8443", "localhost", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443"] {
            assert_eq!(BaseUrl::https(good).unwrap().as_str(), format!("https://{good}"));
        }
        let slash = BaseUrl::parse("https://a.b:8443/").unwrap();
        assert_eq!(slash.as_str(), "https://a.b:8443");
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for bad in
            ["", ":8443", "a:", "a:0", "a:65536", "a:+1", "a b", "a\"b", "a/b", "u@a", "[::1", "[x]", "a:1:2", "a\r\nb"]
        {
            assert_eq!(BaseUrl::https(bad), None, "{bad:?}");
        }
        assert_eq!(BaseUrl::https(&"a".repeat(262)), None);
        assert_eq!(BaseUrl::parse("http://a"), None);
    }

    #[test]
    fn an_identifier_has_two_or_three_segments() {
        let version = "0".repeat(32);
        let whole = KeyUrl::parse(&format!("https://a:1/keys/Orders/{version}")).unwrap();
        assert_eq!((whole.key.name.as_str(), whole.key.version), ("Orders", Some(KeyVersion([0; 16]))));
        assert_eq!(KeyUrl::parse("https://a:1/keys/n/").unwrap().key.version, None);
        for bad in ["https://a/keys", "https://a/keys/", "https://a/secrets/n", "https://a/keys/n/v", "keys/n"] {
            assert_eq!(KeyUrl::parse(bad), None, "{bad:?}");
        }
        assert_eq!(KeyUrl::parse(&format!("https://a/keys/n/{version}/x")), None);
    }

    proptest! {
        #[test]
        fn identifiers_read_back(host in "[a-z]{1,9}(:[1-9][0-9]{0,3})?", name in "[0-9A-Za-z-]{1,127}", version: Option<[u8; 16]>) {
            let base = BaseUrl::https(&host).unwrap();
            let name = KeyName::parse(&name).unwrap();
            let version = version.map(KeyVersion);
            let kid = Kid { base: &base, name: &name, version }.to_string();
            let read = KeyUrl::parse(&kid).unwrap();
            prop_assert_eq!(read, KeyUrl { base, key: KeyRef { name, version } });
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = (BaseUrl::https(&text), BaseUrl::parse(&text), KeyUrl::parse(&text));
        }
    }
}
