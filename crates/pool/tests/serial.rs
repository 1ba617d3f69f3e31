//! Many at once: no answer contradicts an order in which everything happened one after the other.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::rbac::{ADMINISTRATOR, CRYPTO_OFFICER, CRYPTO_USER, Guid, RoleAssignment, Scope};
use model::{KeyKind, KeyVersion, OctSize};
use pool::{Error, KeyChange, NewKey, Quotas, SignRequest};
use testkit::{ADMIN, OWNER, Setup, TestPool, call, key_name, key_ref, new_oct, oct_key, principal, sign_request};
use tokio::task::JoinSet;

const OCT: KeyKind = KeyKind::Oct(OctSize::AES_256);

async fn versions(pool: &TestPool, name: &str) -> Vec<KeyVersion> {
    let (page, more) = pool.pool().key_versions(&call(OWNER), &key_name(name), None, 1000).await.unwrap();
    assert!(!more);
    page.into_iter().map(|state| state.version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_versions_made_at_once_none_is_lost() {
    let quotas = Quotas { versions: 1000, ..Quotas::default() };
    let mut pool = Setup { quotas, ..Setup::default() }.start().await;
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let pool = pool.pool().clone();
        // The name does not exist yet, so the first creations race for its sealing key, too.
        let name = if number % 2 == 0 { "Orders" } else { "orders" };
        tasks.spawn(async move { pool.create_key(&call(OWNER), &key_name(name), OCT, None, new_oct()).await });
    }
    let made: Vec<KeyVersion> = tasks.join_all().await.into_iter().map(|made| made.unwrap().version).collect();
    let listed = versions(&pool, "orders").await;
    assert_eq!(listed.len(), 200);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), made.iter().collect::<BTreeSet<_>>());
    let latest = async |pool: &TestPool| pool.pool().key(&call(OWNER), &key_ref("orders", None)).await.unwrap().version;
    assert_eq!(latest(&pool).await, listed[199]);

    // The order of the list is that of the commits.
    let mut recorded: Vec<_> = pool.records().await.iter().filter_map(|r| Some((r.change?, r.key_version?))).collect();
    recorded.sort_unstable();
    let recorded: Vec<_> = recorded.into_iter().map(|(_, version)| KeyVersion(version.to_be_bytes())).collect();
    assert_eq!(recorded, listed);

    pool.restart().await;
    assert_eq!(versions(&pool, "orders").await, listed);
    for version in made {
        pool.pool().sign(&call(OWNER), &key_ref("orders", Some(version)), sign_request()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_versions_made_at_once() {
    let quotas = Quotas { versions: 7, keys: 3, ..Quotas::default() };
    let pool = Setup { quotas, ..Setup::default() }.start().await;
    let mut tasks = JoinSet::new();
    for number in 0..60 {
        let pool = pool.pool().clone();
        let name = if number % 2 == 0 { "same".to_owned() } else { format!("k-{number}") };
        tasks.spawn(async move { pool.create_key(&call(OWNER), &key_name(&name), OCT, None, new_oct()).await });
    }
    let outcomes = tasks.join_all().await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Quota { .. }))));
    let (keys, _) = pool.pool().keys(&call(OWNER), None, 100).await.unwrap();
    assert_eq!(keys.len(), 3);
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let mut listed = 0;
    for key in keys {
        let of_key = versions(&pool, key.name.as_str()).await.len();
        assert!(of_key <= 7);
        listed += of_key;
    }
    assert_eq!(listed, made);
}

/// How a key or a right is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Removal {
    Disable,
    DropOperation,
    Expire,
    Delete,
    Purge,
    Role,
    Definition,
}

/// Many tasks use a key while something is taken away. What was begun after the removal was answered must fail.
#[tokio::test(flavor = "multi_thread")]
async fn no_use_succeeds_after_its_end_was_answered() {
    use Removal as R;
    for removal in [R::Disable, R::DropOperation, R::Expire, R::Delete, R::Purge, R::Role, R::Definition] {
        for round in 0..4 {
            hammer(removal, round).await;
        }
    }
}

