//! Which files open, and how the others are refused.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use redb::TableDefinition;
use store::{Commit, Embedded, OpenError, Path, Store, Write};

const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
/// Set for the second process: the store's file.
const FILE: &str = "STORE_IN_USE_FILE";

#[test]
fn a_new_store_is_its_owners_alone_and_leaves_no_other_file() {
    let (folder, file) = folder();
    drop(Embedded::open(&file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_folder_is_an_io_error_with_its_cause() {
    let (folder, _) = folder();
    let Err(error) = Embedded::open(&folder.path().join("absent/store")) else { panic!("opened") };
    assert!(matches!(error, OpenError::Io { .. }));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("No such file"), "{source}");
}

#[test]
fn a_file_that_is_no_store_is_foreign_and_left_as_it_is() {
    let (_folder, file) = folder();
    for content in [Vec::new(), b"#".to_vec(), b"# Notes\n".repeat(20_000)] {
        fs::write(&file, &content).unwrap();
        let answer = Embedded::open(&file);
        assert!(matches!(answer, Err(OpenError::Foreign)), "{} bytes: {answer:?}", content.len());
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_foreign() {
    let (_folder, file) = folder();
    let other = TableDefinition::<&str, u64>::new("other");
    let database = redb::Database::create(&file).unwrap();
    let change = database.begin_write().unwrap();
    change.open_table(other).unwrap().insert("a", 1).unwrap();
    change.commit().unwrap();
    drop(database);
    assert!(matches!(Embedded::open(&file), Err(OpenError::Foreign)));
}

#[test]
fn a_store_of_another_format_is_named_and_refused() {
    let (_folder, file) = folder();
    drop(Embedded::open(&file).unwrap());
    set_format(&file, b"strongroom-store/2");
    let answer = Embedded::open(&file);
    assert!(matches!(&answer, Err(OpenError::OtherVersion { found }) if found == "strongroom-store/2"), "{answer:?}");
    set_format(&file, b"something else");
    assert!(matches!(Embedded::open(&file), Err(OpenError::Foreign)));
    set_format(&file, b"strongroom-store/1");
    assert!(Embedded::open(&file).is_ok());
}

/// The test runs itself as the other process.
#[test]
fn a_store_is_in_use_while_it_is_open_here_or_in_another_process() {
    if let Ok(file) = std::env::var(FILE) {
        assert!(matches!(Embedded::open(file.as_ref()), Err(OpenError::InUse)));
        return;
    }
    let (_folder, file) = folder();
    let store = Embedded::open(&file).unwrap();
    assert!(matches!(Embedded::open(&file), Err(OpenError::InUse)));
    assert!(matches!(redb::Database::open(&file), Err(redb::DatabaseError::DatabaseAlreadyOpen)));
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_store_is_in_use_while_it_is_open_here_or_in_another_process"])
        .env(FILE, &file)
        .status();
    assert!(other.unwrap().success());
    drop(store);
    assert!(Embedded::open(&file).is_ok());
}

#[tokio::test]
async fn a_file_of_which_little_is_live_is_compacted_when_it_is_opened() {
    let (_folder, file) = folder();
    let store = Embedded::open(&file).unwrap();
    let path = |number| Path::parse(&format!("n/{number}")).unwrap();
    for number in 0..100 {
        let write = Write::Put(path(number), vec![1; 1_000_000].into());
        store.commit(Commit::new([], [write]).unwrap()).await.unwrap();
    }
    // What stays lies at the end of the file, which therefore does not shrink by itself.
    for number in 0..99 {
        store.commit(Commit::new([], [Write::Delete(path(number))]).unwrap()).await.unwrap();
    }
    drop(store);
    let before = fs::metadata(&file).unwrap().len();
    let store = Embedded::open(&file).unwrap();
    let after = fs::metadata(&file).unwrap().len();
    assert!(before > 64 << 20 && after < 8 << 20, "{before} to {after}");
    assert_eq!(store.get(&path(99)).await.unwrap().unwrap().value.len(), 1_000_000);
    assert!(store.get(&path(0)).await.unwrap().is_none());
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    (folder, file)
}

fn set_format(file: &std::path::Path, format: &[u8]) {
    let database = redb::Database::open(file).unwrap();
    let change = database.begin_write().unwrap();
    change.open_table(META).unwrap().insert(b"format".as_slice(), format).unwrap();
    change.commit().unwrap();
}
