//! The program as a person or a script starts it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn strongroom(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strongroom")).args(arguments).current_dir(folder).output().unwrap()
}

/// The one line of a refusal.
fn refusal(output: &Output) -> String {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

/// A development node with its folder at `data`, ended when dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["dev", "--port", "0", "--data", "data", "--env-file", "env"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self(child);
        let begun = Instant::now();
        while !folder.join("env").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the node is not ready after a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Asks it to stop, as a service manager does.
    fn stop(mut self) -> bool {
        let id = i32::try_from(self.0.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::TERM)
            .unwrap();
        self.0.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dev_once_does_its_first_job_and_writes_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let first = strongroom(&["dev", "--port", "0", "--once", "--data", "data", "--env-file", "env"], folder.path());
    let shown = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(shown.contains("sign with it") && !shown.contains('\x1b'), "{shown}");
    let env = folder.path().join("env");
    assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
    let env = fs::read_to_string(env).unwrap();
    for name in
        ["POOL_URL", "CA_FILE", "AUTHORITY", "TENANT_ID", "USER_CLIENT_ID", "NOBODY_CLIENT_SECRET", "ADMIN_OBJECT_ID"]
    {
        assert!(env.lines().any(|line| line.starts_with(&format!("STRONGROOM_{name}="))), "{name} in {env}");
    }

    let again = strongroom(&["dev", "--port", "0", "--once", "--data", "data", "--env-file", "env2"], folder.path());
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let ids =
        |text: &str| text.lines().filter(|line| line.contains("CLIENT")).map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(ids(&env), ids(&fs::read_to_string(folder.path().join("env2")).unwrap()));
}

#[test]
fn an_ephemeral_node_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["dev", "--port", "0", "--once", "--ephemeral"])
        .current_dir(folder.path())
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for folder in [&folder, &temporary] {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_taken_port_is_one_line_and_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = refusal(&strongroom(&["dev", "--port", &port, "--data", "data"], folder.path()));
    assert!(line.contains(&port), "{line}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn folders_of_others_and_of_other_versions_are_one_line_and_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("thesis.txt", "life's work"), ("version", "strongroom data 99\n")] {
        let data = folder.path().join(name.replace('.', "-"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join(name), content).unwrap();
        refusal(&strongroom(&["dev", "--port", "0", "--data", data.to_str().unwrap()], folder.path()));
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [name]);
    }
}

#[test]
fn a_running_node_tells_its_status_moves_its_clock_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path());
    let line = refusal(&strongroom(&["dev", "--port", "0", "--data", "data"], folder.path()));
    assert!(line.contains("in use"), "{line}");

    let status = strongroom(&["status", "--data", "data"], folder.path());
    assert!(String::from_utf8_lossy(&status.stdout).contains(r#""seal": "key-file""#));
    let moved = strongroom(&["dev", "clock", "advance", "P90D", "--data", "data"], folder.path());
    assert!(String::from_utf8_lossy(&moved.stdout).contains(r#""ahead_seconds": 7776000"#));
    let refused = strongroom(&["dev", "clock", "advance", "--data", "data", "--", "-1d"], folder.path());
    assert!(refusal(&refused).contains("forward"));
    assert!(running.stop());
    refusal(&strongroom(&["status", "--data", "data"], folder.path()));
    assert!(!folder.path().join("data/control.sock").exists());
}

#[test]
fn serve_prints_a_configuration_and_refuses_unknown_settings() {
    let folder = tempfile::tempdir().unwrap();
    let printed = strongroom(&["serve", "--print-config"], folder.path());
    assert!(String::from_utf8_lossy(&printed.stdout).contains("[limits]"));
    let file = folder.path().join("strongroom.toml");
    fs::File::create(&file).unwrap().write_all(b"listen = [\"127.0.0.1:0\"]\nlisten_on = 1\n").unwrap();
    let output = strongroom(&["serve", "--config", "strongroom.toml"], folder.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("listen_on"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one_line() {
    let print = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(["serve", "--print-config"]);
        command
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = print().stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = print().stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(refusal(&output).contains("cannot write to standard output"));
}

#[test]
fn serve_runs_from_files_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    // The certificates of a development node serve as well as any.
    let dev = strongroom(&["dev", "--port", "0", "--once", "--data", "dev"], folder.path());
    assert!(dev.status.success());
    let configuration = r#"
        listen = ["127.0.0.1:0"]
        data_folder = "node"
        tls = { certificate = "dev/tls/server.pem", key = "dev/tls/server-key.pem" }
        seal = { kind = "key-file", key_file = "node.key" }
        issuer.enabled = true
        [pools.finance]
        tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
        administrators = ["5bc7e1d4-8e1e-4a0e-9d7a-3d1c1c5a8f10"]
    "#;
    fs::write(folder.path().join("strongroom.toml"), configuration).unwrap();
    for _ in 0..2 {
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["serve", "--config", "strongroom.toml"])
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        let begun = Instant::now();
        while !strongroom(&["status", "--config", "strongroom.toml"], folder.path()).status.success() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the node is not ready after a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(running.stop());
    }
}
