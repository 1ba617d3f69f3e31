//! Where an entry lies: paths, and the prefixes that group them.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// Longest path, in bytes.
pub const MAX_PATH: usize = 512;

/// The name of one entry: 1 to [`MAX_PATH`] bytes of `[a-z0-9/._-]`, in segments parted by single slashes.
///
/// Paths are ordered bytewise. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// Parses a path.
    ///
    /// # Errors
    /// [`PathError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong { len: text.len() });
        }
        if let Some(at) = text.bytes().position(|byte| !is_path_byte(byte)) {
            return Err(PathError::Byte { at });
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return Err(PathError::EmptySegment);
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a path is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The prefix of everything below this path; the path itself is not below it.
    pub fn below(&self) -> Prefix {
        Prefix(format!("{}/", self.0).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({})", self.0)
    }
}

/// A set of paths: all of them, or those below one path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Parses a prefix: empty for every path, otherwise a path followed by one slash.
    ///
    /// # Errors
    /// [`PathError`] as for [`Path::parse`]; [`PathError::NoSlash`] if the final slash is missing.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Ok(Self::all());
        }
        let path = text.strip_suffix('/').ok_or(PathError::NoSlash)?;
        Ok(Path::parse(path)?.below())
    }

    /// The prefix of every path.
    pub fn all() -> Self {
        Self("".into())
    }

    /// Whether `path` has this prefix.
    pub fn contains(&self, path: &Path) -> bool {
        path.0.starts_with(&*self.0)
    }

    /// The prefix as text, with its final slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bounds of the keys with this prefix that come after `after`; `None` if there can be none.
    pub(crate) fn range_after(&self, after: Option<&Path>) -> Option<KeyRange> {
        let start = self.0.as_bytes();
        // `0` is the byte after the slash.
        let end = self.0.strip_suffix('/').map(|path| format!("{path}0").into_bytes());
        let lower = match after {
            Some(after) if after.as_bytes() >= start => {
                if end.as_ref().is_some_and(|end| after.as_bytes() >= end.as_slice()) {
                    return None;
                }
                Bound::Excluded(after.as_bytes().to_vec())
            }
            _ => Bound::Included(start.to_vec()),
        };
        Some((lower, end.map_or(Bound::Unbounded, Bound::Excluded)))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0)
    }
}

/// Where keys begin and end.
pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Why a text is not a [`Path`] or a [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A path has at least one byte.
    #[error("a path is not empty")]
    Empty,
    /// A path has at most [`MAX_PATH`] bytes.
    #[error("a path of {len} bytes is longer than {MAX_PATH}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A byte outside `[a-z0-9/._-]`.
    #[error("the byte at {at} may not stand in a path")]
    Byte {
        /// Where it stands, counted from 0.
        at: usize,
    },
    /// A slash at either end, or two in a row.
    #[error("a path has no empty segment")]
    EmptySegment,
    /// A prefix that is not empty ends in a slash.
    #[error("a prefix ends in a slash")]
    NoSlash,
}

fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_bounded_and_has_no_empty_segment() {
        assert_eq!(Path::parse(""), Err(PathError::Empty));
        assert!(Path::parse(&"a".repeat(MAX_PATH)).is_ok());
        assert_eq!(Path::parse(&"a".repeat(MAX_PATH + 1)), Err(PathError::TooLong { len: MAX_PATH + 1 }));
        for text in ["/a", "a/", "a//b", "/"] {
            assert_eq!(Path::parse(text), Err(PathError::EmptySegment), "{text}");
        }
        assert_eq!(Path::parse("a/B"), Err(PathError::Byte { at: 2 }));
        assert_eq!(Path::parse("a\u{e9}"), Err(PathError::Byte { at: 1 }));
        assert_eq!(Path::parse("a b"), Err(PathError::Byte { at: 1 }));
        assert_eq!(Path::parse("keys/a-b_c.d/0").unwrap().as_str(), "keys/a-b_c.d/0");
    }

    #[test]
    fn a_prefix_is_everything_or_a_path_and_a_slash() {
        assert_eq!(Prefix::parse(""), Ok(Prefix::all()));
        assert_eq!(Prefix::parse("a"), Err(PathError::NoSlash));
        assert_eq!(Prefix::parse("/"), Err(PathError::Empty));
        assert_eq!(Prefix::parse("a//"), Err(PathError::EmptySegment));
        let prefix = Prefix::parse("a/b/").unwrap();
        assert!(prefix.contains(&Path::parse("a/b/c").unwrap()));
        for outside in ["a/b", "a/bc", "a/b-c", "a/b0"] {
            assert!(!prefix.contains(&Path::parse(outside).unwrap()), "{outside}");
        }
    }

    #[test]
    fn the_range_of_a_prefix_is_exactly_what_it_contains() {
        let prefix = Prefix::parse("a/b/").unwrap();
        let range = prefix.range_after(None).unwrap();
        for text in ["a", "a/b", "a/b-", "a/b.c", "a/b/0", "a/b/z/z", "a/b0", "a/bz", "b"] {
            let path = Path::parse(text).unwrap();
            let inside = std::ops::RangeBounds::contains(&range, &path.as_bytes().to_vec());
            assert_eq!(inside, prefix.contains(&path), "{text}");
        }
        assert_eq!(prefix.range_after(Some(&Path::parse("a/b0").unwrap())), None);
        assert_eq!(prefix.range_after(Some(&Path::parse("a").unwrap())), Some(range));
    }
}
