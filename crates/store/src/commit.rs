//! What a caller may ask a store to write at once.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use crate::Path;

/// Most expectations in a commit.
pub const MAX_EXPECTATIONS: usize = 64;
/// Most writes in a commit.
pub const MAX_WRITES: usize = 64;
/// Most bytes of paths and values in a commit, its expectations' paths included.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// The place of a commit in the one order of all commits. An empty store is at revision 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one, from which a watch sees what this one did not.
    ///
    /// The last revision is its own successor. At a million commits a second it is reached in half a million years.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a commit expects of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no entry.
    Absent,
    /// There is an entry, last written at this revision.
    At(Revision),
}

/// One change of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes or replaces the entry. The value may be empty.
    Put(Path, Bytes),
    /// Removes the entry; fine if there is none.
    Delete(Path),
    /// As `Delete`; and once the store has been closed and opened again, nothing that stood at this path until then is
    /// in its file any more.
    Erase(Path),
}

impl Write {
    /// The path it changes.
    pub fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Delete(path) | Self::Erase(path) => path,
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Put(path, value) => path.len() + value.len(),
            Self::Delete(path) | Self::Erase(path) => path.len(),
        }
    }
}

/// Writes that happen together, if all expectations hold. Within the limits by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    expect: Vec<(Path, Expect)>,
    writes: Vec<Write>,
    size: usize,
}

impl Commit {
    /// Makes a commit. The order of its parts has no meaning.
    ///
    /// # Errors
    /// [`LimitError`] if it has no write, is over a limit, or names one path twice among its expectations or twice
    /// among its writes.
    pub fn new(
        expect: impl IntoIterator<Item = (Path, Expect)>,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Self, LimitError> {
        // One more than allowed is enough to know, however many there are.
        let expect: Vec<_> = expect.into_iter().take(MAX_EXPECTATIONS + 1).collect();
        let writes: Vec<_> = writes.into_iter().take(MAX_WRITES + 1).collect();
        if writes.is_empty() {
            return Err(LimitError::NoWrite);
        }
        if expect.len() > MAX_EXPECTATIONS {
            return Err(LimitError::Expectations);
        }
        if writes.len() > MAX_WRITES {
            return Err(LimitError::Writes);
        }
        let size = expect.iter().map(|(path, _)| path.len()).sum::<usize>()
            + writes.iter().map(Write::size).fold(0, usize::saturating_add);
        if size > MAX_COMMIT_BYTES {
            return Err(LimitError::Bytes { size });
        }
        if let Some(path) = repeated(expect.iter().map(|(path, _)| path)) {
            return Err(LimitError::ExpectedTwice { path: path.clone() });
        }
        if let Some(path) = repeated(writes.iter().map(Write::path)) {
            return Err(LimitError::WrittenTwice { path: path.clone() });
        }
        Ok(Self { expect, writes, size })
    }

    /// What it expects.
    pub fn expect(&self) -> &[(Path, Expect)] {
        &self.expect
    }

    /// What it writes; never empty.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Bytes of its paths and values, as limited by [`MAX_COMMIT_BYTES`].
    pub fn size(&self) -> usize {
        self.size
    }
}

/// Why a commit cannot be made. The caller must ask for less, or in several commits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// A commit writes something.
    #[error("a commit has at least one write")]
    NoWrite,
    /// More than [`MAX_EXPECTATIONS`].
    #[error("a commit has at most {MAX_EXPECTATIONS} expectations")]
    Expectations,
    /// More than [`MAX_WRITES`].
    #[error("a commit has at most {MAX_WRITES} writes")]
    Writes,
    /// More than [`MAX_COMMIT_BYTES`].
    #[error("{size} bytes of paths and values are more than the {MAX_COMMIT_BYTES} of a commit")]
    Bytes {
        /// Bytes asked for.
        size: usize,
    },
    /// Two expectations of one path.
    #[error("two expectations of {path}")]
    ExpectedTwice {
        /// The path.
        path: Path,
    },
    /// Two writes to one path.
    #[error("two writes to {path}")]
    WrittenTwice {
        /// The path.
        path: Path,
    },
}

fn repeated<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<&'a Path> {
    let mut seen = HashSet::new();
    paths.into_iter().find(|path| !seen.insert(*path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn a_commit_has_at_least_one_write_and_no_path_twice() {
        assert_eq!(Commit::new([(path("a"), Expect::Absent)], []), Err(LimitError::NoWrite));
        assert_eq!(
            Commit::new([], [Write::Delete(path("a")), Write::Put(path("a"), Bytes::new())]),
            Err(LimitError::WrittenTwice { path: path("a") })
        );
        assert_eq!(
            Commit::new(
                [(path("a"), Expect::Absent), (path("a"), Expect::At(Revision(1)))],
                [Write::Delete(path("b"))]
            ),
            Err(LimitError::ExpectedTwice { path: path("a") })
        );
    }

    #[test]
    fn an_endless_list_of_writes_is_refused() {
        let endless = std::iter::repeat_with(|| Write::Delete(path("a")));
        assert_eq!(Commit::new([], endless), Err(LimitError::Writes));
    }
}
