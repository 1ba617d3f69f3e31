//! The largest that is accepted, and the first that is not.

use pool::Quotas;
use serde_json::{Value, json};
use testkit::{ADMIN, OWNER, Setup};

use crate::plane::{Answer, Plane};

const USER_ROLE: &str =
    "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b";

fn guid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

async fn assign(plane: &Plane, scope: &str, number: usize, principal: &str) -> Answer {
    let target = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", guid(number));
    let body = json!({"properties": {"roleDefinitionId": USER_ROLE, "principalId": principal}});
    plane.ask(ADMIN, "PUT", &target, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_assignment_more_than_a_scope_takes_is_a_conflict() {
    let plane =
        Plane::start(Setup { quotas: Quotas { assignments_in_all: 25, ..Quotas::default() }, ..Setup::default() })
            .await;
    for number in 0..10 {
        assert_eq!(assign(&plane, "/keys/a", number, "ann").await.status, 201);
    }
    let refused = assign(&plane, "/keys/a", 10, "ann").await;
    assert_eq!((refused.status, refused.error().0), (409, "Conflict"));
    assert!(refused.error().1.starts_with("the limit of 10 role assignments at one key is reached"), "{refused:?}");
    assert_eq!(assign(&plane, "/keys/a", 9, "ben").await.status, 201, "replaced");

    // Three stand there since the founding.
    for number in 0..12 {
        assert_eq!(assign(&plane, &format!("/keys/no-key-{number}"), 0, "ann").await.status, 201);
    }
    let refused = assign(&plane, "/keys/no-key-12", 0, "ann").await;
    assert_eq!((refused.status, refused.error().0), (409, "Conflict"));
    assert!(refused.error().1.starts_with("the limit of 25 role assignments in all is reached"), "{refused:?}");
}

/// All entries of a listing, page by page, and how many pages there were.
async fn list(plane: &Plane, target: &str) -> (Vec<Value>, usize) {
    let (mut all, mut pages, mut next) = (Vec::new(), 0, target.to_owned());
    loop {
        let answer = plane.ask(ADMIN, "GET", &next, &Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        all.extend(answer.body["value"].as_array().unwrap().iter().cloned());
        pages += 1;
        match answer.body["nextLink"].as_str() {
            // The version is in it already, and counts as the helper's own.
            Some(link) => {
                let link = link.strip_prefix("https://test.managedhsm.localhost:8443").unwrap();
                next = link.replacen("api-version=7.4&", "", 1);
            }
            None => return (all, pages),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_of_one_principal_are_listed_over_all_pages_each_once() {
    let quotas = Quotas { assignments: 400, assignments_per_key: 400, ..Quotas::default() };
    let plane = Plane::start(Setup { quotas, ..Setup::default() }).await;
    let mut expected = Vec::new();
    for number in 0..230 {
        let scope = ["", "/keys", "/keys/a", "/keys/b"][number % 4];
        let principal = if number % 5 == 0 { "ben" } else { "ann" };
        let made = assign(&plane, scope, number, principal).await;
        assert_eq!(made.status, 201);
        expected.push((scope, principal, made.body["id"].as_str().unwrap().to_owned()));
    }
    let wanted = |scopes: &[&str], principal: &str| {
        let mut ids: Vec<_> = expected
            .iter()
            .filter(|(scope, of, _)| scopes.contains(scope) && *of == principal)
            .map(|(_, _, id)| id.clone())
            .collect();
        ids.sort_unstable();
        ids
    };
    for (at, shown, pages) in [
        ("", &["", "/keys", "/keys/a", "/keys/b"][..], 2),
        ("/keys", &["", "/keys", "/keys/a", "/keys/b"][..], 2),
        // At or above the key, and nothing of the other one.
        ("/keys/a", &["", "/keys", "/keys/a"][..], 2),
        ("/keys/no-key", &["", "/keys"][..], 1),
    ] {
        for (principal, pages) in [("ann", pages), ("ben", 1)] {
            let target = format!(
                "{at}/providers/Microsoft.Authorization/roleAssignments?$filter=principalId%20eq%20'{principal}'"
            );
            let (listed, seen) = list(&plane, &target).await;
            let mut ids: Vec<_> = listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
            ids.sort_unstable();
            assert_eq!(ids, wanted(shown, principal), "{principal} at {at:?}");
            assert_eq!(seen, pages, "{principal} at {at:?}");
        }
    }
}

/// A role definition whose texts have `bytes` bytes.
fn role(bytes: usize) -> Value {
    let (name, description) = ("\u{10348}".repeat(512), "\u{10348}".repeat(2048));
    let mut left = bytes - name.len() - description.len();
    let mut actions = Vec::new();
    while left > 0 {
        let take = left.min(256);
        actions.push("x".repeat(take));
        left -= take;
    }
    let blocks: Vec<_> = actions.chunks(200).map(|some| json!({"actions": some, "dataActions": []})).collect();
    json!({"properties": {"roleName": name, "description": description, "permissions": blocks}})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_role_definitions_are_stored_and_larger_ones_refused() {
    let mut plane = Plane::start(Setup::default()).await;
    let target = |number| format!("/providers/Microsoft.Authorization/roleDefinitions/{}", guid(number));
    const MOST: usize = 64 * 1024;
    for number in 0..50 {
        let made = plane.ask(ADMIN, "PUT", &target(number), &role(MOST)).await;
        assert_eq!(made.status, 201, "{number}: {made:?}");
    }
    for bytes in [MOST + 1, 200 * 1024, 900 * 1024] {
        let refused = plane.ask(ADMIN, "PUT", &target(0), &role(bytes)).await;
        assert_eq!((refused.status, refused.error().0), (400, "BadParameter"), "{bytes}");
        if bytes < 900 * 1024 {
            assert!(refused.error().1.contains("65536 bytes"), "{refused:?}");
        }
    }
    let all = "/providers/Microsoft.Authorization/roleDefinitions";
    let before = plane.ask(ADMIN, "GET", all, &Value::Null).await;
    assert_eq!(before.body["value"].as_array().unwrap().len(), 59);
    plane.restart().await;
    assert_eq!(plane.ask(ADMIN, "GET", all, &Value::Null).await.body, before.body);
}

/// As many tags as there may be, each as long as it may be.
fn tags(characters: usize) -> Value {
    let text = |number: usize| format!("{number:02}{}", "\u{10348}".repeat(characters - 2));
    Value::Object((0..15).map(|number| (text(number), Value::String(text(number)))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_keys_are_stored_changed_and_read_again() {
    let mut plane = Plane::start(Setup::default()).await;
    let name = "N".repeat(127);
    let kinds = [
        json!({"kty": "AKP", "alg": "ML-DSA-87"}),
        json!({"kty": "EC", "crv": "P-521"}),
        json!({"kty": "RSA", "key_size": 2048}),
    ];
    for kind in kinds {
        let mut body = kind.clone();
        body["tags"] = tags(256);
        let made = plane.ask(OWNER, "POST", &format!("/keys/{name}/create"), &body).await;
        assert_eq!(made.status, 200, "{kind}: {made:?}");
        assert_eq!(made.body["tags"], tags(256));
        let again = plane.ask(OWNER, "PATCH", &format!("/keys/{name}"), &json!({"tags": tags(256)})).await;
        assert_eq!(again.status, 200, "{again:?}");
        for too_much in [tags(257), json!({"": "x"})] {
            let refused = plane.ask(OWNER, "PATCH", &format!("/keys/{name}"), &json!({"tags": too_much})).await;
            assert_eq!((refused.status, refused.error().0), (400, "BadParameter"));
        }
    }
    let policy = json!({
        "attributes": {"expiryTime": "P2Y"},
        "lifetimeActions": [
            {"trigger": {"timeAfterCreate": "P18M"}, "action": {"type": "Rotate"}},
            {"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}},
        ],
    });
    let target = format!("/keys/{name}/rotationpolicy");
    assert_eq!(plane.ask(OWNER, "PUT", &target, &policy).await.status, 200);
    let mut endless = policy.clone();
    for _ in 0..1000 {
        let more = endless["lifetimeActions"][0].clone();
        endless["lifetimeActions"].as_array_mut().unwrap().push(more);
    }
    let refused = plane.ask(OWNER, "PUT", &target, &endless).await;
    assert_eq!((refused.status, refused.error().0), (400, "BadParameter"));

    let at_key = format!("/keys/{name}");
    assert_eq!(assign(&plane, &at_key, 1, &"p".repeat(128)).await.status, 201);
    assert_eq!(assign(&plane, &at_key, 2, &"p".repeat(129)).await.status, 400);

    let before = plane.ask(OWNER, "GET", &at_key, &Value::Null).await;
    plane.restart().await;
    assert_eq!(plane.ask(OWNER, "GET", &at_key, &Value::Null).await.body, before.body);
    assert_eq!(plane.ask(OWNER, "GET", &format!("/keys/{}", "N".repeat(128)), &Value::Null).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn symmetric_keys_of_16_to_64_bytes_are_imported_and_each_does_what_its_length_allows() {
    let plane = Plane::start(Setup::default()).await;
    for (number, length) in [0_usize, 1, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65].into_iter().enumerate() {
        for kty in ["oct", "oct-HSM"] {
            let name = format!("{kty}-{number}");
            // Leading zeros are part of the key.
            let k = base64url(&vec![0; length]);
            let ops = ["sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey"];
            let body = json!({"key": {"kty": kty, "k": k, "key_ops": ops}});
            let answer = plane.ask(OWNER, "PUT", &format!("/keys/{name}"), &body).await;
            if !(16..=64).contains(&length) {
                assert_eq!((answer.status, answer.error().0), (400, "BadParameter"), "{length}");
                let told = if length > 64 { "k property of oct key is too large, maximum size is 64" } else { "16" };
                assert!(answer.error().1.contains(told), "{answer:?}");
                continue;
            }
            assert_eq!(answer.status, 200, "{length}: {answer:?}");
            assert_eq!(answer.body["key"]["kty"], "oct-HSM");

            let digest = json!({"alg": "HS256", "value": base64url(&[7; 32])});
            let signed = plane.ask(OWNER, "POST", &format!("/keys/{name}/sign"), &digest).await;
            assert_eq!(signed.status, 200, "{length}: {signed:?}");
            let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &vec![0; length]);
            let expected = aws_lc_rs::hmac::sign(&mac, &[7; 32]);
            assert_eq!(signed.body["value"], base64url(expected.as_ref()));

            for (bits, algorithm) in [(128, "A128GCM"), (192, "A192GCM"), (256, "A256GCM")] {
                let body = json!({"alg": algorithm, "value": base64url(&[1; 16])});
                let answer = plane.ask(OWNER, "POST", &format!("/keys/{name}/encrypt"), &body).await;
                assert_eq!(
                    answer.status,
                    if length * 8 == bits { 200 } else { 400 },
                    "{length} {algorithm}: {answer:?}"
                );
            }
        }
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
