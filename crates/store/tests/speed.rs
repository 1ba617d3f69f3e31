//! What callers wait for: shared syncs and quick loading. The limits are far from what is measured on an idle machine,
//! so that only another order of magnitude fails.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod faulty;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use store::{Commit, Disk, Embedded, Path, Prefix, Store, Write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_committers_share_syncs() {
    const COMMITTERS: usize = 64;
    const COMMITS: usize = 20;
    let disk = Arc::new(Slow::default());
    let store = Arc::new(Embedded::on(disk.clone()).unwrap());
    let before = disk.syncs.load(Ordering::Relaxed);
    let mut tasks = tokio::task::JoinSet::new();
    for committer in 0..COMMITTERS {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0..COMMITS {
                put(&*store, format!("c/{committer}/{number}"), 1).await;
            }
        });
    }
    tasks.join_all().await;
    let syncs = disk.syncs.load(Ordering::Relaxed) - before;
    // A transaction takes two syncs, so alone each commit would.
    assert!(syncs * 4 < COMMITTERS * COMMITS * 2, "{syncs} syncs for {} commits", COMMITTERS * COMMITS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_entries_load_quickly() {
    const ENTRIES: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = Embedded::open(&file).unwrap();
    let begin = Instant::now();
    for first in (0..ENTRIES).step_by(64) {
        let write = |number| Write::Put(Path::parse(&format!("k/{number:06}")).unwrap(), vec![9; 2048].into());
        store.commit(Commit::new([], (first..ENTRIES.min(first + 64)).map(write)).unwrap()).await.unwrap();
    }
    println!("written in {:?}", begin.elapsed());
    drop(store);

    let store = Embedded::open(&file).unwrap();
    let begin = Instant::now();
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.list(&Prefix::all(), after.as_ref(), usize::MAX).await.unwrap();
        count += page.entries.len();
        after = page.entries.last().map(|entry| entry.path.clone());
        if !page.more {
            break;
        }
    }
    let taken = begin.elapsed();
    println!("loaded in {taken:?}");
    assert_eq!(count, ENTRIES);
    assert!(taken < Duration::from_secs(4), "{taken:?}");
}

async fn put(store: &dyn Store, path: String, size: usize) {
    let write = Write::Put(Path::parse(&path).unwrap(), vec![0; size].into());
    store.commit(Commit::new([], [write]).unwrap()).await.unwrap();
}

/// A disk whose syncs take as long as a disk's do.
#[derive(Debug, Default)]
struct Slow {
    disk: faulty::Faulty,
    syncs: AtomicUsize,
}

impl Disk for Slow {
    fn size(&self) -> std::io::Result<u64> {
        self.disk.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write(offset, data)
    }

    fn set_size(&self, size: u64) -> std::io::Result<()> {
        self.disk.set_size(size)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        self.disk.sync()
    }
}
