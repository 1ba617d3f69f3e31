//! A disk in memory that fails on demand, and that knows what a loss of power would leave.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard};

use store::Disk;

/// Granularity in which space is taken and power is lost.
const BLOCK: usize = 512;

/// How the disk fails, from an operation on. Operations that change something are counted: writes, syncs, sizes.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every test binary makes all of them")]
pub(crate) enum Fault {
    /// Nothing new fits: growing fails, and so does writing where nothing was written before.
    Full,
    /// One operation fails, having done half its work.
    Once(io::ErrorKind),
    /// Everything fails, reads included.
    Dead,
}

#[derive(Debug, Default)]
pub(crate) struct Faulty(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// What is certain to survive a loss of power.
    durable: Vec<u8>,
    /// What a loss of power may keep or lose since.
    pending: Vec<Pending>,
    taken: HashSet<usize>,
    operations: usize,
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Size(usize),
}

#[allow(dead_code, reason = "not every test binary uses all of it")]
impl Faulty {
    /// A disk that holds `bytes` durably.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        let taken = (0..bytes.len().div_ceil(BLOCK)).collect();
        Self(Mutex::new(State { durable: bytes.clone(), bytes, taken, ..State::default() }))
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Fails as `fault` says from the operation that is `operations` away.
    pub(crate) fn fail_after(&self, operations: usize, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + operations, fault));
    }

    /// Works again.
    pub(crate) fn mend(&self) {
        self.state().fault = None;
    }

    /// What a loss of power now would leave, where `keep` decides of every block written since the last sync.
    pub(crate) fn after_power_loss(&self, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let state = self.state();
        let mut left = state.durable.clone();
        for pending in &state.pending {
            match pending {
                Pending::Size(size) if keep() => left.resize(*size, 0),
                Pending::Size(_) => {}
                Pending::Write(offset, data) => {
                    for (index, block) in data.chunks(BLOCK).enumerate() {
                        let start = offset + index * BLOCK;
                        if keep() && start + block.len() <= left.len() {
                            left[start..start + block.len()].copy_from_slice(block);
                        }
                    }
                }
            }
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Counts an operation; how it is to fail, if it is.
    fn operate(&mut self) -> Option<Fault> {
        let now = self.operations;
        self.operations += 1;
        match self.fault {
            Some((from, Fault::Once(_))) if now != from => None,
            Some((from, fault)) if now >= from => Some(fault),
            _ => None,
        }
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        self.pending.push(Pending::Write(offset, data.to_vec()));
        self.taken.extend(blocks(offset, data.len()));
    }
}

impl Disk for Faulty {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if matches!(state.fault, Some((from, Fault::Dead)) if state.operations >= from) {
            return Err(io::Error::other("dead"));
        }
        let offset = offset as usize;
        out.copy_from_slice(state.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = offset as usize;
        match state.operate() {
            Some(Fault::Once(kind)) => {
                state.put(offset, &data[..data.len() / 2]);
                return Err(kind.into());
            }
            Some(Fault::Dead) => return Err(io::Error::other("dead")),
            Some(Fault::Full) if !blocks(offset, data.len()).all(|block| state.taken.contains(&block)) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(Fault::Full) | None => state.put(offset, data),
        }
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.state();
        let size = size as usize;
        match state.operate() {
            Some(Fault::Once(kind)) => return Err(kind.into()),
            Some(Fault::Dead) => return Err(io::Error::other("dead")),
            // The file grows in length, as files do: it is the blocks that are lacking.
            Some(Fault::Full) | None => {}
        }
        state.bytes.resize(size, 0);
        state.pending.push(Pending::Size(size));
        state.taken.retain(|block| block * BLOCK < size);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.operate() {
            // The kernel takes pages that it failed to write for clean: no later sync tries again, so they are
            // there to be read, but not durable.
            Some(Fault::Once(kind)) => {
                state.pending.retain(|pending| matches!(pending, Pending::Size(_)));
                return Err(kind.into());
            }
            Some(Fault::Dead) => return Err(io::Error::other("dead")),
            Some(Fault::Full) | None => {}
        }
        for pending in std::mem::take(&mut state.pending) {
            match pending {
                Pending::Write(offset, data) => {
                    let end = offset + data.len();
                    if end <= state.durable.len() {
                        state.durable[offset..end].copy_from_slice(&data);
                    }
                }
                Pending::Size(size) => state.durable.resize(size, 0),
            }
        }
        Ok(())
    }
}

fn blocks(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / BLOCK..(offset + len).div_ceil(BLOCK)
}
