//! Limits of local RBAC: one more is refused, and what is there can always be replaced or make room.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use model::rbac::{CRYPTO_AUDITOR, CRYPTO_USER, Guid, RoleAssignment, RoleDefinition, Scope};
use model::{Curve, KeyKind, RsaSize};
use pool::{Error, NewKey, Quotas};
use testkit::{ADMIN, OWNER, Setup, TestPool, call, key_name, new_oct, principal};

fn assignment(number: u128, scope: &Scope) -> RoleAssignment {
    RoleAssignment { name: Guid(number), scope: scope.clone(), principal: principal("someone"), role: CRYPTO_USER }
}

async fn put(pool: &TestPool, assignment: RoleAssignment) -> Result<(), Error> {
    pool.pool().put_role_assignment(&call(ADMIN), assignment).await.map(drop)
}

async fn delete(pool: &TestPool, number: u128, scope: &Scope) {
    pool.pool().delete_role_assignment(&call(ADMIN), scope.clone(), Guid(number)).await.unwrap();
}

/// How many assignments a new pool has at `/`.
const FOUNDED: usize = 3;

/// Fills `scope`, in which `present` are, up to `limit`, and tries what can be done then.
async fn fill(pool: &TestPool, scope: &Scope, present: usize, limit: usize) {
    let first = 1_000_000 * limit as u128;
    for number in present..limit {
        put(pool, assignment(first + number as u128, scope))
            .await
            .unwrap_or_else(|e| panic!("{number} at {scope}: {e}"));
    }
    let one_more = first + limit as u128;
    let refused =
        |answer: &Result<(), Error>| matches!(answer, Err(Error::Quota { limit: told, .. }) if *told == limit);
    let answer = put(pool, assignment(one_more, scope)).await;
    assert!(refused(&answer), "{scope}: {answer:?}");
    // Replacing is no addition.
    let one = first + present as u128;
    put(pool, RoleAssignment { role: CRYPTO_AUDITOR, ..assignment(one, scope) }).await.unwrap();
    delete(pool, one, scope).await;
    put(pool, assignment(one_more, scope)).await.unwrap();
    let answer = put(pool, assignment(one, scope)).await;
    assert!(refused(&answer), "{scope}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_has_its_own_limit_of_assignments() {
    let mut pool = Setup::default().start().await;
    let keys = ["a", "of-no-key"].map(|name| Scope::Key(key_name(name)));
    fill(&pool, &Scope::Root, FOUNDED, 50).await;
    fill(&pool, &Scope::Keys, 0, 50).await;
    for key in &keys {
        fill(&pool, key, 0, 10).await;
    }
    pool.restart().await;
    for scope in [&Scope::Root, &Scope::Keys, &keys[0], &keys[1]] {
        let answer = put(&pool, assignment(7, scope)).await;
        assert!(matches!(answer, Err(Error::Quota { .. })), "{scope} after a restart: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_at_names_without_a_key_end_somewhere() {
    let quotas = Quotas { assignments_in_all: 30, ..Quotas::default() };
    let mut pool = Setup { quotas, ..Setup::default() }.start().await;
    let at = |number: usize| Scope::Key(key_name(&format!("name-{number}")));
    for number in FOUNDED..30 {
        put(&pool, assignment(1, &at(number))).await.unwrap();
    }
    pool.restart().await;
    for scope in [at(30), Scope::Root, Scope::Keys] {
        let answer = put(&pool, assignment(1, &scope)).await;
        assert!(matches!(answer, Err(Error::Quota { limit: 30, .. })), "{scope}: {answer:?}");
    }
    put(&pool, RoleAssignment { role: CRYPTO_AUDITOR, ..assignment(1, &at(29)) }).await.unwrap();
    delete(&pool, 1, &at(29)).await;
    put(&pool, assignment(1, &at(30))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_fifty_custom_roles_beside_the_built_in_ones() {
    let mut pool = Setup::default().start().await;
    let role = |number: u128, name: &str| {
        RoleDefinition::custom(Guid(number), name.to_owned(), String::new(), Vec::new()).unwrap()
    };
    let put = async |pool: &TestPool, role| pool.pool().put_role_definition(&call(ADMIN), Scope::Root, role).await;
    for number in 0..50 {
        put(&pool, role(number, "first")).await.unwrap();
    }
    for _ in 0..2 {
        let answer = put(&pool, role(50, "one more")).await;
        assert!(matches!(answer, Err(Error::Quota { limit: 50, .. })), "{answer:?}");
        assert_eq!(put(&pool, role(7, "replaced")).await.unwrap().role_name, "replaced");
        pool.restart().await;
    }
    pool.pool().delete_role_definition(&call(ADMIN), Scope::Root, Guid(7)).await.unwrap();
    put(&pool, role(50, "one more")).await.unwrap();
    assert!(matches!(put(&pool, role(7, "again")).await, Err(Error::Quota { .. })));
    let (custom, built_in): (Vec<_>, Vec<_>) = pool
        .pool()
        .role_definitions(&call(ADMIN), Scope::Root)
        .await
        .unwrap()
        .into_iter()
        .partition(|role| !role.built_in);
    assert_eq!((custom.len(), built_in.len()), (50, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_does_not_fill_the_queue_of_keys_in_the_making() {
    let quotas = Quotas { keys_in_making: 2, ..Quotas::default() };
    let pool = Setup { quotas, ..Setup::default() }.start().await;
    pool.grant("other", CRYPTO_USER, Scope::Root).await;
    let make = async |by: &str, name: &str, kind| {
        let new = NewKey { operations: None, ..new_oct() };
        pool.pool().create_key(&call(by), &key_name(name), kind, None, new).await.map(drop)
    };
    let (rsa, ec) = (KeyKind::Rsa(RsaSize::Rsa2048), KeyKind::Ec(Curve::P256));
    for _ in 0..2 {
        let (one, two, three, others, quick) = tokio::join!(
            make(OWNER, "one", rsa),
            make(OWNER, "two", rsa),
            make(OWNER, "three", rsa),
            make("other", "four", rsa),
            make(OWNER, "five", ec),
        );
        assert!(one.is_ok() && two.is_ok() && others.is_ok() && quick.is_ok(), "{one:?} {two:?} {others:?} {quick:?}");
        assert!(matches!(three, Err(Error::Busy)), "{three:?}");
    }
}
