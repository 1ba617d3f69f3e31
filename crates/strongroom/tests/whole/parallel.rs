//! Many clients at one key at the same time.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::issuers::Issuer;
use crate::log;
use crate::node::free_port;
use crate::serve::Served;

#[tokio::test(flavor = "multi_thread")]
async fn of_200_versions_made_at_once_over_tls_none_is_lost_and_each_can_be_used_at_once() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let issuer = Issuer::new("https://issuer.example.net", "a");
    let served = Served::start(base, port, &issuer, "max_versions_per_key = 200\n").await;
    let user = served.crypto_user().await;

    let mut clients = JoinSet::new();
    for number in 0..200 {
        let user = user.clone();
        clients.spawn(async move {
            // The name does not exist yet, and is written in two ways.
            let name = if number % 2 == 0 { "Orders" } else { "orders" };
            let body = json!({"kty": "EC-HSM", "crv": "P-256", "tags": {"number": number.to_string()}});
            let made = user.post(&format!("/keys/{name}/create"), &body).await.ok();
            let kid = made["key"]["kid"].as_str().unwrap().to_owned();
            let version = kid.rsplit('/').next().unwrap().to_owned();
            let digest = json!({"alg": "ES256", "value": "A".repeat(43)});
            let signed = user.post(&format!("/keys/{name}/{version}/sign"), &digest).await.ok();
            assert_eq!(signed["kid"], kid.as_str(), "what was answered can be used");
            (version, made)
        });
    }
    let made = clients.join_all().await;
    let one_more = user.post("/keys/orders/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await;
    assert_eq!((one_more.status, one_more.code()), (409, "Conflict"));

    let listed = user.list("/keys/orders/versions").await;
    let version = |item: &Value| item["kid"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let versions: Vec<String> = listed.iter().map(version).collect();
    assert_eq!(versions.len(), 200);
    let answered: BTreeSet<&String> = made.iter().map(|(version, _)| version).collect();
    assert_eq!(versions.iter().collect::<BTreeSet<_>>(), answered);
    for (version, made) in &made {
        assert_eq!(user.get(&format!("/keys/orders/{version}")).await.ok(), *made);
    }
    // One of them is the latest, and stays it.
    let latest = user.get("/keys/orders").await.ok();
    assert_eq!(version(&latest["key"]), versions[199]);

    assert!(served.node.stop().success());
    log::verify(&base.join("data/audit"));
    let records = log::records(&base.join("data/audit"));
    let of = |operation: &str, status| {
        records.iter().filter(|record| record.operation == operation && record.status == status).count()
    };
    assert_eq!((of("KeyCreate", 200), of("KeyCreate", 409), of("KeySign", 200)), (200, 1, 200));

    let served = Served::start(base, port, &issuer, "max_versions_per_key = 200\n").await;
    let again = served.administrator().list("/keys/orders/versions").await;
    assert_eq!(again, listed);
}
