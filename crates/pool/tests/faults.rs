//! A store and a log that fail: what is answered is true, a change happens at most once, and has one record.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;
use std::time::Duration;

use audit::Record;
use model::{KeyName, Operation, Scope, ScopeRule};
use pool::{Error, KeyChange};
use testkit::{
    ADMIN, Fault, OWNER, Setup, TestPool, ask, call, key_name, key_ref, new_oct, oct_key, prepare, sign_request,
};

async fn create(pool: &TestPool, call: &pool::Call, name: &str) -> Result<KeyName, Error> {
    let kind = model::KeyKind::Oct(model::OctSize::AES_256);
    pool.pool().create_key(call, &key_name(name), kind, None, new_oct()).await.map(|made| made.name)
}

async fn names(pool: &TestPool) -> Vec<String> {
    let (keys, _) = pool.pool().keys(&call(OWNER), None, 1000).await.unwrap();
    keys.into_iter().map(|key| key.name.as_str().to_owned()).collect()
}

fn statuses(records: &[Record]) -> Vec<u16> {
    records.iter().map(|record| record.status).collect()
}

/// Asserts that the changes of the pool's life stand in the log without a gap and once each, `last` being the newest.
/// The founding is change 1, and nobody asked for it.
fn assert_every_change_recorded_once(records: &[Record], last: u64) {
    let mut changes: Vec<u64> = records.iter().filter_map(|record| record.change).collect();
    changes.sort_unstable();
    assert_eq!(changes, (2..=last).collect::<Vec<_>>());
}

