use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

const V: &str = "api-version=7.5";
const HEX: &str = "00FF00000000000000000000000000aa";
const GUID: &str = "21dbd100-6940-42c2-9190-5d6cb909625b";

fn get(path: &str, query: &str) -> Result<Call, RouteError> {
    parse("GET", path, Some(query), None).map(|route| route.call)
}

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn latest(text: &str) -> KeyRef {
    KeyRef { name: name(text), version: None }
}

fn versioned(text: &str) -> KeyRef {
    KeyRef { name: name(text), version: Some(KeyVersion::parse(HEX).unwrap()) }
}

fn first<T>() -> Page<T> {
    Page { size: PageSize::LARGEST, after: None }
}

#[test]
fn every_operation_has_one_row_and_is_reached_by_it() {
    let operations: BTreeSet<_> = TABLE.iter().map(|row| row.operation).collect();
    assert_eq!(operations.len(), TABLE.len(), "an operation has two rows");
    assert_eq!(operations, Operation::ALL.iter().copied().collect(), "an operation has no row");
    for row in TABLE {
        let path: String = row
            .path
            .iter()
            .map(|part| match part {
                Part::Word(word) => format!("/{word}"),
                Part::Name => "/n".to_owned(),
                Part::Version => format!("/{HEX}"),
                Part::Guid => format!("/{GUID}"),
                Part::Setting => "/AllowKeyManagementOperationsThroughARM".to_owned(),
            })
            .collect();
        let route = parse(row.method.as_str(), &path, Some(V), None).unwrap();
        assert_eq!(route.operation(), row.operation, "{} {path}", row.method);
    }
}

