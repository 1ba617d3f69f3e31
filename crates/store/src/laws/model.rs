//! Random commits against a plain map.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::{Fresh, everything, sorted, watch};
use crate::{Commit, CommitError, Entry, Event, Expect, Path, Prefix, Revision, WatchError, Write};

/// Runs a backend makes of this law.
const CASES: u32 = 24;

/// One thing that happens to a store.
#[derive(Clone, Debug)]
enum Step {
    /// Expectations, of which `true` is made to hold and `false` to fail; then writes, of which `None` deletes.
    Commit(Vec<(usize, bool)>, Vec<(usize, Option<Vec<u8>>)>),
    /// A page below one of the prefixes, after one of the paths.
    List(usize, Option<usize>, usize),
    /// Close the store and open it again.
    Reopen,
}

const PATHS: [&str; 9] = ["a", "a-", "a/a", "a/b", "a/b/c", "a/b0", "a0", "b", "b/a"];
const PREFIXES: [&str; 5] = ["", "a/", "a/b/", "b/", "c/"];

/// Every answer, and after every step all that is there, is what a plain map says; and a watch tells the same story.
///
/// A failure prints the steps it was reduced to.
pub async fn random_commits_agree_with_a_map(fresh: Fresh<'_>) {
    let mut runner = TestRunner::new(Config { cases: CASES, ..Config::default() });
    let steps = vec(step(), 1..40);
    for _ in 0..CASES {
        let Ok(mut tree) = steps.new_tree(&mut runner) else { panic!("no steps can be made") };
        let Err(mut wrong) = replay(fresh, &tree.current()).await else { continue };
        let mut steps = tree.current();
        // As long as it fails, look for fewer steps that fail.
        let mut more = tree.simplify();
        while more {
            more = match replay(fresh, &tree.current()).await {
                Err(found) => {
                    (wrong, steps) = (found, tree.current());
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        panic!("{wrong}\nafter {steps:#?}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let expect = vec((0..PATHS.len(), prop::bool::weighted(0.9)), 0..4);
    let value =
        prop_oneof![3 => vec(any::<u8>(), 0..64).prop_map(Some), 1 => Just(None), 1 => Just(Some(vec![1; 9000]))];
    let writes = vec((0..PATHS.len(), value), 1..5);
    prop_oneof![
        12 => (expect, writes).prop_map(|(expect, writes)| Step::Commit(expect, writes)),
        4 => (0..PREFIXES.len(), prop::option::of(0..PATHS.len()), 1..6_usize)
            .prop_map(|(prefix, after, limit)| Step::List(prefix, after, limit)),
        1 => Just(Step::Reopen),
    ]
}

async fn replay(fresh: Fresh<'_>, steps: &[Step]) -> Result<(), String> {
    let place = fresh();
    let mut store = place().await;
    let mut model = Model::default();
    let mut story = watch(&*store, "", Revision(0)).await;
    for step in steps {
        match step {
            Step::Commit(expect, writes) => {
                let Some(commit) = model.commit(expect, writes) else { continue };
                let answer = store.commit(commit.clone()).await;
                match (model.judge(&commit), answer) {
                    (Some(path), Err(CommitError::Conflict { path: found })) => same(&path, &found)?,
                    (None, Ok(revision)) => {
                        if let Some(event) = model.apply(&commit, revision)? {
                            let told = story.next().await.map_err(|error| error.to_string())?;
                            same(&event, &sorted(told))?;
                        }
                    }
                    (expected, answer) => return Err(format!("{answer:?}, but the conflict is {expected:?}")),
                }
            }
            Step::List(prefix, after, limit) => {
                let prefix = Prefix::parse(PREFIXES[*prefix]).map_err(|error| error.to_string())?;
                let after = after.map(nth);
                let page = store.list(&prefix, after.as_ref(), *limit).await.map_err(|error| error.to_string())?;
                let all: Vec<Entry> = model
                    .entries()
                    .into_iter()
                    .filter(|entry| prefix.contains(&entry.path) && Some(&entry.path) > after.as_ref())
                    .collect();
                same(&all[..all.len().min(*limit)], &page.entries)?;
                same(&(all.len() > *limit), &page.more)?;
                same(&model.head, &page.revision)?;
            }
            Step::Reopen => {
                drop((store, story));
                store = place().await;
                story = match store.watch(&Prefix::all(), model.head.next()).await {
                    Ok(story) => story,
                    Err(WatchError::Compacted { .. } | WatchError::Closed) => {
                        return Err("no watch from the next revision".into());
                    }
                };
            }
        }
        same(&model.entries(), &everything(&*store).await)?;
    }
    for path in (0..PATHS.len()).map(nth) {
        let entry = store.get(&path).await.map_err(|error| error.to_string())?;
        same(&model.entries().into_iter().find(|entry| entry.path == path), &entry)?;
    }
    Ok(())
}

/// What a store is, without anything that makes it one.
#[derive(Default)]
struct Model {
    map: BTreeMap<Path, (Bytes, Revision)>,
    head: Revision,
}

impl Model {
    /// The commit that a step means now; `None` if it names a path twice.
    fn commit(&self, expect: &[(usize, bool)], writes: &[(usize, Option<Vec<u8>>)]) -> Option<Commit> {
        let expect = expect.iter().map(|(index, holds)| {
            let path = nth(*index);
            let truth = self.map.get(&path).map(|(_, revision)| *revision);
            let expect = match (truth, holds) {
                (None, true) | (Some(_), false) => Expect::Absent,
                (None, false) => Expect::At(self.head),
                (Some(revision), true) => Expect::At(revision),
            };
            (path, expect)
        });
        let writes = writes.iter().map(|(index, value)| match value {
            Some(value) => Write::Put(nth(*index), value.clone().into()),
            None if index % 2 == 0 => Write::Erase(nth(*index)),
            None => Write::Delete(nth(*index)),
        });
        Commit::new(expect, writes).ok()
    }

    /// The first expectation that does not hold.
    fn judge(&self, commit: &Commit) -> Option<Path> {
        let fails = |path: &Path, expect: &Expect| match (self.map.get(path), expect) {
            (None, Expect::Absent) => false,
            (Some((_, revision)), Expect::At(expected)) => revision != expected,
            (None, Expect::At(_)) | (Some(_), Expect::Absent) => true,
        };
        commit.expect().iter().find(|(path, expect)| fails(path, expect)).map(|(path, _)| path.clone())
    }

    /// Applies a commit that was answered with `revision`; its event, unless it changes nothing.
    fn apply(&mut self, commit: &Commit, revision: Revision) -> Result<Option<Event>, String> {
        let mut writes = Vec::new();
        for write in commit.writes() {
            let changed = match write {
                Write::Put(path, value) => {
                    self.map.insert(path.clone(), (value.clone(), revision));
                    true
                }
                Write::Delete(path) | Write::Erase(path) => self.map.remove(path).is_some(),
            };
            if changed {
                writes.push(match write {
                    Write::Erase(path) => Write::Delete(path.clone()),
                    write => write.clone(),
                });
            }
        }
        if writes.is_empty() {
            same(&self.head, &revision)?;
            return Ok(None);
        }
        if revision <= self.head {
            return Err(format!("revision {revision} after {}", self.head));
        }
        self.head = revision;
        Ok(Some(sorted(Event { revision, writes })))
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(path, (value, revision)): (&Path, &(Bytes, Revision))| Entry {
            path: path.clone(),
            value: value.clone(),
            revision: *revision,
        };
        self.map.iter().map(entry).collect()
    }
}

fn nth(index: usize) -> Path {
    super::path(PATHS[index])
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}
