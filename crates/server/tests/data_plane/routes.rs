//! Every operation over its route: who is turned away, at which scope, and what is recorded.

use std::collections::BTreeSet;

use model::rbac::{ADMINISTRATOR, Scope};
use model::{Operation, ScopeRule};
use serde_json::{Value, json};
use testkit::{ADMIN, OWNER, Setup, key_name, prepare};

use crate::plane::Plane;

const GUID: &str = "00000000-0000-0000-0000-000000000200";
const ASSIGNMENT: &str = "00000000-0000-0000-0000-000000000100";

/// The scopes of which an operation can be asked.
fn asked_of(operation: Operation) -> Vec<Scope> {
    let key = Scope::Key(key_name("a"));
    match operation.scope_rule() {
        ScopeRule::Root => vec![Scope::Root],
        ScopeRule::Keys => vec![Scope::Keys],
        ScopeRule::Key => vec![key],
        ScopeRule::Path => vec![Scope::Root, Scope::Keys, key],
    }
}

/// Method, target and body of a good request, to the key `a` or at `scope`.
fn request(operation: Operation, scope: &Scope) -> (&'static str, String, Value) {
    use Operation as O;
    let base = if *scope == Scope::Root { String::new() } else { scope.to_string() };
    let roles = |collection: &str| format!("{base}/providers/Microsoft.Authorization/{collection}");
    let (bytes, block, long) = ("A".repeat(43), "A".repeat(22), "A".repeat(64));
    let wrapped = "A".repeat(32);
    let all = ["sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey"];
    let (method, target, body) = match operation {
        O::CreateKey => ("POST", "/keys/a/create", json!({"kty": "oct-HSM", "key_ops": all})),
        O::ImportKey => ("PUT", "/keys/a", json!({"key": {"kty": "oct-HSM", "k": bytes, "key_ops": all}})),
        O::RotateKey => ("POST", "/keys/a/rotate", Value::Null),
        O::GetKey => ("GET", "/keys/a", Value::Null),
        O::UpdateKey => ("PATCH", "/keys/a", json!({"tags": {}})),
        O::DeleteKey => ("DELETE", "/keys/a", Value::Null),
        O::ListKeys => ("GET", "/keys", Value::Null),
        O::ListKeyVersions => ("GET", "/keys/a/versions", Value::Null),
        O::Encrypt => ("POST", "/keys/a/encrypt", json!({"alg": "A256GCM", "value": block})),
        O::Decrypt => ("POST", "/keys/a/decrypt", json!({"alg": "A256CBC", "value": long, "iv": block})),
        O::WrapKey => ("POST", "/keys/a/wrapkey", json!({"alg": "A256KW", "value": block})),
        O::UnwrapKey => ("POST", "/keys/a/unwrapkey", json!({"alg": "A256KW", "value": wrapped})),
        O::Sign => ("POST", "/keys/a/sign", json!({"alg": "HS256", "value": bytes})),
        O::Verify => ("POST", "/keys/a/verify", json!({"alg": "HS256", "digest": bytes, "value": bytes})),
        O::GetRotationPolicy => ("GET", "/keys/a/rotationpolicy", Value::Null),
        O::SetRotationPolicy => ("PUT", "/keys/a/rotationpolicy", json!({"attributes": {"expiryTime": "P90D"}})),
        O::ListDeletedKeys => ("GET", "/deletedkeys", Value::Null),
        O::GetDeletedKey => ("GET", "/deletedkeys/a", Value::Null),
        O::RecoverDeletedKey => ("POST", "/deletedkeys/a/recover", Value::Null),
        O::PurgeDeletedKey => ("DELETE", "/deletedkeys/a", Value::Null),
        O::GetRandomBytes => ("POST", "/rng", json!({"count": 16})),
        O::ListSettings => ("GET", "/settings", Value::Null),
        O::GetSetting => ("GET", "/settings/AllowKeyManagementOperationsThroughARM", Value::Null),
        O::UpdateSetting => ("PATCH", "/settings/AllowKeyManagementOperationsThroughARM", json!({"value": "false"})),
        O::ListRoleDefinitions => return ("GET", roles("roleDefinitions"), Value::Null),
        O::GetRoleDefinition => return ("GET", roles(&format!("roleDefinitions/{ADMINISTRATOR}")), Value::Null),
        O::PutRoleDefinition => {
            let body = json!({"properties": {"roleName": "probe", "permissions": []}});
            return ("PUT", roles(&format!("roleDefinitions/{GUID}")), body);
        }
        O::DeleteRoleDefinition => return ("DELETE", roles(&format!("roleDefinitions/{GUID}")), Value::Null),
        O::ListRoleAssignments => return ("GET", roles("roleAssignments"), Value::Null),
        O::GetRoleAssignment => return ("GET", roles(&format!("roleAssignments/{ASSIGNMENT}")), Value::Null),
        O::PutRoleAssignment => {
            let role = format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{ADMINISTRATOR}");
            let body = json!({"properties": {"roleDefinitionId": role, "principalId": "someone"}});
            return ("PUT", roles(&format!("roleAssignments/{ASSIGNMENT}")), body);
        }
        O::DeleteRoleAssignment => return ("DELETE", roles(&format!("roleAssignments/{ASSIGNMENT}")), Value::Null),
    };
    (method, target.to_owned(), body)
}

