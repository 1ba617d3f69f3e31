//! The tables in the database, and the only code that reads or writes them. Their bytes are ours, see `SPEC.md`.

use std::ops::Bound;

use bytes::Bytes;
use redb::{
    AccessGuard, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    TableError, WriteTransaction,
};

use crate::{Cause, Commit, Entry, Event, Expect, MAX_PAGE_BYTES, OpenError, Page, Path, Prefix, Revision, Write};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

/// Key in `META`: the format, `FORMAT`.
const FORMAT_KEY: &[u8] = b"format";
/// Key in `META`: the revision of the last commit, 8 bytes, big-endian.
const REVISION_KEY: &[u8] = b"revision";
/// Key in `META`: bytes of all keys and values in `ENTRIES`, 8 bytes, big-endian.
const LIVE_KEY: &[u8] = b"live";

/// Key in `META`: there if something was erased since the file was written anew; no bytes.
const ERASE_KEY: &[u8] = b"erase";

/// What our files say they are, and in which version of `SPEC.md`.
const FORMAT: &[u8] = b"strongroom-store/1";
const FORMAT_NAME: &[u8] = b"strongroom-store/";

/// Bytes of entries in one transaction of a copy.
const COPIED_AT_ONCE: usize = 4 << 20;

/// Bytes of the revision before each value.
const REVISION_BYTES: usize = 8;

/// Why the database could not do something.
#[derive(Debug)]
pub(super) enum Failure {
    /// The disk failed, now or before; opening the database again may help.
    Disk(Cause),
    /// What was read is not what we write.
    Damage(Cause),
}

impl Failure {
    /// The database failed earlier and is not open.
    pub(super) fn closed() -> Self {
        Self::Disk(Cause::new("the store failed earlier and could not be opened again"))
    }

    fn damage(what: &'static str) -> Self {
        Self::Damage(Cause::new(what))
    }

    pub(super) fn into_cause(self) -> Cause {
        match self {
            Self::Disk(cause) | Self::Damage(cause) => cause,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::Disk(Cause::new(error)),
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::Backend(_)) => {
                Self::Disk(Cause::new(error))
            }
            error => Self::Damage(Cause::new(error)),
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(source) => Self::Io { source },
            Failure::Damage(source) => Self::Damaged { source },
        }
    }
}

/// Checks that a database is one of ours, or makes it one if it has nothing in it. Answers the last revision.
pub(super) fn prepare(database: &Database) -> Result<Revision, OpenError> {
    let read = database.begin_read().map_err(Failure::from)?;
    if read.list_tables().map_err(Failure::from)?.next().is_none() {
        // A database without a table was being made when the process ended.
        make(database)?;
        return Ok(Revision(0));
    }
    let meta = match read.open_table(META) {
        Err(TableError::Storage(error)) => return Err(Failure::from(error).into()),
        Err(_) => return Err(OpenError::Foreign),
        Ok(meta) => meta,
    };
    match meta.get(FORMAT_KEY).map_err(Failure::from)? {
        Some(found) if found.value() == FORMAT => {}
        Some(found) if found.value().starts_with(FORMAT_NAME) => {
            return Err(OpenError::OtherVersion { found: String::from_utf8_lossy(found.value()).into_owned() });
        }
        _ => return Err(OpenError::Foreign),
    }
    drop(meta);
    Ok(Snapshot::new(read).revision()?)
}

fn make(database: &Database) -> Result<(), Failure> {
    let change = begin(database)?;
    change.open_table(ENTRIES)?;
    let mut meta = change.open_table(META)?;
    meta.insert(FORMAT_KEY, FORMAT)?;
    meta.insert(REVISION_KEY, 0_u64.to_be_bytes().as_slice())?;
    meta.insert(LIVE_KEY, 0_u64.to_be_bytes().as_slice())?;
    drop(meta);
    Ok(change.commit()?)
}

