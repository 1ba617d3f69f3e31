//! Ratios against references measured in the same run; see `README.md` beside this crate.
//!
//! One run starts the server and its references in turn on one core, loads them from another, and prints a table. It
//! is no test: it fails only where it cannot run.

mod arithmetic;
mod bare;
mod commits;
mod figures;
mod fill;
mod http1;
mod load;
mod machine;
mod many_keys;
mod process;
mod strongroom;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};

use figures::Bench;
use machine::Cores;
use table::Table;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the server against the library alone and against a bare server.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Shorter windows, fewer keys: shows that everything runs, and little else.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Longer windows and 100,000 keys, as the bars are stated.
    #[arg(long)]
    full: bool,
    /// Exit with 1 if a bar is missed.
    #[arg(long)]
    check: bool,
    /// Only these figures (repeatable).
    #[arg(long, value_enum)]
    only: Vec<figures::Group>,
    /// Of the figures about requests only those of this operation (repeatable): for a profiler, say.
    #[arg(long, value_enum)]
    operation: Vec<arithmetic::Operation>,
    /// The server to measure; built by cargo if absent.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where to keep data for the time of the run; must be on a disk. Beside this program if absent.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does when it is started by itself.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Bare(bare::BareArguments),
    #[command(hide = true)]
    Fill(fill::FillArguments),
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Times that each side of a comparison has its turn.
    pub(crate) rounds: usize,
    /// How long one turn is counted.
    pub(crate) window: Duration,
    /// How long signing is watched while keys are created beside it.
    pub(crate) creation: Duration,
    /// How many keys are many.
    pub(crate) keys: usize,
    /// Whether that is the number that the bars are stated for.
    pub(crate) full: bool,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let seconds = Duration::from_secs_f64;
        match (arguments.quick, arguments.full) {
            (true, _) => Self { rounds: 1, window: seconds(0.6), creation: seconds(4.0), keys: 1_000, full: false },
            (_, true) => Self { rounds: 5, window: seconds(5.0), creation: seconds(30.0), keys: 100_000, full: true },
            _ => Self { rounds: 3, window: seconds(3.0), creation: seconds(14.0), keys: 10_000, full: false },
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::tls::install_provider();
    let outcome = match &arguments.role {
        Some(Role::Bare(bare)) => bare::serve(bare).map(|()| ExitCode::SUCCESS),
        Some(Role::Fill(fill)) => fill::fill(fill).map(|()| ExitCode::SUCCESS),
        None => run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let cores = Cores::of_this_machine()?;
    let server = match &arguments.server {
        Some(server) => server.clone(),
        None => built_server()?,
    };
    ensure!(server.is_file(), "{} is no file: name the server with --server", server.display());
    // From here on everything in this process is load.
    machine::stay_on(cores.load)?;
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => {
            let program = std::env::current_exe().context("where is this program?")?;
            program.parent().context("a program lies in a folder")?.to_owned()
        }
    };
    ensure!(!machine::in_memory(&folder)?, "{} is in memory: name a --folder on a disk", folder.display());
    let folder = tempfile::Builder::new().prefix("bench-data-").tempdir_in(folder)?;
    let bench = Bench { plan: Plan::of(arguments), cores, server, folder: folder.path().to_owned() };

    let mut table = Table::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = figures::measure(&bench, &arguments.only, &arguments.operation, &mut table) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    println!("{}", table.markdown(&machine::description(cores), begun.elapsed()));
    Ok(if arguments.check && table.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The server beside this program, brought up to date if cargo started us.
fn built_server() -> anyhow::Result<PathBuf> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        let status = std::process::Command::new(cargo).args(["build", "--release", "-p", "strongroom"]).status()?;
        ensure!(status.success(), "the server does not build");
    }
    Ok(std::env::current_exe().context("where is this program?")?.with_file_name("strongroom"))
}
