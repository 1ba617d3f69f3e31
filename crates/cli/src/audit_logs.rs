//! `strongroom audit`: check and read audit logs where they lie, with no access to a pool.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use audit::{Checkpoint, Damage, Filter, Hash, OutcomeFilter, Record, Records, Report, VerifierKey, VerifyError};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::KeyName;
use uuid::Uuid;
use wire::base64url;

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
    /// File with checkpoints that were kept elsewhere: the log must still hold the records that they are about. Only
    /// this notices a log that the owner of its key wrote anew. May be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Prove that this record, by its index or its id, stands in the tree of the newest checkpoint; of one log only
    #[arg(long, value_name = "N|ID")]
    record: Option<RecordName>,
}

/// How one record is named.
#[derive(Clone, Copy, Debug)]
enum RecordName {
    Index(u64),
    Id(u128),
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
///
/// Whatever is proven to somebody with a checkpoint or a record in hand is proven against the tree that was computed
/// from all records just before.
fn verify(args: &VerifyArgs, around: &mut Surroundings<'_>) -> Result<u8, Error> {
    let logs = logs(&args.folders)?;
    let kept = Kept::read(&args.checkpoints, &logs, around)?;
    if args.record.is_some() && logs.len() != 1 {
        return Err(Error::Usage(format!("--record is about one log, and these are {}", logs.len())));
    }
    let mut code = 0;
    for folder in &logs {
        let bad = |source| Error::Audit { folder: folder.clone(), source };
        let checked = key_of(folder, &args.keys, logs.len()).and_then(|key| {
            let report = audit::verify(folder, key).map_err(bad)?;
            let mut consistent = 0;
            for note in kept.iter().filter(|note| note.key.origin() == &report.origin) {
                note.check(folder, &report).map_err(bad)?;
                consistent += 1;
            }
            let proven = args.record.map(|name| prove(folder, name, &report)).transpose()?;
            Ok((report, consistent, proven))
        });
        match checked {
            Ok((report, consistent, proven)) => {
                let times = report.times.map(|(first, last)| format!("{} to {}", moment(first), moment(last)));
                let unsigned = report.size - report.signed;
                let facts = Table::facts([
                    ("Log", Some(report.origin.as_str().to_owned())),
                    ("Verified", Some(format!("{} records", report.size))),
                    ("Not yet signed", (unsigned > 0).then(|| format!("the last {unsigned}"))),
                    ("From", times),
                    ("Checkpoints", Some(report.checkpoints.to_string())),
                    ("Kept elsewhere", (consistent > 0).then(|| format!("{consistent}, consistent with this log"))),
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
                if let Some(proven) = proven {
                    proven.show(around)?;
                }
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

/// A checkpoint that somebody kept, and the log that it is of.
struct Kept {
    file: PathBuf,
    note: Vec<u8>,
    /// As the log's folder names it; `verify` holds it to the one that was given.
    key: VerifierKey,
}

impl Kept {
    /// The checkpoints in `files`. Each must be of one of `logs`: one that is not would be held against nothing.
    fn read(files: &[PathBuf], logs: &[PathBuf], around: &mut Surroundings<'_>) -> Result<Vec<Self>, Error> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let key = |folder: &PathBuf| {
            let path = folder.join(LOG_KEY);
            let text = fs::read(&path).map_err(|source| Error::file(path.display(), source))?;
            VerifierKey::parse(&text).map_err(|_| Error::Input(format!("{} holds no key of a log", path.display())))
        };
        let keys = logs.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let mut kept = Vec::new();
        for file in files {
            let bytes = around.read(file)?;
            let (notes, rest) = audit::split_notes(&bytes);
            if notes.is_empty() || !rest.is_empty() {
                return Err(Error::Input(format!("{} holds no checkpoint, or only a part of one", file.display())));
            }
            for note in notes {
                let origin = String::from_utf8_lossy(note.split(|byte| *byte == b'\n').next().unwrap_or_default());
                let key = keys.iter().find(|key| key.origin().as_str() == origin).ok_or_else(|| {
                    Error::Input(format!(
                        "{} holds a checkpoint of {origin}, which is none of these logs",
                        file.display()
                    ))
                })?;
                kept.push(Self { file: file.clone(), note: note.to_vec(), key: key.clone() });
            }
        }
        Ok(kept)
    }

    /// Whether the log that was verified begins with the records that the checkpoint is about.
    fn check(&self, folder: &Path, report: &Report) -> Result<(), VerifyError> {
        let note = |source| Damage::Note { path: self.file.clone(), source };
        let checkpoint = Checkpoint::open(&self.note, &self.key).map_err(note)?;
        if checkpoint.size > report.size {
            return Err(Damage::Short { found: report.size, signed: checkpoint.size }.into());
        }
        let path = audit::consistency_proof(folder, checkpoint.size, report.size)?;
        match audit::verify_consistency(checkpoint.size, &checkpoint.root, report.size, &report.root, &path) {
            true => Ok(()),
            false => Err(Damage::Root { size: checkpoint.size }.into()),
        }
    }
}

/// A record and the path that proves it to stand in the tree that the newest checkpoint signs.
struct Proven {
    index: u64,
    entry: Vec<u8>,
    leaf: Hash,
    path: Vec<Hash>,
    size: u64,
    root: Hash,
}

fn prove(folder: &Path, name: RecordName, report: &Report) -> Result<Proven, Error> {
    let bad = |source| Error::Audit { folder: folder.to_owned(), source };
    let index = match name {
        RecordName::Index(index) => index,
        RecordName::Id(id) => find(folder, id)?,
    };
    if index >= report.signed {
        let signed = report.signed;
        return Err(Error::Input(format!(
            "no checkpoint is about record {index} yet: the newest one signs {signed} records, the first of them number 0"
        )));
    }
    let entry = audit::entry(folder, index).map_err(bad)?.ok_or_else(|| bad(Damage::Record { index }.into()))?;
    let (leaf, root) = (audit::leaf_hash(&entry), audit::root(folder, report.signed).map_err(bad)?);
    let path = audit::inclusion_proof(folder, index, report.signed).map_err(bad)?;
    if !audit::verify_inclusion(&leaf, index, report.signed, &path, &root) {
        return Err(bad(Damage::Entry { index }.into()));
    }
    Ok(Proven { index, entry, leaf, path, size: report.signed, root })
}

/// The index of the record with this id.
fn find(folder: &Path, id: u128) -> Result<u64, Error> {
    let bad = |source| Error::Audit { folder: folder.to_owned(), source };
    for next in audit::read(folder, 0).map_err(bad)? {
        let (index, record) = next.map_err(bad)?;
        if record.id == id {
            return Ok(index);
        }
    }
    Err(Error::Input(format!("{} holds no record {}", folder.display(), Uuid::from_u128(id))))
}

impl Proven {
    /// What anybody needs to follow the proof: the record as it is hashed, and the hashes from the leaf to the root.
    fn show(&self, around: &mut Surroundings<'_>) -> Result<(), Error> {
        let mut facts = vec![
            ("Record", Some(format!("number {} of the {} that the newest checkpoint signs", self.index, self.size))),
            ("Is", Some(printable_json(&String::from_utf8_lossy(&self.entry)))),
            // Exactly what is hashed: the text above may hold escapes for what a terminal would obey.
            ("Entry (base64url)", Some(base64url::encode(&self.entry))),
            ("Leaf", Some(hex(&self.leaf))),
        ];
        facts.extend(self.path.iter().map(|hash| ("Beside", Some(hex(hash)))));
        facts.push(("Signed root", Some(hex(&self.root))));
        around.print("\n")?;
        Table::facts(facts).write(around.output).map_err(|source| Error::file("standard output", source))
    }
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

impl FromStr for RecordName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = || Uuid::try_parse(text).ok().map(|id| Self::Id(id.as_u128()));
        text.parse().ok().map(Self::Index).or_else(id).ok_or("a record is named by its number, from 0 on, or by its id")
    }
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