#[test]
fn what_clients_send_is_understood() {
    let guid = Guid::parse(GUID).unwrap();
    let key = || Scope::Key(name("n"));
    let setting = Setting::AllowKeyManagementOperationsThroughArm;
    let list = |scope| Call::ListRoleAssignments { scope, filter: AssignmentFilter::Exactly, after: None };
    let table: Vec<(&str, &str, Call)> = vec![
        ("POST", "/keys/Orders/create", Call::CreateKey(name("Orders"))),
        ("PUT", "/keys/n", Call::ImportKey(name("n"))),
        ("PUT", "/keys/n/", Call::ImportKey(name("n"))),
        ("POST", "/keys/n/rotate", Call::RotateKey(name("n"))),
        ("DELETE", "/keys/n", Call::DeleteKey(name("n"))),
        // The latest version: absent, empty, or a slash too many.
        ("GET", "/keys/n", Call::GetKey(latest("n"))),
        ("GET", "/keys/n/", Call::GetKey(latest("n"))),
        ("GET", "//keys//n//", Call::GetKey(latest("n"))),
        ("GET", "/keys/n/00ff00000000000000000000000000aa", Call::GetKey(versioned("n"))),
        ("GET", "/keys/n/00FF00000000000000000000000000AA/", Call::GetKey(versioned("n"))),
        ("PATCH", "/keys/n/", Call::UpdateKey(latest("n"))),
        ("PATCH", "/keys/n/00ff00000000000000000000000000aa", Call::UpdateKey(versioned("n"))),
        ("POST", "/keys/n//encrypt", Call::Encrypt(latest("n"))),
        ("POST", "/keys/n/encrypt", Call::Encrypt(latest("n"))),
        ("POST", "/keys/n/00ff00000000000000000000000000aa/decrypt", Call::Decrypt(versioned("n"))),
        ("POST", "/keys/n//wrapkey", Call::WrapKey(latest("n"))),
        ("POST", "/KEYS/n//wrapKey", Call::WrapKey(latest("n"))),
        ("POST", "/keys/n//UnwrapKey", Call::UnwrapKey(latest("n"))),
        ("POST", "/keys/n//sign", Call::Sign(latest("n"))),
        ("POST", "/keys/n//verify/", Call::Verify(latest("n"))),
        // Percent-encoding, even where none is needed.
        ("GET", "/k%65ys/n%2D1", Call::GetKey(latest("n-1"))),
        // A key may be called like an operation or a collection.
        ("POST", "/keys/create/create", Call::CreateKey(name("create"))),
        ("GET", "/keys/restore", Call::GetKey(latest("restore"))),
        ("GET", "/keys/versions", Call::GetKey(latest("versions"))),
        ("GET", "/keys/versions/versions", Call::ListKeyVersions(name("versions"), first())),
        ("POST", "/keys/sign/sign", Call::Sign(latest("sign"))),
        ("GET", "/keys/providers", Call::GetKey(latest("providers"))),
        ("PUT", "/keys/rotationpolicy/rotationpolicy", Call::SetRotationPolicy(name("rotationpolicy"))),
        ("GET", "/keys/n/rotationPolicy", Call::GetRotationPolicy(name("n"))),
        ("GET", "/keys", Call::ListKeys(first())),
        ("GET", "/keys/", Call::ListKeys(first())),
        ("GET", "/deletedkeys", Call::ListDeletedKeys(first())),
        ("GET", "/deletedKeys/n", Call::GetDeletedKey(name("n"))),
        ("POST", "/deletedkeys/n/recover", Call::RecoverDeletedKey(name("n"))),
        ("DELETE", "/deletedkeys/n", Call::PurgeDeletedKey(name("n"))),
        ("POST", "/rng", Call::GetRandomBytes),
        ("GET", "/settings", Call::ListSettings),
        ("GET", "/settings/AllowKeyManagementOperationsThroughARM", Call::GetSetting(Some(setting))),
        ("PATCH", "/settings/allowkeymanagementoperationsthrougharm", Call::UpdateSetting(Some(setting))),
        ("GET", "/settings/Nothing", Call::GetSetting(None)),
        ("PATCH", "/settings/%00", Call::UpdateSetting(None)),
        // Scopes: none, slashes, encoded, of a key, of a key called like the words that follow.
        ("GET", "/providers/Microsoft.Authorization/roleAssignments", list(Scope::Root)),
        ("GET", "///providers/Microsoft.Authorization/roleAssignments", list(Scope::Root)),
        ("GET", "/%2F/providers/Microsoft.Authorization/roleAssignments", list(Scope::Root)),
        ("GET", "/keys/providers/microsoft.authorization/roleassignments", list(Scope::Keys)),
        ("GET", "/%2Fkeys/providers/Microsoft.Authorization/roleAssignments", list(Scope::Keys)),
        ("GET", "/keys/n/providers/Microsoft.Authorization/roleAssignments", list(key())),
        ("GET", "/keys%2Fn/providers/Microsoft.Authorization/roleAssignments", list(key())),
        (
            "GET",
            "/keys/providers/providers/Microsoft.Authorization/roleAssignments",
            list(Scope::Key(name("providers"))),
        ),
        (
            "PUT",
            "/keys/n/providers/Microsoft.Authorization/roleAssignments/21DBD100-6940-42c2-9190-5d6cb909625b",
            Call::PutRoleAssignment(key(), guid),
        ),
        (
            "DELETE",
            "/providers/Microsoft.Authorization/roleAssignments/21dbd100-6940-42c2-9190-5d6cb909625b",
            Call::DeleteRoleAssignment(Scope::Root, guid),
        ),
        (
            "GET",
            "/keys/providers/Microsoft.Authorization/roleAssignments/21dbd100-6940-42c2-9190-5d6cb909625b",
            Call::GetRoleAssignment(Scope::Keys, guid),
        ),
        ("GET", "/providers/Microsoft.Authorization/roleDefinitions", Call::ListRoleDefinitions(Scope::Root)),
        (
            "PUT",
            "//providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b",
            Call::PutRoleDefinition(Scope::Root, guid),
        ),
        (
            "DELETE",
            "/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b",
            Call::DeleteRoleDefinition(Scope::Root, guid),
        ),
    ];
    for (method, path, call) in table {
        assert_eq!(parse(method, path, Some(V), None).map(|route| route.call), Ok(call), "{method} {path}");
    }
}

#[test]
fn a_path_of_no_operation_is_unknown() {
    for (method, path) in [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/secrets"),
        ("GET", "/rng/x"),
        ("POST", "/keys/n/backup"),
        ("POST", "/keys/n//release"),
        ("PUT", "/keys/n/restore"),
        ("POST", "/backup"),
        ("PUT", "/restore"),
        ("GET", "/backup/1234/pending"),
        ("POST", "/securitydomain/download"),
        ("GET", "/ekm"),
        ("GET", "/settings/a/b"),
        ("GET", "/keys/n/providers"),
        ("GET", "/providers/Microsoft.KeyVault/roleAssignments"),
        ("GET", "/providers/Microsoft.Authorization"),
        ("GET", "/providers/Microsoft.Authorization/denyAssignments"),
        ("GET", "/keys%2Fn%2Fversions"),
        ("GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m"),
        ("GET", "/%ff"),
    ] {
        let refusal = parse(method, path, Some(V), None).unwrap_err();
        assert_eq!(refusal.status(), 404, "{method} {path}");
    }
    assert_eq!(parse("GET", &"/".repeat(MAX_PATH + 1), Some(V), None), Err(RouteError::UnknownPath));
}

