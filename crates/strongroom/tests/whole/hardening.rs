//! What the running process keeps to itself, and that it says so where it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use serde_json::Value;

use crate::node::{Dev, Node, free_port, program, run};

/// `VmLck` of the process: how much of it cannot reach swap space, in KiB.
fn locked(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.id().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn status(base: &Path) -> Value {
    let output = run(["status".as_ref(), "--data".as_ref(), base.join("data").as_os_str()]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_leaves_no_core_file_and_says_whether_its_memory_is_locked() {
    let base = tempfile::tempdir().unwrap();
    let dev = Dev::start(base.path(), free_port()).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", dev.node.id().as_raw_nonzero())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    let status = status(base.path());
    assert_eq!((&status["core_files_off"], &status["tracing_refused"]), (&Value::Bool(true), &Value::Bool(true)));
    let all = status["memory_locked"].as_bool().unwrap();
    assert_eq!(all, locked(&dev.node) > 10 * 1024, "{} KiB are locked", locked(&dev.node));
    assert_eq!(all, !dev.node.said().contains("MEMORY NOT LOCKED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_lock_its_memory_warns_and_serves() {
    let base = tempfile::tempdir().unwrap();
    let mut command = Command::new("prlimit");
    command.arg("--memlock=65536:65536");
    if geteuid().is_root() {
        // Who may lock any amount is not bound by the limit.
        command.args(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    }
    command.arg(program(["dev"]).get_program()).arg("dev");
    let dev = Dev::start_with(base.path(), free_port(), command).await;
    assert!(dev.node.said().contains("MEMORY NOT LOCKED"), "{}", dev.node.said());
    assert_eq!(status(base.path())["memory_locked"], false);
    let locked = locked(&dev.node);
    assert!((1..=64).contains(&locked), "{locked} KiB: the root's and the master keys' pages");
    dev.of("USER").get("/keys").await.ok();
}
