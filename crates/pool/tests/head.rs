//! Whatever is changed in the store behind the pool's back, the pool is not opened.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use bytes::Bytes;
use model::rbac::{CRYPTO_USER, Scope};
use model::settings::Setting;
use pool::{KeyChange, OpenError};
use testkit::{ADMIN, OWNER, Setup, Snapshot, TestPool, call, key_name, key_ref, oct_key};

const ROOT: &str = "pools/test/root";
const HEAD: &str = "pools/test/head";

/// A stopped pool in which there is one of everything, and what its store held after each change. Every path that was
/// ever written is in one of them.
async fn with_history() -> (TestPool, Vec<Snapshot>) {
    let mut pool = Setup::default().start().await;
    let mut history = vec![pool.raw().await];
    let owner = || call(OWNER);
    let disable = || KeyChange { enabled: Some(false), ..KeyChange::default() };
    for step in 0..12 {
        match step {
            0 => drop(oct_key(&pool, "a").await),
            1 => drop(oct_key(&pool, "a").await),
            2 => drop(oct_key(&pool, "a-b").await),
            3 => drop(pool.pool().update_key(&owner(), &key_ref("a", None), disable()).await.unwrap()),
            4 => drop(pool.grant("user", CRYPTO_USER, Scope::Key(key_name("a"))).await),
            5 => {
                let assignment = pool.grant("user", CRYPTO_USER, Scope::Keys).await;
                history.push(pool.raw().await);
                pool.revoke(&assignment).await;
            }
            6 => {
                let setting = Setting::AllowKeyManagementOperationsThroughArm;
                pool.pool().update_setting(&call(ADMIN), setting, true).await.unwrap();
            }
            7 => {
                let id = model::rbac::Guid(7);
                let role = model::rbac::RoleDefinition::custom(id, "r".into(), String::new(), Vec::new()).unwrap();
                pool.pool().put_role_definition(&call(ADMIN), Scope::Root, role).await.unwrap();
            }
            8 => drop(pool.pool().delete_key(&owner(), &key_name("a")).await.unwrap()),
            9 => drop(pool.pool().recover_deleted_key(&owner(), &key_name("a")).await.unwrap()),
            10 => {
                oct_key(&pool, "gone").await;
                history.push(pool.raw().await);
                pool.pool().delete_key(&owner(), &key_name("gone")).await.unwrap();
                history.push(pool.raw().await);
                pool.pool().purge_deleted_key(&owner(), &key_name("gone")).await.unwrap();
            }
            _ => drop(oct_key(&pool, "gone").await),
        }
        history.push(pool.raw().await);
    }
    pool.stop().await;
    history.push(pool.raw().await);
    (pool, history)
}

/// Why the pool does not open over this store.
async fn refusal(pool: &mut TestPool, store: &Snapshot, what: &str) -> OpenError {
    pool.tamper(store).await;
    match pool.start().await {
        Ok(()) => panic!("the pool was opened although {what}"),
        Err(error) => error,
    }
}

fn tampered(error: &OpenError, paths: &[&str]) -> bool {
    matches!(error, OpenError::Tampered { path } if paths.contains(&path.as_str()))
}

