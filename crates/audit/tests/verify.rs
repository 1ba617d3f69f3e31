//! Verification, offline and of a running log, of whole logs and of changed ones.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::path::{Path, PathBuf};

use audit::{
    Class, Damage, Filter, Hash, Node, OpenError, Origin, Record, VerifyError, consistency_proof, empty_root,
    inclusion_proof, leaf_hash, node_hash, read, root, verify, verify_consistency, verify_inclusion,
};
use common::{journal_key, options, origin, record, signer};
use proptest::prelude::*;

/// Appends `records` and closes the node again.
fn appended(folder: &Path, log: &Origin, records: &[Record], settle: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = Node::open(folder, options(), journal_key(1)).unwrap();
    let log = node.log(log, signer(1)).unwrap();
    runtime.block_on(async {
        let waiting: Vec<_> = records.iter().map(|record| log.append(record, Class::Authenticated)).collect();
        for answer in waiting {
            answer.await.unwrap();
        }
        if settle {
            log.checkpoint().await.unwrap();
        }
    });
    node.close();
}

fn json(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).unwrap()
}

/// RFC 6962 §2.1, word for word.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = 1 << (leaves.len() - 1).ilog2();
            node_hash(&defined_root(&leaves[..k]), &defined_root(&leaves[k..]))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_was_appended_however_often_it_is_reopened(
        rounds in proptest::collection::vec((0..700_usize, any::<bool>(), any::<bool>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut model: [Vec<Record>; 2] = Default::default();
        let logs = [origin("a"), origin("b")];
        for (count, second, settle) in rounds {
            let log = usize::from(second);
            let from = model[log].len() as u64;
            let records: Vec<_> = (from..from + count as u64).map(record).collect();
            appended(folder.path(), &logs[log], &records, settle);
            model[log].extend(records);
        }
        for (log, records) in logs.iter().zip(&model) {
            let folder = folder.path().join(log.folder());
            if records.is_empty() && !folder.exists() {
                continue;
            }
            let report = verify(&folder, None).unwrap();
            let leaves: Vec<_> = records.iter().map(|record| leaf_hash(&json(record))).collect();
            prop_assert_eq!((report.size, report.signed), (records.len() as u64, records.len() as u64));
            prop_assert_eq!(report.root, defined_root(&leaves));
            let found: Vec<_> = read(&folder, 0).unwrap().map(|found| found.unwrap().1).collect();
            prop_assert_eq!(&found, records);
        }
    }
}

#[test]
fn a_closed_log_verifies_without_its_journal_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..300).map(record).collect::<Vec<_>>(), false);
    let log = folder.path().join(origin("a").folder());
    let key = std::fs::read_to_string(log.join("log.vkey")).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("log");
    std::fs::rename(&log, &copy).unwrap();
    let report = verify(&copy, Some(&key)).unwrap();
    assert_eq!((report.size, report.signed), (300, 300));
    assert_eq!(report.origin, origin("a"));
    assert_eq!(report.times, Some((1_700_000_000_000, 1_700_000_000_299)));
    assert_eq!(report.key_fingerprint.len(), 64);
    let other = audit::VerifierKey::new(origin("a"), signer(2).public_key()).to_string();
    assert!(matches!(verify(&copy, Some(&other)), Err(VerifyError::OtherKey)));
    assert!(matches!(verify(&copy, Some("nonsense")), Err(VerifyError::Key { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_verifies_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    let log = node.log(&origin("a"), signer(1)).unwrap();
    let appender = tokio::spawn({
        let log = log.clone();
        async move {
            for n in 0..3000 {
                let waiting: Vec<_> = (0..8).map(|_| log.append(&record(n), Class::Authenticated)).collect();
                for answer in waiting {
                    answer.await.unwrap();
                }
            }
        }
    });
    let log_folder = folder.path().join(origin("a").folder());
    let mut largest = 0;
    while !appender.is_finished() {
        let report = tokio::task::spawn_blocking({
            let folder = log_folder.clone();
            move || verify(&folder, None).unwrap()
        });
        largest = report.await.unwrap().size.max(largest);
    }
    appender.await.unwrap();
    assert!(largest > 0);
    assert_eq!(verify(&log_folder, None).unwrap().size, 24_000);
}

#[test]
fn any_record_is_proven_included_and_any_two_sizes_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..700).map(record).collect();
    appended(folder.path(), &origin("a"), &records, false);
    let log = folder.path().join(origin("a").folder());
    for size in [1, 2, 255, 256, 257, 511, 512, 699, 700] {
        let root_then = root(&log, size).unwrap();
        for index in [0, 1, 100, 254, 255, 256, 300, 511, 512, 698, 699].into_iter().filter(|index| *index < size) {
            let path = inclusion_proof(&log, index, size).unwrap();
            let leaf = leaf_hash(&json(&records[index as usize]));
            assert!(verify_inclusion(&leaf, index, size, &path, &root_then), "{index} in {size}");
        }
        let path = consistency_proof(&log, size, 700).unwrap();
        assert!(verify_consistency(size, &root_then, 700, &root(&log, 700).unwrap(), &path), "{size}");
    }
    assert!(matches!(inclusion_proof(&log, 700, 700), Err(VerifyError::NoProof { size: 700 })));
    assert!(matches!(inclusion_proof(&log, 0, 701), Err(VerifyError::NoProof { size: 700 })));
    assert!(matches!(consistency_proof(&log, 2, 1), Err(VerifyError::NoProof { size: 700 })));
    assert_eq!(consistency_proof(&log, 0, 700).unwrap(), Vec::<Hash>::new());
}

#[test]
fn reading_begins_where_it_is_told_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    let mut records: Vec<_> = (0..600).map(record).collect();
    records[520].status = 403;
    appended(folder.path(), &origin("a"), &records, false);
    let log = folder.path().join(origin("a").folder());
    let filter = Filter { outcome: Some(audit::OutcomeFilter::Failed), ..Filter::default() };
    let shown: Vec<_> =
        read(&log, 257).unwrap().map(Result::unwrap).filter(|(_, record)| filter.matches(record)).collect();
    assert_eq!(shown, [(520, records[520].clone())]);
    assert_eq!(read(&log, 257).unwrap().next().unwrap().unwrap().0, 257);
    assert_eq!(read(&log, 600).unwrap().count(), 0);
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What verifying, or else opening, says about the log after a change.
fn noticed(node: &Path) -> bool {
    verify(&node.join(origin("a").folder()), None).is_err()
        || match Node::open(node, options(), journal_key(1)) {
            Ok(opened) => opened.log(&origin("a"), signer(1)).is_err(),
            Err(_) => true,
        }
}

#[test]
fn every_changed_byte_of_a_log_folder_is_noticed_by_verification() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..260).map(record).collect::<Vec<_>>(), true);
    // Alone, so that the tiles are not compared with a journal that still has everything.
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let log = folder.path().join(origin("a").folder());
    verify(&log, None).unwrap();
    let mut tried = 0;
    for path in files(&log) {
        let bytes = std::fs::read(&path).unwrap();
        let step = (bytes.len() / 150).max(1);
        for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, changed).unwrap();
            assert!(verify(&log, None).is_err(), "{} byte {at}", path.display());
            tried += 1;
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        // The line end of the key says nothing.
        assert!(verify(&log, None).is_err() || path.ends_with("log.vkey"), "{} cut", path.display());
        std::fs::remove_file(&path).unwrap();
        assert!(verify(&log, None).is_err(), "{} gone", path.display());
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(tried > 1000);
    verify(&log, None).unwrap();
}

