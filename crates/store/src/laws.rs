//! The laws that every backend passes.
//!
//! Each law is a function over a [`Fresh`], which makes empty stores; [`laws!`](crate::laws!) makes a test of each.
//! A law panics with what it found.

#![expect(clippy::unwrap_used, reason = "laws are tests, though not in a test's module")]

mod model;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    Commit, CommitError, Entry, Event, Expect, LimitError, MAX_COMMIT_BYTES, MAX_EXPECTATIONS, MAX_PAGE_BYTES,
    MAX_WRITES, Path, Prefix, Revision, Store, Watch, WatchError, Write,
};
pub use model::random_commits_agree_with_a_map;

/// Opens one store. Called again, after every handle to the store is dropped, it opens the same one again.
pub type Place = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>> + Send + Sync>;

/// Makes a new, empty store's place.
pub type Fresh<'a> = &'a (dyn Fn() -> Place + Sync);

/// Makes a test of every law, for the backend that the given [`Fresh`] makes. Needs `tokio` with its test macros.
#[macro_export]
macro_rules! laws {
    ($fresh:expr) => {
        $crate::laws!(@ $fresh;
            a_commit_happens_entirely_or_not_at_all
            a_commit_is_refused_unless_every_expectation_holds
            every_commit_has_a_greater_revision_and_entries_carry_it
            a_delete_of_what_is_absent_is_fine_and_changes_nothing
            a_list_is_in_path_order_and_within_its_prefix
            pages_continue_after_their_last_entry_until_there_is_no_more
            a_page_is_bounded_in_bytes
            what_is_over_a_limit_is_refused_and_the_limit_itself_is_not
            a_watch_gives_every_change_once_in_order_from_its_revision
            a_watch_gives_only_what_is_under_its_prefix
            a_watch_waits_for_what_is_to_come_and_loses_nothing_when_dropped_waiting
            a_list_and_a_watch_from_its_next_revision_miss_nothing
            contended_counters_lose_no_increment
            concurrent_commits_have_one_serial_order
            what_is_acknowledged_is_there_after_opening_again
            random_commits_agree_with_a_map
        );
    };
    (@ $fresh:expr; $($law:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                $crate::laws::$law(&$fresh).await;
            }
        )*
    };
}

/// Nothing of a commit that fails is written, whichever of its expectations fails.
pub async fn a_commit_happens_entirely_or_not_at_all(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let taken = put(&*store, "m/taken", "old").await;
    for expect in [("m/taken", Expect::Absent), ("m/free", Expect::At(taken)), ("m/taken", Expect::At(taken.next()))] {
        let commit = Commit::new(
            [(path("z"), Expect::Absent), (path(expect.0), expect.1)],
            [write("a", "new"), write("m/taken", "new"), write("z", "new")],
        );
        let answer = store.commit(commit.unwrap()).await;
        assert!(matches!(&answer, Err(CommitError::Conflict { path }) if path.as_str() == expect.0), "{answer:?}");
        assert_eq!(everything(&*store).await, [entry("m/taken", "old", taken)]);
    }
    let commit = Commit::new(
        [(path("m/taken"), Expect::At(taken))],
        [write("a", "new"), Write::Delete(path("m/taken")), write("z", "new")],
    );
    let revision = store.commit(commit.unwrap()).await.unwrap();
    assert_eq!(everything(&*store).await, [entry("a", "new", revision), entry("z", "new", revision)]);
}

