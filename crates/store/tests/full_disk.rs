//! A system that really refuses to let the file grow.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{Commit, CommitError, Embedded, Path, Prefix, Revision, Store, Write};

/// Set for the process whose files may not grow: the store's file.
const FILE: &str = "STORE_FULL_DISK_FILE";

/// The test runs itself under a limit on the size of files, which that process then lifts: as when a disk fills up
/// and gets space again.
#[test]
fn a_full_disk_refuses_commits_until_it_has_space_again() {
    if let Ok(file) = std::env::var(FILE) {
        return fill_and_go_on(file.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("sh")
        // Without the signal's default action, a write past the limit is an error and not the end.
        .args(["-c", "trap '' XFSZ; ulimit -S -f 2048; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_refuses_commits_until_it_has_space_again"])
        .env(FILE, folder.path().join("store"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn fill_and_go_on(file: &std::path::Path) {
    let store = Embedded::open(file).unwrap();
    let mut there = Vec::new();
    while there.len() < 1000 {
        match put(&store, there.len()) {
            Ok(revision) => there.push(revision),
            Err(CommitError::NoSpace { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(there.len() > 3 && there.len() < 1000, "{} commits", there.len());
    // It stays full, is read all the while, and what was refused is not there.
    for _ in 0..3 {
        assert!(matches!(put(&store, there.len()), Err(CommitError::NoSpace { .. })));
        check(&store, &there);
    }

    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    for _ in 0..20 {
        there.push(put(&store, there.len()).unwrap());
    }
    check(&store, &there);
    drop(store);
    check(&Embedded::open(file).unwrap(), &there);
}

fn put(store: &Embedded, number: usize) -> Result<Revision, CommitError> {
    let write = Write::Put(path(number), vec![number as u8; 30_000].into());
    block_on(store.commit(Commit::new([], [write]).unwrap()))
}

fn check(store: &Embedded, there: &[Revision]) {
    for (number, revision) in there.iter().enumerate() {
        let entry = block_on(store.get(&path(number))).unwrap().unwrap();
        assert_eq!((entry.revision, entry.value[0]), (*revision, number as u8));
    }
    assert_eq!(block_on(store.get(&path(there.len()))).unwrap(), None);
    let page = block_on(store.list(&Prefix::all(), None, 1)).unwrap();
    assert_eq!(Some(&page.revision), there.last());
}

fn path(number: usize) -> Path {
    Path::parse(&format!("n/{number}")).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