/// The pool opens over what it wrote, so the refusals were about what was changed.
async fn assert_opens(mut pool: TestPool, store: &Snapshot) {
    pool.tamper(store).await;
    pool.start().await.unwrap();
    let (keys, _) = pool.pool().keys(&call(OWNER), None, 10).await.unwrap();
    assert_eq!(keys.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_value_put_back_is_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    let mut tried = 0;
    let mut earlier: Vec<(&String, &Bytes)> = history.iter().flat_map(|snapshot| &snapshot.0).collect();
    earlier.sort();
    earlier.dedup();
    for (path, value) in earlier {
        if now.0.get(path) == Some(value) {
            continue;
        }
        let error = refusal(&mut pool, &now.with(path, Some(value)), &format!("{path} was put back")).await;
        assert!(matches!(error, OpenError::HeadMismatch), "{path}: {error}");
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_value_is_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    for path in now.0.keys() {
        let error = refusal(&mut pool, &now.with(path, None), &format!("{path} is missing")).await;
        match path.as_str() {
            // Without its root there is no module to open anything with.
            ROOT => assert!(matches!(error, OpenError::Absent), "{error}"),
            _ => assert!(matches!(error, OpenError::HeadMismatch), "{path}: {error}"),
        }
    }
    let nothing = refusal(&mut pool, &Snapshot::default(), "everything is missing").await;
    assert!(matches!(nothing, OpenError::Absent), "{nothing}");
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_exchanged_are_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    let paths: Vec<&String> = now.0.keys().collect();
    for (at, a) in paths.iter().enumerate() {
        for b in &paths[at + 1..] {
            let exchanged = now.with(a, Some(&now.0[*b])).with(b, Some(&now.0[*a]));
            let error = refusal(&mut pool, &exchanged, &format!("{a} and {b} were exchanged")).await;
            assert!(tampered(&error, &[a, b]), "{a}, {b}: {error}");
        }
    }
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    for (path, value) in &now.0 {
        for at in [0, value.len() / 2, value.len() - 1] {
            let mut changed = value.to_vec();
            changed[at] ^= 1;
            let error = refusal(&mut pool, &now.with(path, Some(&changed.into())), path).await;
            // A version's material is not opened before it is used, but the head covers all of its bytes.
            let version = path.starts_with("pools/test/keys/") && path.split('/').count() == 5;
            let mismatch = version && matches!(error, OpenError::HeadMismatch);
            assert!(mismatch || tampered(&error, &[path]), "{path}, byte {at}: {error}");
        }
        for foreign in [Bytes::new(), vec![0; 64].into()] {
            let error = refusal(&mut pool, &now.with(path, Some(&foreign)), path).await;
            assert!(tampered(&error, &[path]), "{path}: {error}");
        }
    }
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_value_is_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    let version = "0123456789abcdef0123456789abcdef";
    let guid = "00000000-0000-4000-8000-000000000001";
    let key = &now.0["pools/test/keys/a"];
    let assignment = now.0.iter().find(|(path, _)| path.contains("/assignments/")).unwrap().1;
    for (path, value, sealed) in [
        ("pools/test/keys/new".to_owned(), key, true),
        (format!("pools/test/roles/assignments/root/{guid}"), assignment, true),
        (format!("pools/test/roles/definitions/{guid}"), assignment, true),
        (format!("pools/test/outbox/{guid}"), key, true),
        // A version that no key lists is not even opened.
        (format!("pools/test/keys/a/{version}"), key, false),
    ] {
        let error = refusal(&mut pool, &now.with(&path, Some(value)), &path).await;
        let expected = if sealed { tampered(&error, &[&path]) } else { matches!(error, OpenError::HeadMismatch) };
        assert!(expected, "{path}: {error}");
    }
    for path in ["pools/test/other", "pools/test/keys/a/short", "pools/test/roles/assignments/all/x"] {
        let error = refusal(&mut pool, &now.with(path, Some(key)), path).await;
        assert!(matches!(&error, OpenError::OtherVersion { path: found } if found == path), "{path}: {error}");
    }
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consistent_part_of_an_earlier_state_is_refused() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    for (number, earlier) in history[..history.len() - 1].iter().enumerate() {
        // Everything about keys as it was; then the head with it too, but not the rest.
        let mut mixed = now.clone();
        mixed.0.retain(|path, _| !path.starts_with("pools/test/keys/"));
        mixed.0.extend(earlier.0.clone().into_iter().filter(|(path, _)| path.starts_with("pools/test/keys/")));
        if mixed != *now {
            let error = refusal(&mut pool, &mixed, &format!("the keys of state {number} were put back")).await;
            assert!(matches!(error, OpenError::HeadMismatch), "{number}: {error}");
        }
        let headed = mixed.with(HEAD, earlier.0.get(HEAD));
        if headed.0 != earlier.0 && headed != *now {
            let error = refusal(&mut pool, &headed, &format!("keys and head of state {number} were put back")).await;
            assert!(matches!(error, OpenError::HeadMismatch), "{number}: {error}");
        }
    }
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_store_put_back_is_refused_by_what_the_log_remembers() {
    let (mut pool, history) = with_history().await;
    let now = history.last().unwrap();
    let mut found_before = 0;
    for earlier in history.iter().filter(|earlier| *earlier != now) {
        let error = refusal(&mut pool, earlier, "the whole store was put back").await;
        let OpenError::RolledBack { found, seen } = error else { panic!("{error}") };
        assert!(found > found_before && found < seen, "{found_before}, {found}, {seen}");
        found_before = found;
    }
    assert_opens(pool, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pools_store_is_refused() {
    let (mut pool, history) = with_history().await;
    let (_other, others) = with_history().await;
    let error = refusal(&mut pool, others.last().unwrap(), "it is another pool's").await;
    assert!(tampered(&error, &[ROOT]), "{error}");
    let rooted = others.last().unwrap().with(ROOT, history[0].0.get(ROOT));
    let error = refusal(&mut pool, &rooted, "it is another pool's under this one's root").await;
    assert!(matches!(error, OpenError::Tampered { .. }), "{error}");
    assert_opens(pool, history.last().unwrap()).await;
}
