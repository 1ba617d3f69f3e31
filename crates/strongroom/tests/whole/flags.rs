//! What the flags of `strongroom dev` do, and what its environment file leads to.

use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;
use serde_json::Value;

use crate::node::{Dev, Http, dev_command, ephemeral, free_port, program, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn another_name_of_the_pool_is_in_address_challenge_certificate_and_environment() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    // The client of `Dev` checks the certificate, and its first call is to the name in the environment.
    let dev = Dev::start_with(base, port, program(["dev", "--pool", "finance-7"])).await;
    assert_eq!(dev.environment["STRONGROOM_POOL_URL"], format!("https://finance-7.managedhsm.localhost:{port}"));
    let made = dev.of("USER").post("/keys/k/create", &serde_json::json!({"kty": "oct-HSM", "key_size": 128})).await;
    let id = made.ok()["key"]["kid"].as_str().unwrap().to_owned();
    assert!(id.starts_with(&dev.environment["STRONGROOM_POOL_URL"]), "{id}");

    let url = format!("{}/keys?api-version=7.4", dev.environment["STRONGROOM_POOL_URL"]);
    let refused = dev.http.client.get(url).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains(&format!("resource=\"https://managedhsm.localhost:{port}\"")), "{challenge}");

    let ca = fs::read(&dev.environment["STRONGROOM_CA_FILE"]).unwrap();
    let other = Http::new(&format!("https://dev.managedhsm.localhost:{port}"), &ca, port);
    let nobody = other.client.get(format!("{}/keys?api-version=7.4", other.pool)).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::NOT_FOUND, "there is no pool of the usual name");
}

#[test]
fn a_name_that_no_pool_can_have_is_refused() {
    for name in ["", "ab", "under_score", "dash-", "far-too-long-for-the-name-of-a-pool"] {
        let output = program(["dev", "--pool", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_environment_file_that_cannot_be_written_is_one_clear_line_before_anything_is_touched() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    fs::create_dir(base.join("folder")).unwrap();
    std::os::unix::fs::symlink("elsewhere", base.join("link")).unwrap();
    let before = crate::start::contents(base);
    for file in ["/proc/strongroom", "/dev/null", "missing/env", "folder", "link"] {
        let mut command = program(["dev", "--port", "0", "--data", "data", "--env-file", file]);
        let line = refusal(&command.current_dir(base).output().unwrap());
        assert!(line.starts_with(&format!("strongroom: cannot use {file}: ")), "{line}");
        assert!(crate::start::contents(base) == before, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_file_of_an_earlier_run_is_gone_while_a_new_one_is_not_ready() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let start = || dev_command(base, port, program(["dev"]));
    let dev = Dev::start(base, port).await;
    let of_the_running = fs::read(base.join("env")).unwrap();
    refusal(&start().output().unwrap());
    assert_eq!(fs::read(base.join("env")).unwrap(), of_the_running, "its node goes on");
    assert!(dev.node.stop().success());
    assert!(base.join("env").exists());
    // A start that goes wrong after the folder was taken.
    fs::write(base.join("data/store.redb"), "garbage").unwrap();
    refusal(&start().output().unwrap());
    assert!(!base.join("env").exists(), "the secrets of a pool that does not run");
}

#[test]
fn clock_and_status_of_an_ephemeral_pool_are_reached_by_its_environment() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let (node, environment) = ephemeral(base, free_port());
    let data = &environment["STRONGROOM_DATA_FOLDER"];
    assert!(Path::new(data).is_dir(), "{data}");
    let said = |command: &mut Command| -> Value {
        let output = command.current_dir(base).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let moved = said(&mut program(["dev", "clock", "advance", "90d", "--data", data]));
    assert_eq!(moved["ahead_seconds"], 90 * 86_400);
    let shown = said(program(["dev", "clock", "show"]).env("STRONGROOM_DATA_FOLDER", data));
    assert_eq!(shown["ahead_seconds"], 90 * 86_400);
    let status = said(program(["status"]).env("STRONGROOM_DATA_FOLDER", data));
    assert_eq!(status["pools"], serde_json::json!(["dev"]));
    assert!(node.stop().success());
    assert!(!Path::new(data).exists());
}

#[test]
fn the_banner_says_where_the_clock_is() {
    let base = tempfile::tempdir().unwrap();
    let output = program(["dev", "--ephemeral", "--once", "--port", "0"]).env("TMPDIR", base.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let clock = format!("strongroom dev clock advance 90d --data {}", base.path().display());
    assert!(text.contains(&clock), "{text}");
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}
