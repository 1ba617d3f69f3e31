//! What a store answers while its disk fails, and what is there afterwards.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod faulty;

use std::io::ErrorKind;
use std::sync::Arc;

use faulty::{Fault, Faulty};
use store::{Commit, CommitError, Embedded, Path, Prefix, ReadError, Revision, Store, WatchError, Write};

/// Rounds of commits, and commits at the same time in each.
const ROUNDS: usize = 6;
const AT_ONCE: usize = 3;

#[test]
fn a_disk_that_fills_up_refuses_commits_and_nothing_else_until_there_is_space() {
    let answers = at_every_operation(|disk, after, seed| {
        let mut story = Story::begin(disk, seed);
        disk.fail_after(after, Fault::Full);
        story.run();
        for (number, outcome) in story.outcomes.iter().enumerate() {
            let known = matches!(outcome, Ok(_) | Err(CommitError::NoSpace { .. }));
            assert!(known, "commit {number}: {outcome:?}");
        }
        story.check("while the disk is full");
        disk.mend();
        story.run_well();
        story
    });
    assert!(answers.no_space > 100, "{answers:?}");
}

#[test]
fn a_single_fault_leaves_no_doubt_and_what_comes_after_works() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let answers = at_every_operation(|disk, after, seed| {
            let mut story = Story::begin(disk, seed);
            disk.fail_after(after, Fault::Once(kind));
            story.run();
            for outcome in &story.outcomes {
                match (kind, outcome) {
                    (_, Ok(_)) => {}
                    (ErrorKind::StorageFull, Err(CommitError::NoSpace { .. })) => {}
                    (ErrorKind::Other, Err(CommitError::Unwritable { .. })) => {}
                    (_, Err(error)) => panic!("{error:?}"),
                }
            }
            story.check("after a fault");
            disk.mend();
            story.run_well();
            story
        });
        assert!(answers.no_space + answers.unwritable > 10, "{answers:?}");
    }
}

#[test]
fn a_dead_disk_is_survived_and_only_what_was_under_way_is_in_doubt() {
    let answers = at_every_operation(|disk, after, seed| {
        let mut story = Story::begin(disk, seed);
        disk.fail_after(after, Fault::Dead);
        story.run();
        let doubts = |outcome: &&Result<_, _>| matches!(outcome, Err(CommitError::OutcomeUnknown { .. }));
        assert!(story.outcomes.iter().filter(doubts).count() <= AT_ONCE);
        // What is in doubt is decided before it can be read, and stays so.
        disk.mend();
        story.settle();
        story.check("after the disk came back");
        story.run_well();
        story
    });
    assert!(answers.unwritable > 100, "{answers:?}");
}

#[test]
fn a_loss_of_power_at_any_moment_takes_no_acknowledged_commit() {
    let answers = at_every_operation(|disk, after, seed| {
        let mut story = Story::begin(disk, seed);
        disk.fail_after(after, Fault::Dead);
        story.run();
        let mut random = Random(seed);
        for odds in [0, 1, 2, 4, u64::MAX] {
            let left =
                disk.after_power_loss(|| odds == u64::MAX || (odds > 0 && !random.next().is_multiple_of(odds.max(2))));
            let disk = Arc::new(Faulty::holding(left));
            let mut after = Story { store: Some(Embedded::on(disk.clone()).unwrap()), disk, ..story.told() };
            after.settle();
            after.check("after a loss of power");
            after.run_well();
        }
        story
    });
    assert!(answers.unknown > 10, "{answers:?}");
}

#[test]
fn a_failed_sync_followed_by_a_loss_of_power_takes_no_acknowledged_commit() {
    let answers = at_every_operation(|disk, after, seed| {
        let mut story = Story::begin(disk, seed);
        disk.fail_after(after, Fault::Once(ErrorKind::Other));
        story.run();
        let mut random = Random(seed);
        for keep in [0, 1, 2] {
            let left = disk.after_power_loss(|| keep == 2 || (keep == 1 && random.next().is_multiple_of(2)));
            let disk = Arc::new(Faulty::holding(left));
            let mut after = Story { store: Some(Embedded::on(disk.clone()).unwrap()), disk, ..story.told() };
            after.check("after a loss of power");
            after.run_well();
        }
        story
    });
    assert!(answers.unwritable > 10, "{answers:?}");
}

#[test]
fn reads_work_again_by_themselves_after_a_disk_was_dead() {
    let disk = Arc::new(Faulty::default());
    let path = Path::parse("a").unwrap();
    let store = Embedded::on(disk.clone()).unwrap();
    block_on(async {
        let commit = Commit::new([], [Write::Put(path.clone(), "1".into())]).unwrap();
        store.commit(commit.clone()).await.unwrap();
        disk.fail_after(0, Fault::Dead);
        assert!(store.commit(commit).await.is_err());
        for _ in 0..2 {
            assert!(matches!(store.get(&path).await, Err(ReadError::Unavailable { .. })));
            assert!(matches!(store.list(&Prefix::all(), None, 1).await, Err(ReadError::Unavailable { .. })));
        }
        disk.mend();
        assert_eq!(store.list(&Prefix::all(), None, 1).await.unwrap().entries.len(), 1);
        assert_eq!(store.get(&path).await.unwrap().unwrap().value, "1");
    });
}

