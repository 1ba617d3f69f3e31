//! What custom roles give: each row a role, held at one scope, and every operation there is asked for.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use model::rbac::{Guid, Permission, RoleAssignment, RoleDefinition, Scope};
use model::{Operation, ScopeRule};
use pool::Error;
use testkit::{ADMIN, Setup, TestPool, ask, call, key_name, prepare, principal};

const ROLE: Guid = Guid(0x77);
const USER: &str = "holder";

/// Granted and withheld data actions, the prefix left out.
type Block = (&'static [&'static str], &'static [&'static str]);

/// Which operations a row allows.
enum Allowed {
    None,
    All,
    AllBut(&'static [Operation]),
    Only(&'static [Operation]),
}

impl Allowed {
    fn holds(&self, operation: Operation) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::AllBut(but) => !but.contains(&operation),
            Self::Only(only) => only.contains(&operation),
        }
    }
}

use Operation as O;

const ON_ROLES: &[Operation] = &[
    O::GetRoleDefinition,
    O::ListRoleDefinitions,
    O::PutRoleDefinition,
    O::DeleteRoleDefinition,
    O::GetRoleAssignment,
    O::ListRoleAssignments,
    O::PutRoleAssignment,
    O::DeleteRoleAssignment,
];
const ON_DELETED: &[Operation] = &[O::ListDeletedKeys, O::GetDeletedKey, O::RecoverDeletedKey, O::PurgeDeletedKey];
/// All but what is about keys.
const NOT_ON_KEYS: &[Operation] = &[
    O::GetRoleDefinition,
    O::ListRoleDefinitions,
    O::PutRoleDefinition,
    O::DeleteRoleDefinition,
    O::GetRoleAssignment,
    O::ListRoleAssignments,
    O::PutRoleAssignment,
    O::DeleteRoleAssignment,
    O::GetRandomBytes,
    O::ListSettings,
    O::GetSetting,
    O::UpdateSetting,
];

const ROWS: &[(&str, &[Block], Allowed)] = &[
    ("nothing", &[], Allowed::None),
    ("an empty block", &[(&[], &[])], Allowed::None),
    ("everything", &[(&["/*"], &[])], Allowed::All),
    ("one action", &[(&["/keys/sign/action"], &[])], Allowed::Only(&[O::Sign])),
    (
        "a right that two operations need",
        &[(&["/keys/write/action"], &[])],
        Allowed::Only(&[O::UpdateKey, O::SetRotationPolicy]),
    ),
    ("keys, deleted ones included", &[(&["/keys/*"], &[])], Allowed::AllBut(NOT_ON_KEYS)),
    ("deleted keys", &[(&["/keys/deletedKeys/*"], &[])], Allowed::Only(ON_DELETED)),
    ("roles", &[(&["/roleDefinitions/*", "/roleAssignments/*"], &[])], Allowed::Only(ON_ROLES)),
    ("any case", &[(&["/KEYS/DELETEDKEYS/*"], &[])], Allowed::Only(ON_DELETED)),
    ("all but signing", &[(&["/*"], &["/keys/sign/action"])], Allowed::AllBut(&[O::Sign])),
    ("all but deleted keys", &[(&["/*"], &["/keys/deletedKeys/*"])], Allowed::AllBut(ON_DELETED)),
    ("all withheld", &[(&["/keys/sign/action"], &["/*"])], Allowed::None),
    (
        "withheld in one block, granted in another",
        &[(&["/*"], &["/keys/sign/action"]), (&["/keys/sign/action"], &[])],
        Allowed::All,
    ),
    (
        "withheld in a block that grants nothing",
        &[(&["/keys/sign/action"], &[]), (&[], &["/*"])],
        Allowed::Only(&[O::Sign]),
    ),
];

fn role(blocks: &[Block]) -> RoleDefinition {
    let texts = |tails: &[&str]| tails.iter().map(|tail| format!("Microsoft.KeyVault/managedHsm{tail}")).collect();
    let permissions = blocks.iter().map(|(granted, withheld)| Permission {
        // What is for another plane changes nothing.
        actions: vec!["*".to_owned()],
        not_actions: vec!["*".to_owned()],
        data_actions: texts(granted),
        not_data_actions: texts(withheld),
    });
    RoleDefinition::custom(ROLE, "row".into(), String::new(), permissions.collect()).unwrap()
}

/// Where `operation` is asked for, of what lies below `held_at`.
fn asked_at(operation: Operation, held_at: &Scope) -> Scope {
    match operation.scope_rule() {
        ScopeRule::Root => Scope::Root,
        ScopeRule::Keys => Scope::Keys,
        ScopeRule::Key => Scope::Key(key_name("a")),
        ScopeRule::Path => held_at.clone(),
    }
}

async fn check(pool: &TestPool, row: &str, allowed: &Allowed, held_at: &Scope) {
    for &operation in Operation::ALL {
        let scope = asked_at(operation, held_at);
        prepare(pool, operation, &scope).await;
        let expected = allowed.holds(operation) && held_at.contains(&scope);
        match ask(pool, &call(USER), operation, &scope).await {
            Ok(()) => assert!(expected, "{row} at {held_at} allows {operation:?}"),
            Err(Error::NotPermitted { .. }) => assert!(!expected, "{row} at {held_at} denies {operation:?}"),
            Err(other) => panic!("{row} at {held_at}, {operation:?}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_role_gives_what_it_grants_less_what_the_same_block_withholds() {
    let quotas = pool::Quotas { versions: 10_000, ..pool::Quotas::default() };
    let mut pool = Setup { quotas, ..Setup::default() }.start().await;
    for (row, blocks, allowed) in ROWS {
        pool.pool().put_role_definition(&call(ADMIN), Scope::Root, role(blocks)).await.unwrap();
        for held_at in [Scope::Root, Scope::Keys, Scope::Key(key_name("a"))] {
            let given =
                RoleAssignment { name: Guid(1), scope: held_at.clone(), principal: principal(USER), role: ROLE };
            pool.pool().put_role_assignment(&call(ADMIN), given.clone()).await.unwrap();
            check(&pool, row, allowed, &held_at).await;
            pool.revoke(&given).await;
        }
    }
    // What a role says is the same after it was stored and read.
    let (row, blocks, allowed) = &ROWS[12];
    pool.pool().put_role_definition(&call(ADMIN), Scope::Root, role(blocks)).await.unwrap();
    pool.grant(USER, ROLE, Scope::Root).await;
    pool.restart().await;
    check(&pool, row, allowed, &Scope::Root).await;
}
