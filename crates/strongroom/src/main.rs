//! The one binary: `dev` and `serve` run a node in this process, `status` and `dev clock` ask a running one over the
//! owner's socket, and everything else is a client (crate `cli`).

mod arguments;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};
use serde_json::Value;
use server::local_socket::{Request, ask};

use arguments::{Arguments, ClockCommand, Command, DevArguments, DevCommand, ServeArguments, StatusArguments};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Command::Dev(dev) => match dev.command {
            Some(DevCommand::Clock { command, data }) => clock(command, &data),
            None => run_dev(&dev, matches.subcommand_matches("dev")),
        },
        Command::Serve(serve) => run_serve(&serve),
        Command::Status(status) => show_status(&status),
        Command::Client(client) => match *client {
            cli::Command::Completions { shell } => completions(shell),
            other => cli::run(other),
        },
    };
    outcome.unwrap_or_else(|error| {
        // Sources on one line, so that a log or a script gets the whole of it.
        eprintln!("strongroom: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_dev(dev: &DevArguments, matches: Option<&clap::ArgMatches>) -> anyhow::Result<ExitCode> {
    let options = dev.options(matches)?;
    runtime()?.block_on(server::dev::dev(options))?;
    Ok(ExitCode::SUCCESS)
}

fn run_serve(serve: &ServeArguments) -> anyhow::Result<ExitCode> {
    match &serve.config {
        Some(config) if !serve.print_config => runtime()?.block_on(server::serve::serve(config))?,
        _ => print(server::config::print_config())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_status(status: &StatusArguments) -> anyhow::Result<ExitCode> {
    print_json(&ask(&status.socket()?, &Request::Status)?)
}

fn clock(command: ClockCommand, data: &std::path::Path) -> anyhow::Result<ExitCode> {
    let request = match command {
        ClockCommand::Show => Request::ClockShow,
        ClockCommand::Advance { by } => Request::ClockAdvance { by },
    };
    print_json(&ask(&server::dev::control_socket(data), &request)?)
}

/// Completions of this program, which has more commands than its client part.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    cli::completions(shell, Arguments::command())?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. Whoever has read enough of it may go away.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// One worker thread per core.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}
