//! `./test` itself: a suite holds only if its tests ran, all of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot run the script has failed")]

use std::io::Write;
use std::process::{Command, Stdio};

/// What `./test` makes of a suite that ends with `status` after writing `output`: ok or FAILED, then how many passed,
/// failed, were skipped, were left out as listed, and why.
fn verdict(suite: &str, status: u8, output: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test");
    let mut child = Command::new(script)
        .args(["--verdict", suite, &status.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(output.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim_end().to_owned()
}

const CARGO: &str = "test a ... ok\ntest result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

#[test]
fn passed_tests_of_every_runner_are_counted() {
    let coloured = CARGO.replace("ok.", "\u{1b}[32mok\u{1b}[m.");
    assert_eq!(verdict("unit", 0, &[CARGO, &coloured].concat()), "ok 14 0 0 0");
    assert_eq!(verdict("python", 0, "....\n4 passed in 1.52s\n"), "ok 4 0 0 0");
    let node = "ℹ tests 5\nℹ pass 5\nℹ fail 0\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\n";
    assert_eq!(verdict("js", 0, node), "ok 5 0 0 0");
    assert_eq!(verdict("fmt", 0, ""), "ok 1 0 0 0", "a suite that runs no tests is one thing that holds");
}

#[test]
fn a_suite_that_ran_no_test_fails() {
    let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    for (suite, output) in [("unit", none), ("unit", ""), ("python", "no tests ran in 0.01s\n"), ("js", "ℹ pass 0\n")]
    {
        assert_eq!(verdict(suite, 0, output), "FAILED 0 1 0 0 no test ran", "{suite}: {output}");
    }
}

#[test]
fn a_skipped_test_fails_its_suite_and_one_that_is_listed_does_not() {
    let ignored = |reason: &str| {
        format!(
            "test a ... ok\ntest b ... ignored{reason}\ntest result: ok. 1 passed; 0 failed; 1 ignored; 0 measured\n"
        )
    };
    assert_eq!(verdict("unit", 0, &ignored("")), "FAILED 1 1 1 0 1 skipped");
    assert_eq!(verdict("unit", 0, &ignored(", no tool")), "FAILED 1 1 1 0 1 skipped");
    assert_eq!(verdict("unit", 0, &ignored(", long: 200 rounds")), "ok 1 0 0 1");
    assert_eq!(verdict("python", 0, "== 4 passed, 2 skipped in 1.5s ==\n"), "FAILED 4 1 2 0 2 skipped");
    assert_eq!(verdict("live", 0, "2 skipped as listed\n4 passed, 2 skipped, 3 xfailed in 1.5s\n"), "ok 4 0 0 5");
    assert_eq!(verdict("live", 0, "1 skipped as listed\n4 passed, 2 skipped in 1.5s\n"), "FAILED 4 1 1 1 1 skipped");
    assert_eq!(verdict("js", 0, "ℹ pass 5\nℹ fail 0\nℹ skipped 1\nℹ todo 1\n"), "FAILED 5 1 2 0 2 skipped");
}

#[test]
fn a_failure_is_one_whatever_is_printed() {
    let failed = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(verdict("unit", 101, failed), "FAILED 3 2 0 0");
    assert_eq!(verdict("unit", 101, CARGO), "FAILED 7 1 0 0", "it does not build, say");
    assert_eq!(verdict("python", 1, "1 failed, 3 passed, 1 error in 2.0s\n"), "FAILED 3 2 0 0");
    assert_eq!(verdict("js", 1, "ℹ pass 5\nℹ fail 0\nℹ cancelled 1\n"), "FAILED 5 1 0 0");
    assert_eq!(verdict("deny", 1, ""), "FAILED 0 1 0 0");
}
