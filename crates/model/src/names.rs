//! Names of pools, keys and key versions.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// A pool name is 3 to 24 characters of `0-9 A-Z a-z -`.
    #[error("a pool name has 3 to 24 characters, letters, digits and '-' only")]
    Pool,
    /// A key name is 1 to 127 characters of `0-9 A-Z a-z -`.
    #[error("a key name has 1 to 127 characters, letters, digits and '-' only")]
    Key,
    /// A key version is 32 hexadecimal digits.
    #[error("a key version has 32 hexadecimal digits")]
    Version,
}

fn is_name(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The name of a pool: the first label of its host name, always lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolName(Arc<str>);

impl PoolName {
    /// Reads a pool name; upper case is folded, since host names do not know it.
    ///
    /// # Errors
    /// [`NameError::Pool`] unless 3 to 24 letters, digits and dashes, with no dash at either end.
    ///
    /// Source: control-plane document, parameter `name`; RFC 1123 for the dashes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !is_name(text, 3..=24) || text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Pool);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, to be kept without copying it.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a key. Shown as it was first written; compared, ordered and hashed without regard to case.
#[derive(Clone, Debug)]
pub struct KeyName {
    shown: Arc<str>,
    folded: Arc<str>,
}

impl KeyName {
    /// Reads a key name.
    ///
    /// # Errors
    /// [`NameError::Key`] unless 1 to 127 letters, digits and dashes.
    ///
    /// Source: keys document, parameter `key-name`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !is_name(text, 1..=127) {
            return Err(NameError::Key);
        }
        let shown: Arc<str> = text.into();
        let folded =
            if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { shown.clone() };
        Ok(Self { shown, folded })
    }

    /// The name as its creator wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The name in lower case: what paths in the store and comparisons use.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

impl PartialEq for KeyName {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for KeyName {}

impl PartialOrd for KeyName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl std::hash::Hash for KeyName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

/// Lets a map keyed by `KeyName` be searched by folded text.
impl std::borrow::Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        &self.folded
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// One version of a key: 128 bits chosen by the service, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(pub [u8; 16]);

impl KeyVersion {
    /// Reads 32 hexadecimal digits, of either case.
    ///
    /// # Errors
    /// [`NameError::Version`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NameError::Version) };
        let mut version = [0; 16];
        if pairs.len() != version.len() {
            return Err(NameError::Version);
        }
        for (byte, [high, low]) in version.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(version))
    }
}

fn nibble(digit: u8) -> Result<u8, NameError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NameError::Version),
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key and, where the caller said so, one version of it; without one, the latest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRef {
    /// The key.
    pub name: KeyName,
    /// The version, or `None` for the latest.
    pub version: Option<KeyVersion>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_compare_without_case_and_show_what_was_written() {
        let a = KeyName::parse("Orders-2026").unwrap();
        let b = KeyName::parse("orders-2026").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.as_str(), "Orders-2026");
        assert_eq!(a.folded(), "orders-2026");
    }

    #[test]
    fn names_out_of_their_bounds_are_refused() {
        for bad in ["", "a b", "a/b", "ä", "a.b", "a_b", &"x".repeat(128)] {
            assert_eq!(KeyName::parse(bad), Err(NameError::Key), "{bad:?}");
        }
        assert!(KeyName::parse(&"x".repeat(127)).is_ok());
        for bad in ["ab", "-abc", "abc-", &"x".repeat(25), "a.bc"] {
            assert_eq!(PoolName::parse(bad), Err(NameError::Pool), "{bad:?}");
        }
    }

    #[test]
    fn a_version_is_32_hexadecimal_digits() {
        let text = "00ff00000000000000000000000000aa";
        assert_eq!(KeyVersion::parse(text).unwrap().to_string(), text);
        for bad in ["", "0", "+0ff00000000000000000000000000aa", &"g".repeat(32), &"0".repeat(33)] {
            assert!(KeyVersion::parse(bad).is_err(), "{bad:?}");
        }
    }
}