/// Runs `test` with a disk and a number of operations, for every number that a story takes. Counts what was answered.
fn at_every_operation(test: impl Fn(&Arc<Faulty>, usize, u64) -> Story) -> Answers {
    let disk = Arc::new(Faulty::default());
    let mut story = Story::begin(&disk, 0);
    let before = disk.operations();
    story.run_well();
    let operations = disk.operations() - before;
    assert!(operations > 100, "{operations}");
    let mut answers = Answers::default();
    for after in 0..operations {
        for outcome in test(&Arc::new(Faulty::default()), after, after as u64).outcomes {
            match outcome {
                Ok(_) => answers.acknowledged += 1,
                Err(CommitError::NoSpace { .. }) => answers.no_space += 1,
                Err(CommitError::Unwritable { .. }) => answers.unwritable += 1,
                Err(CommitError::OutcomeUnknown { .. }) => answers.unknown += 1,
                Err(CommitError::Conflict { path }) => panic!("nothing was expected of {path}"),
            }
        }
    }
    answers
}

/// How often each answer was given.
#[derive(Debug, Default)]
struct Answers {
    acknowledged: usize,
    no_space: usize,
    unwritable: usize,
    unknown: usize,
}

/// Commits made, and what was answered. The `n`-th commit puts its own paths and one that all others put too.
struct Story {
    disk: Arc<Faulty>,
    store: Option<Embedded>,
    seed: u64,
    outcomes: Vec<Result<Revision, CommitError>>,
}

impl Story {
    fn begin(disk: &Arc<Faulty>, seed: u64) -> Self {
        Self { disk: disk.clone(), store: Some(Embedded::on(disk.clone()).unwrap()), seed, outcomes: Vec::new() }
    }

    /// The same story so far, on no disk.
    fn told(&self) -> Self {
        let outcomes = self.outcomes.clone();
        Self { disk: self.disk.clone(), store: None, seed: self.seed, outcomes }
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self) {
        for _ in 0..ROUNDS {
            let first = self.outcomes.len();
            let round = block_on(async {
                let commit = |number| self.store().commit(commit(self.seed, number));
                let (one, two, three) = tokio::join!(commit(first), commit(first + 1), commit(first + 2));
                [one, two, three]
            });
            self.outcomes.extend(round);
        }
        assert_eq!(self.outcomes.len() % AT_ONCE, 0);
    }

    /// Runs on, with everything acknowledged, and finds everything there before and after opening again.
    fn run_well(&mut self) {
        let before = self.outcomes.len();
        self.run();
        for outcome in &self.outcomes[before..] {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        self.check("at the end");
        self.check_watch();
        self.store = None;
        self.store = Some(Embedded::on(self.disk.clone()).unwrap());
        self.check("after opening again");
    }

    /// Turns what is in doubt into what is there.
    fn settle(&mut self) {
        for number in 0..self.outcomes.len() {
            if matches!(self.outcomes[number], Err(CommitError::OutcomeUnknown { .. }))
                && let Some(revision) = self.found(number)
            {
                self.outcomes[number] = Ok(revision);
            }
        }
    }

    /// Acknowledged commits are there, whole; all others are not, not even in part.
    fn check(&self, when: &str) {
        for (number, outcome) in self.outcomes.iter().enumerate() {
            assert_eq!(self.found(number), outcome.as_ref().ok().copied(), "commit {number} {when}: {outcome:?}");
        }
        let last = self.outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).max();
        let shared = block_on(self.store().get(&Path::parse("shared").unwrap())).unwrap();
        assert_eq!(shared.map(|entry| entry.revision).as_ref(), last, "{when}");
        let revision = block_on(self.store().list(&Prefix::all(), None, 1)).unwrap().revision;
        assert_eq!(revision, last.copied().unwrap_or_default(), "{when}");
    }

    /// A watch tells of every commit that is there, and of no other, in revision order.
    fn check_watch(&self) {
        let mut expected: Vec<Revision> = self.outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
        expected.sort();
        block_on(async {
            // After a loss of power, the history begins with what this store has written.
            let oldest = match self.store().watch(&Prefix::all(), Revision(1)).await {
                Ok(_) => Revision(1),
                Err(WatchError::Compacted { oldest }) => oldest,
                Err(error) => panic!("{error}"),
            };
            expected.retain(|revision| *revision >= oldest);
            assert!(expected.len() >= ROUNDS * AT_ONCE);
            let mut watch = self.store().watch(&Prefix::all(), oldest).await.unwrap();
            for expected in expected {
                let event = watch.next().await.unwrap();
                assert_eq!((event.revision, event.writes.len()), (expected, 4));
            }
        });
    }

    /// The revision of a commit, if it is there.
    fn found(&self, number: usize) -> Option<Revision> {
        let mut revisions = Vec::new();
        for write in own_writes(self.seed, number) {
            let Write::Put(path, value) = write else { unreachable!() };
            let entry = block_on(self.store().get(&path)).unwrap();
            if let Some(entry) = &entry {
                assert_eq!(entry.value, value);
            }
            revisions.push(entry.map(|entry| entry.revision));
        }
        assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]), "half a commit: {revisions:?}");
        revisions[0]
    }
}

fn commit(seed: u64, number: usize) -> Commit {
    let shared = Write::Put(Path::parse("shared").unwrap(), number.to_string().into());
    Commit::new([], own_writes(seed, number).into_iter().chain([shared])).unwrap()
}

fn own_writes(seed: u64, number: usize) -> Vec<Write> {
    let mut random = Random(seed * 1_000 + number as u64);
    let write = |index: u64| {
        let size = [0, 10, 300, 3_000, 9_000][(random.next() % 5) as usize];
        let path = Path::parse(&format!("c/{}/{number}", index)).unwrap();
        Write::Put(path, vec![number as u8; size].into())
    };
    (0..3).map(write).collect()
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
