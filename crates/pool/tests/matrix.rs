//! The whole permission matrix: every built-in role, assigned at each scope, against every operation at each scope that
//! it can be asked of. `matrix.txt` is the expectation, to be reviewed; `UPDATE_MATRIX=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::rbac::{RoleDefinition, Scope, built_in_roles};
use model::{EncryptionAlgorithm, Operation, ScopeRule};
use pool::{DecryptRequest, EncryptRequest, Error, Quotas};
use testkit::{OWNER, Setup, TestPool, ask, call, key_name, key_ref, oct_key, prepare};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/matrix.txt");

/// Every scope of the matrix, with its name in the file.
fn scopes() -> [(&'static str, Scope); 4] {
    [("/", Scope::Root), ("keys", Scope::Keys), ("a", key_scope("a")), ("b", key_scope("b"))]
}

fn key_scope(name: &str) -> Scope {
    Scope::Key(key_name(name))
}

/// The scopes of which an operation can be asked.
fn asked_of(operation: Operation) -> Vec<(&'static str, Scope)> {
    let [root, keys, a, b] = scopes();
    match operation.scope_rule() {
        ScopeRule::Root => vec![root],
        ScopeRule::Keys => vec![keys],
        ScopeRule::Key => vec![a, b],
        ScopeRule::Path => vec![root, keys, a, b],
    }
}

/// The principal that holds exactly this role at exactly this scope.
fn holder(role: &RoleDefinition, scope: &str) -> String {
    format!("{}@{scope}", role.id)
}

/// A pool in which every role is held at `/`, `/keys` and `/keys/a`, each by a principal of its own.
async fn pool_with_holders() -> TestPool {
    let quotas = Quotas { assignments: 1000, assignments_per_key: 1000, versions: 10_000, ..Quotas::default() };
    let pool = Setup { quotas, ..Setup::default() }.start().await;
    for role in built_in_roles() {
        for (name, scope) in scopes().into_iter().take(3) {
            pool.grant(&holder(&role, name), role.id, scope).await;
        }
    }
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_what_the_matrix_says_and_nothing_else() {
    let pool = pool_with_holders().await;
    let empty = pool_with_holders().await;
    let mut text = String::from(
        "# What each built-in role permits, by the scope at which it is assigned. A cell names the scopes of which the\n\
         # operation can be asked: / the pool, keys all keys, a and b two keys. A dot stands for one that is denied.\n\
         # Written by `UPDATE_MATRIX=1 cargo test -p pool --test matrix`; every change of it is to be reviewed.\n",
    );
    let mut denied = Vec::new();
    for role in built_in_roles() {
        writeln!(text, "\n{}\n{:24}{:16}{:16}at /keys/a", role.role_name, "", "at /", "at /keys").unwrap();
        for &operation in Operation::ALL {
            let mut row = format!("  {:22}", format!("{operation:?}"));
            for (held_at, _) in scopes().into_iter().take(3) {
                let mut cell = String::new();
                for (name, scope) in asked_of(operation) {
                    prepare(&pool, operation, &scope).await;
                    let asking = call(&holder(&role, held_at));
                    let allowed = match ask(&pool, &asking, operation, &scope).await {
                        Ok(()) => true,
                        Err(error @ Error::NotPermitted { .. }) => {
                            let nothing_there = ask(&empty, &call(&holder(&role, held_at)), operation, &scope).await;
                            assert_eq!(
                                format!("{:?}", nothing_there.unwrap_err()),
                                format!("{error:?}"),
                                "a denial of {operation:?} tells what is there"
                            );
                            denied.push((asking.request_id.as_u128(), operation));
                            false
                        }
                        Err(other) => {
                            panic!("{operation:?} of {} at {held_at}, asked of {name}: {other}", role.role_name)
                        }
                    };
                    let shown = if allowed { name } else { "." };
                    cell.push_str(&format!("{shown} "));
                }
                write!(row, "{cell:16}").unwrap();
            }
            writeln!(text, "{}", row.trim_end()).unwrap();
        }
    }
    every_denial_was_recorded(&pool, &denied).await;
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let expected = std::fs::read_to_string(FILE).unwrap();
    for (number, (is, must)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, must, "line {} of matrix.txt", number + 1);
    }
    assert_eq!(text, expected, "matrix.txt ends elsewhere");
}

/// Each with one record, that of a refusal.
async fn every_denial_was_recorded(pool: &TestPool, denied: &[(u128, Operation)]) {
    let mut records: BTreeMap<u128, Vec<_>> = BTreeMap::new();
    for record in pool.records().await {
        records.entry(record.request_id.unwrap_or_default()).or_default().push((record.operation, record.status));
    }
    assert!(denied.len() > 500, "the matrix holds many denials");
    for (id, operation) in denied {
        let found = records.get(id).map_or(&[][..], Vec::as_slice);
        assert_eq!(found, [(operation.audit_name().into(), 403)], "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_no_role_may_do_nothing_whether_it_exists_or_not() {
    let pool = Setup::default().start().await;
    let empty = Setup::default().start().await;
    for &operation in Operation::ALL {
        for (_, scope) in asked_of(operation) {
            prepare(&pool, operation, &scope).await;
            let there = ask(&pool, &call("stranger"), operation, &scope).await.unwrap_err();
            let absent = ask(&empty, &call("stranger"), operation, &scope).await.unwrap_err();
            assert!(matches!(there, Error::NotPermitted { .. }), "{operation:?}: {there}");
            assert_eq!(format!("{there:?}"), format!("{absent:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_does_not_fit_is_no_way_past_the_door() {
    let pool = Setup::default().start().await;
    oct_key(&pool, "a").await;
    let algorithm = EncryptionAlgorithm::A256Kw;
    let encrypt = EncryptRequest { algorithm, plaintext: vec![0; 16].into(), iv: None, aad: None };
    let decrypt = DecryptRequest { algorithm, ciphertext: vec![0; 24].into(), iv: None, tag: None, aad: None };
    let asking = [call("stranger"), call("stranger"), call(OWNER)];
    let refused = pool.pool().encrypt(&asking[0], &key_ref("a", None), encrypt.clone()).await;
    assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
    let refused = pool.pool().decrypt(&asking[1], &key_ref("a", None), decrypt).await;
    assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
    let refused = pool.pool().encrypt(&asking[2], &key_ref("a", None), encrypt).await;
    assert!(matches!(refused, Err(Error::Input(_))), "{refused:?}");
    for (call, status) in asking.iter().zip([403, 403, 400]) {
        let statuses: Vec<_> = pool.records_of(call).await.iter().map(|record| record.status).collect();
        assert_eq!(statuses, [status]);
    }
}