#[test]
fn a_known_path_with_another_method_says_which_it_knows() {
    for (method, path, allow) in [
        ("POST", "/keys", "GET"),
        ("GET", "/keys/n/create", "POST"),
        ("GET", "/keys/n//sign", "POST"),
        ("POST", "/keys/n", "GET, PUT, PATCH, DELETE"),
        ("DELETE", "/keys/n/00ff00000000000000000000000000aa", "GET, PATCH"),
        ("HEAD", "/keys", "GET"),
        ("get", "/keys", "GET"),
        ("PATCH", "/deletedkeys/n", "GET, DELETE"),
        ("POST", "/providers/Microsoft.Authorization/roleDefinitions/x", "GET, PUT, DELETE"),
    ] {
        let refusal = parse(method, path, Some(V), None).unwrap_err();
        assert_eq!((refusal.status(), refusal.allow().as_deref()), (405, Some(allow)), "{method} {path}");
    }
}

#[test]
fn what_stands_where_a_version_should_is_no_version() {
    for (method, path) in [
        ("GET", "/keys/n/1"),
        ("GET", "/keys/n/backup"),
        ("PATCH", "/keys/n/00ff"),
        ("POST", "/keys/n/latest/sign"),
        ("GET", "/keys/n/g0ff00000000000000000000000000aa"),
    ] {
        let refusal = parse(method, path, Some(V), None).unwrap_err();
        assert_eq!(refusal, RouteError::NoSuchVersion, "{method} {path}");
        assert_eq!((refusal.status(), refusal.code()), (404, "KeyNotFound"));
    }
}

#[test]
fn names_in_a_path_keep_to_their_rules() {
    let long = format!("/keys/{}", "x".repeat(128));
    for path in ["/keys/a_b", "/keys/a.b", "/keys/a%20b", "/keys/a%2Fb", "/keys/%C3%A4", "/deletedkeys/a_b", &long] {
        let refusal = get(path, V).unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (400, "BadParameter"), "{path}");
        assert_eq!(refusal, RouteError::KeyName, "{path}");
    }
    for scope in ["/secrets", "/keys/a_b", "/keys/n/v", "/keys%2Fn%2Fv"] {
        let refusal = get(&format!("{scope}/providers/Microsoft.Authorization/roleDefinitions"), V).unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (400, "Invalidkeyidentifier"), "{scope}");
    }
    let role = get("/providers/Microsoft.Authorization/roleAssignments/admin", V).unwrap_err();
    assert_eq!((role.status(), role), (400, RouteError::RoleName));
}

#[test]
fn an_api_version_is_required_and_known() {
    for query in [None, Some(""), Some("api-version"), Some("api-version="), Some("maxresults=1")] {
        let refusal = parse("GET", "/keys", query, None).unwrap_err();
        assert_eq!((refusal.status(), refusal), (400, RouteError::MissingApiVersion), "{query:?}");
    }
    let refusal = get("/keys", &format!("api-version={}", "9".repeat(100))).unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (400, "BadParameter"));
    assert_eq!(refusal, RouteError::UnknownApiVersion("9".repeat(32)));
    for version in ApiVersion::all() {
        let route = parse("GET", "/keys", Some(&format!("api-version={version}")), None).unwrap();
        assert_eq!(route.api_version, version);
    }
    for query in ["api%2Dversion=2025-07-01", "API-Version=2025%2D07%2D01", "x=1&&y&%ff=2&api-version=2025-07-01&a=b=c"]
    {
        assert_eq!(parse("GET", "/keys", Some(query), None).unwrap().api_version, ApiVersion::CLIENT, "{query}");
    }
    // An unknown path is unknown in every version.
    assert_eq!(parse("GET", "/x", None, None), Err(RouteError::UnknownPath));
}

#[test]
fn query_items_keep_to_their_rules() {
    let refused = |path: &str, item: &str| match get(path, &format!("{V}&{item}")) {
        Err(RouteError::Query { name, .. }) => name,
        other => panic!("{path} {item}: {other:?}"),
    };
    for item in
        ["maxresults=0", "maxresults=26", "maxresults=", "maxresults=x", "MaxResults=1.5", "maxresults=1&maxresults=1"]
    {
        assert_eq!(refused("/keys", item), "maxresults", "{item}");
    }
    for item in ["$skiptoken=", "$skiptoken=1.", "%24skiptoken=x", "$skiptoken=2.b3JkZXJz", "$skiptoken=1.YS9i"] {
        assert_eq!(refused("/keys", item), "$skiptoken", "{item}");
    }
    assert_eq!(refused("/keys", "api-version=7.5"), "api-version");
    assert_eq!(refused("/keys", "maxresults=%ff"), "maxresults");
    assert_eq!(get("/keys", &format!("{V}{}", "&a".repeat(MAX_QUERY))), Err(RouteError::QueryTooLong));
    assert_eq!(get("/keys", &format!("{V}{}", "&a".repeat(MAX_QUERY_ITEMS))), Err(RouteError::QueryTooLong));
    // Where an item means nothing, its rule does not matter.
    assert!(get("/keys/n", &format!("{V}&maxresults=1000")).is_ok());
    let page = get("/keys/n/versions", &format!("{V}&maxresults=2")).unwrap();
    assert_eq!(page, Call::ListKeyVersions(name("n"), Page { size: PageSize::parse("2").unwrap(), after: None }));
}

