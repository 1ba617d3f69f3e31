//! The clock of `strongroom dev`, moved from the command line: what takes months happens now.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Dev, free_port, run};

const DAY: i64 = 86_400;

/// What the clock says after `strongroom dev clock`.
fn clock(base: &Path, command: &[&str]) -> Value {
    let data = base.join("data");
    let arguments =
        ["dev", "clock"].iter().chain(command).chain(&["--data"]).map(AsRef::as_ref).chain([data.as_os_str()]);
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Seconds since 1970, as the pool sees them.
async fn now(dev: &Dev) -> i64 {
    let made = dev.of("USER").post("/keys/what-time-is-it/create", &json!({"kty": "oct-HSM", "key_size": 128})).await;
    made.ok()["attributes"]["created"].as_i64().unwrap()
}

async fn restarted(base: &Path, dev: Dev) -> Dev {
    let port = dev.node.port;
    assert!(dev.node.stop().success());
    Dev::start(base, port).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_purged_at_its_time_and_not_before() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let dev = Dev::start(base, free_port()).await;
    dev.of("USER").post("/keys/old/create", &json!({"kty": "oct-HSM", "key_size": 128})).await.ok();
    let deleted = dev.of("USER").delete("/keys/old").await.ok();
    let (from, until) = (deleted["deletedDate"].as_i64().unwrap(), deleted["scheduledPurgeDate"].as_i64().unwrap());
    assert_eq!(until - from, 90 * DAY);

    clock(base, &["advance", "89d"]);
    // Longer than the pool takes to look.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(dev.of("OFFICER").get("/deletedkeys/old").await.status, 200);

    clock(base, &["advance", "P1D"]);
    let begun = Instant::now();
    while dev.of("OFFICER").get("/deletedkeys/old").await.status != 404 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the key is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let again = dev.of("USER").post("/keys/old/create", &json!({"kty": "oct-HSM", "key_size": 128})).await;
    assert_eq!(again.status, 200, "the name is free again: {}", again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_expire_while_the_node_runs_and_tokens_by_the_time_of_the_machine() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let dev = Dev::start(base, free_port()).await;
    let begun = now(&dev).await;
    let of = |name: &str, from: i64, until: i64| {
        let attributes = json!({"nbf": begun + from, "exp": begun + until});
        (format!("/keys/{name}"), json!({"kty": "EC-HSM", "crv": "P-256", "attributes": attributes}))
    };
    let (short, body) = of("short", -60, 600);
    dev.of("USER").post(&format!("{short}/create"), &body).await.ok();
    let (later, body) = of("later", 1200, 4 * DAY);
    dev.of("USER").post(&format!("{later}/create"), &body).await.ok();
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    let signed = async |dev: &Dev, key: &str| {
        let answer = dev.of("USER").post(&format!("{key}/sign"), &sign).await;
        if answer.status == 403 {
            assert_eq!(answer.code(), "Forbidden");
        }
        answer.status
    };
    assert_eq!((signed(&dev, &short).await, signed(&dev, &later).await), (200, 403));

    let moved = clock(base, &["advance", "PT25M"]);
    assert_eq!(moved["ahead_seconds"], 25 * 60);
    assert!((now(&dev).await - begun - 25 * 60).abs() < 60);
    assert_eq!((signed(&dev, &short).await, signed(&dev, &later).await), (403, 200));

    clock(base, &["advance", "2d"]);
    assert_eq!(signed(&dev, &later).await, 200, "whoever issues tokens does not know of the moved clock");
    let dev = restarted(base, dev).await;
    assert!((now(&dev).await - begun - 2 * DAY - 25 * 60).abs() < 60, "the clock stays moved");
    clock(base, &["advance", "2d"]);
    let dev = restarted(base, dev).await;
    assert_eq!(signed(&dev, &later).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_expires_as_the_rotation_policy_says() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let dev = Dev::start(base, free_port()).await;
    let user = dev.of("USER");
    user.post("/keys/turning/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();
    let policy = json!({"lifetimeActions": [], "attributes": {"expiryTime": "P60D"}});
    user.put("/keys/turning/rotationpolicy", &policy).await.ok();
    clock(base, &["advance", "30m"]);
    let rotated = user.post("/keys/turning/rotate", &json!({})).await.ok();
    let (made, expires) = (&rotated["attributes"]["created"], &rotated["attributes"]["exp"]);
    assert_eq!(expires.as_i64().unwrap() - made.as_i64().unwrap(), 60 * DAY);
    clock(base, &["advance", "60d"]);
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    assert_eq!(dev.of("USER").post("/keys/turning/sign", &sign).await.status, 403);
}

#[test]
fn the_clock_of_a_node_that_does_not_run_is_one_clear_line() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("data");
    let output = run(["dev".as_ref(), "clock".as_ref(), "show".as_ref(), "--data".as_ref(), data.as_os_str()]);
    let line = crate::node::refusal(&output);
    assert!(line.contains("no server answers at"), "{line}");
}
