//! The requests that the published clients make, and those they should not.

use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use identity::{Audience, Issuer, Issuers, Verifier};
use model::Caller;

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const ORIGIN: &str = "https://login.managedhsm.localhost:8443";
const TENANT: &str = "9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11";
const RESOURCE: &str = "https://managedhsm.localhost:8443";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct World {
    issuer: TokenIssuer,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { issuer: issuer(&folder), folder }
    }

    fn admin(&self) -> &Account {
        self.issuer.accounts().iter().next().unwrap()
    }

    fn secret(&self) -> &str {
        self.admin().secret().unwrap().reveal()
    }

    fn get(&self, target: &str) -> (StatusCode, Value) {
        self.send(Request::get(target).body(Bytes::new()).unwrap())
    }

    fn post(&self, target: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        self.send(posted(target, form))
    }

    fn send(&self, request: Request<Bytes>) -> (StatusCode, Value) {
        let answer = self.issuer.answer(&request, HERE, NOW);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store, no-cache");
        (answer.status(), serde_json::from_slice(answer.body()).unwrap())
    }

    /// ADMIN's form, for this scope.
    fn form<'a>(&'a self, client_id: &'a str, scope: &'a str) -> Vec<(&'a str, &'a str)> {
        let secret = self.secret();
        vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("scope", scope),
        ]
    }

    fn verified(&self, token: &Value, audience: &str) -> Caller {
        let trusted = self.issuer.trusted().unwrap();
        let (names, tenants) = (trusted.names.iter().map(String::as_str), trusted.tenants.iter().map(String::as_str));
        let issuers = Issuers::new(vec![Issuer::new(names, tenants, trusted.pinned.clone())]).unwrap();
        let verifier = Verifier::new(Arc::new(issuers), Audience::resources([audience]));
        verifier.verify(token["access_token"].as_str().unwrap(), NOW).unwrap()
    }
}

fn issuer(folder: &tempfile::TempDir) -> TokenIssuer {
    let key = SigningKey::load_or_create(folder.path()).unwrap();
    let accounts = Accounts::load_or_create(folder.path(), &["ADMIN", "OFFICER", "USER", "AUDITOR", "NOBODY"]).unwrap();
    TokenIssuer::new(ORIGIN, Uuid::try_parse(TENANT).unwrap(), key, accounts)
}

fn posted(target: &str, form: &[(&str, &str)]) -> Request<Bytes> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let post = Request::post(target).header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
    post.body(body.into()).unwrap()
}

/// The claims, read without a look at the signature.
fn claims(answer: &Value) -> Value {
    let part = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The path of one of our own addresses.
fn path(address: &Value) -> String {
    let address = address.as_str().unwrap();
    address.strip_prefix(ORIGIN).unwrap().to_owned()
}

#[test]
fn the_python_client_discovers_the_token_endpoint_and_logs_in() {
    let world = World::new();
    let (status, metadata) = world.get(&format!("/{TENANT}/v2.0/.well-known/openid-configuration"));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(metadata["issuer"], format!("{ORIGIN}/{TENANT}/v2.0"));
    assert_eq!(path(&metadata["token_endpoint"]), format!("/{TENANT}/oauth2/v2.0/token"));
    assert_eq!(path(&metadata["authorization_endpoint"]), format!("/{TENANT}/oauth2/v2.0/authorize"));
    assert_eq!(world.get(&path(&metadata["jwks_uri"])).1, world.issuer.key.jwks());

    let client_id = world.admin().client_id().to_string();
    let mut form = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    form.push(("client_info", "1"));
    form.push(("claims", r#"{"access_token": {"xms_cc": {"values": ["CP1"]}}}"#));
    let (status, answer) = world.post(&path(&metadata["token_endpoint"]), &form);
    assert_eq!(status, StatusCode::OK);
    let members = (&answer["token_type"], &answer["expires_in"], &answer["ext_expires_in"]);
    assert_eq!(members, (&json!("Bearer"), &json!(3600), &json!(3600)));
    assert_eq!((&answer["not_before"], &answer["expires_on"]), (&json!(NOW.0), &json!(NOW.0 + 3600)));

    let caller = world.verified(&answer, RESOURCE);
    assert_eq!(caller.principal.as_str(), world.admin().object_id().to_string());
    assert_eq!(caller.tenant.as_ref(), TENANT);
    assert_eq!(caller.application.as_deref(), Some(client_id.as_str()));
    assert_eq!((caller.issued_at, caller.expires_at), (Some(NOW), UnixTime(NOW.0 + 3600)));
    assert!(caller.token_id.is_some());
    let claims = claims(&answer);
    assert_eq!((&claims["idtyp"], &claims["ver"], &claims["xms_cc"]), (&json!("app"), &json!("2.0"), &json!(["CP1"])));
    assert_eq!((&claims["sub"], &claims["azp"], &claims["nbf"]), (&claims["oid"], &claims["appid"], &claims["iat"]));
}

#[test]
fn the_javascript_client_logs_in_with_an_id_for_its_request() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    let target = format!("/{TENANT}/oauth2/v2.0/token?client-request-id=0b0e5a3c-62a8-4a4c-9a6f-0c1d2e3f4a5b");
    let mut form = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    form.extend([("x-client-SKU", "msal.js.node"), ("x-client-VER", "3.8.0"), ("x-ms-lib-capability", "retry-after")]);
    let (status, answer) = world.post(&target, &form);
    assert_eq!(status, StatusCode::OK);
    world.verified(&answer, RESOURCE);
    assert_eq!(claims(&answer).get("xms_cc"), None, "only who asks gets it");
}

#[test]
fn the_rust_client_logs_in_without_discovery() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    // It percent-encodes by its own rules and knows no charset.
    let body = format!(
        "client_id={client_id}&client_secret={}&grant_type=client_credentials&scope=https%3A%2F%2Fmanagedhsm.localhost%3A8443%2F.default",
        world.secret(),
    );
    let request = Request::post(format!("/{}/oauth2/v2.0/token", TENANT.to_uppercase()))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.into())
        .unwrap();
    let (status, answer) = world.send(request);
    assert_eq!(status, StatusCode::OK);
    for required in ["token_type", "expires_in", "ext_expires_in", "access_token"] {
        assert!(!answer[required].is_null(), "{required}");
    }
    world.verified(&answer, RESOURCE);
}