async fn hammer(removal: Removal, round: u64) {
    let pool = Arc::new(Setup::default().start().await);
    oct_key(&pool, "a").await;
    let signer = model::rbac::RoleDefinition::custom(
        Guid(9),
        "signer".into(),
        String::new(),
        vec![model::rbac::Permission {
            data_actions: vec![model::DataAction::KeysSign.as_str().into()],
            ..Default::default()
        }],
    );
    pool.pool().put_role_definition(&call(ADMIN), Scope::Root, signer.unwrap()).await.unwrap();
    let given = pool.grant("user", Guid(9), Scope::Key(key_name("a"))).await;
    let (ended, before, after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), 3);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (pool, ended, before) = (pool.clone(), ended.clone(), before.clone());
        tasks.spawn(async move {
            let mut refused = 0;
            while refused < after {
                let begun_after = ended.load(Ordering::SeqCst);
                let outcome = pool.pool().sign(&call("user"), &key_ref("a", None), sign_request()).await;
                match outcome {
                    Ok(_) => {
                        assert!(!begun_after, "a use succeeded after {removal:?} was answered");
                        before.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        let expected = match removal {
                            Removal::Disable | Removal::DropOperation | Removal::Expire => {
                                matches!(error, Error::Unusable(_))
                            }
                            Removal::Delete | Removal::Purge => matches!(error, Error::NotFound(_)),
                            Removal::Role | Removal::Definition => matches!(error, Error::NotPermitted { .. }),
                        };
                        assert!(expected, "{removal:?}: {error}");
                        refused += usize::from(begun_after);
                    }
                }
            }
        });
    }
    while before.load(Ordering::SeqCst) < 20 {
        tokio::time::sleep(Duration::from_micros(200 * round)).await;
    }
    let (owner, key) = (call(OWNER), key_ref("a", None));
    let change = match removal {
        Removal::Disable => Some(KeyChange { enabled: Some(false), ..KeyChange::default() }),
        Removal::DropOperation => {
            Some(KeyChange { operations: Some(model::KeyOperations::of(&[])), ..KeyChange::default() })
        }
        Removal::Expire => Some(KeyChange { expires: Some(model::UnixTime(1)), ..KeyChange::default() }),
        _ => None,
    };
    if let Some(change) = change {
        pool.pool().update_key(&owner, &key, change).await.unwrap();
    }
    match removal {
        Removal::Delete => drop(pool.pool().delete_key(&owner, &key.name).await.unwrap()),
        Removal::Purge => {
            pool.pool().delete_key(&owner, &key.name).await.unwrap();
            pool.pool().purge_deleted_key(&owner, &key.name).await.unwrap();
        }
        Removal::Role => pool.revoke(&given).await,
        Removal::Definition => {
            drop(pool.pool().delete_role_definition(&call(ADMIN), Scope::Root, Guid(9)).await.unwrap());
        }
        _ => {}
    }
    ended.store(true, Ordering::SeqCst);
    tasks.join_all().await;
}