/// An expectation is about the last write of the path, by whichever commit, and need not be about a written path.
pub async fn a_commit_is_refused_unless_every_expectation_holds(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let guarded = |expect, value: &'static str| {
        let commit = Commit::new([(path("guard"), expect)], [write("value", value)]).unwrap();
        store.commit(commit)
    };
    guarded(Expect::Absent, "one").await.unwrap();
    let first = put(&*store, "guard", "").await;
    assert!(matches!(guarded(Expect::Absent, "two").await, Err(CommitError::Conflict { .. })));
    guarded(Expect::At(first), "three").await.unwrap();
    // Written again with the same value, it still is another revision.
    let second = put(&*store, "guard", "").await;
    assert!(matches!(guarded(Expect::At(first), "four").await, Err(CommitError::Conflict { .. })));
    guarded(Expect::At(second), "five").await.unwrap();
    delete(&*store, "guard").await;
    assert!(matches!(guarded(Expect::At(second), "six").await, Err(CommitError::Conflict { .. })));
    guarded(Expect::Absent, "seven").await.unwrap();
    assert_eq!(store.get(&path("value")).await.unwrap().unwrap().value, "seven");
}

/// Revisions grow, all writes of a commit have the same, and entries keep theirs while others change.
pub async fn every_commit_has_a_greater_revision_and_entries_carry_it(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let before = page(&*store, "", None, 1).await.revision;
    let first = store.commit(Commit::new([], [write("a", "1"), write("b", "1")]).unwrap()).await.unwrap();
    let second = put(&*store, "b", "2").await;
    let third = put(&*store, "c", "").await;
    assert!(before < first && first < second && second < third, "{before} {first} {second} {third}");
    let expected = [entry("a", "1", first), entry("b", "2", second), entry("c", "", third)];
    assert_eq!(everything(&*store).await, expected);
    for expected in expected {
        assert_eq!(store.get(&expected.path).await.unwrap(), Some(expected));
    }
    assert_eq!(page(&*store, "", None, 1).await.revision, third);
    let fourth = delete(&*store, "a").await;
    assert!(third < fourth);
    assert_eq!(page(&*store, "", None, 1).await.revision, fourth);
}

/// Deleting nothing has no revision and no event.
pub async fn a_delete_of_what_is_absent_is_fine_and_changes_nothing(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let first = put(&*store, "a", "1").await;
    assert_eq!(delete(&*store, "b").await, first);
    assert_eq!(page(&*store, "", None, 1).await.revision, first);
    let both = Commit::new([], [Write::Delete(path("b")), write("c", "1")]).unwrap();
    let second = store.commit(both).await.unwrap();
    let mut watch = watch(&*store, "", first).await;
    assert_eq!(watch.next().await.unwrap(), event(first, [write("a", "1")]));
    assert_eq!(watch.next().await.unwrap(), event(second, [write("c", "1")]));
}

/// Bytewise order, in which `-` and `.` come before `/`, and digits after it.
pub async fn a_list_is_in_path_order_and_within_its_prefix(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let sorted = ["a", "a-b", "a.b", "a/0", "a/a", "a/a-", "a/a/a", "a/a0", "a/z", "a0", "aa", "b/a", "z"];
    for text in sorted.iter().rev() {
        put(&*store, text, text).await;
    }
    for prefix in ["", "a/", "a/a/", "b/", "z/", "0/", "a/a-/"] {
        let expected: Vec<&str> = sorted.into_iter().filter(|text| text.starts_with(prefix)).collect();
        let found = page(&*store, prefix, None, 100).await;
        assert_eq!(paths(&found.entries), expected, "{prefix}");
        assert!(!found.more);
    }
}

/// Any limit and any point to continue from, also one that is no entry or lies outside the prefix.
pub async fn pages_continue_after_their_last_entry_until_there_is_no_more(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let sorted = ["a", "k/a", "k/b", "k/c/d", "k/d", "k/e", "l"];
    let revision = store.commit(Commit::new([], sorted.map(|text| write(text, text))).unwrap()).await.unwrap();
    for limit in 1..=sorted.len() {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = page(&*store, "k/", after.as_ref(), limit).await;
            assert!(page.entries.len() <= limit && !page.entries.is_empty());
            assert_eq!(page.revision, revision);
            after = page.entries.last().map(|entry| entry.path.clone());
            found.extend(page.entries);
            if !page.more {
                break;
            }
        }
        assert_eq!(paths(&found), sorted[1..6], "limit {limit}");
    }
    for (after, first) in
        [("a", Some("k/a")), ("k/bb", Some("k/c/d")), ("k/c", Some("k/c/d")), ("k/e", None), ("l", None)]
    {
        let page = page(&*store, "k/", Some(&path(after)), 1).await;
        assert_eq!(paths(&page.entries).first().copied(), first, "{after}");
    }
    let one = page(&*store, "k/", None, 0).await;
    assert_eq!((paths(&one.entries), one.more), (vec!["k/a"], true));
    let all = page(&*store, "k/", None, usize::MAX).await;
    assert_eq!((all.entries.len(), all.more), (5, false));
}

