//! What is erased is in the file no more once it was closed and opened again.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path as File;

use store::{Commit, Embedded, Path, Prefix, Revision, Store, Write};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// Bytes that stand nowhere by chance.
fn value(number: u8) -> Vec<u8> {
    (0..200_u8).map(|n| n.wrapping_mul(31).wrapping_add(number.wrapping_mul(97))).collect()
}

async fn commit(store: &Embedded, write: Write) -> Revision {
    store.commit(Commit::new([], [write]).unwrap()).await.unwrap()
}

async fn put(store: &Embedded, at: &str, value: &[u8]) -> Revision {
    commit(store, Write::Put(path(at), value.to_vec().into())).await
}

/// How often some bytes stand in a file.
fn count(file: &File, bytes: &[u8]) -> usize {
    fs::read(file).unwrap().windows(bytes.len()).filter(|window| *window == bytes).count()
}

async fn everything(store: &Embedded) -> Vec<(String, Vec<u8>, Revision)> {
    let page = store.list(&Prefix::all(), None, 10_000).await.unwrap();
    page.entries.into_iter().map(|e| (e.path.as_str().to_owned(), e.value.to_vec(), e.revision)).collect()
}

#[tokio::test]
async fn what_was_erased_and_what_it_was_before_is_gone_after_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = Embedded::open(&file).unwrap();
    put(&store, "a", &value(1)).await;
    put(&store, "a", &value(2)).await;
    for number in 0..500 {
        put(&store, &format!("b/{number}"), &value(3)).await;
    }
    let last = commit(&store, Write::Erase(path("a"))).await;
    assert_eq!(store.get(&path("a")).await.unwrap(), None);
    let before = everything(&store).await;
    drop(store);
    assert!(count(&file, &value(2)) > 0, "a delete leaves the bytes where they were");

    let store = Embedded::open(&file).unwrap();
    assert_eq!((count(&file, &value(1)), count(&file, &value(2))), (0, 0));
    assert_eq!(everything(&store).await, before);
    assert_eq!(put(&store, "c", b"next").await, last.next(), "revisions go on");
    assert!(matches!(Embedded::open(&file), Err(store::OpenError::InUse)));
    drop(store);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"]);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    let inode = fs::metadata(&file).unwrap().ino();
    drop(Embedded::open(&file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "once is enough");
}

#[tokio::test]
async fn a_link_to_the_file_stays_one_and_a_second_name_of_it_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (elsewhere, file) = (folder.path().join("elsewhere"), folder.path().join("store"));
    fs::create_dir(&elsewhere).unwrap();
    let (real, second) = (elsewhere.join("store"), elsewhere.join("second"));
    drop(Embedded::open(&real).unwrap());
    std::os::unix::fs::symlink(&real, &file).unwrap();
    let store = Embedded::open(&file).unwrap();
    put(&store, "a", &value(1)).await;
    commit(&store, Write::Erase(path("a"))).await;
    drop(store);
    fs::hard_link(&real, &second).unwrap();

    drop(Embedded::open(&file).unwrap());
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(count(&real, &value(1)), 0);
    assert!(count(&second, &value(1)) > 0, "what somebody keeps on purpose is kept");
}

#[tokio::test]
async fn a_delete_or_an_erasure_of_nothing_writes_no_file_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = Embedded::open(&file).unwrap();
    put(&store, "a", &value(1)).await;
    commit(&store, Write::Delete(path("a"))).await;
    commit(&store, Write::Erase(path("b"))).await;
    drop(store);
    let inode = fs::metadata(&file).unwrap().ino();
    drop(Embedded::open(&file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
}

#[tokio::test]
async fn a_copy_that_a_crash_left_is_begun_again_and_one_that_cannot_be_made_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, anew) = (folder.path().join("store"), folder.path().join(".anew-store"));
    let store = Embedded::open(&file).unwrap();
    put(&store, "a", &value(1)).await;
    put(&store, "b", &value(2)).await;
    commit(&store, Write::Erase(path("a"))).await;
    let before = everything(&store).await;
    drop(store);

    // Nothing can be written where a folder is.
    fs::create_dir(&anew).unwrap();
    let store = Embedded::open(&file).unwrap();
    assert_eq!(everything(&store).await, before);
    drop(store);
    fs::remove_dir(&anew).unwrap();

    fs::write(&anew, [value(1), vec![7; 1 << 20]].concat()).unwrap();
    let store = Embedded::open(&file).unwrap();
    assert_eq!(everything(&store).await, before);
    assert_eq!(count(&file, &value(1)), 0);
    assert!(!anew.exists());
}