#[test]
fn a_changed_journal_is_noticed_while_it_holds_records_that_no_tile_has() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..40).map(record).collect::<Vec<_>>(), false);
    // As after a crash: signed, but the tiles and their marker had not reached the disk.
    let log = folder.path().join(origin("a").folder());
    std::fs::remove_file(log.join("settled")).unwrap();
    std::fs::remove_dir_all(log.join("tile")).unwrap();
    assert_eq!(verify(&log, None).unwrap().size, 40);
    let segments: Vec<_> = files(&folder.path().join("journal"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    let path = segments.last().unwrap();
    let bytes = std::fs::read(path).unwrap();
    // Header page and batches; behind them the segment was never used.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut tried = 0;
    for at in (0..used).step_by(97) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        std::fs::write(path, changed).unwrap();
        assert!(noticed(folder.path()), "byte {at}");
        tried += 1;
    }
    assert!(tried > 100);
    std::fs::write(path, &bytes).unwrap();
    assert_eq!(verify(&log, None).unwrap().size, 40);
}

#[test]
fn a_removed_changed_or_swapped_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..300).map(record).collect::<Vec<_>>(), false);
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let log = folder.path().join(origin("a").folder());
    let path = log.join("tile/entries/000");
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"token-77").unwrap();
    let mut changed = bytes.clone();
    changed[at + 7] = b'8';
    std::fs::write(&path, &changed).unwrap();
    match verify(&log, None) {
        Err(VerifyError::Tampered { source: Damage::Entry { index: 77 } }) => {}
        other => panic!("{other:?}"),
    }
    // With the tile made to fit, the signed root still tells.
    let tile = log.join("tile/0/000");
    let mut hashes = std::fs::read(&tile).unwrap();
    let entries = audit::parse_bundle(&changed).unwrap();
    hashes[77 * 32..78 * 32].copy_from_slice(&leaf_hash(entries[77]));
    std::fs::write(&tile, hashes).unwrap();
    assert!(matches!(
        verify(&log, None),
        Err(VerifyError::Tampered { source: Damage::File { .. } | Damage::Root { .. } })
    ));
}

