//! One record for every operation, whatever its outcome, and what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use audit::Record;
use model::rbac::{CRYPTO_USER, POLICY_ADMINISTRATOR, Scope};
use model::{Caller, Groups, Operation, PrincipalId, ScopeRule};
use pool::{Call, Directory, DirectoryError, Error};
use testkit::{
    ADMIN, OWNER, Setup, TestPool, ask, call, call_of, caller, key_name, key_ref, new_oct, oct_key, prepare, principal,
    sign_request,
};

/// Who may, of the two principals that every test pool has.
fn who_may(operation: Operation) -> &'static str {
    match operation.scope_rule() {
        ScopeRule::Path => ADMIN,
        ScopeRule::Root if operation != Operation::GetRandomBytes => ADMIN,
        _ => OWNER,
    }
}

fn scope_of(operation: Operation) -> Scope {
    match operation.scope_rule() {
        ScopeRule::Root | ScopeRule::Path => Scope::Root,
        ScopeRule::Keys => Scope::Keys,
        ScopeRule::Key => Scope::Key(key_name("orders")),
    }
}

/// The algorithm that [`ask`] uses.
fn algorithm(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Encrypt | Operation::Decrypt => Some("A256GCM"),
        Operation::WrapKey | Operation::UnwrapKey => Some("A256KW"),
        Operation::Sign | Operation::Verify => Some("HS256"),
        _ => None,
    }
}

/// Whether an operation is about one version of a key.
fn names_a_version(operation: Operation) -> bool {
    use Operation as O;
    let of_a_version = [O::CreateKey, O::ImportKey, O::RotateKey, O::GetKey, O::UpdateKey];
    of_a_version.contains(&operation) || algorithm(operation).is_some()
}

