//! The command line of a pool: a client over HTTP, and offline work on audit logs.
//!
//! # Terms
//!
//! A command reaches a pool through a *connection*: one pool, one caller, one token that lives no longer than the
//! command. Which pool and which caller is *configuration*, gathered from flags, an environment file, the environment
//! and `~/.config/strongroom/config.toml`. Answers are shown as tables for people or as the service's JSON; results
//! that are bytes can go to a file instead.
//!
//! The published interface has a document per part, and so has this crate: `keys`, `rbac`, `settings`.
//!
//! # Example
//!
//! ```no_run
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Program {
//!     #[command(subcommand)]
//!     command: cli::Command,
//! }
//!
//! fn main() -> anyhow::Result<std::process::ExitCode> {
//!     cli::run(Program::parse().command)
//! }
//! ```
//!
//! # What it never does
//!
//! It takes no secret as an argument, keeps none on the disk and shows none. It sends the client secret to no authority
//! that is not configured or in the pool's own domain, follows no redirect, and goes on to no page outside the pool.
//! What a pool or a log says reaches the terminal without control characters. It has no way into a pool but the public
//! interface.

mod audit_logs;
mod challenge;
mod configuration;
mod connection;
mod error;
pub mod fuzzing;
mod keys;
mod rbac;
mod settings;
mod surroundings;
mod text;
#[cfg(test)]
mod transcripts;
mod values;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Subcommand;
use clap_complete::Shell;

use audit_logs::AuditCommand;
use configuration::ConnectionArgs;
use connection::Connection;
use error::Error;
use keys::KeyCommand;
use rbac::RoleCommand;
use settings::SettingCommand;
use surroundings::Surroundings;

/// What the command line can do with a pool and with audit logs.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make and use keys
    Key {
        /// Which pool, as whom.
        #[command(flatten)]
        connection: ConnectionArgs,
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Say who may do what
    Role {
        /// Which pool, as whom.
        #[command(flatten)]
        connection: ConnectionArgs,
        /// What to do.
        #[command(subcommand)]
        command: RoleCommand,
    },
    /// Show and change settings of the pool
    Setting {
        /// Which pool, as whom.
        #[command(flatten)]
        connection: ConnectionArgs,
        /// What to do.
        #[command(subcommand)]
        command: SettingCommand,
    },
    /// Check and read audit logs, without a pool
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write completions for a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Does what `command` says, on the standard streams, and gives the exit code: 0; 1 for a refusal, a failure or a
/// signature or log that is not good; 2 for a command line that cannot be. What went wrong is said in one line on
/// standard error.
///
/// Must not be called from asynchronous code, since it waits for the network itself.
///
/// # Errors
/// If the threads and files that waiting takes cannot be had.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Fails where a provider is installed already, which is then the process's own choice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut input, mut output, mut errors) = (io::stdin().lock(), io::stdout().lock(), io::stderr());
    let mut around = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        input: Some(&mut input),
        output: &mut output,
        errors: &mut errors,
        prompt: &|question| {
            if io::stdin().is_terminal() {
                rpassword::prompt_password(question)
            } else {
                Err(io::ErrorKind::Unsupported.into())
            }
        },
    };
    let code = runtime.block_on(execute(command, &mut around));
    // Names are looked up on threads of their own; one that hangs must not keep the program.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Writes completions of `program` for `shell` to standard output. [`run`] knows the commands of this crate alone; a
/// program that has more of them calls this with its own command.
///
/// # Errors
/// If standard output cannot be written.
pub fn completions(shell: Shell, mut program: clap::Command) -> io::Result<()> {
    io::stdout().write_all(&completion_script(shell, &mut program))
}

fn completion_script(shell: Shell, program: &mut clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, program, "strongroom", &mut script);
    script
}

/// Does what `command` says, reports what went wrong, and gives the exit code.
async fn execute(command: Command, around: &mut Surroundings<'_>) -> u8 {
    let done = attempt(command, around).await;
    let flushed = around.output.flush().map_err(|source| Error::file("standard output", source));
    match done.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        // Whoever read our output has had enough of it.
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => 1,
        Err(error) => {
            // There is nowhere left to say that standard error cannot be written.
            let _ = writeln!(around.errors, "{}", error.line());
            error.exit()
        }
    }
}

async fn attempt(command: Command, around: &mut Surroundings<'_>) -> Result<u8, Error> {
    match command {
        Command::Key { connection, command } => {
            let mut connection = Connection::new(connection.gather(around)?)?;
            keys::run(command, &mut connection, around).await
        }
        Command::Role { connection, command } => {
            let mut connection = Connection::new(connection.gather(around)?)?;
            rbac::run(command, &mut connection, around).await.map(|()| 0)
        }
        Command::Setting { connection, command } => {
            let mut connection = Connection::new(connection.gather(around)?)?;
            settings::run(command, &mut connection, around).await.map(|()| 0)
        }
        Command::Audit(command) => audit_logs::run(command, around),
        Command::Completions { shell } => {
            let mut program = Command::augment_subcommands(clap::Command::new("strongroom"));
            around.write(&completion_script(shell, &mut program)).map(|()| 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_completions_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut program = Command::augment_subcommands(clap::Command::new("strongroom"));
            let script = String::from_utf8(completion_script(shell, &mut program)).unwrap();
            for word in ["list-deleted", "rotation-policy", "assignment", "setting", "verify", "client-id"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn the_commands_are_well_formed() {
        Command::augment_subcommands(clap::Command::new("strongroom")).debug_assert();
    }
}
