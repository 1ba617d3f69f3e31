//! What a record costs: the audit log must not be what a signing node waits for.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::time::{Duration, Instant};

use audit::{Class, Node, Options};
use common::{origin, record, signer};
use rustix::time::{ClockId, clock_gettime};

const APPENDERS: u64 = 64;
const EACH: u64 = 1_000;

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_core_takes_twenty_thousand_records_a_second_with_all_that_belongs_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), Options::default()).unwrap();
    let log = node.log(&origin("a"), signer(1)).unwrap();
    let template = record(1);
    let (processor, wall, syncs) = (processor_time(), Instant::now(), node.syncs());
    let tasks: Vec<_> = (0..APPENDERS)
        .map(|task| {
            let (log, mut record) = (log.clone(), template.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    record.id = u128::from(task * EACH + n);
                    log.append(&record, Class::Authenticated).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let records = APPENDERS * EACH;
    let syncs = node.syncs() - syncs;
    let wall = wall.elapsed();
    // Tiles and checkpoints belong to the cost.
    node.close();
    let each = (processor_time() - processor) / u32::try_from(records).unwrap();
    println!("{each:?} of processor time a record, {records} records in {wall:?}, {syncs} syncs");
    assert!(each < Duration::from_micros(50), "{each:?} of processor time a record");
}
