//! The log as the pool uses it.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use audit::{Class, Node, OpenError, Record};
use common::{journal_key, options, origin, record, signer};

fn reopened(folder: &std::path::Path) -> (Node, audit::Log) {
    let node = Node::open(folder, options(), journal_key(1)).unwrap();
    let log = node.log(&origin("a"), signer(1)).unwrap();
    (node, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_the_disk_and_get_every_index_once() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    let before = node.syncs();
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut indexes = Vec::new();
                for n in 0..50 {
                    indexes.push(log.append(&record(task * 1000 + n), Class::Authenticated).await.unwrap());
                }
                assert!(indexes.is_sorted());
                indexes
            })
        })
        .collect();
    let mut indexes = Vec::new();
    for task in tasks {
        indexes.extend(task.await.unwrap());
    }
    indexes.sort_unstable();
    assert_eq!(indexes, (0..64 * 50).collect::<Vec<u64>>());
    assert_eq!(log.size(), 64 * 50);
    assert!(node.syncs() - before <= 64 * 50 / 4, "{} syncs", node.syncs() - before);
}

#[tokio::test]
async fn announced_records_are_waited_for_and_become_durable_together() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    log.append(&record(0), Class::Authenticated).await.unwrap();
    let before = node.syncs();
    for round in 1..=50 {
        let announced = [(); 8].map(|()| log.announce());
        let mut appends = Vec::new();
        for n in 0..8 {
            appends.push(log.append(&record(round * 10 + n), Class::Authenticated));
            // Long enough for the journal to take what there is, were it not waiting.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        for append in appends {
            append.await.unwrap();
        }
        drop(announced);
    }
    let syncs = node.syncs() - before;
    assert!(syncs <= 3 * 50, "{syncs} syncs for 50 times 8 records");
}

#[tokio::test]
async fn a_record_that_never_comes_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, log) = reopened(folder.path());
    let _announced = log.announce();
    for n in 0..3 {
        log.append(&record(n), Class::Authenticated).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_written_is_for_the_owner_alone() {
    rustix::process::umask(rustix::fs::Mode::empty());
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("made").join("audit");
    for _ in 0..2 {
        let (node, log) = reopened(&folder);
        let appends: Vec<_> = (0..300).map(|n| log.append(&record(n), Class::Authenticated)).collect();
        for append in appends {
            append.await.unwrap();
        }
        node.close();
    }
    let (mut folders, mut seen) = (vec![base.path().join("made")], Vec::new());
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{folder:?}");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{path:?}");
                seen.push(path);
            }
        }
    }
    for part in ["/journal/", "/lock", "/log.vkey", "/checkpoint", "/checkpoints", "/tile/0/", "/tile/entries/"] {
        assert!(seen.iter().any(|path| path.to_str().unwrap().contains(part)), "no {part} among {seen:?}");
    }
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_log_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut size = 0;
    for round in 0..6 {
        let (node, log) = reopened(folder.path());
        assert_eq!(log.size(), size);
        let appends: Vec<_> = (0..round * 97).map(|n| log.append(&record(size + n), Class::Authenticated)).collect();
        for append in appends {
            assert_eq!(append.await.unwrap(), size);
            size += 1;
        }
        node.close();
        assert!(log.append(&record(0), Class::Authenticated).await.is_err(), "a closed log takes nothing");
    }
}

#[tokio::test]
async fn a_change_is_appended_once_even_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    let change = Record { change: Some(9), ..record(7_000_000) };
    for n in 0..700 {
        log.append_once(&record(n), 0).await.unwrap();
    }
    let (first, second) = tokio::join!(log.append_once(&change, 700), log.append_once(&change, 700));
    assert_eq!((first.unwrap(), second.unwrap()), (700, 700));
    assert_eq!(log.append_once(&change, 701).await.unwrap(), 701, "below the asked place it does not count");
    node.close();
    let (node, log) = reopened(folder.path());
    assert_eq!(log.append_once(&record(3), 0).await.unwrap(), 3);
    assert_eq!(log.append_once(&change, 650).await.unwrap(), 701);
    assert_eq!(log.size(), 702);
    node.close();
}

#[tokio::test]
async fn checkpoints_carry_the_lines_they_were_given_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    assert_eq!(log.latest_checkpoint().unwrap().size, 0);
    log.append(&record(1), Class::Authenticated).await.unwrap();
    log.set_extension("head 41".into());
    let checkpoint = log.checkpoint().await.unwrap();
    assert_eq!((checkpoint.size, &checkpoint.extension[..]), (1, &["head 41".to_owned()][..]));
    assert_eq!(log.latest_checkpoint(), Some(checkpoint.clone()));
    node.close();
    let (_node, log) = reopened(folder.path());
    assert_eq!(log.latest_checkpoint(), Some(checkpoint));
}

#[tokio::test]
async fn new_records_are_signed_within_the_interval() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, log) = reopened(folder.path());
    log.append(&record(1), Class::Authenticated).await.unwrap();
    for _ in 0..200 {
        if log.latest_checkpoint().unwrap().size == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no checkpoint");
}

#[test]
fn a_log_belongs_to_one_key_and_a_folder_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    assert!(matches!(Node::open(folder.path(), options(), journal_key(1)), Err(OpenError::InUse)));
    assert!(matches!(node.log(&origin("a"), signer(2)), Err(OpenError::OtherKey { .. })));
    node.close();
    drop(log);
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    assert!(matches!(node.log(&origin("a"), signer(2)), Err(OpenError::OtherKey { .. })));
    node.log(&origin("b"), signer(2)).unwrap();
}

#[tokio::test]
async fn the_history_of_checkpoints_is_thinned_and_still_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let (node, log) = reopened(folder.path());
    let long = "x".repeat(4000);
    let made = 900_usize;
    for n in 0..made {
        log.append(&record(n as u64), Class::Authenticated).await.unwrap();
        log.set_extension(format!("head {n}\n{long}"));
        log.checkpoint().await.unwrap();
    }
    node.close();
    let log_folder = folder.path().join(origin("a").folder());
    let report = audit::verify(&log_folder, None).unwrap();
    assert!((200..made).contains(&report.checkpoints), "{}", report.checkpoints);
    assert!(std::fs::metadata(log_folder.join("checkpoints")).unwrap().len() <= 2 << 20);
    let (_node, log) = reopened(folder.path());
    assert_eq!(log.latest_checkpoint().unwrap().extension[0], format!("head {}", made - 1));
}
