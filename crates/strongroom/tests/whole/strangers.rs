//! Requests of nobody: bounded in the log, counted, and no burden to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::issuers::Issuer;
use crate::log;
use crate::node::{free_port, run};
use crate::serve::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_tokens_cost_a_good_client_nothing_and_the_log_eleven_records() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let issuer = Issuer::new("https://issuer.example.net", "a");
    let served = Served::start(base, port, &issuer, "").await;
    let good = served.crypto_user().await;
    good.post("/keys/a/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();

    let (over, signed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let signing = {
        let (over, signed) = (Arc::clone(&over), Arc::clone(&signed));
        tokio::spawn(async move {
            let digest = json!({"alg": "ES256", "value": "A".repeat(43)});
            while !over.load(Ordering::Relaxed) {
                let answer = good.post("/keys/a/sign", &digest).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                signed.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut flood = JoinSet::new();
    for _ in 0..20 {
        let bad = served.http.with("of.nobody.atall");
        flood.spawn(async move {
            for _ in 0..50 {
                assert_eq!(bad.get("/keys").await.status, 401);
            }
        });
    }
    flood.join_all().await;
    over.store(true, Ordering::Relaxed);
    signing.await.unwrap();
    assert!(signed.load(Ordering::Relaxed) > 0, "no signature during the flood");

    for _ in 0..7 {
        let answer = served.http.client.get(format!("{}/keys?api-version=7.4", served.http.pool)).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    let status = run(["status".as_ref(), "--config".as_ref(), base.join("strongroom.toml").as_os_str()]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["requests_with_failed_token"], 1000, "{status}");
    assert_eq!(status["requests_without_token"], 7, "{status}");

    assert!(served.node.stop().success());
    log::verify(&base.join("data/audit"));
    let records = log::records(&base.join("data/audit"));
    let failed: Vec<_> = records.iter().filter(|record| record.operation == "Authentication").collect();
    assert!(failed.iter().all(|record| record.status == 401));
    assert_eq!(failed.iter().map(|record| record.count.unwrap_or(1)).sum::<u64>(), 1000);
    // A slow machine takes more than a minute, after which there are ten more.
    assert!((11..=33).contains(&failed.len()), "{} records", failed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_too_slow_is_recorded_for_whoever_sent_it() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let issuer = Issuer::new("https://issuer.example.net", "a");
    let served = Served::start(base, port, &issuer, "[limits]\nbody_size = \"64KiB\"\n").await;
    let user = served.administrator();
    let large = user.post("/keys/a/create", &json!({"kty": "x".repeat(70_000)})).await;
    assert_eq!((large.status, large.code()), (413, "RequestEntityTooLarge"));
    assert_eq!(served.http.with("of.nobody.atall").post("/keys", &json!("x".repeat(70_000))).await.status, 401);
    assert!(served.node.stop().success());
    let records = log::records(&base.join("data/audit"));
    let of_large: Vec<_> =
        records.iter().filter(|record| record.request_id.as_deref() == Some(&large.id)).map(|r| r.status).collect();
    assert_eq!(of_large, [413]);
}
