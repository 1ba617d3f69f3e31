//! What was purged is in the store's file no more once the node has started again.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use testkit::Snapshot;

use crate::node::{Dev, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_purged_key_is_in_the_file_after_the_next_start() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let file = base.join("data/store.redb");
    // Whatever was ever stored for the key: its versions, and each record of its name with the sealing key in it.
    let mut sealed = BTreeSet::new();
    for round in 0..3 {
        let dev = Dev::start(base, port).await;
        for name in ["gone", "kept"] {
            let body = json!({"kty": "EC-HSM", "crv": "P-256", "tags": {"round": round.to_string()}});
            dev.of("USER").post(&format!("/keys/{name}/create"), &body).await.ok();
        }
        assert!(dev.node.stop().success());
        let stored = Snapshot::of_file(&file).await;
        let of_key = stored.0.into_iter().filter(|(path, _)| path.starts_with("pools/dev/keys/gone"));
        sealed.extend(of_key.map(|(_, value)| value));
    }
    assert_eq!(sealed.len(), 3 + 3);
    let present = || {
        let bytes = fs::read(&file).unwrap();
        sealed.iter().filter(|value| bytes.windows(value.len()).any(|window| window == &value[..])).count()
    };

    let dev = Dev::start(base, port).await;
    dev.of("USER").delete("/keys/gone").await.ok();
    assert_eq!(dev.of("OFFICER").delete("/deletedkeys/gone").await.status, 204);
    assert!(present() > 0, "until the next start they are in freed pages");
    // However it ends.
    dev.node.kill();
    let dev = Dev::start(base, port).await;
    assert_eq!(present(), 0);
    assert_eq!(dev.of("USER").list("/keys/kept/versions").await.len(), 3);
    dev.of("USER").post("/keys/gone/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();
    assert!(dev.node.stop().success());
    assert_eq!(present(), 0);
}
