//! Files that only their owner may read, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The content of a file, or `None` if there is no such file.
///
/// # Errors
/// Anything else that hinders reading.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `bytes` at `path`, mode 0600, so that a reader finds the old content or the new and never a part, and so
/// that it survives a power cut.
///
/// # Errors
/// The folder is not writable or full; the file at `path` is as it was then.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    // Left over from a crash; `create_new` then makes sure that nobody else prepared the file for us.
    remove(&beside)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The error to report is the first one.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(parent(path))?.sync_all()
}

/// Whether [`write_private`] can put a file at `path`, found out without touching what lies there. Something that is no
/// regular file (a terminal, a pipe, a folder, a link) is not to be replaced by one.
///
/// # Errors
/// What stands in the way.
pub(crate) fn can_write(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what lies there is no regular file"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tempfile::Builder::new().prefix(".strongroom-").tempfile_in(parent(path)).map(drop)
}

/// Sees to it that nothing lies at `path`.
///
/// # Errors
/// The system's.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(parent(path).join(format!(".{}.new", name.to_string_lossy())))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn whether_a_file_can_be_written_is_found_out_without_touching_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        can_write(&path).unwrap();
        fs::write(&path, "old").unwrap();
        can_write(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"old".to_vec(), 1));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for no in [folder.path(), &link, Path::new("/dev/null"), Path::new("/proc/none"), &path.join("below")] {
            assert!(can_write(no).is_err(), "{}", no.display());
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_missing_file_is_none_and_a_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_optional(&folder.path().join("none")).unwrap(), None);
        assert!(read_optional(folder.path()).is_err());
    }
}
