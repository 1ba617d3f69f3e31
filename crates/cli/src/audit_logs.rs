//! `strongroom audit`: check and read audit logs where they lie, with no access to a pool.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use audit::{Filter, OutcomeFilter, Record, Records, VerifierKey, VerifyError};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::KeyName;

use crate::configuration::Format;
use crate::error::Error;
use crate::surroundings::Surroundings;
use crate::text::{Table, printable, printable_json};
use crate::values::{self, Time};

/// The file by which a folder is known as a log's.
const LOG_KEY: &str = "log.vkey";

/// What can be done with audit logs.
#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Check that no record was changed, removed or put in between; exit code 1 if one was
    Verify(VerifyArgs),
    /// Show records, of several logs in the order of their times; nothing is checked
    Show(ShowArgs),
}

/// Which logs to check.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Folders of logs, or of nodes with all their logs
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Key that a log must be signed with, as it stands in its file log.vkey. Without one a log is only held to agree
    /// with itself. May be repeated; every log then needs one
    #[arg(long = "key", value_name = "VKEY", value_parser = verifier_key)]
    keys: Vec<(VerifierKey, String)>,
}

/// Which records to show.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Folders of logs, or of nodes with all their logs
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Not before this time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    since: Option<Time>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    until: Option<Time>,
    /// Object id, application or user principal name of the caller
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// Name of the key
    #[arg(long, value_name = "NAME", value_parser = values::key_name)]
    key: Option<KeyName>,
    /// Operation, such as KeySign
    #[arg(long)]
    operation: Option<String>,
    /// How it ended: success, failure, or an HTTP status
    #[arg(long, value_parser = outcome)]
    outcome: Option<OutcomeFilter>,
    /// How to show the records; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// Does what `command` says and gives the exit code.
pub(crate) fn run(command: AuditCommand, around: &mut Surroundings<'_>) -> Result<u8, Error> {
    match command {
        AuditCommand::Verify(args) => verify(&args, around),
        AuditCommand::Show(args) => show(&args, around).map(|()| 0),
    }
}

/// Checks every log, the others too if one is not good.
fn verify(args: &VerifyArgs, around: &mut Surroundings<'_>) -> Result<u8, Error> {
    let logs = logs(&args.folders)?;
    let mut code = 0;
    for folder in &logs {
        let checked = key_of(folder, &args.keys, logs.len()).and_then(|key| {
            audit::verify(folder, key).map_err(|source| Error::Audit { folder: folder.clone(), source })
        });
        match checked {
            Ok(report) => {
                let times = report.times.map(|(first, last)| format!("{} to {}", moment(first), moment(last)));
                let unsigned = report.size - report.signed;
                let facts = Table::facts([
                    ("Log", Some(report.origin.as_str().to_owned())),
                    ("Verified", Some(format!("{} records", report.size))),
                    ("Not yet signed", (unsigned > 0).then(|| format!("the last {unsigned}"))),
                    ("From", times),
                    ("Checkpoints", Some(report.checkpoints.to_string())),
                    ("Root", Some(hex(&report.root))),
                    ("Key (SHA-256)", Some(report.key_fingerprint)),
                    (
                        "Signed by",
                        args.keys
                            .is_empty()
                            .then(|| "the key in its own folder; to hold it to a known one give --key".to_owned()),
                    ),
                ]);
                facts.write(around.output).map_err(|source| Error::file("standard output", source))?;
            }
            Err(error) => {
                // There is nowhere left to say that standard error cannot be written.
                let _ = writeln!(around.errors, "{}", error.line());
                code = 1;
            }
        }
    }
    Ok(code)
}