/// Begins a transaction that is durable once committed.
///
/// Quick repair makes it commit in two phases: everything is synced before the header names it. The writer relies on
/// that to know what is certain after a failure.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut change = database.begin_write()?;
    change.set_durability(Durability::Immediate)?;
    change.set_quick_repair(true);
    Ok(change)
}

/// Bytes of all entries.
pub(super) fn live_bytes(database: &Database) -> Result<u64, Failure> {
    number(database.begin_read()?.open_table(META)?.get(LIVE_KEY)?)
}

/// Whether something was erased since the file was written anew.
pub(super) fn is_to_be_erased(database: &Database) -> Result<bool, Failure> {
    Ok(database.begin_read()?.open_table(META)?.get(ERASE_KEY)?.is_some())
}

/// Copies what is in `old`, and nothing that was, into the empty database `new`.
pub(super) fn copy(old: &Database, new: &Database) -> Result<(), Failure> {
    let read = old.begin_read()?;
    let entries = read.open_table(ENTRIES)?;
    let mut rest = entries.range::<&[u8]>(..)?.peekable();
    while rest.peek().is_some() {
        let change = new.begin_write()?;
        let mut table = change.open_table(ENTRIES)?;
        let mut bytes = 0;
        while bytes < COPIED_AT_ONCE
            && let Some(entry) = rest.next()
        {
            let (path, stored) = entry?;
            bytes += path.value().len() + stored.value().len();
            table.insert(path.value(), stored.value())?;
        }
        drop(table);
        change.commit()?;
    }
    let change = begin(new)?;
    // Both tables, also where there was no entry.
    drop(change.open_table(ENTRIES)?);
    let mut meta = change.open_table(META)?;
    for entry in read.open_table(META)?.range::<&[u8]>(..)? {
        let (key, value) = entry?;
        if key.value() != ERASE_KEY {
            meta.insert(key.value(), value.value())?;
        }
    }
    drop(meta);
    Ok(change.commit()?)
}

/// One state of the store.
pub(super) struct Snapshot {
    read: ReadTransaction,
}

impl Snapshot {
    pub(super) fn new(read: ReadTransaction) -> Self {
        Self { read }
    }

    /// Revision of the last commit.
    pub(super) fn revision(&self) -> Result<Revision, Failure> {
        number(self.read.open_table(META)?.get(REVISION_KEY)?).map(Revision)
    }

    /// As [`Store::get`](crate::Store::get).
    pub(super) fn get(&self, path: &Path) -> Result<Option<Entry>, Failure> {
        let entries = self.read.open_table(ENTRIES)?;
        let Some(stored) = entries.get(path.as_bytes())? else { return Ok(None) };
        let (revision, value) = decoded(stored.value())?;
        Ok(Some(Entry { path: path.clone(), value: Bytes::copy_from_slice(value), revision }))
    }

    /// As [`Store::list`](crate::Store::list).
    pub(super) fn list(&self, prefix: &Prefix, after: Option<&Path>, limit: usize) -> Result<Page, Failure> {
        let mut page = Page { entries: Vec::new(), more: false, revision: self.revision()? };
        let Some((lower, upper)) = prefix.range_after(after) else { return Ok(page) };
        let range = (borrowed(&lower), borrowed(&upper));
        let mut bytes = 0;
        for stored in self.read.open_table(ENTRIES)?.range::<&[u8]>(range)? {
            let (path, stored) = stored?;
            let (revision, value) = decoded(stored.value())?;
            bytes += value.len();
            if !page.entries.is_empty() && (page.entries.len() >= limit || bytes > MAX_PAGE_BYTES) {
                page.more = true;
                break;
            }
            let path = std::str::from_utf8(path.value()).ok().and_then(|text| Path::parse(text).ok());
            let path = path.ok_or_else(|| Failure::damage("a key is not a path"))?;
            if page.entries.last().is_some_and(|last: &Entry| last.path >= path) {
                return Err(Failure::damage("two keys are one, or out of order"));
            }
            page.entries.push(Entry { path, value: Bytes::copy_from_slice(value), revision });
        }
        Ok(page)
    }
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The tables within a transaction, with what its commits so far have done.
pub(super) struct Batch<'t> {
    entries: Table<'t, &'static [u8], &'static [u8]>,
    meta: Table<'t, &'static [u8], &'static [u8]>,
    head: Revision,
    live: u64,
    erases: bool,
    events: Vec<Event>,
}

