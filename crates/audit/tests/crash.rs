//! A process that is killed while it appends loses nothing that it acknowledged.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use audit::{Class, Node, Options, Record, read, verify};
use common::{journal_key, options, origin, record, signer};

const FOLDER: &str = "AUDIT_CRASH_FOLDER";
const START: &str = "AUDIT_CRASH_START";

/// The victim: appends until it is killed, and says which index each record was acknowledged at.
fn append_until_killed(folder: &str) {
    let start: u64 = std::env::var(START).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = Options { checkpoint_interval: Duration::from_millis(15), ..options() };
    let node = Node::open(Path::new(folder), options, journal_key(1)).unwrap();
    let log = node.log(&origin("a"), signer(1)).unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..8 {
            let log = log.clone();
            tasks.push(tokio::spawn(async move {
                for n in (start + task..).step_by(8) {
                    let index = if n % 5 == 0 {
                        log.append_once(&record(n), log.size()).await.unwrap()
                    } else {
                        log.append(&record(n), Class::Authenticated).await.unwrap()
                    };
                    println!("\nacknowledged {index} {n}");
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// The test runs itself as the process to be killed.
#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return append_until_killed(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_loses_nothing_acknowledged", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(START, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 300 + 211 * usize::try_from(round).unwrap();
        let mut seen = 0;
        for line in lines {
            let Ok(line) = line else { break };
            let mut words = line.split(' ');
            if words.next() != Some("acknowledged") {
                continue;
            }
            // The last line of a killed process may be torn.
            let (Some(index), Some(n), None) = (words.next(), words.next(), words.next()) else { continue };
            if seen < enough {
                assert_eq!(acknowledged.insert(index.parse().unwrap(), n.parse().unwrap()), None, "{line}");
            }
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
            }
        }
        assert!(seen >= enough, "the victim ended by itself");
        child.wait().unwrap();

        let node = Node::open(folder.path(), options(), journal_key(1)).unwrap();
        let log = node.log(&origin("a"), signer(1)).unwrap();
        drop(node);
        let log_folder = folder.path().join(log.origin().folder());
        let report = verify(&log_folder, None).unwrap();
        let stored: HashMap<u64, Record> = read(&log_folder, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(report.size, stored.len() as u64);
        for (index, n) in &acknowledged {
            assert_eq!(stored.get(index), Some(&record(*n)), "round {round}, index {index}");
        }
    }
}