fn show(args: &ShowArgs, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let filter = Filter {
        from: args.since.map(|time| time.0.saturating_mul(1000)),
        until: args.until.map(|time| time.0.saturating_mul(1000)),
        caller: args.caller.clone(),
        key: args.key.as_ref().map(|key| key.as_str().to_owned()),
        operation: args.operation.clone(),
        outcome: args.outcome,
    };
    let mut logs = logs(&args.folders)?
        .into_iter()
        .map(|folder| match audit::read(&folder, 0) {
            Ok(records) => Ok((folder, records.peekable())),
            Err(source) => Err(Error::Audit { folder, source }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if args.output == Format::Table {
        around
            .print(&row(["TIME", "OPERATION", "STATUS", "CALLER", "SOURCE", "SCOPE AND VERSION"].map(Cow::Borrowed)))?;
    }
    while let Some(next) = earliest(&mut logs) {
        let record = next?;
        if filter.matches(&record) {
            around.print(&match args.output {
                Format::Table => line(&record),
                Format::Json => json_line(&record),
            })?;
        }
    }
    Ok(())
}

/// Takes the earliest of the next records. A log that fails comes first, so that nothing is shown out of order behind
/// it.
fn earliest(logs: &mut [(PathBuf, Peekable<Records>)]) -> Option<Result<Record, Error>> {
    let time =
        |log: &mut Peekable<Records>| log.peek().map(|next| next.as_ref().map_or(i64::MIN, |(_, record)| record.time));
    let (_, which) = logs.iter_mut().enumerate().filter_map(|(i, (_, log))| time(log).map(|time| (time, i))).min()?;
    let (folder, log) = &mut logs[which];
    let next = log.next()?;
    Some(next.map(|(_, record)| record).map_err(|source| Error::Audit { folder: folder.clone(), source }))
}

/// The folders of logs that `folders` are or hold, in the order given and then by name.
fn logs(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for folder in folders {
        if folder.join(LOG_KEY).is_file() {
            found.push(folder.clone());
            continue;
        }
        let failed = |source| Error::file(folder.display(), source);
        let mut inside = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            inside.push(entry.map_err(failed)?.path());
        }
        inside.retain(|path| path.join(LOG_KEY).is_file());
        if inside.is_empty() {
            return Err(Error::Input(format!("{}: there is no audit log in this folder", folder.display())));
        }
        inside.sort();
        found.append(&mut inside);
    }
    Ok(found)
}

/// The key that the log in `folder` must be signed with: of several logs each needs the key of its own name.
fn key_of<'a>(folder: &Path, keys: &'a [(VerifierKey, String)], logs: usize) -> Result<Option<&'a str>, Error> {
    if let (1, [(_, text)]) = (logs, keys) {
        return Ok(Some(text));
    }
    let own = keys.iter().find(|(key, _)| folder.file_name().is_some_and(|name| *name == *key.origin().folder()));
    match own {
        Some((_, text)) => Ok(Some(text)),
        None if keys.is_empty() => Ok(None),
        None => Err(Error::Audit { folder: folder.to_owned(), source: VerifyError::OtherKey }),
    }
}

fn verifier_key(text: &str) -> Result<(VerifierKey, String), audit::NoteError> {
    VerifierKey::parse(text.as_bytes()).map(|key| (key, text.to_owned()))
}

fn outcome(text: &str) -> Result<OutcomeFilter, &'static str> {
    match text {
        "success" => Ok(OutcomeFilter::Succeeded),
        "failure" => Ok(OutcomeFilter::Failed),
        _ => {
            let status = text.parse().ok().filter(|status| (100..=599).contains(status));
            status.map(OutcomeFilter::Status).ok_or("an outcome is success, failure or an HTTP status")
        }
    }
}

/// A record in columns of fixed width, since a log is too long to be measured first.
fn line(record: &Record) -> String {
    let caller = match &record.caller {
        Some(caller) => caller.upn.as_ref().unwrap_or(&caller.principal).as_ref(),
        None => "-",
    };
    let status = match &record.code {
        Some(code) => format!("{} {code}", record.status),
        None => record.status.to_string(),
    };
    let operation = match record.count {
        Some(count) => format!("{} x{count}", record.operation),
        None => record.operation.to_string(),
    };
    let mut object = record.scope.as_deref().unwrap_or("-").to_owned();
    if let Some(version) = record.key_version {
        // Writing to a string cannot fail.
        let _ = write!(object, "/{version:032x}");
    }
    row([
        moment(record.time).into(),
        operation.into(),
        status.into(),
        caller.into(),
        record.source.map_or_else(|| "-".to_owned(), |source| source.to_string()).into(),
        object.into(),
    ])
}

fn row(cells: [Cow<'_, str>; 6]) -> String {
    let [time, operation, status, caller, source, object] = cells.map(|cell| printable(&cell));
    format!("{time:<24}  {operation:<22}  {status:<16}  {caller:<36}  {source:<15}  {object}\n")
}

fn json_line(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("texts, numbers and addresses have a JSON form");
    printable_json(&json) + "\n"
}

/// `2026-01-31T10:00:00.250Z` for milliseconds since 1970.
fn moment(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map_or_else(|_| milliseconds.to_string(), |time| format!("{time:.3}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