#[test]
fn filters_are_read_as_clients_write_them() {
    let assignments = |filter: &str| match get(
        "/providers/Microsoft.Authorization/roleAssignments",
        &format!("{V}&$filter={filter}"),
    )? {
        Call::ListRoleAssignments { filter, .. } => Ok(filter),
        other => panic!("{other:?}"),
    };
    let principal = AssignmentFilter::Principal(PrincipalId::parse("AB-1").unwrap());
    for text in [
        "principalId eq 'ab-1'",
        "principalId%20eq%20%27ab-1%27",
        "principalId+eq+'AB-1'",
        "principalid%20EQ%20ab-1",
        "%20principalId%20%20eq%20ab-1%20",
    ] {
        assert_eq!(assignments(text), Ok(principal.clone()), "{text}");
    }
    assert_eq!(assignments("atScope()"), Ok(AssignmentFilter::AtScope));
    assert_eq!(assignments("atscope%28%29"), Ok(AssignmentFilter::AtScope));
    assert_eq!(assignments(""), Ok(AssignmentFilter::Exactly));
    for bad in [
        "atScope",
        "principalId",
        "principalId eq",
        "principalId ne 'a'",
        "principalId eq 'a' or",
        "principalId eq 'a",
        "assignedTo('a')",
    ] {
        let refusal = assignments(bad).unwrap_err();
        assert!(matches!(refusal, RouteError::Query { name: "$filter", .. }), "{bad}: {refusal:?}");
    }
    let definitions =
        |filter: &str| get("/providers/Microsoft.Authorization/roleDefinitions", &format!("{V}&$filter={filter}"));
    assert!(definitions("atScopeAndBelow()").is_ok() && definitions("").is_ok());
    assert!(definitions("roleName eq 'x'").is_err());
}

#[test]
fn a_post_may_mean_patch_or_delete() {
    let call = |method, instead| parse(method, "/keys/n", Some(V), Some(instead)).map(|route| route.operation());
    assert_eq!(call("POST", "PATCH"), Ok(Operation::UpdateKey));
    assert_eq!(call("POST", "delete"), Ok(Operation::DeleteKey));
    for bad in ["GET", "PUT", "", "DELETE "] {
        assert_eq!(call("POST", bad), Err(RouteError::MethodOverride), "{bad:?}");
    }
    assert_eq!(call("GET", "DELETE"), Ok(Operation::GetKey));
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("keys".to_owned()),
        Just("providers".to_owned()),
        Just("Microsoft.Authorization".to_owned()),
        Just("roleAssignments".to_owned()),
        Just("roleDefinitions".to_owned()),
        Just("versions".to_owned()),
        Just("sign".to_owned()),
        Just(HEX.to_owned()),
        Just(GUID.to_owned()),
        Just("%2f".to_owned()),
        "[ -~]{0,9}",
    ]
}

proptest! {
    #[test]
    fn any_request_line_is_answered(
        method in "GET|PUT|POST|PATCH|DELETE|[A-Z]{0,5}",
        segments in proptest::collection::vec(word(), 0..9),
        query in "(api-version=7\\.5)?(&[$a-z]{0,9}=[ -~]{0,9}){0,3}",
        instead in proptest::option::of("[A-Z]{0,6}"),
    ) {
        let path = format!("/{}", segments.join("/"));
        match parse(&method, &path, Some(&query), instead.as_deref()) {
            Ok(route) => prop_assert!(Operation::ALL.contains(&route.operation())),
            Err(refusal) => {
                prop_assert!(matches!(refusal.status(), 400 | 404 | 405));
                prop_assert_eq!(refusal.allow().is_some(), refusal.status() == 405);
                prop_assert!(!refusal.code().is_empty() && refusal.to_string().len() < 300);
            }
        }
    }

    #[test]
    fn any_text_is_answered(method: String, path: String, query: Option<String>, instead: Option<String>) {
        let _ = parse(&method, &path, query.as_deref(), instead.as_deref());
    }

    #[test]
    fn a_key_is_named_as_it_was_sent(text in "[0-9A-Za-z-]{1,127}", version: Option<[u8; 16]>) {
        let key = KeyRef { name: name(&text), version: version.map(KeyVersion) };
        let shown = version.map_or(String::new(), |version| KeyVersion(version).to_string());
        let path = format!("/keys/{text}/{shown}/sign");
        let Ok(Route { call: Call::Sign(read), .. }) = parse("POST", &path, Some(V), None) else {
            panic!("{path}");
        };
        prop_assert_eq!(read.name.as_str(), text.as_str());
        prop_assert_eq!(read, key);
    }
}
