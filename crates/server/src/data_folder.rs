//! The folder that holds everything a node must not forget: whose it is, which version wrote it, and that only one
//! process uses it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation};

use crate::files::{read_optional, write_private};

/// What the version file says.
const VERSION: &str = "strongroom data 1\n";
const VERSION_FILE: &str = "version";
const LOCK_FILE: &str = "lock";

/// Why a folder cannot be used. Nothing in it has been touched.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The folder or a file in it cannot be made, read or written. Check owner, mode and disk.
    #[error("the data folder {} cannot be used", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else owns it, and could change what is in it. Give it to the user that runs the process.
    #[error("the data folder {} belongs to another user", .0.display())]
    NotOurs(PathBuf),
    /// It holds other things. Name an empty folder, or one that does not exist.
    #[error("{} holds other files and no data of Strongroom: name an empty or a new folder", .0.display())]
    Foreign(PathBuf),
    /// Another version wrote it.
    #[error("the data folder {} was written by another version ({found}): start that version", path.display())]
    OtherVersion {
        /// The folder.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// Another process has it.
    #[error("the data folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
}

/// A data folder that is ours until dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
    /// Present where the folder goes when we do.
    _temporary: Option<tempfile::TempDir>,
}

impl DataFolder {
    /// Takes the folder at `path`, made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// [`DataFolderError`].
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let unusable = |source| DataFolderError::Unusable { path: path.to_owned(), source };
        if fs::metadata(path).is_ok_and(|found| found.uid() != rustix::process::geteuid().as_raw()) {
            return Err(DataFolderError::NotOurs(path.to_owned()));
        }
        match contents(path).map_err(unusable)? {
            Contents::Ours => {}
            Contents::Nothing => {
                DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
            }
            Contents::OtherVersion(found) => {
                return Err(DataFolderError::OtherVersion { path: path.to_owned(), found });
            }
            Contents::Foreign => return Err(DataFolderError::Foreign(path.to_owned())),
        }
        let writable = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::access(path, writable).map_err(|error| unusable(error.into()))?;
        let lock = lock(path)?;
        // Ours alone from here on.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        let version = path.join(VERSION_FILE);
        if read_optional(&version).map_err(unusable)?.is_none() {
            write_private(&version, VERSION.as_bytes()).map_err(unusable)?;
        }
        let path = fs::canonicalize(path).map_err(unusable)?;
        Ok(Self { path, _lock: lock, _temporary: None })
    }

    /// A folder among the system's temporary files that goes when the value is dropped.
    ///
    /// # Errors
    /// [`DataFolderError::Unusable`].
    pub fn temporary() -> Result<Self, DataFolderError> {
        let unusable = |source| DataFolderError::Unusable { path: std::env::temp_dir(), source };
        let temporary = tempfile::Builder::new().prefix("strongroom-").tempdir().map_err(unusable)?;
        let opened = Self::open(temporary.path())?;
        Ok(Self { _temporary: Some(temporary), ..opened })
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// [`DataFolderError::Unusable`].
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataFolderError> {
        let path = self.path.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(DataFolderError::Unusable { path, source })
            }
            _ => Ok(path),
        }
    }
}

enum Contents {
    Nothing,
    Ours,
    OtherVersion(String),
    Foreign,
}

/// Looks without touching.
fn contents(path: &Path) -> io::Result<Contents> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::Nothing),
        Err(error) => return Err(error),
    };
    match read_optional(&path.join(VERSION_FILE))? {
        Some(version) => Ok(match other_version(&version) {
            None => Contents::Ours,
            Some(other) => Contents::OtherVersion(other),
        }),
        None => {
            for entry in entries {
                // A lock alone is what a first start leaves that was killed.
                if entry?.file_name() != LOCK_FILE {
                    return Ok(Contents::Foreign);
                }
            }
            Ok(Contents::Nothing)
        }
    }
}

/// What a version file says, its beginning, if that is not what we write.
pub(crate) fn other_version(file: &[u8]) -> Option<String> {
    let shown = || String::from_utf8_lossy(&file[..file.len().min(40)]).trim().to_owned();
    (file != VERSION.as_bytes()).then(shown)
}

fn lock(path: &Path) -> Result<File, DataFolderError> {
    let unusable = |source| DataFolderError::Unusable { path: path.to_owned(), source };
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join(LOCK_FILE))
        .map_err(unusable)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataFolderError::InUse(path.to_owned())),
        Err(error) => Err(unusable(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_is_private_and_can_be_opened_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("data");
        drop(DataFolder::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let again = DataFolder::open(&path).unwrap();
        assert_eq!(again.folder("audit").unwrap(), again.folder("audit").unwrap());
    }

    #[test]
    fn a_folder_in_use_is_refused_until_it_is_free() {
        let base = tempfile::tempdir().unwrap();
        let first = DataFolder::open(base.path()).unwrap();
        assert!(matches!(DataFolder::open(base.path()), Err(DataFolderError::InUse(_))));
        drop(first);
        DataFolder::open(base.path()).unwrap();
    }

    #[test]
    fn a_folder_of_another_version_is_refused_and_not_touched() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(VERSION_FILE), "strongroom data 99\n").unwrap();
        let refused = DataFolder::open(base.path()).expect_err("another version");
        assert!(refused.to_string().contains("strongroom data 99"), "{refused}");
        assert_eq!(names(base.path()), ["version"]);
    }

    #[test]
    fn somebody_elses_folder_is_refused_and_not_touched() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(DataFolder::open(base.path()), Err(DataFolderError::Foreign(_))));
        assert_eq!(names(base.path()), ["thesis.txt"]);
    }

    #[test]
    fn a_folder_that_another_user_owns_is_refused_and_not_touched() {
        let base = tempfile::tempdir().unwrap();
        let theirs = if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(base.path(), Some(65534), None).unwrap();
            base.path()
        } else {
            Path::new("/")
        };
        assert!(matches!(DataFolder::open(theirs), Err(DataFolderError::NotOurs(_))));
        assert_eq!(names(base.path()), [""; 0]);
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_one_clear_line() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("file");
        fs::write(&path, "").unwrap();
        let refused = DataFolder::open(&path).expect_err("a file").to_string();
        assert!(refused.contains("file") && !refused.contains('\n'), "{refused}");
    }

    #[test]
    fn a_killed_first_start_can_be_repeated() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(LOCK_FILE), "").unwrap();
        DataFolder::open(base.path()).unwrap();
    }

    #[test]
    fn a_temporary_folder_goes_with_its_value() {
        let folder = DataFolder::temporary().unwrap();
        let path = folder.path().to_owned();
        assert!(path.exists());
        drop(folder);
        assert!(!path.exists());
    }
}