#[test]
fn the_tenant_named_adfs_is_answered_with_the_real_tenant_in_the_token() {
    let world = World::new();
    let (status, metadata) = world.get("/adfs/.well-known/openid-configuration");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(path(&metadata["token_endpoint"]), "/adfs/oauth2/token");
    assert_eq!(world.get(&path(&metadata["jwks_uri"])).1, world.issuer.key.jwks());
    let client_id = world.admin().client_id().to_string();
    let form = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    let (status, answer) = world.post("/adfs/oauth2/token", &form);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.verified(&answer, RESOURCE).tenant.as_ref(), TENANT);
    assert_eq!(claims(&answer)["iss"], format!("{ORIGIN}/{TENANT}/v2.0"));
}

#[test]
fn the_audience_is_the_scope_without_one_suffix_or_the_resource_as_it_is() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    for (field, asked, audience) in [
        ("scope", "https://managedhsm.localhost:8443/.default", "https://managedhsm.localhost:8443"),
        ("scope", "https://management.localhost:8443//.default", "https://management.localhost:8443/"),
        ("scope", "https://h.example/.default/.default", "https://h.example/.default"),
        ("resource", "https://managedhsm.localhost:8443", "https://managedhsm.localhost:8443"),
        ("resource", "https://managedhsm.localhost:8443/", "https://managedhsm.localhost:8443/"),
        ("resource", "https://h.example/.default", "https://h.example/.default"),
    ] {
        let form = [("grant_type", "client_credentials"), ("client_id", &client_id), ("client_secret", world.secret())];
        let mut form = form.to_vec();
        form.push((field, asked));
        let (status, answer) = world.post(&format!("/{TENANT}/oauth2/token"), &form);
        assert_eq!((status, &claims(&answer)["aud"]), (StatusCode::OK, &json!(audience)), "{asked}");
    }
}

#[test]
fn a_scope_that_is_not_one_resource_is_refused() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    for scope in [
        "",
        "/.default",
        "https://managedhsm.localhost:8443",
        "openid profile",
        "openid https://managedhsm.localhost:8443/.default",
        "https://h.example/\u{e4}/.default",
    ] {
        let (status, answer) = world.post(&format!("/{TENANT}/oauth2/v2.0/token"), &world.form(&client_id, scope));
        assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_scope")), "{scope:?}");
    }
}