impl<'t> Batch<'t> {
    pub(super) fn new(change: &'t WriteTransaction) -> Result<Self, Failure> {
        let entries = change.open_table(ENTRIES)?;
        let meta = change.open_table(META)?;
        let head = Revision(number(meta.get(REVISION_KEY)?)?);
        let live = number(meta.get(LIVE_KEY)?)?;
        Ok(Self { entries, meta, head, live, erases: false, events: Vec::new() })
    }

    /// Applies one commit to the state left by those before it. The inner error is the first path that is not as
    /// expected; then nothing is written.
    pub(super) fn apply(&mut self, commit: &Commit) -> Result<Result<Revision, Path>, Failure> {
        for (path, expect) in commit.expect() {
            let found = match self.entries.get(path.as_bytes())? {
                None => Expect::Absent,
                Some(stored) => Expect::At(decoded(stored.value())?.0),
            };
            if found != *expect {
                return Ok(Err(path.clone()));
            }
        }
        let revision = self.head.next();
        let mut writes = Vec::with_capacity(commit.writes().len());
        for write in commit.writes() {
            if self.apply_one(write, revision)? {
                writes.push(match write {
                    Write::Erase(path) => Write::Delete(path.clone()),
                    write => write.clone(),
                });
            }
        }
        if !writes.is_empty() {
            self.head = revision;
            self.events.push(Event { revision, writes });
        }
        Ok(Ok(self.head))
    }

    /// Answers whether it changed anything.
    fn apply_one(&mut self, write: &Write, revision: Revision) -> Result<bool, Failure> {
        let key = write.path().as_bytes();
        let (old, added) = match write {
            Write::Put(_, value) => {
                let stored = encoded(revision, value);
                (self.entries.insert(key, stored.as_slice())?, key.len() + stored.len())
            }
            Write::Delete(_) | Write::Erase(_) => (self.entries.remove(key)?, 0),
        };
        self.erases |= matches!(write, Write::Erase(_)) && old.is_some();
        let removed = old.as_ref().map_or(0, |old| key.len() + old.value().len());
        let live = (self.live + added as u64).checked_sub(removed as u64);
        self.live = live.ok_or_else(|| Failure::damage("the count of live bytes is too small"))?;
        Ok(added > 0 || old.is_some())
    }

    /// Ends the batch: what its commits did, to be published once the transaction is committed. Empty if they
    /// changed nothing.
    pub(super) fn finish(mut self) -> Result<Vec<Event>, Failure> {
        if !self.events.is_empty() {
            self.meta.insert(REVISION_KEY, self.head.0.to_be_bytes().as_slice())?;
            self.meta.insert(LIVE_KEY, self.live.to_be_bytes().as_slice())?;
        }
        if self.erases {
            self.meta.insert(ERASE_KEY, [].as_slice())?;
        }
        Ok(self.events)
    }
}

fn encoded(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(REVISION_BYTES + value.len());
    stored.extend_from_slice(&revision.0.to_be_bytes());
    stored.extend_from_slice(value);
    stored
}

fn decoded(stored: &[u8]) -> Result<(Revision, &[u8]), Failure> {
    let (revision, value) = stored.split_first_chunk().ok_or_else(|| Failure::damage("an entry has no revision"))?;
    Ok((Revision(u64::from_be_bytes(*revision)), value))
}

fn number(stored: Option<AccessGuard<'_, &'static [u8]>>) -> Result<u64, Failure> {
    let bytes = stored.and_then(|stored| stored.value().try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or_else(|| Failure::damage("a number of the store is missing"))
}
