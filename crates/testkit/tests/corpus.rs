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
