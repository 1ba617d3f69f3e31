//! Making, finding and opening the file, and the database in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, DatabaseError, StorageError};

use super::disk::{Disk, Gauge, Gauged, Memory};
use super::tables;
use crate::{Cause, OpenError};

/// Memory for pages of the file. A pool keeps what it uses often itself, so this need only hold the upper levels of
/// the tree and one batch of commits.
const CACHE: usize = 2 << 20;

/// A file smaller than this is not worth compacting.
const SMALL: u64 = 64 << 20;

/// Opens and locks the file of a store, after making it if there is none.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let existing = || OpenOptions::new().read(true).write(true).open(path);
    let file = match existing() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path)?;
            existing()
        }
        answer => answer,
    };
    let file = file.map_err(io_error)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse),
        Err(TryLockError::Error(error)) => return Err(io_error(error)),
        Ok(()) => {}
    }
    // An empty disk would be made a store: right for a new one, wrong for a file that lost its content.
    if file.size().map_err(io_error)? == 0 {
        return Err(OpenError::Foreign);
    }
    Ok(file)
}

/// Makes the file of an empty store. It appears whole or not at all, and never over another.
fn make(path: &Path) -> Result<(), OpenError> {
    let disk = Arc::new(Memory::default());
    let image: Arc<dyn Disk> = disk.clone();
    let database = database(&image, &Arc::default())?;
    tables::prepare(&database)?;
    database.close().map_err(database_error)?;

    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new().prefix(".new-store-").tempfile_in(folder).map_err(io_error)?;
    new.write_all(&disk.bytes()).map_err(io_error)?;
    new.as_file().sync_all().map_err(io_error)?;
    match new.persist_noclobber(path) {
        Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error),
        // Another process was faster; its file is as good.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error(error.error)),
    }
}

/// Why a store was not written anew.
pub(super) enum Unwritten {
    /// The old file has its name still, and can be gone on with.
    Unchanged(OpenError),
    /// The old file has lost its name to the new one, which is whole, but may lose it again if the system fails now.
    Unnamed(OpenError),
}

/// Writes the store anew into a file of its own, which takes the name `path` once it is whole. Needs as much space as is
/// in the store. The old file is as it was until then, and has no name after. `sync` makes a folder's names durable.
pub(super) fn rewritten(
    path: &Path,
    old: &Database,
    sync: impl Fn(&File) -> io::Result<()>,
) -> Result<Arc<dyn Disk>, Unwritten> {
    // A link to another folder stays one: the file it leads to is written anew where it lies.
    let path = &std::fs::canonicalize(path).map_err(io_error).map_err(Unwritten::Unchanged)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".anew-");
    name.push(path.file_name().unwrap_or_default());
    let anew = folder.join(name);
    // One that a crash left is begun again.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let opened = File::open(folder).and_then(|folder| Ok((folder, options.open(&anew)?)));
    let (folder, file) = opened.map_err(io_error).map_err(Unwritten::Unchanged)?;
    let file = Arc::new(file);
    let disk: Arc<dyn Disk> = file.clone();
    let renamed = (|| {
        // The lock of the new one is held before it has the name of the old.
        file.try_lock().map_err(|_| OpenError::InUse)?;
        let database = database(&disk, &Arc::default())?;
        tables::copy(old, &database)?;
        database.close().map_err(database_error)?;
        file.sync_all().map_err(io_error)?;
        std::fs::rename(&anew, path).map_err(io_error)
    })();
    if let Err(error) = renamed {
        // If the name is there, nothing of worth is behind it.
        let _ = std::fs::remove_file(&anew);
        return Err(Unwritten::Unchanged(error));
    }
    sync(&folder).map_err(io_error).map_err(Unwritten::Unnamed)?;
    Ok(disk)
}

/// Writes zeros over a file that has no name any more, as far as that goes: what lies under the file is not ours. One
/// that somebody has given a second name is left.
pub(super) fn wipe(file: &File) {
    let disk: &dyn Disk = file;
    let zeros = vec![0; 64 << 10];
    let wiped = file.metadata().and_then(|found| {
        if found.nlink() > 0 {
            return Err(io::Error::other("it has another name"));
        }
        let size = disk.size()?;
        let mut offset = 0;
        while offset < size {
            let some = zeros.len().min(usize::try_from(size - offset).unwrap_or(usize::MAX));
            disk.write(offset, &zeros[..some])?;
            offset += some as u64;
        }
        disk.sync()
    });
    if let Err(error) = wiped {
        tracing::warn!(%error, "the former file of the store was not written over");
    }
}

/// Opens the database on `disk`, or makes it if the disk is empty.
///
/// This writes and syncs the database's header, so that whatever is read afterwards is durable, even where an
/// earlier sync had failed.
pub(super) fn database(disk: &Arc<dyn Disk>, gauge: &Arc<Gauge>) -> Result<Database, OpenError> {
    let backend = Gauged { disk: disk.clone(), gauge: gauge.clone() };
    Database::builder().set_cache_size(CACHE).create_with_backend(backend).map_err(database_error)
}

/// Compacts a file that is more than three times as large as what is in it, which happens after a purge of much.
///
/// Only at the opening: the database must be used by nobody meanwhile, and it may take seconds. A failure leaves the
/// file large but whole.
pub(super) fn compacted(
    mut database: Database,
    disk: &Arc<dyn Disk>,
    gauge: &Arc<Gauge>,
) -> Result<Database, OpenError> {
    let (before, live) = (disk.size().map_err(io_error)?, tables::live_bytes(&database)?);
    if before < SMALL || before / 3 <= live {
        return Ok(database);
    }
    match database.compact() {
        Ok(_) => {
            tracing::info!(before, after = disk.size().map_err(io_error)?, live, "compacted the store");
            Ok(database)
        }
        Err(error) => {
            tracing::warn!(%error, "could not compact the store");
            drop(database);
            self::database(disk, gauge)
        }
    }
}

fn database_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        DatabaseError::UpgradeRequired(version) => OpenError::OtherVersion { found: format!("redb/{version}") },
        // How the database says that its magic number is missing.
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            OpenError::Foreign
        }
        DatabaseError::Storage(StorageError::Io(error)) => io_error(error),
        DatabaseError::Storage(StorageError::PreviousIo | StorageError::Backend(_)) => {
            OpenError::Io { source: Cause::new(error) }
        }
        error => OpenError::Damaged { source: Cause::new(error) },
    }
}

fn io_error(error: io::Error) -> OpenError {
    OpenError::Io { source: Cause::new(error) }
}
