//! Memory that stays in memory: locked pages for the secrets we own, and the process-wide settings for those on
//! AWS-LC's heap.
#![expect(unsafe_code, reason = "mapping, locking and advising pages has no safe interface")]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Once;

use rustix::mm::{Advice, MapFlags, MlockAllFlags, ProtFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use zeroize::Zeroize;

use crate::Error;

/// What [`harden_process`] could do. An operator should see every `false`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HardeningReport {
    /// Every page of the process, present and future, is locked: no key can reach swap space.
    pub memory_locked: bool,
    /// No other process of the same user may attach to this one or read its memory.
    pub tracing_refused: bool,
    /// A crash leaves no core file.
    pub core_files_off: bool,
}

/// Keeps the process's memory out of swap space, core files and the reach of other processes, as far as the system lets
/// us. Call it once, before any key is made or read.
///
/// All memory is locked only where the limit on locked memory is lifted (`LimitMEMLOCK=infinity`, or the capability
/// `CAP_IPC_LOCK`): under a limit, locking future pages would make later allocations fail.
#[must_use]
pub fn harden_process() -> HardeningReport {
    // Without ONFAULT every page that the allocator merely reserves would be made and locked at once: gigabytes.
    let as_they_come = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let mut limit = rustix::process::getrlimit(Resource::Memlock);
    limit.current = limit.maximum;
    // What it may ask for, it does: the more pages of our own can be locked if not all.
    let _ = rustix::process::setrlimit(Resource::Memlock, limit);
    let unlimited = limit.maximum.is_none() || may_lock_any_amount();
    HardeningReport {
        memory_locked: unlimited && rustix::mm::mlockall(as_they_come).is_ok(),
        tracing_refused: rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok(),
        core_files_off: rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
            .is_ok(),
    }
}

fn may_lock_any_amount() -> bool {
    use rustix::thread::CapabilitySet;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// `N` secret bytes in pages of their own: locked where the limit allows, absent from core dumps and from child
/// processes, wiped before the pages are returned.
pub(crate) struct Locked<const N: usize> {
    bytes: NonNull<[u8; N]>,
}

impl<const N: usize> Locked<N> {
    /// Maps pages and lets `fill` write the bytes, which are zero before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no memory, or what `fill` says.
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8; N]) -> Result<(), Error>) -> Result<Self, Error> {
        const { assert!(N > 0 && N <= 4096, "one smallest page") };
        // SAFETY: a null address lets the kernel choose the place, so no existing mapping is touched.
        let pages = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), N, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let bytes = NonNull::new(pages.map_err(|_| Error::Unavailable)?.cast::<[u8; N]>()).ok_or(Error::Unavailable)?;
        let mut this = Self { bytes };
        this.protect();
        // SAFETY: the mapping is at least N bytes, page-aligned, zero-filled, readable and writable, and `this` is its
        // only owner, so a unique reference to it may exist for the time of this call.
        fill(unsafe { this.bytes.as_mut() })?;
        Ok(this)
    }

    fn protect(&mut self) {
        let start = self.bytes.as_ptr().cast();
        // SAFETY: the range is the mapping that `self` owns; locking changes no content.
        if unsafe { rustix::mm::mlock(start, N) }.is_err() {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| tracing::warn!("the limit on locked memory is too low: secrets may reach swap space"));
        }
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: the range is the mapping that `self` owns; neither advice changes its content in this process.
            // Both can fail only on kernels that do not know them, where `harden_process` still turns core files off.
            let _ = unsafe { rustix::mm::madvise(start, N, advice) };
        }
    }
}

impl<const N: usize> Deref for Locked<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        // SAFETY: the mapping lives as long as `self`, is initialized, and is only written while uniquely borrowed.
        unsafe { self.bytes.as_ref() }
    }
}

impl<const N: usize> Drop for Locked<N> {
    fn drop(&mut self) {
        // SAFETY: `self` is the unique owner and is going away, so no other reference exists.
        unsafe { self.bytes.as_mut() }.zeroize();
        // SAFETY: the range is exactly the mapping made in `filled`, and nothing refers to it any more. It cannot fail
        // for a valid range; if it did, the pages would stay mapped, wiped.
        let _ = unsafe { rustix::mm::munmap(self.bytes.as_ptr().cast(), N) };
    }
}

// SAFETY: `Locked` owns its mapping and gives out shared references only; bytes may be read from any thread.
unsafe impl<const N: usize> Send for Locked<N> {}
// SAFETY: as above; there is no interior mutability.
unsafe impl<const N: usize> Sync for Locked<N> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_page_keeps_what_was_written() {
        let page = Locked::<96>::filled(|bytes| {
            assert_eq!(bytes, &[0; 96]);
            bytes[95] = 7;
            Ok(())
        })
        .unwrap();
        assert_eq!(page[95], 7);
        assert!(Locked::<32>::filled(|_| Err(Error::Tampered)).is_err());
    }

    /// What the system says of the mapping that holds `address`: `VmFlags` in `smaps`.
    fn flags(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let bound = |text| usize::from_str_radix(text, 16);
                if let (Ok(start), Ok(end)) = (bound(start), bound(end)) {
                    inside = (start..end).contains(&address);
                }
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("no mapping holds the address");
    }

    #[test]
    fn a_page_of_secrets_is_locked_and_in_no_dump_and_no_child() {
        let page = Locked::<32>::filled(|_| Ok(())).unwrap();
        let flags = flags(page.as_ptr() as usize);
        for (flag, what) in [("lo", "locked"), ("dd", "absent from dumps"), ("wf", "wiped in children")] {
            assert!(flags.iter().any(|have| have == flag), "not {what}: {flags:?}");
        }
    }

    #[test]
    fn a_hardened_process_writes_no_core_file_and_cannot_be_traced() {
        let report = harden_process();
        assert!(report.tracing_refused && report.core_files_off);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
