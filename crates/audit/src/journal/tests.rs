use std::sync::atomic::AtomicU64;

use super::*;
use crate::disk::LocalDisk;
use crate::testing::journal_key;

const LENGTH: u64 = 256 << 10;

fn writer(folder: &Path, replay: &Replay) -> Writer {
    Writer::new(folder, Arc::new(LocalDisk), journal_key(), LENGTH, replay, Arc::default(), Arc::<AtomicU64>::default())
}

fn batch(indexes: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::new();
    for index in indexes {
        let entry = format!("entry {index}");
        batch.push(Frame { log: [1; 16], index, id: index.into(), once: index % 2 == 0, entry: entry.as_bytes() });
    }
    batch
}

fn replay(folder: &Path) -> Result<Replay, JournalError> {
    Replay::read(folder, Some(&*journal_key()))
}

fn indexes(replay: &Replay) -> Vec<u64> {
    replay.frames().map(|(_, frame)| frame.index).collect()
}

fn written<const N: usize>(batches: [std::ops::Range<u64>; N]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path(), &replay(folder.path()).unwrap());
    for indexes in batches {
        writer.write(&mut batch(indexes)).unwrap();
    }
    folder
}

/// Changes one byte of the first segment.
fn flip(folder: &Path, at: u64) {
    let path = segment_path(folder, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_written_is_read_back() {
    let folder = written([0..1, 1..300, 300..301]);
    let replay = replay(folder.path()).unwrap();
    assert_eq!(indexes(&replay), (0..301).collect::<Vec<_>>());
    let (segment, frame) = replay.frames().nth(7).unwrap();
    assert_eq!((segment, frame.id, frame.once, frame.entry), (1, 7, false, &b"entry 7"[..]));
    assert_eq!(replay.last_batch().unwrap().count(), 1);
}

#[test]
fn full_segments_are_followed_by_others() {
    let folder = written::<200>(std::array::from_fn(|n| n as u64..n as u64 + 1));
    let replay = replay(folder.path()).unwrap();
    assert_eq!(replay.numbers().count(), 4, "63 pages of batches in each");
    assert_eq!(indexes(&replay), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_whole_batch_of_somebody_else_is_refused_and_readable_without_the_key() {
    struct Other;
    impl JournalKey for Other {
        fn tag(&self, _: &[u8; 32]) -> [u8; 32] {
            [0; 32]
        }
    }
    #[expect(clippy::single_range_in_vec_init, reason = "one batch")]
    let folder = written([0..3]);
    let found = replay(folder.path()).unwrap();
    let count = Arc::<AtomicU64>::default();
    let mut forger =
        Writer::new(folder.path(), Arc::new(LocalDisk), Arc::new(Other), LENGTH, &found, Arc::default(), count);
    forger.write(&mut batch(3..5)).unwrap();
    assert!(matches!(replay(folder.path()), Err(JournalError::Forged { batch: 2 })));
    assert_eq!(indexes(&Replay::read(folder.path(), None).unwrap()), [0, 1, 2, 3, 4]);
}

#[test]
fn a_torn_last_batch_is_cut() {
    let folder = written([0..3, 3..5]);
    flip(folder.path(), (2 * PAGE + BATCH_HEADER + 14) as u64);
    assert_eq!(indexes(&replay(folder.path()).unwrap()), [0, 1, 2]);
}

#[test]
fn a_damaged_batch_before_another_is_refused_wherever_it_is_damaged() {
    let folder = written([0..3, 3..5]);
    for at in 0..PAGE as u64 {
        flip(folder.path(), PAGE as u64 + at);
        let refused = replay(folder.path()).err();
        let tag = TAG.contains(&(at as usize));
        assert!(
            matches!(refused, Some(JournalError::Batch { batch: 1 }) if !tag)
                || matches!(refused, Some(JournalError::Forged { batch: 1 }) if tag),
            "byte {at}"
        );
        flip(folder.path(), PAGE as u64 + at);
    }
}

#[test]
fn a_damaged_segment_header_is_refused_wherever_it_is_damaged() {
    let folder = written([0..2, 2..3]);
    for at in 0..PAGE as u64 {
        flip(folder.path(), at);
        assert!(matches!(replay(folder.path()), Err(JournalError::Segment { segment: 1 })), "byte {at}");
        flip(folder.path(), at);
    }
}

#[test]
fn a_segment_that_is_missing_between_others_is_noticed() {
    let folder = written::<200>(std::array::from_fn(|n| n as u64..n as u64 + 1));
    std::fs::remove_file(segment_path(folder.path(), 2)).unwrap();
    assert!(matches!(replay(folder.path()), Err(JournalError::Batch { batch: 64 })));
}

#[test]
fn a_refused_batch_is_void_once_its_number_was_written_elsewhere() {
    let folder = written([0..3, 3..5]);
    let mut before = replay(folder.path()).unwrap();
    before.next_batch = 2;
    writer(folder.path(), &before).write(&mut batch(3..4)).unwrap();
    let after = replay(folder.path()).unwrap();
    assert_eq!(
        after.frames().map(|(segment, frame)| (segment, frame.index)).collect::<Vec<_>>(),
        [(1, 0), (1, 1), (1, 2), (2, 3)]
    );
}

#[test]
fn a_recycled_segment_shows_nothing_of_its_former_life() {
    let folder = written([0..3, 3..5, 5..9]);
    retire(folder.path(), 1, LENGTH).unwrap();
    let mut empty = replay(folder.path()).unwrap();
    empty.next_number = 2;
    empty.next_batch = 4;
    let mut writer = writer(folder.path(), &empty);
    writer.write(&mut batch(9..10)).unwrap();
    assert!(!spare_path(folder.path()).exists(), "the spare was used");
    assert_eq!(indexes(&replay(folder.path()).unwrap()), [9]);
}

#[test]
fn a_batch_longer_than_a_segment_gets_a_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut long = Batch::new();
    for index in 0..20 {
        long.push(Frame { log: [1; 16], index, id: 0, once: false, entry: &[b'x'; 30_000] });
    }
    writer(folder.path(), &replay(folder.path()).unwrap()).write(&mut long).unwrap();
    assert_eq!(replay(folder.path()).unwrap().frames().count(), 20);
}

proptest::proptest! {
    #[test]
    fn random_segments_never_panic(bytes: Vec<u8>, number: u64) {
        let _ = parse_segment(number, &bytes);
        let number = number % UNCOUNTABLE;
        let mut begun = segment_header(number, 1, (2 * PAGE + bytes.len()) as u64);
        begun.resize(2 * PAGE, 7);
        begun[PAGE..PAGE + 8].copy_from_slice(BATCH_MAGIC);
        begun[PAGE + 8..PAGE + 16].copy_from_slice(&1_u64.to_be_bytes());
        let length = bytes.len().min(PAGE - 16);
        begun[PAGE + 16..PAGE + 16 + length].copy_from_slice(&bytes[..length]);
        begun.extend(bytes);
        assert_eq!(parse_segment(number, &begun), Some(0));
    }
}

#[test]
fn numbers_that_nobody_could_have_counted_to_are_refused_and_overflow_nothing() {
    // Whoever can write the folder can make the digests too.
    for (segment, first) in [(1, u64::MAX), (u64::MAX, 1)] {
        let mut bytes = segment_header(segment, first, LENGTH);
        bytes.extend_from_slice(batch(0..1).seal(segment, first, &*journal_key()));
        bytes.resize(LENGTH as usize, 0);
        assert_eq!(parse_segment(segment, &bytes), None);
    }
    let mut bytes = segment_header(1, 1, LENGTH);
    let mut huge = Batch::new();
    huge.push(Frame { log: [1; 16], index: u64::MAX, id: 1, once: true, entry: b"entry" });
    bytes.extend_from_slice(huge.seal(1, 1, &*journal_key()));
    bytes.resize(LENGTH as usize, 0);
    assert_eq!(parse_segment(1, &bytes), Some(0), "what is no batch is the end");
}
