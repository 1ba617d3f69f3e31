//! Every figure: what is measured against what, in turns, so that noise hits both sides.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::arithmetic::{Arithmetic, Operation};
use crate::http1::{Connection, Target};
use crate::load::{Requests, Throughput, closed_loop, fixed_rate, p99};
use crate::machine::Cores;
use crate::process::Child;
use crate::strongroom::Strongroom;
use crate::table::{Bar, Row, Table, millis, rate};
use crate::{Plan, commits, many_keys};

/// How often a key is made beside signing.
const CREATION_EVERY: Duration = Duration::from_secs(2);

/// Above this share of its core the load may be what limits the server.
const LOAD_LIMIT: f64 = 0.95;

/// Figures that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Group {
    /// Throughput, and latency at half of it.
    Requests,
    /// Signing while RSA keys are made.
    Creation,
    /// Start, memory and throughput with many keys.
    ManyKeys,
}

/// What every figure needs.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) cores: Cores,
    /// The server's program.
    pub(crate) server: PathBuf,
    /// Where data lies for the time of the run.
    pub(crate) folder: PathBuf,
}

/// Measures all `only`, or everything if it is empty; requests of all `operations`, likewise.
pub(crate) async fn measure(
    bench: &Bench,
    only: &[Group],
    operations: &[Operation],
    table: &mut Table,
) -> anyhow::Result<()> {
    let wanted = |group| only.is_empty() || only.contains(&group);
    if wanted(Group::Requests) || wanted(Group::Creation) {
        let folder = bench.folder.join("one");
        let server = Strongroom::start(&bench.server, &folder, bench.cores).await?;
        if wanted(Group::Requests) {
            let bars = [(Operation::RsaSign, 0.90), (Operation::EcSign, 0.75), (Operation::AesWrap, 0.60)];
            for (operation, bar) in bars {
                if !operations.is_empty() && !operations.contains(&operation) {
                    continue;
                }
                requests(bench, &server, &folder, operation, bar, table).await?;
            }
        }
        if wanted(Group::Creation) {
            for operation in [Operation::RsaSign, Operation::EcSign] {
                beside_creation(bench, &server, operation, table).await?;
            }
        }
    }
    if wanted(Group::ManyKeys) {
        many_keys::measure(bench, table).await?;
    }
    Ok(())
}

/// Throughput against the library (RSA) or the bare server, then latency at half of our throughput against the latter.
async fn requests(
    bench: &Bench,
    server: &Strongroom,
    folder: &Path,
    operation: Operation,
    bar: f64,
    table: &mut Table,
) -> anyhow::Result<()> {
    let Plan { rounds, window, .. } = bench.plan;
    let title = operation.title();
    let key = server.client.create(&format!("requests-{operation:?}"), operation).await?;
    let requests: Requests = Arc::new(vec![server.client.request(operation, &key)]);
    let ours = &server.client.target;
    let answer = Connection::open(ours).await?.exchange(&requests[0]).await?;
    let bare = Bare::start(bench, operation, answer, folder, ours)?;
    let library = Arithmetic::new(operation)?;
    server.child.until_idle().await?;

    let (mut our_rates, mut bare_rates, mut library_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_cost, mut bare_cost) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let turn = closed_loop(&server.child, ours, &requests, window).await?;
        our_cost.push(turn.core_time.as_secs_f64() * 1e6);
        our_rates.push(noted(turn, title, table));
        let turn = closed_loop(&bare.child, &bare.target, &requests, window).await?;
        bare_cost.push(turn.core_time.as_secs_f64() * 1e6);
        bare_rates.push(noted(turn, title, table));
        library_rates.push(bench.cores.on_server_core(|| library.rate(window / 2))??);
    }
    let (our_rate, bare_rate, library_rate) = (median(our_rates), median(bare_rates), median(library_rates));
    let (reference, named) = match operation {
        Operation::RsaSign => (library_rate, "library alone"),
        Operation::EcSign | Operation::AesWrap => (bare_rate, "bare server"),
    };
    table.add(Row {
        figure: format!("{title}, closed loop"),
        ours: rate(our_rate),
        reference: format!("{named} {}", rate(reference)),
        ratio: our_rate / reference,
        bar: Bar::AtLeast(bar),
        judged: true,
    });
    table.note(format!(
        "- {title}: library alone {}, bare server {}; core time an answer {:.1} µs, bare server {:.1} µs.",
        rate(library_rate),
        rate(bare_rate),
        median(our_cost),
        median(bare_cost),
    ));

    let half = our_rate / 2.0;
    let (mut our_times, mut bare_times, mut commit_times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_times.extend(fixed_rate(ours, &requests, half, window).await?);
        bare_times.extend(fixed_rate(&bare.target, &requests, half, window).await?);
        let commits = || commits::group_commits(&bench.folder, window / 3);
        commit_times.extend(bench.cores.on_server_core(commits)??);
    }
    let (our_time, bare_time, commit_time) = (p99(our_times), p99(bare_times), p99(commit_times));
    let allowed = bare_time.mul_f64(1.5) + commit_time;
    table.add(Row {
        figure: format!("{title}, p99 at {}", rate(half)),
        ours: millis(our_time),
        reference: format!("1.5 × {} + commit {}", millis(bare_time), millis(commit_time)),
        ratio: our_time.as_secs_f64() / allowed.as_secs_f64(),
        bar: Bar::AtMost(1.0),
        judged: true,
    });
    Ok(())
}