async fn only_record(pool: &TestPool, call: &Call) -> Record {
    let mut records = pool.records_of(call).await;
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_leaves_one_record_that_says_who_did_what_to_which_version() {
    let pool = Setup::default().start().await;
    for &operation in Operation::ALL {
        let scope = scope_of(operation);
        prepare(&pool, operation, &scope).await;
        let asking = Call {
            correlation: Some("their-id".into()),
            user_agent: Some("a client".into()),
            ..call_of(Caller { upn: Some("ada@contoso.example".into()), ..caller(who_may(operation)) })
        };
        ask(&pool, &asking, operation, &scope).await.unwrap();
        let record = only_record(&pool, &asking).await;
        assert_eq!(record.operation, operation.audit_name());
        assert_eq!(record.status, 200, "{operation:?}");
        assert_eq!((record.code, record.reason), (None, None), "{operation:?}");
        assert_eq!(record.data_action.as_deref(), Some(operation.data_action().as_str()));
        assert_eq!(record.scope.as_deref(), Some(scope.to_string().as_str()));
        assert_eq!((&*record.pool, &*record.node), ("test", "a"));
        assert_eq!(record.source, Some(asking.source));
        assert_eq!(record.correlation.as_deref(), Some("their-id"));
        assert_eq!(record.user_agent.as_deref(), Some("a client"));
        assert_eq!(record.request.as_deref(), Some("TEST /"));
        assert_eq!(record.time, 1_800_000_000_000);
        let who = record.caller.unwrap();
        assert_eq!(&*who.principal, who_may(operation));
        assert_eq!(*who.tenant, *asking.caller.tenant);
        assert_eq!(who.upn.as_deref(), Some("ada@contoso.example"));
        assert_eq!(record.algorithm.as_deref(), algorithm(operation), "{operation:?}");
        assert_eq!(record.key_version.is_some(), names_a_version(operation), "{operation:?}");
        assert_eq!(record.change.is_some(), operation.changes_state(), "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_version_is_the_one_that_was_used() {
    let pool = Setup::default().start().await;
    let versions = [oct_key(&pool, "orders").await.version, oct_key(&pool, "orders").await.version];
    for (asked, used) in [(None, versions[1]), (Some(versions[0]), versions[0]), (Some(versions[1]), versions[1])] {
        let asking = call(OWNER);
        let signature = pool.pool().sign(&asking, &key_ref("orders", asked), sign_request()).await.unwrap();
        assert_eq!(signature.version, used);
        assert_eq!(only_record(&pool, &asking).await.key_version, Some(u128::from_be_bytes(used.0)));
    }
    let asking = call(OWNER);
    let kind = model::KeyKind::Oct(model::OctSize::AES_256);
    let made = pool.pool().create_key(&asking, &key_name("orders"), kind, None, new_oct()).await.unwrap();
    assert_eq!(only_record(&pool, &asking).await.key_version, Some(u128::from_be_bytes(made.version.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_leaves_one_record() {
    let pool = Setup::default().start().await;
    for &operation in Operation::ALL {
        let scope = scope_of(operation);
        prepare(&pool, operation, &scope).await;
        let asking = call("stranger");
        let denied = ask(&pool, &asking, operation, &scope).await.unwrap_err();
        assert!(matches!(denied, Error::NotPermitted { .. }), "{operation:?}: {denied}");
        let record = only_record(&pool, &asking).await;
        assert_eq!(record.operation, operation.audit_name());
        assert_eq!((record.status, record.code.as_deref()), (403, Some("NotPermitted")));
        assert_eq!(&*record.caller.unwrap().principal, "stranger");
        assert_eq!(record.scope.as_deref(), Some(scope.to_string().as_str()));
        assert_eq!((record.key_version, record.algorithm, record.change), (None, None, None), "{operation:?}");
        assert!(record.reason.unwrap().contains(operation.data_action().as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_leaves_one_record_with_its_own_status() {
    let pool = Setup::default().start().await;
    for &operation in Operation::ALL {
        let creates = matches!(operation, Operation::CreateKey | Operation::ImportKey);
        if operation.scope_rule() != ScopeRule::Key || creates {
            continue;
        }
        let asking = call(OWNER);
        let missing = ask(&pool, &asking, operation, &Scope::Key(key_name("missing"))).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound(_)), "{operation:?}: {missing}");
        let record = only_record(&pool, &asking).await;
        assert_eq!((&*record.operation, record.status), (operation.audit_name(), 404));
        assert_eq!((record.code.as_deref(), record.change), (Some("NotFound"), None), "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_cannot_be_read_is_refused_only_to_those_who_may_ask() {
    let pool = Setup::default().start().await;
    let scope = || Scope::Key(key_name("orders"));
    for (who, status, code) in [(OWNER, 400, "BadParameter"), ("stranger", 403, "NotPermitted")] {
        let asking = call(who);
        let answer = pool.pool().refuse(&asking, Operation::Sign, scope(), "no JSON").await;
        assert_eq!(testkit::outcome(&answer).status, status);
        let record = only_record(&pool, &asking).await;
        assert_eq!((&*record.operation, record.status, record.code.as_deref()), ("KeySign", status, Some(code)));
    }
}

/// Answers with fixed groups, or not at all, and counts.
struct Fixed {
    groups: Result<Vec<PrincipalId>, DirectoryError>,
    asked: AtomicUsize,
}

#[async_trait]
impl Directory for Fixed {
    async fn groups(&self, principal: &PrincipalId) -> Result<Vec<PrincipalId>, DirectoryError> {
        assert_eq!(principal.as_str(), "member");
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.groups.clone()
    }
}

/// A pool whose key users are the group `crypto-users`, with this directory.
async fn pool_of_a_group(groups: Option<Result<Vec<&str>, DirectoryError>>) -> (TestPool, Option<Arc<Fixed>>) {
    let directory = groups.map(|groups| {
        let groups = groups.map(|ids| ids.into_iter().map(principal).collect());
        Arc::new(Fixed { groups, asked: AtomicUsize::new(0) })
    });
    let dynamic = directory.clone().map(|directory| directory as Arc<dyn Directory>);
    let pool = Setup { directory: dynamic, ..Setup::default() }.start().await;
    pool.grant("crypto-users", CRYPTO_USER, Scope::Root).await;
    oct_key(&pool, "orders").await;
    (pool, directory)
}

fn member(groups: Groups) -> Call {
    call_of(Caller { groups, ..caller("member") })
}

async fn signs(pool: &TestPool, call: &Call) -> Result<(), Error> {
    pool.pool().sign(call, &key_ref("orders", None), sign_request()).await.map(drop)
}

async fn creates(pool: &TestPool, call: &Call) -> Result<(), Error> {
    ask(pool, call, Operation::CreateKey, &Scope::Key(key_name("orders"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_listed_groups_allow_is_allowed_without_asking_anyone() {
    let (pool, directory) = pool_of_a_group(Some(Err(DirectoryError))).await;
    let listed = vec![principal("others"), principal("Crypto-Users")];
    for groups in [Groups::Listed(listed.clone()), Groups::Overage(listed)] {
        signs(&pool, &member(groups.clone())).await.unwrap();
        creates(&pool, &member(groups)).await.unwrap();
    }
    assert_eq!(directory.unwrap().asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_list_of_groups_is_never_completed() {
    let (pool, directory) = pool_of_a_group(Some(Ok(vec!["crypto-users"]))).await;
    let refused = signs(&pool, &member(Groups::Listed(vec![principal("others")]))).await;
    assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
    assert_eq!(directory.unwrap().asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_beyond_the_token_are_asked_of_the_directory() {
    let (pool, directory) = pool_of_a_group(Some(Ok(vec!["others", "crypto-users"]))).await;
    signs(&pool, &member(Groups::Overage(Vec::new()))).await.unwrap();
    creates(&pool, &member(Groups::Overage(Vec::new()))).await.unwrap();
    assert_eq!(directory.unwrap().asked.load(Ordering::SeqCst), 2);

    let (pool, _) = pool_of_a_group(Some(Ok(vec!["others"]))).await;
    let asking = member(Groups::Overage(Vec::new()));
    let refused = signs(&pool, &asking).await;
    assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
    assert_eq!(only_record(&pool, &asking).await.code.as_deref(), Some("NotPermitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_nobody_can_tell_are_said_to_be_unreadable() {
    for directory in [None, Some(Err(DirectoryError))] {
        let (pool, _) = pool_of_a_group(directory).await;
        for operation in [Operation::Sign, Operation::CreateKey, Operation::ListKeys] {
            let asking = member(Groups::Overage(vec![principal("others")]));
            let refused = ask(&pool, &asking, operation, &scope_of(operation)).await;
            assert!(matches!(refused, Err(Error::GroupsUnreadable { .. })), "{operation:?}: {refused:?}");
            let record = only_record(&pool, &asking).await;
            assert_eq!((record.status, record.code.as_deref()), (403, Some("GroupsUnreadable")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_of_a_group_ends_with_its_assignment() {
    let (pool, _) = pool_of_a_group(Some(Ok(vec!["policy-writers"]))).await;
    let given = pool.grant("policy-writers", POLICY_ADMINISTRATOR, Scope::Root).await;
    let asks = async || {
        let asking = member(Groups::Overage(Vec::new()));
        ask(&pool, &asking, Operation::ListRoleAssignments, &Scope::Root).await
    };
    asks().await.unwrap();
    pool.revoke(&given).await;
    assert!(matches!(asks().await, Err(Error::NotPermitted { .. })));
}
