//! Deleted keys: how long they stay, what their names are worth meanwhile, and how they go.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use model::deleted_keys::PurgeProtection;
use model::rbac::CRYPTO_OFFICER;
use model::{KeyKind, OctSize, Operation, Scope};
use pool::{Error, Quotas};
use testkit::{Fault, OWNER, Setup, TestPool, ask, call, key_name, key_ref, new_oct, oct_key, sign_request};

const WEEK: i64 = 7 * 86_400;

async fn delete(pool: &TestPool, name: &str) {
    pool.pool().delete_key(&call(OWNER), &key_name(name)).await.unwrap();
}

async fn purge(pool: &TestPool, name: &str) -> Result<(), Error> {
    pool.pool().purge_deleted_key(&call(OWNER), &key_name(name)).await
}

async fn deleted(pool: &TestPool) -> Vec<String> {
    let (keys, _) = pool.pool().deleted_keys(&call(OWNER), None, 1000).await.unwrap();
    keys.into_iter().map(|deleted| deleted.key.name.as_str().to_owned()).collect()
}

/// The paths of a key in the store.
async fn stored(pool: &TestPool, name: &str) -> usize {
    let (own, below) = (format!("pools/test/keys/{name}"), format!("pools/test/keys/{name}/"));
    pool.raw().await.0.keys().filter(|path| **path == own || path.starts_with(&below)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_purged_when_its_retention_ends_and_not_before() {
    for purge_protection in [PurgeProtection::Off, PurgeProtection::On] {
        let mut pool = Setup { purge_protection, ..Setup::default() }.one_week().start().await;
        oct_key(&pool, "a").await;
        oct_key(&pool, "a").await;
        delete(&pool, "a").await;
        let shown = pool.pool().deleted_key(&call(OWNER), &key_name("a")).await.unwrap();
        assert_eq!(shown.scheduled_purge.0 - shown.deleted.0, WEEK);

        pool.clock().advance(WEEK - 1);
        pool.pool().purge_due().await.unwrap();
        assert_eq!(deleted(&pool).await, ["a"]);
        pool.restart().await;
        pool.clock().advance(1);
        pool.pool().purge_due().await.unwrap();
        assert!(deleted(&pool).await.is_empty());
        assert_eq!(stored(&pool, "a").await, 0);
        pool.restart().await;
        oct_key(&pool, "a").await;

        let purges: Vec<_> = pool.records().await.into_iter().filter(|record| record.operation == "KeyPurge").collect();
        assert_eq!(purges.len(), 1);
        assert_eq!(purges[0].caller, None, "the pool did it by itself");
        assert_eq!(purges[0].scope.as_deref(), Some("/keys/a"));
        assert_eq!(purges[0].reason.as_deref(), Some("the end of the retention"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_is_refused_while_purge_protection_is_on() {
    let pool = Setup { purge_protection: PurgeProtection::On, ..Setup::default() }.start().await;
    oct_key(&pool, "a").await;
    assert!(matches!(purge(&pool, "a").await, Err(Error::NotFound(_))), "it is not deleted");
    delete(&pool, "a").await;
    assert!(matches!(purge(&pool, "a").await, Err(Error::PurgeProtected)));
    assert_eq!(deleted(&pool).await, ["a"]);
    pool.pool().recover_deleted_key(&call(OWNER), &key_name("a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_deleted_key_is_taken_in_any_case() {
    let pool = Setup::default().start().await;
    oct_key(&pool, "Orders").await;
    delete(&pool, "orders").await;
    let scope = Scope::Key(key_name("ORDERS"));
    for operation in [Operation::CreateKey, Operation::ImportKey] {
        let answer = ask(&pool, &call(OWNER), operation, &scope).await;
        assert!(matches!(answer, Err(Error::DeletedButRecoverable(_))), "{operation:?}: {answer:?}");
    }
    for operation in [Operation::GetKey, Operation::UpdateKey, Operation::DeleteKey, Operation::Sign] {
        let answer = ask(&pool, &call(OWNER), operation, &scope).await;
        assert!(matches!(answer, Err(Error::NotFound(_))), "{operation:?}: {answer:?}");
    }
    let back = pool.pool().recover_deleted_key(&call(OWNER), &key_name("ORDERS")).await.unwrap();
    assert_eq!(back.name.as_str(), "Orders", "shown as it was first written");
    oct_key(&pool, "orders").await;
    delete(&pool, "orders").await;
    purge(&pool, "orders").await.unwrap();
    assert_eq!(oct_key(&pool, "ORDERS").await.name.as_str(), "ORDERS", "a purged name is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_key_comes_back_with_all_its_versions_and_works() {
    let mut pool = Setup::default().start().await;
    let first = oct_key(&pool, "a").await.version;
    let second = oct_key(&pool, "a").await.version;
    let sign = async |pool: &TestPool| {
        let signed = pool.pool().sign(&call(OWNER), &key_ref("a", Some(first)), sign_request()).await;
        signed.map(|signature| signature.value)
    };
    let before = sign(&pool).await.unwrap();
    delete(&pool, "a").await;
    assert!(sign(&pool).await.is_err());
    pool.restart().await;
    let back = pool.pool().recover_deleted_key(&call(OWNER), &key_name("a")).await.unwrap();
    assert_eq!(back.version, second);
    assert_eq!(sign(&pool).await.unwrap(), before);
    pool.clock().advance(1000 * 86_400);
    pool.pool().purge_due().await.unwrap();
    assert_eq!(sign(&pool).await.unwrap(), before, "a recovered key has no purge date");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_many_versions_goes_on_after_a_crash() {
    let quotas = Quotas { versions: 100, ..Quotas::default() };
    let mut pool = Setup { quotas, ..Setup::default() }.start().await;
    for _ in 0..100 {
        oct_key(&pool, "a").await;
    }
    let kind = KeyKind::Oct(OctSize::AES_256);
    let more = pool.pool().create_key(&call(OWNER), &key_name("a"), kind, None, new_oct()).await;
    assert!(matches!(more, Err(Error::Quota { .. })));
    delete(&pool, "a").await;
    assert_eq!(stored(&pool, "a").await, 101);

    // The first commit of the purge passes, the second one does not.
    pool.faults().fail_commit(1, Fault::Unwritable);
    purge(&pool, "a").await.unwrap();
    let left = stored(&pool, "a").await;
    assert!((2..101).contains(&left), "{left} values are left");
    for round in 0..2 {
        assert!(deleted(&pool).await.is_empty(), "a key that is going is not shown");
        let recovered = pool.pool().recover_deleted_key(&call(OWNER), &key_name("a")).await;
        assert!(matches!(recovered, Err(Error::NotFound(_))));
        let taken = pool.pool().create_key(&call(OWNER), &key_name("a"), kind, None, new_oct()).await;
        assert!(matches!(taken, Err(Error::BeingPurged(_))), "round {round}");
        pool.restart().await;
    }
    pool.pool().purge_due().await.unwrap();
    assert_eq!(stored(&pool, "a").await, 0);
    pool.restart().await;
    assert_eq!(oct_key(&pool, "a").await.name, key_name("a"));
}

/// What the record of a key says of its sealing key, and how many versions it lists.
async fn record_of_key(pool: &TestPool, name: &str) -> Option<(String, usize)> {
    let path = format!("pools/test/keys/{name}");
    let sealed = pool.raw().await.0.get(&path)?.clone();
    let (_, record) = pool.module().open_value(&path, &sealed).unwrap();
    let record = String::from_utf8(record).unwrap();
    let after = |member: &str| record.split_once(&format!("\"{member}\":")).unwrap().1;
    let sealing_key = after("sealing_key").split('"').nth(1).unwrap().to_owned();
    let versions = after("versions").split(']').next().unwrap().matches(',').count() + 1;
    Some((sealing_key, versions))
}

/// A purge of 100 versions takes three commits. Each of them fails once in each way there is.
#[tokio::test(flavor = "multi_thread")]
async fn answer_record_and_store_agree_about_a_purge_whichever_commit_of_it_fails() {
    let quotas = Quotas { versions: 100, ..Quotas::default() };
    let mut pool = Setup { quotas, ..Setup::default() }.start().await;
    for fault in [Fault::NoSpace, Fault::Unwritable, Fault::UnknownLost, Fault::UnknownApplied] {
        for failing in 0..3 {
            while stored(&pool, "a").await < 101 {
                oct_key(&pool, "a").await;
            }
            delete(&pool, "a").await;
            pool.faults().fail_commit(failing, fault);
            let asking = call(OWNER);
            let answer = pool.pool().purge_deleted_key(&asking, &key_name("a")).await;
            let statuses: Vec<_> = pool.records_of(&asking).await.iter().map(|record| record.status).collect();
            if failing == 0 && fault != Fault::UnknownApplied {
                assert!(matches!(answer, Err(Error::Unavailable { .. })), "{fault:?}: {answer:?}");
                assert_eq!(statuses, [503]);
                pool.restart().await;
                pool.pool().purge_due().await.unwrap();
                assert_eq!(stored(&pool, "a").await, 101, "nothing is lost");
                pool.pool().recover_deleted_key(&call(OWNER), &key_name("a")).await.unwrap();
                continue;
            }
            assert!(answer.is_ok(), "{fault:?} at commit {failing}: {answer:?}");
            assert_eq!(statuses, [200], "{fault:?} at commit {failing}");
            if fault == Fault::UnknownApplied {
                assert_eq!(stored(&pool, "a").await, 0, "the outcome was found out, and the purge went on");
            } else {
                let left = [0, 53, 6][usize::try_from(failing).unwrap()];
                assert_eq!(record_of_key(&pool, "a").await, Some((String::new(), left)), "no sealing key is left");
            }
            pool.restart().await;
            pool.pool().purge_due().await.unwrap();
            assert_eq!(stored(&pool, "a").await, 0, "{fault:?} at commit {failing}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_purge_one_key_purges_no_other() {
    let pool = Setup::default().start().await;
    pool.grant("officer", CRYPTO_OFFICER, Scope::Key(key_name("a"))).await;
    for name in ["a", "b"] {
        oct_key(&pool, name).await;
        delete(&pool, name).await;
    }
    let purge = async |name| pool.pool().purge_deleted_key(&call("officer"), &key_name(name)).await;
    assert!(matches!(purge("b").await, Err(Error::NotPermitted { .. })));
    purge("a").await.unwrap();
    assert_eq!(deleted(&pool).await, ["b"]);
}
