//! Every input that a fuzzer began with or found something with, through the same parser again.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use testkit::parsers::PARSERS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_corpus_file_is_read_without_a_panic() {
    for (target, parse) in PARSERS {
        let folder = fuzz().join("corpus").join(target);
        let files = names_in(&folder);
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            println!("{target}/{file}");
            parse(&std::fs::read(folder.join(file)).unwrap());
        }
        parse(&[]);
    }
}

#[test]
fn every_parser_is_a_fuzz_target_with_a_corpus_and_nothing_else_is() {
    let parsers: BTreeSet<String> = PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets = names_in(&fuzz().join("fuzz_targets"));
    assert_eq!(targets.iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(), parsers);
    assert_eq!(names_in(&fuzz().join("corpus")), parsers);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in parsers {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
    }
}

/// What code that reads foreign bytes is known by.
const MARKS: &[&str] = &[
    "fn parse",
    "fn decode",
    "serde_json::from_",
    "toml::from_str",
    "Deserialize",
    "pem_slice",
    "from_pem",
    "from_der(",
    "from_pkcs8",
    "from_utf8",
    "from_be_bytes",
    "from_le_bytes",
    "form_urlencoded::parse",
    "try_parse(",
    ".parse()",
    ".parse::<",
];

/// Modules that are compiled for tests only, or hold nothing but the targets and laws for the tests of others.
const TESTS: &[&str] = &["tests.rs", "testing.rs", "transcripts.rs", "laws.rs", "fuzzing.rs"];

/// The files of our crates that have one of the marks outside their tests. The tests' own crate is not among them.
fn reading_files() -> BTreeSet<String> {
    let root = fuzz().join("..").canonicalize().unwrap();
    let (mut folders, mut found) = (vec![root.join("crates")], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for name in names_in(&folder) {
            let path = folder.join(&name);
            if path.is_dir() && !["testkit", "tests", "examples"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") && !TESTS.iter().any(|tests| name.ends_with(tests)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                if MARKS.iter().any(|mark| own.contains(mark)) {
                    found.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn every_file_that_reads_foreign_bytes_is_reached_by_a_fuzz_target() {
    let list = std::fs::read_to_string(fuzz().join("parsers.txt")).unwrap();
    let targets: BTreeSet<&str> = PARSERS.iter().map(|(name, _)| *name).collect();
    let (mut listed, mut reached) = (BTreeSet::new(), BTreeSet::new());
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let file = words.next().unwrap();
        assert!(listed.insert(file.to_owned()), "{file} is listed twice");
        let by: Vec<&str> = words.collect();
        match by[..] {
            [] | ["-"] => panic!("{file} has neither a target nor a reason"),
            ["-", ..] => {}
            _ => by.into_iter().for_each(|target| {
                assert!(targets.contains(target), "{file}: there is no target {target}");
                reached.insert(target);
            }),
        }
    }
    let found = reading_files();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in fuzz/parsers.txt, with a target or with a reason: {unlisted:?}");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "in fuzz/parsers.txt, but they read nothing: {gone:?}");
    assert_eq!(reached, targets, "each target reaches something");
}
