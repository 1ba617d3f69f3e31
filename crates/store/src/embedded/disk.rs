//! What the bytes lie on.

use std::fmt::Debug;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::Cause;

/// A growing array of bytes, some of which are durable.
///
/// Whoever makes one sees to it that nobody else writes it.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `out` with what is at `offset`; an error if that reaches past the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts, or grows with zeros.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Makes everything before durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is locked while it is open, so that a second process finds it in use.
///
/// The lock is ours rather than the database's: it must stay while the database is opened again.
impl Disk for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A disk in memory: durable for as long as it lives, so that a store on it can be closed and opened again.
#[derive(Debug, Default)]
pub struct Memory(RwLock<Vec<u8>>);

impl Memory {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Disk for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        out.copy_from_slice(bytes.get(span(offset, out.len())?).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        bytes.get_mut(span(offset, data.len())?).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let more = size.saturating_sub(bytes.len());
        bytes.try_reserve_exact(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(size, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn span(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    Ok(start..start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?)
}

/// What a disk did, seen from below the database, which itself remembers only that something failed.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    syncs: AtomicU64,
    fault: Mutex<Option<(io::ErrorKind, Cause)>>,
}

impl Gauge {
    /// How often a sync succeeded.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Acquire)
    }

    /// Takes the first fault since the last call.
    pub(super) fn take_fault(&self) -> Option<(io::ErrorKind, Cause)> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn noted<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        answer.map_err(|error| {
            let (kind, cause) = (error.kind(), Cause::new(error));
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert_with(|| (kind, cause.clone()));
            io::Error::new(kind, cause)
        })
    }
}

/// A disk as the database wants it, with a gauge on it.
///
/// It offers no locks, since whoever made the disk holds the one on the whole of it.
#[derive(Debug)]
pub(super) struct Gauged {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) gauge: Arc<Gauge>,
}

impl redb::StorageBackend for Gauged {
    fn len(&self) -> io::Result<u64> {
        self.gauge.noted(self.disk.size())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.gauge.noted(self.disk.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.gauge.noted(self.disk.set_size(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gauge.noted(self.disk.sync())?;
        self.gauge.syncs.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gauge.noted(self.disk.write(offset, data))
    }
}
