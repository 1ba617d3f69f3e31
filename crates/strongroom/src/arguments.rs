//! What can be written on the command line.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use server::dev::{DevOptions, FurtherIssuer, LostLog, PoolName};

/// The open Managed HSM.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a development node: one pool, ready-made accounts, its own certificates.
    Dev(Box<DevArguments>),
    /// Run a node from a configuration file.
    Serve(ServeArguments),
    /// Show the status of the node that runs on this machine.
    Status(StatusArguments),
    #[command(flatten)]
    Client(Box<cli::Command>),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArguments {
    /// Port to listen on, at the loopback addresses.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Name of the pool.
    #[arg(long, default_value = "dev", value_parser = pool_name)]
    pool: PoolName,
    /// Keep nothing: data in memory, certificates and control socket in a temporary folder.
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// Where to keep everything.
    #[arg(long, value_name = "DIR", default_value = "./.strongroom")]
    data: PathBuf,
    /// Write the environment for programs here (mode 0600) once the pool is ready; what an earlier run wrote there is
    /// removed at once.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Do the first job and stop.
    #[arg(long)]
    once: bool,
    /// Trust the tokens of this issuer too (repeatable).
    #[arg(long, value_name = "URL")]
    issuer: Vec<String>,
    /// Add verification keys (a JWK set) to the issuer named before it, or else to the built-in one (repeatable).
    #[arg(long, value_name = "FILE")]
    jwks_file: Vec<PathBuf>,
    /// Trust this authority (PEM) when keys are fetched (repeatable).
    #[arg(long, value_name = "FILE")]
    trust_ca: Vec<PathBuf>,
    /// Go on if the audit folder has lost records or is gone; the loss is recorded.
    #[arg(long)]
    danger_accept_lost_log: bool,
    /// What to log on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Show or move the clock of the development node that runs on this machine.
    Clock {
        #[command(subcommand)]
        command: ClockCommand,
        /// The node's data folder, as its banner and its environment file name it.
        #[arg(
            long,
            global = true,
            value_name = "DIR",
            env = "STRONGROOM_DATA_FOLDER",
            default_value = "./.strongroom"
        )]
        data: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClockCommand {
    /// Show the time of the pools, and how far it is ahead.
    Show,
    /// Move the time of the pools forward.
    Advance {
        /// How far: P90D (ISO 8601) or 90d.
        by: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    pub(crate) config: Option<PathBuf>,
    /// Print a commented configuration with all defaults.
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// The configuration file of the node.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The data folder of the node.
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA_FOLDER", default_value = "./.strongroom")]
    data: PathBuf,
}

impl StatusArguments {
    /// Where the node's socket is.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(match &self.config {
            Some(config) => server::config::Config::read(config)?.control_socket(),
            None => server::dev::control_socket(&self.data),
        })
    }
}

impl DevArguments {
    /// The options; `matches` tell in which order issuers and key files stood.
    pub(crate) fn options(&self, matches: Option<&clap::ArgMatches>) -> anyhow::Result<DevOptions> {
        let places = |name| -> Vec<usize> {
            matches.and_then(|matches| matches.indices_of(name)).map(Iterator::collect).unwrap_or_default()
        };
        let (issuer_places, key_places) = (places("issuer"), places("jwks_file"));
        if issuer_places.len() != self.issuer.len() || key_places.len() != self.jwks_file.len() {
            bail!("the order of --issuer and --jwks-file is not known");
        }
        let mut issuers: Vec<_> =
            self.issuer.iter().map(|issuer| FurtherIssuer { issuer: issuer.clone(), keys: Vec::new() }).collect();
        let mut built_in_keys = Vec::new();
        for (file, place) in self.jwks_file.iter().zip(key_places) {
            // Issuers stand in the order in which they were named.
            let before = issuer_places.iter().filter(|issuer| **issuer < place).count();
            match before.checked_sub(1) {
                Some(latest) => issuers[latest].keys.push(file.clone()),
                None => built_in_keys.push(file.clone()),
            }
        }
        Ok(DevOptions {
            port: self.port,
            pool: self.pool.clone(),
            folder: (!self.ephemeral).then(|| self.data.clone()),
            env_file: self.env_file.clone(),
            once: self.once,
            issuers,
            built_in_keys,
            trust_ca: self.trust_ca.clone(),
            lost_log: if self.danger_accept_lost_log { LostLog::Accept } else { LostLog::Refuse },
            log: self.log.clone(),
        })
    }
}

fn pool_name(text: &str) -> Result<PoolName, String> {
    PoolName::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn options(line: &[&str]) -> DevOptions {
        let matches = Arguments::command().try_get_matches_from([&["strongroom", "dev"], line].concat()).unwrap();
        let Command::Dev(dev) = Arguments::from_arg_matches(&matches).unwrap().command else { panic!("not dev") };
        dev.options(matches.subcommand_matches("dev")).unwrap()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn keys_belong_to_the_issuer_named_before_them() {
        let options = options(&[
            "--jwks-file",
            "own.json",
            "--issuer",
            "https://a",
            "--jwks-file",
            "a1.json",
            "--jwks-file",
            "a2.json",
            "--issuer",
            "https://b",
            "--issuer",
            "https://c",
            "--jwks-file",
            "c.json",
        ]);
        assert_eq!(options.built_in_keys, [PathBuf::from("own.json")]);
        let keys: Vec<_> = options.issuers.iter().map(|issuer| (issuer.issuer.as_str(), issuer.keys.len())).collect();
        assert_eq!(keys, [("https://a", 2), ("https://b", 0), ("https://c", 1)]);
    }

    #[test]
    fn ephemeral_keeps_no_folder_and_names_none() {
        assert_eq!(options(&["--ephemeral"]).folder, None);
        assert_eq!(options(&[]).folder, Some(PathBuf::from("./.strongroom")));
        let both = Arguments::command().try_get_matches_from(["strongroom", "dev", "--ephemeral", "--data", "x"]);
        assert!(both.is_err());
    }

    #[test]
    fn serve_needs_a_configuration_or_prints_one() {
        assert!(Arguments::command().try_get_matches_from(["strongroom", "serve"]).is_err());
        assert!(Arguments::command().try_get_matches_from(["strongroom", "serve", "--print-config"]).is_ok());
    }
}
