//! The issuer's folder: nothing in it is anybody else's to read.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::files::write_private;

/// The longest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why the issuer's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Others than the owner may read or change it. Take the rights away (`chmod 600`), and replace what it holds if it
    /// may have been read.
    #[error("{} can be read or changed by others than its owner", .0.display())]
    Exposed(PathBuf),
    /// It is no regular file, too long, or does not hold what belongs there. Restore it, or remove it to start anew.
    #[error("{} does not hold what belongs there", .0.display())]
    Malformed(PathBuf),
    /// The cryptographic library gave no randomness or no key.
    #[error("no key or secret could be made for {}", .0.display())]
    Generation(PathBuf),
}

/// The content of `path`, or `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let failed = |source| FileError::Io { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(FileError::Malformed(path.into()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(FileError::Exposed(path.into()));
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Puts `content` in place of what `path` held, whole or not at all, in a folder that is made where it is missing.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: path.into(), source };
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    write_private(path, content).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folder_and_file_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("file.json");
        assert!(read(&path).unwrap().is_none());
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_others_can_read_or_change_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        replace(&path, b"one").unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(FileError::Exposed(_))), "{mode:o}");
        }
        assert!(matches!(read(folder.path()), Err(FileError::Malformed(_))));
    }
}