fn all() -> impl Iterator<Item = (Operation, Scope)> {
    Operation::ALL.iter().flat_map(|&operation| asked_of(operation).into_iter().map(move |scope| (operation, scope)))
}

fn text(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anywhere_without_a_good_token() {
    let plane = Plane::start(Setup::default()).await;
    for (operation, scope) in all() {
        prepare(&plane.pool, operation, &scope).await;
    }
    let before = plane.pool.raw().await;
    let (good, expired) = (plane.token(OWNER), plane.token(ADMIN));
    let other = Plane::start(Setup::default()).await.token(ADMIN);
    plane.pool.clock().advance(3600 + 600);
    let cut = &good[..good.len() - 4];
    for (operation, scope) in all() {
        let (method, target, body) = request(operation, &scope);
        for token in [None, Some(cut), Some(expired.as_str()), Some(other.as_str()), Some("")] {
            for body in [text(&body), "{".to_owned()] {
                let answer = plane.answer(Plane::request(token, method, &target, body)).await;
                assert_eq!(answer.status, 401, "{operation:?} at {scope}");
                assert!(answer.headers.contains_key("www-authenticate"));
                assert_eq!(answer.body, Value::Null);
            }
        }
    }
    assert_eq!(plane.pool.raw().await, before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_no_role_is_denied_at_the_scope_of_the_matrix_whatever_the_body_says() {
    let plane = Plane::start(Setup::default()).await;
    let empty = Plane::start(Setup::default()).await;
    for (operation, scope) in all() {
        prepare(&plane.pool, operation, &scope).await;
        let (method, target, body) = request(operation, &scope);
        let action = operation.data_action().as_str();
        for body in [text(&body), "{".to_owned()] {
            for plane in [&plane, &empty] {
                let token = plane.token("stranger");
                let answer = plane.answer(Plane::request(Some(&token), method, &target, body.clone())).await;
                assert_eq!(answer.status, 403, "{operation:?} at {scope}: {answer:?}");
                let (code, message) = answer.error();
                assert_eq!(code, "AccessDenied");
                let expected =
                    format!("Not authorized to access {action} on {scope} (Activity ID: {})", answer.request_id());
                assert_eq!(message, expected, "{operation:?}");

                let records = plane.records_of(&answer).await;
                let told: Vec<_> = records
                    .iter()
                    .map(|r| (&*r.operation, r.data_action.as_deref(), r.scope.as_deref(), r.status))
                    .collect();
                assert_eq!(told, [(operation.audit_name(), Some(action), Some(&*scope.to_string()), 403)]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_reaches_every_operation_over_its_route() {
    let plane = Plane::start(Setup::default()).await;
    let mut reached = BTreeSet::new();
    for (operation, scope) in all() {
        prepare(&plane.pool, operation, &scope).await;
        let (method, target, body) = request(operation, &scope);
        let administrates = operation.scope_rule() == ScopeRule::Path || target.starts_with("/settings");
        let answer = plane.ask(if administrates { ADMIN } else { OWNER }, method, &target, &body).await;
        let expected: &[u16] = match operation {
            Operation::PutRoleDefinition | Operation::DeleteRoleDefinition if scope != Scope::Root => &[400],
            Operation::PutRoleDefinition | Operation::PutRoleAssignment => &[201],
            Operation::PurgeDeletedKey => &[204],
            // Zeros are nothing that this key wrapped.
            Operation::UnwrapKey => &[400],
            _ => &[200],
        };
        assert!(expected.contains(&answer.status), "{operation:?} at {scope}: {answer:?}");
        let records = plane.records_of(&answer).await;
        assert_eq!(records.iter().map(|record| &*record.operation).collect::<Vec<_>>(), [operation.audit_name()]);
        reached.insert(operation);
    }
    assert_eq!(reached.len(), Operation::ALL.len());
}