/// A page ends before it passes its bytes, and holds one entry of any size.
pub async fn a_page_is_bounded_in_bytes(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let quarter = Bytes::from(vec![7; MAX_PAGE_BYTES / 4]);
    for index in 0..6 {
        let write = Write::Put(path(&format!("q/{index}")), quarter.clone());
        store.commit(Commit::new([], [write]).unwrap()).await.unwrap();
    }
    let largest = Bytes::from(vec![8; MAX_COMMIT_BYTES - "q/x".len()]);
    store.commit(Commit::new([], [Write::Put(path("q/x"), largest.clone())]).unwrap()).await.unwrap();
    let (mut sizes, mut after) = (Vec::new(), None);
    loop {
        let page = page(&*store, "q/", after.as_ref(), 100).await;
        sizes.push(page.entries.iter().map(|entry| entry.value.len()).sum::<usize>());
        after = page.entries.last().map(|entry| entry.path.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(sizes, [MAX_PAGE_BYTES, MAX_PAGE_BYTES / 2, largest.len()]);
}

/// No commit over a limit can even be made; one at every limit is written.
pub async fn what_is_over_a_limit_is_refused_and_the_limit_itself_is_not(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let writes = |count: usize| (0..count).map(|index| write(&format!("w/{index:03}"), "v"));
    let expect = |count: usize| (0..count).map(|index| (path(&format!("e/{index:03}")), Expect::Absent));
    assert_eq!(Commit::new([], writes(MAX_WRITES + 1)), Err(LimitError::Writes));
    assert_eq!(Commit::new(expect(MAX_EXPECTATIONS + 1), writes(1)), Err(LimitError::Expectations));
    let sized = |size: usize| Commit::new([], [Write::Put(path("s"), vec![0; size].into())]);
    assert_eq!(sized(MAX_COMMIT_BYTES), Err(LimitError::Bytes { size: MAX_COMMIT_BYTES + 1 }));

    store.commit(Commit::new(expect(MAX_EXPECTATIONS), writes(MAX_WRITES)).unwrap()).await.unwrap();
    store.commit(sized(MAX_COMMIT_BYTES - 1).unwrap()).await.unwrap();
    assert_eq!(everything(&*store).await.len(), MAX_WRITES + 1);
    assert_eq!(store.get(&path("s")).await.unwrap().unwrap().value.len(), MAX_COMMIT_BYTES - 1);
}

/// Past and future commits, all writes of a commit in one event.
pub async fn a_watch_gives_every_change_once_in_order_from_its_revision(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let mut expected = Vec::new();
    for index in 0..20 {
        let writes = [write("a", &index.to_string()), write(&format!("b/{index}"), ""), write("c", "")];
        let revision = store.commit(Commit::new([], writes.clone()).unwrap()).await.unwrap();
        expected.push(event(revision, writes));
    }
    let mut open = Vec::new();
    for begin in [0, 7, 19] {
        open.push((begin, watch(&*store, "", expected[begin].revision).await));
    }
    // From a revision that is yet to come.
    open.push((20, watch(&*store, "", expected[19].revision.next()).await));
    let revision = delete(&*store, "b/3").await;
    expected.push(event(revision, [Write::Delete(path("b/3"))]));
    for (begin, mut watch) in open {
        for expected in &expected[begin..] {
            assert_eq!(&sorted(watch.next().await.unwrap()), expected, "from {begin}");
        }
    }
}

/// Commits that touch nothing under the prefix are passed over.
pub async fn a_watch_gives_only_what_is_under_its_prefix(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let mut watch = watch(&*store, "k/", Revision(0)).await;
    put(&*store, "k", "").await;
    put(&*store, "k0", "").await;
    let writes = [write("a", ""), write("k/a", ""), write("k/b", ""), write("l", "")];
    let first = store.commit(Commit::new([], writes).unwrap()).await.unwrap();
    delete(&*store, "l").await;
    let second = delete(&*store, "k/a").await;
    assert_eq!(sorted(watch.next().await.unwrap()), event(first, [write("k/a", ""), write("k/b", "")]));
    assert_eq!(watch.next().await.unwrap(), event(second, [Write::Delete(path("k/a"))]));
}

/// Waiting for the next event can be given up at any time.
pub async fn a_watch_waits_for_what_is_to_come_and_loses_nothing_when_dropped_waiting(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let mut watch = watch(&*store, "", Revision(0)).await;
    for index in 0..50 {
        let short = std::time::Duration::from_micros(50);
        assert!(tokio::time::timeout(short, watch.next()).await.is_err(), "an event before there was a commit");
        let value = index.to_string();
        let revision = put(&*store, "a", &value).await;
        assert_eq!(watch.next().await.unwrap(), event(revision, [write("a", &value)]));
    }
}

/// A reader that lists and then follows ends with what is there, while others write all the time.
pub async fn a_list_and_a_watch_from_its_next_revision_miss_nothing(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for index in 0..100 {
                put(&*store, &format!("k/{writer}/{}", index % 5), &index.to_string()).await;
            }
        });
    }
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        readers.spawn(async move {
            let page = page(&*store, "", None, usize::MAX).await;
            let mut map: std::collections::BTreeMap<_, _> =
                page.entries.into_iter().map(|entry| (entry.path, entry.value)).collect();
            let mut watch = watch(&*store, "", page.revision.next()).await;
            loop {
                let event = watch.next().await.unwrap();
                for write in event.writes {
                    match write {
                        Write::Put(path, value) if path.as_str() == "end" => {
                            assert_eq!(value, "");
                            return map;
                        }
                        Write::Put(path, value) => drop(map.insert(path, value)),
                        Write::Delete(path) | Write::Erase(path) => drop(map.remove(&path)),
                    }
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let there: std::collections::BTreeMap<_, _> =
        everything(&*store).await.into_iter().map(|entry| (entry.path, entry.value)).collect();
    assert_eq!(there.len(), 20);
    // Readers that begin only now see it all in their list, and need an event to end.
    let end = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                put(&*store, "end", "").await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
    while let Some(map) = readers.join_next().await {
        let mut map = map.unwrap();
        map.remove(&path("end"));
        assert_eq!(map, there);
    }
    end.abort();
}

/// Many tasks increment few counters by compare-and-set: every success counts, and counts once.
pub async fn contended_counters_lose_no_increment(fresh: Fresh<'_>) {
    const TASKS: usize = 16;
    const INCREMENTS: usize = 20;
    let store = fresh()().await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let counter = path(&format!("counter/{}", task % 2));
            for _ in 0..INCREMENTS {
                loop {
                    let (expect, value) = match store.get(&counter).await.unwrap() {
                        None => (Expect::Absent, 0),
                        Some(entry) => {
                            let text = std::str::from_utf8(&entry.value).unwrap();
                            (Expect::At(entry.revision), text.parse::<usize>().unwrap())
                        }
                    };
                    let write = Write::Put(counter.clone(), (value + 1).to_string().into());
                    match store.commit(Commit::new([(counter.clone(), expect)], [write]).unwrap()).await {
                        Ok(_) => break,
                        Err(CommitError::Conflict { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let expected = Bytes::from((TASKS / 2 * INCREMENTS).to_string());
    for entry in everything(&*store).await {
        assert_eq!(entry.value, expected, "{}", entry.path);
    }
}

/// What commits answered, put in the order of their revisions, is what a watch tells and what is there at the end.
pub async fn concurrent_commits_have_one_serial_order(fresh: Fresh<'_>) {
    let store = fresh()().await;
    let mut watch = watch(&*store, "", Revision(0)).await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for index in 0..25 {
                let value = format!("{task}-{index}");
                let writes = [write("x", &value), write(&format!("y/{}", index % 3), &value)];
                let revision = store.commit(Commit::new([], writes.clone()).unwrap()).await.unwrap();
                done.push(event(revision, writes));
            }
            assert!(done.is_sorted_by(|earlier, later| earlier.revision < later.revision));
            done
        });
    }
    let mut expected: Vec<Event> = tasks.join_all().await.into_iter().flatten().collect();
    expected.sort_by_key(|event| event.revision);
    let mut last = std::collections::BTreeMap::new();
    for expected in &expected {
        assert_eq!(&sorted(watch.next().await.unwrap()), expected);
        for write in &expected.writes {
            let Write::Put(path, value) = write else { unreachable!("only puts are written") };
            last.insert(path.clone(), Entry { path: path.clone(), value: value.clone(), revision: expected.revision });
        }
    }
    assert!(expected.is_sorted_by(|earlier, later| earlier.revision < later.revision), "two have one revision");
    assert_eq!(everything(&*store).await, last.into_values().collect::<Vec<_>>());
}

/// Entries and revisions survive; a watch from before is refused or complete, never with a gap.
pub async fn what_is_acknowledged_is_there_after_opening_again(fresh: Fresh<'_>) {
    let place = fresh();
    let store = place().await;
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "b", "2").await;
    drop(store);
    let store = place().await;
    assert_eq!(everything(&*store).await, [entry("a", "1", first), entry("b", "2", second)]);
    assert_eq!(page(&*store, "", None, 1).await.revision, second);
    let third = put(&*store, "a", "3").await;
    assert!(second < third);
    match store.watch(&Prefix::all(), second).await {
        Ok(mut watch) => assert_eq!(watch.next().await.unwrap(), event(second, [write("b", "2")])),
        Err(WatchError::Compacted { oldest }) => assert!(second < oldest && oldest <= third),
        Err(error) => panic!("{error}"),
    }
    let mut watch = watch(&*store, "", third).await;
    assert_eq!(watch.next().await.unwrap(), event(third, [write("a", "3")]));
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn write(path_text: &str, value: &str) -> Write {
    Write::Put(path(path_text), Bytes::copy_from_slice(value.as_bytes()))
}

fn entry(path_text: &str, value: &str, revision: Revision) -> Entry {
    Entry { path: path(path_text), value: Bytes::copy_from_slice(value.as_bytes()), revision }
}

fn event(revision: Revision, writes: impl Into<Vec<Write>>) -> Event {
    sorted(Event { revision, writes: writes.into() })
}

/// The order of an event's writes has no meaning.
fn sorted(mut event: Event) -> Event {
    event.writes.sort_by(|one, other| one.path().cmp(other.path()));
    event
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

async fn put(store: &dyn Store, path: &str, value: &str) -> Revision {
    store.commit(Commit::new([], [write(path, value)]).unwrap()).await.unwrap()
}

async fn delete(store: &dyn Store, text: &str) -> Revision {
    store.commit(Commit::new([], [Write::Delete(path(text))]).unwrap()).await.unwrap()
}

async fn page(store: &dyn Store, prefix: &str, after: Option<&Path>, limit: usize) -> crate::Page {
    store.list(&Prefix::parse(prefix).unwrap(), after, limit).await.unwrap()
}

async fn everything(store: &dyn Store) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    loop {
        let after = found.last().map(|entry| entry.path.clone());
        let page = page(store, "", after.as_ref(), 1000).await;
        found.extend(page.entries);
        if !page.more {
            return found;
        }
    }
}

async fn watch(store: &dyn Store, prefix: &str, from: Revision) -> Watch {
    store.watch(&Prefix::parse(prefix).unwrap(), from).await.unwrap()
}