#[test]
fn client_credentials_may_come_in_the_header_but_not_twice() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    let basic = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let send = |authorization: String, more: &[(&str, &str)]| {
        let mut form = vec![("grant_type", "client_credentials"), ("resource", RESOURCE)];
        form.extend(more);
        let mut request = posted(&format!("/{TENANT}/oauth2/token"), &form);
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        world.send(request)
    };
    let (status, answer) = send(basic(&client_id, world.secret()), &[]);
    assert_eq!(status, StatusCode::OK);
    world.verified(&answer, RESOURCE);
    assert_eq!(send(basic(&client_id, world.secret()), &[("client_id", &client_id)]).0, StatusCode::OK);
    assert_eq!(send(basic(&client_id, "wrong"), &[]).1["error"], "invalid_client");
    for (authorization, more) in [
        (basic(&client_id, world.secret()), [("client_secret", world.secret())]),
        (basic(&client_id, world.secret()), [("client_id", "another")]),
        ("Basic !".into(), [("x", "y")]),
        ("Bearer abc".into(), [("x", "y")]),
    ] {
        assert_eq!(send(authorization, &more).1["error"], "invalid_request");
    }
}

#[test]
fn a_wrong_secret_and_an_unknown_client_look_alike() {
    let world = World::new();
    let known = world.admin().client_id().to_string();
    let unknown = Uuid::new_v4().to_string();
    let mut seen = Vec::new();
    for client_id in [&known, &unknown, "nobody"] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", "wrong"),
            ("scope", "https://managedhsm.localhost:8443/.default"),
        ];
        let (status, mut answer) = world.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form);
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!((&answer["error"], &answer["error_codes"]), (&json!("invalid_client"), &json!([7_000_215])));
        let text = answer["error_description"].as_str().unwrap().to_owned();
        assert!(text.starts_with("AADSTS7000215: Invalid client secret provided"), "{text}");
        assert!(!text.contains("wrong") && !text.contains(known.as_str()), "{text}");
        answer["error_description"] = text.split(" Trace ID").next().unwrap().into();
        answer["trace_id"] = Value::Null;
        answer["correlation_id"] = Value::Null;
        seen.push(answer);
    }
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:?}");
}

#[test]
fn another_accounts_secret_is_a_wrong_one() {
    let world = World::new();
    let officer = world.issuer.accounts().iter().nth(1).unwrap().client_id().to_string();
    let form = world.form(&officer, "https://managedhsm.localhost:8443/.default");
    assert_eq!(world.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form).0, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_request_that_is_none_is_told_what_is_wrong_with_it() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    let scope = "https://managedhsm.localhost:8443/.default";
    let without = |name: &str| {
        let mut form = world.form(&client_id, scope);
        form.retain(|(field, _)| *field != name);
        form
    };
    let with = |name, value| {
        let mut form = without(name);
        form.push((name, value));
        form
    };
    let twice = |name, value| {
        let mut form = world.form(&client_id, scope);
        form.push((name, value));
        form
    };
    let long = "x".repeat(64 * 1024);
    for (form, error, number) in [
        (without("grant_type"), "invalid_request", 900_144),
        (without("client_id"), "invalid_request", 900_144),
        (without("scope"), "invalid_request", 900_144),
        (without("client_secret"), "invalid_client", 7_000_218),
        (with("grant_type", "password"), "unsupported_grant_type", 70_003),
        (with("grant_type", "authorization_code"), "unsupported_grant_type", 70_003),
        (with("claims", "{"), "invalid_request", 9_002_313),
        (with("x", long.as_str()), "invalid_request", 9_002_313),
        (twice("client_id", "other"), "invalid_request", 9_002_313),
        (twice("grant_type", "client_credentials"), "invalid_request", 9_002_313),
    ] {
        let (status, answer) = world.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form);
        assert!(status.is_client_error());
        assert_eq!((&answer["error"], &answer["error_codes"][0]), (&json!(error), &json!(number)));
    }
    let mut json = posted(&format!("/{TENANT}/oauth2/v2.0/token"), &world.form(&client_id, scope));
    json.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    assert_eq!(world.send(json).1["error"], "invalid_request");
}