/// Signing with and without the creation of an RSA key every two seconds.
async fn beside_creation(
    bench: &Bench,
    server: &Strongroom,
    operation: Operation,
    table: &mut Table,
) -> anyhow::Result<()> {
    let Plan { window, creation, .. } = bench.plan;
    let title = operation.title();
    let client = &server.client;
    let key = client.create(&format!("creation-{operation:?}"), operation).await?;
    let requests: Requests = Arc::new(vec![client.request(operation, &key)]);

    server.child.until_idle().await?;
    let before = closed_loop(&server.child, &client.target, &requests, window).await?.rate;
    server.child.until_idle().await?;
    let begun = Instant::now();
    let mut creations = JoinSet::new();
    // The last is due early enough to be answered before the next would be.
    let due = (creation.as_secs_f64() / CREATION_EVERY.as_secs_f64()) as u32;
    for number in 0..due {
        let client = client.clone();
        let name = format!("beside-{operation:?}-{number}");
        creations.spawn(async move {
            tokio::time::sleep_until((begun + CREATION_EVERY * number).into()).await;
            let sent = Instant::now();
            client.create(&name, Operation::RsaSign).await.map(|_| sent.elapsed())
        });
    }
    let with = closed_loop(&server.child, &client.target, &requests, creation).await?.rate;
    let mut made_in_time = 0;
    let mut slowest = Duration::ZERO;
    let loaded_until = begun.elapsed();
    while let Some(made) = creations.try_join_next() {
        made_in_time += 1;
        slowest = slowest.max(made??);
    }
    while let Some(made) = creations.join_next().await {
        slowest = slowest.max(made??);
    }
    server.child.until_idle().await?;
    let after = closed_loop(&server.child, &client.target, &requests, window).await?.rate;

    let without = f64::midpoint(before, after);
    let sustained = made_in_time == due;
    table.add(Row {
        figure: format!("{title} beside one RSA-2048 creation every 2 s"),
        ours: rate(with),
        reference: format!("without {}", rate(without)),
        // Signing that starves the creations has not been measured beside them.
        ratio: if sustained { with / without } else { 0.0 },
        bar: Bar::AtLeast(0.85),
        judged: true,
    });
    table.note(format!(
        "- {title} beside creations: {made_in_time} of {due} keys made within the {:.0} s of load, the slowest in {}{}.",
        loaded_until.as_secs_f64(),
        millis(slowest),
        if sustained { "" } else { "; counted as missed, because creation was not sustained" },
    ));
    Ok(())
}

/// The bare server as a process, and the way to it.
struct Bare {
    child: Child,
    target: Target,
}

impl Bare {
    fn start(bench: &Bench, operation: Operation, answer: usize, folder: &Path, ours: &Target) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let name = operation.to_possible_value().context("every operation has a name")?;
        command.args(["bare", "--operation", name.get_name(), "--answer", &answer.to_string(), "--tls"]);
        command.arg(folder.join("tls")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::start("the bare server", &mut command, bench.cores)?;
        let mut port = String::new();
        BufReader::new(child.output()?).read_line(&mut port)?;
        let port = port.trim().parse().context("the bare server did not say its port")?;
        let mut target = ours.clone();
        target.address.set_port(port);
        Ok(Self { child, target })
    }
}

/// The rate of one turn, with a note if the load's own core was at its end.
pub(crate) fn noted(turn: Throughput, title: &str, table: &mut Table) -> f64 {
    if turn.load > LOAD_LIMIT {
        table.note(format!(
            "- {title}: the load used {:.0} % of its core and may be what was measured.",
            turn.load * 100.0
        ));
    }
    turn.rate
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
