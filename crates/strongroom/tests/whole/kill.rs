//! `kill -9` at any moment: what was answered is there and recorded, and nothing is half done.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::load::{Chance, Load, Office, make_keys};
use crate::log::{self, Expected};
use crate::node::{Dev, Node, dev_command, free_port, program};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_twenty_kills_under_load() {
    kill_under_load(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 200 rounds"]
async fn long_what_was_answered_survives_two_hundred_kills_under_load() {
    kill_under_load(200).await;
}

async fn kill_under_load(rounds: usize) {
    let mut chance = Chance::seeded("kill");
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let audit = base.join("data/audit");
    // What is still to be found in the log, and all that was ever to be found.
    let (expected, mut all) = (Arc::<Mutex<Expected>>::default(), Expected::default());
    let (begun, mut since) = (Instant::now(), log::now());

    let mut dev = Dev::start(base, port).await;
    make_keys(&dev.of("USER")).await;
    let mut load = Load::new(&mut chance);
    for round in 0..rounds {
        let office = Office::new(&dev, &expected);
        let working = load.start(&office);
        let moment = Duration::from_micros(30_000 + chance.below(570_000));
        tokio::time::sleep(moment).await;
        dev.node.kill();
        load = Load::gather(working).await;
        assert_eq!(office.refused.load(std::sync::atomic::Ordering::Relaxed), 0, "a healthy node answered 503");

        log::verify(&audit);
        let known = std::mem::take(&mut *expected.lock().unwrap());
        known.check(&log::records_since(&audit, since));
        all.extend(known);
        since = log::now();
        if chance.below(4) == 0 {
            let starting = Node::spawn(dev_command(base, port, program(["dev"])), port, &base.join("errors"));
            tokio::time::sleep(Duration::from_micros(chance.below(150_000))).await;
            starting.kill();
            log::verify(&audit);
        }
        dev = Dev::start(base, port).await;
        load = load.check(&Office::new(&dev, &expected)).await;
        if round % 20 == 19 {
            eprintln!("kill: {} rounds in {:.1?}: {}", round + 1, begun.elapsed(), all.summary());
        }
    }
    assert!(dev.node.stop().success());
    log::verify(&audit);
    all.extend(std::mem::take(&mut *expected.lock().unwrap()));
    all.check(&log::records(&audit));
}

/// A key with many versions is purged in several commits. Once the first is done there is no way back, and after a kill
/// between them the rest follows by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_was_cut_short_is_whole_or_finished() {
    let mut chance = Chance::seeded("purge");
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let mut dev = Dev::start(base, port).await;
    for round in 0..4 {
        let name = format!("many-{round}");
        let body = json!({"kty": "oct-HSM", "key_size": 128});
        for _ in 0..60 {
            dev.of("USER").post(&format!("/keys/{name}/create"), &body).await.ok();
        }
        dev.of("USER").delete(&format!("/keys/{name}")).await.ok();
        let purging = {
            let (officer, name) = (dev.of("OFFICER"), name.clone());
            tokio::spawn(
                async move { officer.send(Method::DELETE, &format!("/deletedkeys/{name}"), None, "purge").await },
            )
        };
        tokio::time::sleep(Duration::from_micros(chance.below(8_000))).await;
        dev.node.kill();
        let answered = purging.await.unwrap().is_ok_and(|answer| answer.status == 204);

        dev = Dev::start(base, port).await;
        let recovered = dev.of("OFFICER").post(&format!("/deletedkeys/{name}/recover"), &json!({})).await;
        if recovered.status == 200 {
            assert!(!answered, "a purge was answered and did not happen");
            assert_eq!(dev.of("USER").list(&format!("/keys/{name}/versions")).await.len(), 60);
            continue;
        }
        let begun = Instant::now();
        while dev.of("USER").post(&format!("/keys/{name}/create"), &body).await.status == 409 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the purge of {name} is not finished");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(dev.of("USER").list(&format!("/keys/{name}/versions")).await.len(), 1);
    }
    assert!(dev.node.stop().success());
    log::verify(&base.join("data/audit"));
}