/// Waits until the log holds `count` records of changes.
async fn records_with_changes(pool: &TestPool, count: usize) -> Vec<Record> {
    for _ in 0..1000 {
        let records = pool.records().await;
        if records.iter().filter(|record| record.change.is_some()).count() >= count {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the log never held the records of {count} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_changes_nothing_and_the_next_one_works() {
    for fault in [Fault::NoSpace, Fault::Unwritable, Fault::UnknownLost] {
        let mut pool = Setup::default().start().await;
        pool.faults().fail_commit(0, fault);
        let refused = call(OWNER);
        let answer = create(&pool, &refused, "a").await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{fault:?}: {answer:?}");
        assert!(names(&pool).await.is_empty(), "{fault:?}");
        assert_eq!(statuses(&pool.records_of(&refused).await), [503], "{fault:?}");

        let made = call(OWNER);
        create(&pool, &made, "a").await.unwrap();
        assert_eq!(statuses(&pool.records_of(&made).await), [200], "{fault:?}");
        pool.restart().await;
        assert_eq!(names(&pool).await, ["a"], "{fault:?}");
        assert_every_change_recorded_once(&pool.records().await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_that_happened_is_found_and_answered() {
    let mut pool = Setup::default().start().await;
    pool.faults().fail_commit(0, Fault::UnknownApplied);
    let asking = call(OWNER);
    create(&pool, &asking, "a").await.unwrap();
    assert_eq!(statuses(&pool.records_of(&asking).await), [200]);
    create(&pool, &call(OWNER), "b").await.unwrap();
    pool.restart().await;
    assert_eq!(names(&pool).await, ["a", "b"]);
    assert_every_change_recorded_once(&pool.records().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_of_a_busy_pool_may_have_an_unknown_outcome() {
    let mut pool = Setup::default().start().await;
    let mut made = Vec::new();
    for number in 0..20_u64 {
        let fault = if number % 3 == 0 { Fault::UnknownLost } else { Fault::UnknownApplied };
        pool.faults().fail_commit(0, fault);
        let name = format!("k-{number:02}");
        match create(&pool, &call(OWNER), &name).await {
            Ok(_) => made.push(name),
            Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
        }
    }
    assert_eq!(made.len(), 13);
    assert_eq!(names(&pool).await, made);
    pool.restart().await;
    assert_eq!(names(&pool).await, made);
    assert_every_change_recorded_once(&pool.records().await, 1 + 13);
}

/// Takes the seconds for which the writer tries to read back what it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_given_up_while_its_outcome_was_unknown_is_recorded_once_it_is_known() {
    let (lost, applied) = tokio::join!(given_up(Fault::UnknownLost), given_up(Fault::UnknownApplied));
    assert_eq!(lost, (vec!["b".to_owned()], 0));
    assert_eq!(applied, (vec!["a".to_owned(), "b".to_owned()], 1));
}

/// The keys in the end, and how many records of a change the given up creation has.
async fn given_up(fault: Fault) -> (Vec<String>, usize) {
    let mut pool = Setup::default().start().await;
    pool.faults().fail_commit(0, fault);
    pool.faults().fail_reads(true);
    let asking = call(OWNER);
    let answer = create(&pool, &asking, "a").await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    pool.faults().fail_reads(false);

    // The next change finds out what became of the one before, and does not wait for a restart to record it.
    create(&pool, &call(OWNER), "b").await.unwrap();
    let names = names(&pool).await;
    let records = records_with_changes(&pool, names.len()).await;
    assert_every_change_recorded_once(&records, 1 + names.len() as u64);
    let of_call = |records: &[Record]| {
        let id = Some(asking.request_id.as_u128());
        let own = records.iter().filter(|record| record.request_id == id);
        own.filter(|record| record.change.is_some()).count()
    };
    let found = of_call(&records);
    pool.restart().await;
    assert_eq!(of_call(&pool.records().await), found, "a restart records nothing twice");
    (names, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_while_the_log_cannot_be_written() {
    let pool = Setup::default().start().await;
    let scope_of = |operation: Operation| match operation.scope_rule() {
        ScopeRule::Root | ScopeRule::Path => Scope::Root,
        ScopeRule::Keys => Scope::Keys,
        ScopeRule::Key => Scope::Key(key_name(operation.audit_name())),
    };
    for &operation in Operation::ALL {
        prepare(&pool, operation, &scope_of(operation)).await;
    }
    pool.break_log().await;
    for &operation in Operation::ALL {
        for id in [OWNER, ADMIN, "stranger"] {
            let answer = ask(&pool, &call(id), operation, &scope_of(operation)).await;
            assert!(matches!(answer, Err(Error::Unavailable { .. })), "{operation:?} by {id}: {answer:?}");
        }
    }
    pool.mend_log();
    assert!(!names(&pool).await.is_empty(), "it works again without a restart");
    oct_key(&pool, "after").await;
    let records = pool.records().await;
    let last = records.iter().filter_map(|record| record.change).max().unwrap();
    assert_every_change_recorded_once(&records, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_waited_for_the_log_does_not_wait_for_the_next_change() {
    let pool = Setup::default().start().await;
    pool.break_log().await;
    let asking = call(OWNER);
    assert!(matches!(create(&pool, &asking, "a").await, Err(Error::Unavailable { .. })));
    pool.mend_log();
    pool.pool().purge_due().await.unwrap();
    records_with_changes(&pool, 1).await;
    assert_eq!(statuses(&pool.records_of(&asking).await), [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_outbox_reaches_the_log_once_after_a_restart() {
    let mut pool = Setup::default().start().await;
    oct_key(&pool, "before").await;
    pool.break_log().await;
    // All at once: those that come after the first refusal find the log away and do not happen.
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let (pool, name) = (pool.pool().clone(), key_name(&format!("k-{number}")));
            let kind = model::KeyKind::Oct(model::OctSize::AES_256);
            tokio::spawn(async move { pool.create_key(&call(OWNER), &name, kind, None, new_oct()).await.map(drop) })
        })
        .collect();
    for answer in asking {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    }
    pool.stop().await;
    pool.mend_log();
    let waiting = |pool: &testkit::Snapshot| pool.0.keys().filter(|path| path.contains("/outbox/")).count();
    assert!(waiting(&pool.raw().await) >= 2);

    pool.start().await.unwrap();
    let kept = names(&pool).await.len() as u64;
    assert!(kept >= 2, "the first change had happened");
    let records = records_with_changes(&pool, usize::try_from(kept).unwrap()).await;
    assert_every_change_recorded_once(&records, 1 + kept);

    pool.restart().await;
    for number in 0..4 {
        oct_key(&pool, &format!("after-{number}")).await;
    }
    assert_every_change_recorded_once(&pool.records().await, 5 + kept);
    assert!(waiting(&pool.raw().await) <= 2, "delivered entries are deleted beside later changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_delays_changes_and_nothing_else() {
    let pool = Arc::new(Setup::default().start().await);
    oct_key(&pool, "a").await;
    pool.faults().delay_commits(Duration::from_millis(500));
    let changing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.pool().delete_key(&call(OWNER), &key_name("a")).await.map(drop) }
    });
    let mut signed = 0;
    while !changing.is_finished() {
        if pool.pool().sign(&call(OWNER), &key_ref("a", None), sign_request()).await.is_ok() {
            signed += 1;
        }
    }
    changing.await.unwrap().unwrap();
    assert!(signed > 10, "only {signed} signatures while one change was under way");
    let refused = pool.pool().sign(&call(OWNER), &key_ref("a", None), sign_request()).await;
    assert!(matches!(refused, Err(Error::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_recorded_for_the_version_that_it_changed() {
    let pool = Arc::new(Setup::default().start().await);
    oct_key(&pool, "a").await;
    pool.faults().delay_commits(Duration::from_millis(300));
    let creating = tokio::spawn({
        let pool = pool.clone();
        async move { oct_key(&pool, "a").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The latest version changes between the door and the commit.
    let asking = call(OWNER);
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let updated = pool.pool().update_key(&asking, &key_ref("a", None), change).await.unwrap();
    creating.await.unwrap();
    let records = pool.records_of(&asking).await;
    let recorded: Vec<_> = records.iter().filter_map(|record| record.key_version).collect();
    assert_eq!(recorded, [u128::from_be_bytes(updated.version.0)]);
}
