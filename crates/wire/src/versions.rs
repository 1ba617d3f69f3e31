//! The api-versions that the interface has had.

use std::fmt;

/// Every version that is accepted, oldest first. All are answered in one shape.
///
/// Source: published versions of the data plane; the four short previews are what `az` and older SDKs still send.
const KNOWN: &[&str] = &[
    "7.0",
    "7.1",
    "7.2-preview",
    "7.2",
    "7.3-preview",
    "7.3",
    "7.4-preview.1",
    "7.4",
    "7.5-preview.1",
    "7.5",
    "7.6-preview.1",
    "7.6-preview.2",
    "7.6",
    "2025-06-01-preview",
    "2025-06-01",
    "2025-07-01",
    "2026-01-01-preview",
    "2026-03-01-preview",
    "2026-04-01",
    "2026-05-01-preview",
    "2026-07-01-preview",
];

/// One accepted api-version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiVersion(&'static str);

impl ApiVersion {
    /// The version that our own client asks for: the newest stable one that every SDK knows.
    pub const CLIENT: Self = Self("2025-07-01");

    /// Every accepted version, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().copied().map(Self)
    }

    /// Reads a version, without regard to case.
    ///
    /// Returns `None` for one that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|version| version.0.eq_ignore_ascii_case(text))
    }

    /// The version as it is published.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_whole_or_not_at_all() {
        for version in ApiVersion::all() {
            assert_eq!(ApiVersion::parse(version.as_str()), Some(version));
        }
        assert_eq!(ApiVersion::parse("7.6-PREVIEW.2").map(ApiVersion::as_str), Some("7.6-preview.2"));
        assert_eq!(ApiVersion::parse("2025-07-01"), Some(ApiVersion::CLIENT));
        for bad in ["", "7", "7.7", "7.5 ", "2016-10-01", "2025-07-01-preview"] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad:?}");
        }
    }
}
