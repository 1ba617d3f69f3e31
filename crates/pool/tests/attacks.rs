//! What an attacker would try: races, floods and crashes at the worst moment.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::settings::Setting;
use model::{KeyKind, RsaSize};
use pool::{Error, LostLog, NewKey, OpenError};
use testkit::{ADMIN, Fault, OWNER, Setup, TestPool, call, key_name, new_oct, oct_key};

/// The paths of the records that wait in the outbox.
async fn outbox(pool: &TestPool) -> Vec<String> {
    pool.raw().await.0.into_keys().filter(|path| path.contains("/outbox/")).collect()
}

async fn change_setting(pool: &pool::Pool, value: bool) -> Result<(), Error> {
    let setting = Setting::ALL[0];
    pool.update_setting(&call(ADMIN), setting, value).await.map(drop)
}

/// A slow creation holds the sealing key of a name that does not exist yet. Meanwhile the name is created, deleted and
/// purged: the sealing key is destroyed, and must not come back with the slow one.
#[tokio::test(flavor = "multi_thread")]
async fn a_purged_sealing_key_does_not_come_back_with_a_creation_that_began_before() {
    let pool = Setup::default().start().await;
    let slow = {
        let pool = pool.pool().clone();
        let new = NewKey { operations: None, ..new_oct() };
        tokio::spawn(async move {
            pool.create_key(&call(OWNER), &key_name("k"), KeyKind::Rsa(RsaSize::Rsa4096), None, new).await
        })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    oct_key(&pool, "k").await;
    let purged = sealing_key(&pool, "k").await;
    pool.pool().delete_key(&call(OWNER), &key_name("k")).await.unwrap();
    pool.pool().purge_deleted_key(&call(OWNER), &key_name("k")).await.unwrap();
    assert!(!slow.is_finished(), "the slow creation is to end after the purge");
    slow.await.unwrap().unwrap();
    assert_ne!(sealing_key(&pool, "k").await, purged);
}

/// The sealed sealing key in the record of a name, as its JSON has it.
async fn sealing_key(pool: &TestPool, name: &str) -> String {
    let path = format!("pools/test/keys/{name}");
    let (_, record) = pool.module().open_value(&path, &pool.raw().await.0[&path]).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["sealing_key"].as_str().unwrap().to_owned()
}

/// Everyone who changes something also reports that its record stands in the log. In a full queue there is no room for
/// that, and it must not be lost all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_does_not_grow_when_the_queue_of_changes_is_full() {
    let pool = Setup::default().start().await;
    let callers: Vec<_> = (0..1500)
        .map(|number| {
            let pool = pool.pool().clone();
            tokio::spawn(async move {
                for turn in 0..4 {
                    while let Err(error) = change_setting(&pool, (number + turn) % 2 == 0).await {
                        assert!(matches!(error, Error::Busy), "{error}");
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    for turn in 0..600 {
        change_setting(pool.pool(), turn % 2 == 0).await.unwrap();
    }
    let waiting = outbox(&pool).await.len();
    assert!(waiting <= 2, "{waiting} records wait in the outbox");
}

/// A caller that goes away at any moment: what it asked for happens or not, and has its record either way.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_at_any_moment_leaves_a_record_of_what_it_changed() {
    let pool = Setup::default().start().await;
    for round in 0..10 {
        for polls in 0..12 {
            let asking = call(ADMIN);
            let mut change = Box::pin(pool.pool().update_setting(&asking, Setting::ALL[0], (round + polls) % 2 == 0));
            for _ in 0..polls {
                let once =
                    std::future::poll_fn(|context| std::task::Poll::Ready(change.as_mut().poll(context).is_ready()));
                if once.await {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(200 * round)).await;
            }
        }
    }
    change_setting(pool.pool(), true).await.unwrap();
    pool.pool().purge_due().await.unwrap();
    change_setting(pool.pool(), false).await.unwrap();
    let mut changes: Vec<u64> = pool.records().await.iter().filter_map(|record| record.change).collect();
    changes.sort_unstable();
    let last = *changes.last().unwrap();
    assert!(last > 30, "{last} changes are too few to tell");
    assert_eq!(changes, (2..=last).collect::<Vec<_>>());
}

/// Takes the seconds for which the first change tries to find out what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_unknown_outcome_delays_no_others_and_is_recorded_without_another() {
    let pool = Setup::default().start().await;
    pool.faults().fail_commit(0, Fault::UnknownApplied);
    pool.faults().fail_reads(true);
    let begun = std::time::Instant::now();
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.pool().clone();
            tokio::spawn(async move { change_setting(&pool, true).await })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(Error::Unavailable { .. })));
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());

    // What happened is found out, and recorded, without anybody asking for another change.
    pool.faults().fail_reads(false);
    for _ in 0..200 {
        pool.pool().purge_due().await.unwrap();
        if pool.records().await.iter().any(|record| record.change == Some(2)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the change was never recorded");
}

/// A node is killed before its newest records are signed; the store alone is put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_put_back_behind_unsigned_records_is_refused() {
    let hour = Duration::from_secs(3600);
    let audit = audit::Options { checkpoint_interval: hour, segment_bytes: 256 << 10, ..audit::Options::default() };
    let mut pool = Setup { audit, ..Setup::default() }.start().await;
    let before = pool.raw().await;
    oct_key(&pool, "a").await;
    let killed = files(pool.audit_folder());

    pool.stop().await;
    put_back(pool.audit_folder(), &killed);
    pool.tamper(&before).await;
    let refused = pool.start().await;
    assert!(matches!(refused, Err(OpenError::RolledBack { found: 1, seen: 2 })), "{refused:?}");
}

/// Whoever has the disk takes the audit log away, or puts an earlier one in its place: the store remembers how many
/// records it had. An operator who knows of the loss can go on, and that is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_records_is_refused_until_an_operator_accepts_the_loss() {
    let mut pool = Setup::default().start().await;
    oct_key(&pool, "a").await;
    pool.stop().await;
    let earlier = files(pool.audit_folder());
    pool.start().await.unwrap();
    for turn in 0..4 {
        change_setting(pool.pool(), turn % 2 == 0).await.unwrap();
    }
    pool.stop().await;
    let whole = files(pool.audit_folder());

    for (kept, had) in [(&earlier, 1), (&BTreeMap::new(), 0)] {
        put_back(pool.audit_folder(), kept);
        let refused = pool.start().await;
        assert!(matches!(refused, Err(OpenError::LogLost { found, known: 4 }) if found == had), "{refused:?}");
    }
    put_back(pool.audit_folder(), &whole);
    pool.start().await.unwrap();
    pool.stop().await;

    put_back(pool.audit_folder(), &BTreeMap::new());
    pool.set_lost_log(LostLog::Accept);
    pool.start().await.unwrap();
    assert!(pool.records().await.iter().any(|record| record.operation == "AcceptLostLog"));
    pool.stop().await;
    pool.set_lost_log(LostLog::Refuse);
    pool.start().await.unwrap();
    oct_key(&pool, "b").await;
}

/// Whoever has the disk makes the store show an old value beside the newest at one path: the head stands for one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_two_values_at_one_path_is_refused() {
    let mut pool = Setup::default().start().await;
    oct_key(&pool, "a").await;
    // How many records the log had: the node is called "a".
    let path = "pools/test/logs/61";
    let old = pool.raw().await.0[path].clone();
    change_setting(pool.pool(), true).await.unwrap();
    let log = store::Path::parse(path).unwrap();
    pool.faults().repeat(Some(store::Entry { path: log, value: old, revision: store::Revision(1) }));
    pool.stop().await;
    let refused = pool.start().await;
    assert!(matches!(refused, Err(OpenError::HeadMismatch)), "{refused:?}");
    pool.faults().repeat(None);
    pool.start().await.unwrap();
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Makes a folder hold exactly these files.
fn put_back(folder: &Path, kept: &BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    for (path, bytes) in kept {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