#[test]
fn other_tenants_paths_and_methods_are_refused() {
    let world = World::new();
    let other = "00000000-0000-0000-0000-000000000000";
    for tenant in [other, "common", "organizations", "contoso.onmicrosoft.com"] {
        let (status, answer) = world.get(&format!("/{tenant}/v2.0/.well-known/openid-configuration"));
        assert_eq!((status, &answer["error_codes"][0]), (StatusCode::BAD_REQUEST, &json!(90_002)), "{tenant}");
    }
    for path in ["/", "//", &format!("/{TENANT}"), &format!("/{TENANT}/oauth2/v2.0/authorize"), "/a/b/c/d/e"] {
        assert_eq!(world.get(path).0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get(&format!("/{TENANT}/oauth2/v2.0/token")).0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.post(&format!("/{TENANT}/discovery/v2.0/keys"), &[]).0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn the_issuer_is_an_authority_for_itself_alone() {
    let world = World::new();
    let ask = |address: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("api-version", "1.1"), ("authorization_endpoint", address)])
            .finish();
        world.get(&format!("/common/discovery/instance?{query}"))
    };
    let (status, answer) = ask(&format!("{ORIGIN}/{TENANT}/oauth2/v2.0/authorize"));
    assert_eq!(status, StatusCode::OK);
    let metadata = path(&answer["tenant_discovery_endpoint"]);
    assert_eq!(world.get(&metadata).0, StatusCode::OK);
    assert_eq!(answer["metadata"][0]["aliases"], json!(["login.managedhsm.localhost:8443"]));
    for other in
        ["https://login.microsoftonline.com/common/oauth2/authorize", "https://login.managedhsm.localhost/x", "x"]
    {
        assert_eq!(ask(other).1["error"], "invalid_instance", "{other}");
    }
    assert_eq!(world.get("/common/discovery/instance").1["error"], "invalid_instance");
}

#[test]
fn a_restarted_issuer_is_the_same_to_clients_that_are_logged_in() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    let form = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    let (_, answer) = world.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form);
    let restarted = World { issuer: issuer(&world.folder), folder: tempfile::tempdir().unwrap() };
    restarted.verified(&answer, RESOURCE);
    assert_eq!(restarted.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form).0, StatusCode::OK);
}

#[test]
fn failures_close_the_door_to_their_source_and_not_to_the_account() {
    let world = World::new();
    let client_id = world.admin().client_id().to_string();
    let target = format!("/{TENANT}/oauth2/v2.0/token");
    let right = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    let mut wrong = right.clone();
    wrong[2].1 = "wrong";
    let send = |form: &[(&str, &str)], source: [u8; 4], at: i64| {
        world.issuer.answer(&posted(&target, form), IpAddr::from(source), UnixTime(NOW.0 + at))
    };
    let stranger = [203, 0, 113, 7];
    for _ in 0..10 {
        assert_eq!(send(&wrong, stranger, 0).status(), StatusCode::UNAUTHORIZED);
    }
    let refused = send(&wrong, stranger, 1);
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"59".parse().unwrap())
    );
    assert_eq!(send(&right, stranger, 1).status(), StatusCode::TOO_MANY_REQUESTS, "a right guess gains nothing now");
    assert_eq!(send(&right, [192, 0, 2, 1], 1).status(), StatusCode::OK, "its owner is elsewhere and not disturbed");
    assert_eq!(send(&right, stranger, 60).status(), StatusCode::OK);
}

#[test]
fn a_disabled_account_gets_no_token_and_only_its_owner_learns_why() {
    let world = World::new();
    let file = world.folder.path().join("accounts.json");
    let content = std::fs::read_to_string(&file).unwrap().replacen(r#""enabled": true"#, r#""enabled": false"#, 1);
    std::fs::write(&file, content).unwrap();
    let disabled = World { issuer: issuer(&world.folder), folder: tempfile::tempdir().unwrap() };
    let client_id = world.admin().client_id().to_string();
    let mut form = world.form(&client_id, "https://managedhsm.localhost:8443/.default");
    let target = format!("/{TENANT}/oauth2/v2.0/token");
    assert_eq!(disabled.post(&target, &form).1["error"], "unauthorized_client");
    form[2].1 = "wrong";
    assert_eq!(disabled.post(&target, &form).1["error"], "invalid_client");
}

#[test]
fn a_refusal_names_the_request_it_is_about() {
    let world = World::new();
    let id = "0b0e5a3c-62a8-4a4c-9a6f-0c1d2e3f4a5b";
    let mut request = posted(&format!("/{TENANT}/oauth2/v2.0/token"), &[]);
    request.headers_mut().insert("client-request-id", id.parse().unwrap());
    let (_, answer) = world.send(request);
    assert_eq!(answer["correlation_id"], id);
    assert_eq!(answer["timestamp"], "2027-01-15 08:00:00Z");
}
