//! A pool with many keys against one with ten.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use store::{Embedded, Prefix, Store};

use crate::arithmetic::Operation;
use crate::figures::{Bench, median, noted};
use crate::load::{Requests, closed_loop};
use crate::process::Child;
use crate::strongroom::{POOL, Strongroom};
use crate::table::{Bar, Row, Table, rate};

/// The keys of the pool that is compared with.
const FEW: usize = 10;

/// Keys of the large pool that are used at random.
const SAMPLE: usize = 1000;

/// The longest start, and the memory beyond its sealed size that a key may take.
const LONGEST_START: Duration = Duration::from_secs(2);
const BYTES_A_KEY: f64 = 1024.0;

/// Start, memory and throughput.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let keys = bench.plan.keys;
    let (few, many) = (bench.folder.join("few"), bench.folder.join("many"));

    let server = Strongroom::start(&bench.server, &few, bench.cores).await?;
    let mut few_keys = Vec::new();
    for number in 0..FEW {
        few_keys.push(server.client.create(&format!("few-{number}"), Operation::EcSign).await?);
    }
    drop(server);
    let few_sealed = sealed_bytes(&few).await?;

    // Founds the pool, which is then filled while no server runs.
    let server = Strongroom::start(&bench.server, &many, bench.cores).await?;
    let principal = server.client.principal.clone();
    drop(server);
    let begun = Instant::now();
    let sample = fill(bench, &many, &principal)?;
    table.note(format!("- {keys} keys were made in {:.0} s, each with its own commit.", begun.elapsed().as_secs_f64()));
    let sealed = (sealed_bytes(&many).await?).saturating_sub(few_sealed) as f64;

    let few = Strongroom::start(&bench.server, &few, bench.cores).await?;
    few.child.until_idle().await?;
    let few_resident = few.child.resident()?;
    let many = Strongroom::start(&bench.server, &many, bench.cores).await?;
    table.add(Row {
        figure: format!("start with {keys} keys"),
        ours: format!("{:.2} s", many.ready.as_secs_f64()),
        reference: format!("{FEW} keys {:.2} s", few.ready.as_secs_f64()),
        ratio: many.ready.as_secs_f64() / LONGEST_START.as_secs_f64(),
        bar: Bar::AtMost(1.0),
        judged: bench.plan.full,
    });
    many.child.until_idle().await?;
    let more = many.child.resident()?.saturating_sub(few_resident) as f64;
    let allowed = sealed + BYTES_A_KEY * keys as f64;
    table.add(Row {
        figure: format!("memory of {keys} keys"),
        ours: format!("{:.0} bytes a key", more / keys as f64),
        reference: format!("sealed {:.0} + 1024 bytes a key", sealed / keys as f64),
        ratio: more / allowed,
        bar: Bar::AtMost(1.0),
        judged: true,
    });

    let one: Requests = Arc::new(vec![many.client.request(Operation::EcSign, &sample[sample.len() / 2])]);
    let each = |server: &Strongroom, keys: &[String]| -> Requests {
        Arc::new(keys.iter().map(|key| server.client.request(Operation::EcSign, key)).collect())
    };
    let (few_requests, many_requests) = (each(&few, &few_keys), each(&many, &sample));
    let (mut few_rates, mut one_rates, mut many_rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.plan.rounds {
        for (server, requests, rates) in [
            (&few, &few_requests, &mut few_rates),
            (&many, &one, &mut one_rates),
            (&many, &many_requests, &mut many_rates),
        ] {
            let turn = closed_loop(&server.child, &server.client.target, requests, bench.plan.window).await?;
            rates.push(noted(turn, "many keys", table));
        }
    }
    let few_rate = median(few_rates);
    for (what, many_rate) in
        [("one".to_owned(), median(one_rates)), (format!("{} random", sample.len()), median(many_rates))]
    {
        table.add(Row {
            figure: format!("ES256 sign with {what} of {keys} keys"),
            ours: rate(many_rate),
            reference: format!("random of {FEW} keys {}", rate(few_rate)),
            ratio: many_rate / few_rate,
            bar: Bar::AtLeast(0.90),
            judged: true,
        });
    }
    Ok(())
}

/// Makes the keys in a process of its own; answers a sample of them.
fn fill(bench: &Bench, folder: &Path, principal: &str) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(std::env::current_exe()?);
    let (keys, sample) = (bench.plan.keys, SAMPLE.min(bench.plan.keys));
    command.args(["fill", "--pool", POOL, "--principal", principal, "--data"]).arg(folder);
    command.args(["--keys", &keys.to_string(), "--sample", &sample.to_string()]).stdout(Stdio::piped());
    let mut child = Child::start("filling", &mut command, bench.cores)?;
    let mut named = String::new();
    child.output()?.read_to_string(&mut named)?;
    ensure!(child.wait()?.success(), "the pool could not be filled");
    Ok(named.lines().map(ToOwned::to_owned).collect())
}

/// The bytes of all values of the pool in `folder`.
async fn sealed_bytes(folder: &Path) -> anyhow::Result<u64> {
    let store = Embedded::open(&folder.join("store.redb"))?;
    let prefix = Prefix::parse(&format!("pools/{POOL}/")).context("the pool's name stands in paths")?;
    let (mut bytes, mut after) = (0, None);
    loop {
        let page = store.list(&prefix, after.as_ref(), 1000).await?;
        bytes += page.entries.iter().map(|entry| entry.value.len() as u64).sum::<u64>();
        after = page.entries.last().map(|entry| entry.path.clone());
        if !page.more {
            return Ok(bytes);
        }
    }
}
