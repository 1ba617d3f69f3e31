//! Tests against a disk that fails, and forgets what it failed to write.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::disk::{Disk, LocalDisk};
use crate::testing::{journal_key, record, signer};
use crate::{AppendError, Class, Log, Node, Options, Origin, Record, verify};

/// A disk whose failed syncs lose every byte that was written since the last sync that succeeded, while later syncs
/// succeed again: what a kernel does with pages it could not write.
#[derive(Default)]
struct FailingDisk {
    fail_writes: AtomicBool,
    fail_syncs: AtomicBool,
    /// Every so many syncs fail; 0 for none.
    fail_every: AtomicU64,
    syncs: AtomicU64,
    free: AtomicU64,
    /// By file: where something was written since its last sync, and what had stood there.
    unsynced: Mutex<HashMap<u64, Vec<Overwritten>>>,
}

type Overwritten = (u64, Vec<u8>);

impl FailingDisk {
    fn new() -> Arc<Self> {
        let disk = Self::default();
        disk.free.store(1 << 40, Ordering::Relaxed);
        Arc::new(disk)
    }
}

impl Disk for FailingDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let failing = self.fail_writes.load(Ordering::Relaxed);
        let part = if failing { &bytes[..bytes.len() / 2] } else { bytes };
        // Files that only tiles and notes are written to cannot be read back through their handle.
        let mut before = vec![0; part.len()];
        if file.read_exact_at(&mut before, offset).is_ok() {
            self.unsynced.lock().unwrap().entry(file.metadata()?.ino()).or_default().push((offset, before));
        }
        LocalDisk.write(file, part, offset)?;
        if failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let turn = self.syncs.fetch_add(1, Ordering::Relaxed) + 1;
        let every = self.fail_every.load(Ordering::Relaxed);
        let lost = self.unsynced.lock().unwrap().remove(&file.metadata()?.ino()).unwrap_or_default();
        if self.fail_syncs.load(Ordering::Relaxed) || (every > 0 && turn.is_multiple_of(every)) {
            for (offset, before) in lost.iter().rev() {
                file.write_all_at(before, *offset)?;
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn free(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

fn options() -> Options {
    Options { segment_bytes: 256 << 10, checkpoint_interval: Duration::from_millis(20), ..Options::default() }
}

fn open(folder: &Path, disk: &Arc<FailingDisk>) -> (Node, Log) {
    let node = Node::open_on(folder, options(), journal_key(), disk.clone()).unwrap();
    let log = node.log(&Origin::parse("strongroom.dev/contoso/a").unwrap(), signer(1)).unwrap();
    (node, log)
}

async fn append(log: &Log, n: u64) -> Result<u64, AppendError> {
    log.append(&record(n), Class::Authenticated).await
}

/// Every acknowledged record stands where it was acknowledged, after the log was opened on a healthy disk.
fn assert_all_there(folder: &Path, acknowledged: &HashMap<u64, Record>) {
    let (node, log) = open(folder, &FailingDisk::new());
    node.close();
    let folder = folder.join(log.origin().folder());
    verify(&folder, None).unwrap();
    let stored: HashMap<u64, Record> = crate::read(&folder, 0).unwrap().map(Result::unwrap).collect();
    for (index, record) in acknowledged {
        assert_eq!(stored.get(index), Some(record), "{index}");
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_acknowledged_is_lost_and_appending_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let (node, log) = open(folder.path(), &disk);
    let mut acknowledged = HashMap::new();
    for n in 0..120 {
        let failing = n % 10 == 5;
        disk.fail_syncs.store(failing, Ordering::Relaxed);
        match append(&log, n).await {
            Ok(index) => {
                assert!(!failing);
                assert!(acknowledged.insert(index, record(n)).is_none(), "index {index} was given twice");
            }
            Err(error) => assert!(failing && matches!(error, AppendError::Unwritable { .. }), "{error}"),
        }
    }
    disk.fail_syncs.store(false, Ordering::Relaxed);
    assert_eq!(log.size(), 108);
    node.close();
    assert_all_there(folder.path(), &acknowledged);
}

#[tokio::test]
async fn a_crash_right_after_failures_loses_nothing_acknowledged() {
    for every in 5..16 {
        let folder = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let disk = FailingDisk::new();
        let (node, log) = open(folder.path(), &disk);
        disk.fail_every.store(every, Ordering::Relaxed);
        let mut acknowledged = HashMap::new();
        for n in 0..60 {
            if let Ok(index) = append(&log, n).await {
                acknowledged.insert(index, record(n));
            }
        }
        assert!(acknowledged.len() > 5, "{} of 60 with every {every}th sync failing", acknowledged.len());
        // What a crash would leave: the files as they are, without anything that closing does. A disk that takes
        // nothing any more holds the background thread still meanwhile.
        disk.fail_writes.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(60)).await;
        copy_folder(folder.path(), copy.path());
        assert_all_there(copy.path(), &acknowledged);
        disk.fail_writes.store(false, Ordering::Relaxed);
        drop(node);
        assert_all_there(folder.path(), &acknowledged);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_folder(&entry.path(), &target),
            _ => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_disk_that_takes_half_a_write_refuses_and_recovers_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let (node, log) = open(folder.path(), &disk);
    let mut acknowledged = HashMap::new();
    for n in 0..30 {
        acknowledged.insert(append(&log, n).await.unwrap(), record(n));
    }
    disk.fail_writes.store(true, Ordering::Relaxed);
    for n in 30..40 {
        assert!(matches!(append(&log, n).await, Err(AppendError::Unwritable { .. })));
    }
    disk.fail_writes.store(false, Ordering::Relaxed);
    for n in 40..600 {
        acknowledged.insert(append(&log, n).await.unwrap(), record(n));
    }
    log.checkpoint().await.unwrap();
    node.close();
    assert_all_there(folder.path(), &acknowledged);
}

#[tokio::test]
async fn a_change_whose_sync_failed_is_appended_by_the_next_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let (node, log) = open(folder.path(), &disk);
    disk.fail_syncs.store(true, Ordering::Relaxed);
    assert!(log.append_once(&record(1), 0).await.is_err());
    disk.fail_syncs.store(false, Ordering::Relaxed);
    assert_eq!(log.append_once(&record(1), 0).await.unwrap(), 0);
    assert_eq!(log.append_once(&record(1), 0).await.unwrap(), 0);
    assert_eq!(log.size(), 1);
    node.close();
}

#[tokio::test]
async fn the_reserve_is_for_authenticated_records_and_space_that_returns_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let (_node, log) = open(folder.path(), &disk);
    let low = options().min_free_bytes + options().reserve_bytes / 2;
    let unauthenticated = async |n| log.append(&record(n), Class::Unauthenticated).await;
    unauthenticated(1).await.unwrap();
    let wait = || tokio::time::sleep(Duration::from_millis(150));

    disk.free.store(low, Ordering::Relaxed);
    wait().await;
    assert!(matches!(unauthenticated(2).await, Err(AppendError::Reserved)));
    append(&log, 3).await.unwrap();

    disk.free.store(options().min_free_bytes, Ordering::Relaxed);
    wait().await;
    assert!(matches!(unauthenticated(4).await, Err(AppendError::Reserved)));
    assert!(matches!(append(&log, 5).await, Err(AppendError::Unwritable { .. })));

    disk.free.store(1 << 40, Ordering::Relaxed);
    wait().await;
    unauthenticated(6).await.unwrap();
    append(&log, 7).await.unwrap();
}

#[tokio::test]
async fn unauthenticated_records_fill_their_slots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let node = Node::open_on(folder.path(), Options { queue_length: 64, ..options() }, journal_key(), disk).unwrap();
    let log = node.log(&Origin::parse("strongroom.dev/contoso/a").unwrap(), signer(1)).unwrap();
    let mut refused = 0;
    for round in 0..200 {
        let flood: Vec<_> = (0..64).map(|n| log.append(&record(round * 100 + n), Class::Unauthenticated)).collect();
        let others: Vec<_> = (0..32).map(|n| log.append(&record(n), Class::Authenticated)).collect();
        for answer in others {
            answer.await.unwrap();
        }
        for answer in flood {
            match answer.await {
                Ok(_) => {}
                Err(AppendError::Reserved) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn the_limit_of_the_node_holds() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 4 << 20;
    let limited = Options { max_bytes: Some(limit), reserve_bytes: 0, ..options() };
    let node = Node::open_on(folder.path(), limited, journal_key(), FailingDisk::new()).unwrap();
    let log = node.log(&Origin::parse("strongroom.dev/contoso/a").unwrap(), signer(1)).unwrap();
    let mut appended = 0;
    for n in 0..20_000 {
        match append(&log, n).await {
            Ok(_) => appended += 1,
            Err(AppendError::Unwritable { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1_000..20_000).contains(&appended), "{appended}");
    node.close();
    let taken = size_of(folder.path());
    assert!(taken <= limit + (1 << 20), "{taken} bytes are taken");
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| if entry.path().is_dir() { size_of(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}