#[test]
fn a_log_that_is_shorter_than_its_checkpoint_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..40).map(record).collect::<Vec<_>>(), false);
    let log = folder.path().join(origin("a").folder());
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    std::fs::remove_file(log.join("settled")).unwrap();
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    let opened = node.log(&origin("a"), signer(1));
    match opened.err() {
        Some(OpenError::Tampered { source: Damage::Short { found: 0, signed: 40 }, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        verify(&log, None),
        Err(VerifyError::Tampered { source: Damage::Short { found: 0, signed: 40 } })
    ));
}

#[test]
fn records_that_no_checkpoint_is_about_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &(0..40).map(record).collect::<Vec<_>>(), true);
    let log = folder.path().join(origin("a").folder());
    let earlier = ["checkpoint", "checkpoints"].map(|name| (log.join(name), std::fs::read(log.join(name)).unwrap()));
    appended(folder.path(), &origin("a"), &(40..50).map(record).collect::<Vec<_>>(), true);
    for (path, notes) in earlier {
        std::fs::write(path, notes).unwrap();
    }
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    let opened = node.log(&origin("a"), signer(1));
    match opened.err() {
        Some(OpenError::Tampered { source: Damage::Unsigned { settled: 50, signed: 40 }, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_that_was_taken_away_is_not_made_again_under_its_records() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &[record(1)], false);
    std::fs::remove_dir_all(folder.path().join(origin("a").folder())).unwrap();
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    let opened = node.log(&origin("a"), signer(1));
    assert!(matches!(opened.err(), Some(OpenError::Tampered { source: Damage::Missing { .. }, .. })));
    node.log(&origin("b"), signer(1)).unwrap();
}

#[test]
fn a_log_of_another_origin_does_not_pass_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    appended(folder.path(), &origin("a"), &[record(1)], false);
    let (a, b) = (folder.path().join(origin("a").folder()), folder.path().join(origin("b").folder()));
    std::fs::rename(a, b).unwrap();
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
    assert!(matches!(node.log(&origin("b"), signer(1)).err(), Some(OpenError::Tampered { .. })));
}
