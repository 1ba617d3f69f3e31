//! The dependency graph among our own crates, as a table: a new edge shows up in review as a change to this file.

#![expect(clippy::unwrap_used, reason = "a test that cannot read what cargo prints has failed")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Each crate, and the crates of ours that it may import. The list is complete.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("store", &[]),
    ("wire", &["model"]),
    ("identity", &["model"]),
    ("audit", &["model"]),
    ("crypto-module", &["model"]),
    ("pool", &["model", "crypto-module", "store", "audit"]),
    ("server", &["model", "store", "wire", "identity", "audit", "crypto-module", "pool"]),
    ("cli", &["model", "wire", "identity", "audit"]),
    ("strongroom", &["server", "cli"]),
    (
        "testkit",
        &["model", "store", "wire", "identity", "audit", "crypto-module", "pool", "server", "cli", "strongroom"],
    ),
];

#[test]
fn every_crate_imports_only_what_the_table_allows() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    for package in &packages {
        let name = text(package, "name");
        let allowed = may_import(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = text(dependency, "name");
            if !ours.contains(target) {
                continue;
            }
            let only_in_tests = dependency["kind"] == "dev";
            assert!(
                allowed.contains(&target) || (only_in_tests && [name, "testkit"].contains(&target)),
                "{name} may not import {target}"
            );
        }
    }
}

#[test]
fn the_table_names_only_crates_that_exist() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    for (name, allowed) in MAY_IMPORT {
        for each in [name].into_iter().chain(*allowed) {
            assert!(ours.contains(each), "{each} is in the table and is no crate");
        }
    }
}

fn may_import(name: &str) -> Option<&'static [&'static str]> {
    MAY_IMPORT.iter().find(|(each, _)| *each == name).map(|(_, allowed)| *allowed)
}

/// The packages under `crates/`; what lies beside it (benchmarks) is no part of the house.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let crates = format!("{}/crates/", text(&metadata, "workspace_root"));
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| text(package, "manifest_path").starts_with(&crates)).cloned().collect()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}
