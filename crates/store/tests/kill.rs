//! A process that is killed while it commits.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use store::{Commit, Embedded, Path, Store, Write};

const ROUNDS: usize = 12;
/// Set for the process to be killed: the store's file, and the number of the round.
const FILE: &str = "STORE_KILL_FILE";
const ROUND: &str = "STORE_KILL_ROUND";

/// The test runs itself as the process to be killed, and reads from it the paths that were acknowledged.
#[test]
fn every_commit_that_a_killed_process_had_acknowledged_is_there() {
    if let Ok(file) = std::env::var(FILE) {
        return commit_until_killed(&file, &std::env::var(ROUND).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let before = acknowledged.len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_commit_that_a_killed_process_had_acknowledged_is_there", "--nocapture"])
            .env(FILE, &file)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut paths = lines.filter_map(|line| Some(line.ok()?.strip_prefix("acknowledged ")?.to_owned()));
        // From the first commit on, so that the kill always meets commits under way.
        acknowledged.extend(paths.next());
        std::thread::sleep(Duration::from_millis(7 + 61 * (round as u64 * 7 % 5)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        acknowledged.extend(paths);
        assert!(acknowledged.len() > before, "round {round}");

        let store = Embedded::open(&file).unwrap();
        for text in &acknowledged {
            let entry = block_on(store.get(&Path::parse(text).unwrap())).unwrap();
            assert_eq!(entry.map(|entry| entry.value), Some(text.clone().into()), "round {round}");
        }
    }
}

fn commit_until_killed(file: &str, round: &str) {
    let store = Arc::new(Embedded::open(file.as_ref()).unwrap());
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let (store, round) = (store.clone(), round.to_owned());
            tasks.spawn(async move {
                for number in 0.. {
                    let text = format!("r/{round}/{task}/{number}");
                    let own = Write::Put(Path::parse(&text).unwrap(), text.clone().into());
                    let shared = Write::Put(Path::parse("shared").unwrap(), vec![0; 5000].into());
                    store.commit(Commit::new([], [own, shared]).unwrap()).await.unwrap();
                    println!("acknowledged {text}");
                }
            });
        }
        tasks.join_all().await
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
