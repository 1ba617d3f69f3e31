//! The seam to the disk: what is written through it is what must not be lost.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::statvfs;

/// Where bytes become durable. Tests put a disk here that fails and forgets.
pub(crate) trait Disk: Send + Sync {
    /// Writes all of `bytes` at `offset`, or fails.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable what was written to `file`, and its length. After a failure nothing is known about any byte that
    /// was written since the last success: the kernel may hold them as clean and never try again.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// How many bytes can still be written below `folder`.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// The disk of the machine.
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let status = statvfs(folder)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// Makes a folder, and those above it that are not there, for the owner alone: records name people and keys. One that is
/// there keeps its mode.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file for writing, for the owner alone if it was not there, empty if it was.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    open_file(OpenOptions::new().truncate(true), path)
}

/// The same, with its content kept.
pub(crate) fn open_or_create_file(path: &Path) -> io::Result<File> {
    open_file(OpenOptions::new().truncate(false), path)
}

fn open_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).create(true).mode(0o600).open(path)
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts `bytes` at `path` in one step: a reader, or a crash, sees the old file or the new one. Durable only after the
/// file's folder is synced too.
pub(crate) fn replace(disk: &dyn Disk, scratch: &Path, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let file = create_file(scratch)?;
    disk.write(&file, bytes, 0)?;
    if durable {
        disk.sync(&file)?;
    }
    std::fs::rename(scratch, path)
}

/// The whole of a small file, or `None` if there is none. More than `limit` bytes are an error.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than anything this crate writes there"));
    }
    Ok(Some(bytes))
}