/// A signature that is computed while its key is disabled, and would be released after the disabling was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_use_that_was_under_way_is_not_answered_after_its_end_was() {
    let pool = Arc::new(Setup::default().start().await);
    let kind = KeyKind::Rsa(model::RsaSize::Rsa2048);
    let new = || NewKey { operations: None, ..new_oct() };
    for name in ["busy", "a"] {
        pool.pool().create_key(&call(OWNER), &key_name(name), kind, None, new()).await.unwrap();
    }
    let digest = || SignRequest { algorithm: Some(model::SignatureAlgorithm::Ps256), ..sign_request() };
    let sign = |name: &'static str| {
        let (pool, asking) = (pool.clone(), call(OWNER));
        let task = {
            let asking = asking.clone();
            tokio::spawn(async move { pool.pool().sign(&asking, &key_ref(name, None), digest()).await.map(drop) })
        };
        (task, asking)
    };
    let set = async |enabled| {
        let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
        pool.pool().update_key(&call(OWNER), &key_ref("a", None), change).await.unwrap();
    };
    for _ in 0..20 {
        set(true).await;
        // The threads for long arithmetic have enough to do that this one waits behind the others.
        let others: Vec<_> = (0..600).map(|_| sign("busy").0).collect();
        while !others[0].is_finished() {
            tokio::task::yield_now().await;
        }
        let (under_way, asking) = sign("a");
        tokio::time::sleep(Duration::from_millis(20)).await;
        set(false).await;
        let in_time = under_way.is_finished();
        let outcome = under_way.await.unwrap();
        for other in others {
            let _ = other.await.unwrap();
        }
        let statuses: Vec<u16> = pool.records_of(&asking).await.iter().map(|record| record.status).collect();
        if !in_time && statuses.len() == 2 {
            assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
            assert_eq!(statuses, [200, 403], "the signature was made, and withheld");
            return;
        }
    }
    panic!("no signature was under way while its key was disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_recovers_of_one_key_take_turns() {
    let mut pool = Setup::default().start().await;
    oct_key(&pool, "a").await;
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let pool = pool.pool().clone();
        tasks.spawn(async move {
            for _ in 0..15 {
                let outcome = if number % 2 == 0 {
                    pool.delete_key(&call(OWNER), &key_name("a")).await.map(drop)
                } else {
                    pool.recover_deleted_key(&call(OWNER), &key_name("a")).await.map(drop)
                };
                assert!(matches!(outcome, Ok(()) | Err(Error::NotFound(_))), "{outcome:?}");
            }
        });
    }
    tasks.join_all().await;
    let mut changes: Vec<_> = pool
        .records()
        .await
        .into_iter()
        .filter(|record| record.operation == "KeyDelete" || record.operation == "KeyRecover")
        .filter_map(|record| Some((record.change?, record.operation)))
        .collect();
    changes.sort_unstable();
    assert!(changes.len() > 2);
    for (at, (_, operation)) in changes.iter().enumerate() {
        assert_eq!(operation, if at % 2 == 0 { "KeyDelete" } else { "KeyRecover" }, "{changes:?}");
    }
    let is_deleted = changes.len() % 2 == 1;
    pool.restart().await;
    assert_eq!(pool.pool().deleted_key(&call(OWNER), &key_name("a")).await.is_ok(), is_deleted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_many_updates_is_the_one_that_stays() {
    let mut pool = Setup::default().start().await;
    let version = oct_key(&pool, "a").await.version;
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let pool = pool.pool().clone();
        tasks.spawn(async move {
            let asking = call(OWNER);
            let tags = model::Tags::new([("who".to_owned(), number.to_string())].into()).unwrap();
            let change = KeyChange { tags: Some(tags.clone()), ..KeyChange::default() };
            let answered = pool.update_key(&asking, &key_ref("a", Some(version)), change).await.unwrap();
            assert_eq!(answered.sealed.facts().tags, tags, "the answer is the caller's own update");
            (asking.request_id.as_u128(), tags)
        });
    }
    let made = tasks.join_all().await;
    let records = pool.records().await;
    let last = records.iter().filter(|record| record.operation == "KeyUpdate").max_by_key(|record| record.change);
    let last_id = last.unwrap().request_id.unwrap();
    let (_, expected) = made.into_iter().find(|(id, _)| *id == last_id).unwrap();
    for _ in 0..2 {
        let now = pool.pool().key(&call(OWNER), &key_ref("a", None)).await.unwrap();
        assert_eq!(now.sealed.facts().tags, expected);
        pool.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_removals_of_the_last_two_administrators_one_wins() {
    for _ in 0..20 {
        let pool = Setup { administrators: vec![principal("second")], ..Setup::default() }.start().await;
        let all = administrators(&pool, ADMIN).await;
        assert_eq!(all.len(), 2);
        let remove = |assignment: RoleAssignment| {
            let pool = pool.pool().clone();
            tokio::spawn(async move {
                let by = call(assignment.principal.as_str());
                pool.delete_role_assignment(&by, assignment.scope, assignment.name).await
            })
        };
        let (one, other) = tokio::join!(remove(all[0].clone()), remove(all[1].clone()));
        let outcomes = [one.unwrap(), other.unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let lost = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
        assert!(matches!(lost, Error::LastAdministrator), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_removal_and_a_replacement_of_the_last_two_administrators_one_wins() {
    for round in 0..40 {
        let mut pool = Setup { administrators: vec![principal("second")], ..Setup::default() }.start().await;
        let [one, other] = administrators(&pool, ADMIN).await.try_into().unwrap();
        let replacing = {
            let pool = pool.pool().clone();
            let (by, next) = (call(one.principal.as_str()), RoleAssignment { role: CRYPTO_USER, ..one });
            tokio::spawn(async move { pool.put_role_assignment(&by, next).await })
        };
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let removing = {
            let pool = pool.pool().clone();
            let by = call(other.principal.as_str());
            tokio::spawn(async move { pool.delete_role_assignment(&by, other.scope, other.name).await })
        };
        let outcomes = [replacing.await.unwrap(), removing.await.unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let lost = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
        assert!(matches!(lost, Error::LastAdministrator), "{lost}");
        let mut left = 0;
        pool.restart().await;
        for by in [ADMIN, "second"] {
            let filter = model::rbac::AssignmentFilter::Exactly;
            if let Ok((all, _)) = pool.pool().role_assignments(&call(by), Scope::Root, &filter, None, 100).await {
                left += all.iter().filter(|a| a.role == ADMINISTRATOR && a.principal == principal(by)).count();
            }
        }
        assert_eq!(left, 1);
    }
}

async fn administrators(pool: &TestPool, by: &str) -> Vec<RoleAssignment> {
    let filter = model::rbac::AssignmentFilter::Exactly;
    let (all, _) = pool.pool().role_assignments(&call(by), Scope::Root, &filter, None, 100).await.unwrap();
    all.into_iter().filter(|assignment| assignment.role == ADMINISTRATOR).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_be_replaced_by_another_role() {
    let mut pool = Setup::default().start().await;
    let [last] = administrators(&pool, ADMIN).await.try_into().unwrap();
    let put = async |pool: &TestPool, assignment| pool.pool().put_role_assignment(&call(ADMIN), assignment).await;
    for role in [CRYPTO_USER, CRYPTO_OFFICER] {
        let replaced = put(&pool, RoleAssignment { role, ..last.clone() }).await;
        assert!(matches!(replaced, Err(Error::LastAdministrator)), "{replaced:?}");
    }
    // One below `/` does not count.
    pool.grant("below", ADMINISTRATOR, Scope::Keys).await;
    let removed = pool.pool().delete_role_assignment(&call(ADMIN), Scope::Root, last.name).await;
    assert!(matches!(removed, Err(Error::LastAdministrator)), "{removed:?}");
    // Handing it over in one step is fine: there is one before and one after.
    put(&pool, RoleAssignment { principal: principal("next"), ..last.clone() }).await.unwrap();
    pool.restart().await;
    assert_eq!(administrators(&pool, "next").await.len(), 1);
    assert!(matches!(put(&pool, last).await, Err(Error::NotPermitted { .. })));
}
