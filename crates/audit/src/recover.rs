//! Opening one log: its folder and its part of the journal against its newest checkpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock};

use crate::checkpoint::{Checkpoint, MAX_NOTE_BYTES, Origin, VerifierKey, split_notes};
use crate::disk::{create_folder, read_small, replace, sync_folder};
use crate::error::{Damage, OpenError};
use crate::journal::{Frame, UNCOUNTABLE};
use crate::log::{Live, LogState};
use crate::merkle::{Frontier, leaf_hash, range_root};
use crate::node::Shared;
use crate::recent::Recent;
use crate::record::Record;
use crate::settle::{HISTORY_BYTES, Settling};
use crate::tiles::{Edge, EdgeError, StoredTree, TILE_SIZE, Tail};

/// More than a verifier key or a marker ever has.
const MAX_SMALL_BYTES: u64 = 1024;

/// What went wrong inside one log's folder.
pub(crate) enum Failure {
    Disk(PathBuf, io::Error),
    Damage(Damage),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl Failure {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::Disk(path, error)
    }

    pub(crate) fn edge(folder: &Path) -> impl FnOnce(EdgeError) -> Self {
        let folder = folder.to_owned();
        |error| match error {
            EdgeError::Io(error) => Self::Disk(folder, error),
            EdgeError::Missing(name) => Damage::Missing { path: name.path() }.into(),
            EdgeError::Wrong(name) => Damage::File { path: name.path() }.into(),
        }
    }

    fn of(self, origin: &Origin) -> OpenError {
        match self {
            Self::Disk(path, error) => OpenError::disk(path, error),
            Self::Damage(source) => OpenError::Tampered { origin: origin.clone(), source },
        }
    }
}

/// The folders of logs below the node's, with the origins they are named after.
pub(crate) fn folders(node: &Path) -> io::Result<Vec<(PathBuf, Origin)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(node)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(origin) = name.to_str().and_then(|name| Origin::parse(&name.replace('+', "/"))) {
            found.push((entry.path(), origin));
        }
    }
    Ok(found)
}

/// The bytes of a log's tiles as its marker tells them.
pub(crate) fn stored_bytes(folder: &Path) -> u64 {
    marker(folder).map_or(0, |(_, bytes)| bytes)
}

/// Opens the log in `folder`, whose records in the journal are `frames`.
pub(crate) fn log(folder: &Path, origin: &Origin, frames: &[Frame<'_>]) -> Result<LogState, OpenError> {
    recover(folder, origin, frames).map_err(|failure| failure.of(origin))
}

/// Opens a log without records in the journal, or makes it if there is nothing of it yet. `had_records` says that
/// records of a log of this name stand in the journal, although it has no folder.
pub(crate) fn open_or_create(
    shared: &Shared,
    verifier: &VerifierKey,
    had_records: bool,
) -> Result<LogState, OpenError> {
    let origin = verifier.origin();
    let folder = shared.folder.join(origin.folder());
    if had_records {
        return Err(Failure::from(Damage::Missing { path: folder }).of(origin));
    }
    let traces = ["log.vkey", "settled", "checkpoint", "checkpoints", "tile"];
    if !traces.iter().any(|name| folder.join(name).exists()) {
        create(shared, &folder, verifier).map_err(|error| OpenError::disk(&folder, error))?;
    }
    log(&folder, origin, &[])
}

fn create(shared: &Shared, folder: &Path, verifier: &VerifierKey) -> io::Result<()> {
    create_folder(folder)?;
    let key = format!("{verifier}\n");
    replace(&*shared.disk, &folder.join("scratch"), &folder.join("log.vkey"), key.as_bytes(), true)?;
    sync_folder(folder)?;
    sync_folder(&shared.folder)
}

fn recover(folder: &Path, origin: &Origin, frames: &[Frame<'_>]) -> Result<LogState, Failure> {
    let verifier = verifier_key(folder)?;
    if verifier.origin() != origin {
        return Err(Damage::File { path: "log.vkey".into() }.into());
    }
    let (settled, stored) = marker(folder)?;
    let (latest, history) = newest_checkpoint(folder, &verifier)?;
    if latest.is_none() && (settled > 0 || !frames.is_empty()) {
        return Err(Damage::Missing { path: "checkpoint".into() }.into());
    }
    // The marker moves only after a checkpoint of its size.
    let signed = latest.as_ref().map_or(0, |latest| latest.size);
    if settled > signed {
        return Err(Damage::Unsigned { settled, signed }.into());
    }
    let edge = Edge::read(folder, settled).map_err(Failure::edge(folder))?;
    let frontier = Frontier::from_levels(edge.levels(), settled);
    let stored_tree = StoredTree::new(folder, settled);
    let mut tree = Tree { folder, settled, stored: stored_tree, edge, frontier, tail: Tail::default() };
    if let Some(latest) = latest.as_ref().filter(|latest| latest.size == settled) {
        let root = range_root(&mut tree.stored, 0, latest.size).map_err(Failure::edge(folder))?;
        if root != latest.root {
            return Err(Damage::Root { size: latest.size }.into());
        }
    }
    let mut recent = Recent::from(frames.first().map_or(settled, |first| first.index));
    let mut newest_change = 0;
    let start = frames.first().map_or(settled, |first| first.index.min(settled));
    for (next, frame) in (start..).zip(frames) {
        if frame.index != next {
            return Err(Damage::Record { index: next }.into());
        }
        tree.take(frame)?;
        if let Some(latest) =
            latest.as_ref().filter(|latest| latest.size == tree.frontier.size() && frame.index >= settled)
            && tree.frontier.root() != latest.root
        {
            return Err(Damage::Root { size: latest.size }.into());
        }
        if frame.once {
            recent.insert(frame.id, frame.index);
            let change = Record::parse(frame.entry).ok().and_then(|record| record.change);
            newest_change = newest_change.max(change.unwrap_or(0));
        }
    }
    let size = tree.frontier.size();
    if let Some(latest) = latest.as_ref().filter(|latest| latest.size > size) {
        return Err(Damage::Short { found: size, signed: latest.size }.into());
    }
    tree.edge.extend(&mut tree.tail);
    Ok(LogState {
        key: origin.key(),
        verifier,
        folder: folder.to_owned(),
        signer: OnceLock::new(),
        size: AtomicU64::new(size),
        settled: AtomicU64::new(settled),
        stored: AtomicU64::new(stored),
        newest_change,
        live: Mutex::new(Live { frontier: tree.frontier, tail: Tail::default(), recent }),
        settling: Mutex::new(Settling::new(tree.edge, history)),
        extension: Mutex::new(latest.as_ref().map_or_else(String::new, |latest| latest.extension.join("\n"))),
        latest: Mutex::new(latest),
    })
}

/// A log between its tiles and the end of the journal.
struct Tree<'a> {
    folder: &'a Path,
    settled: u64,
    stored: StoredTree<'a>,
    edge: Edge,
    frontier: Frontier,
    tail: Tail,
}

impl Tree<'_> {
    /// Compares a record with the tiles if they have it, and appends it if not.
    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Failure> {
        let leaf = leaf_hash(frame.entry);
        if frame.index >= self.settled {
            self.frontier.push(leaf);
            self.tail.push(frame.entry, leaf);
            return Ok(());
        }
        let at = (frame.index % TILE_SIZE) as usize;
        let open_from = self.settled / TILE_SIZE * TILE_SIZE;
        let stored = if frame.index >= open_from {
            self.edge.levels().next().and_then(|leaves| leaves.get(at).copied())
        } else {
            let leaves = self.stored.tile(0, frame.index / TILE_SIZE).map_err(Failure::edge(self.folder))?;
            leaves.get(at).copied()
        };
        if stored == Some(leaf) { Ok(()) } else { Err(Damage::Conflict { index: frame.index }.into()) }
    }
}

/// The key that the log's folder names.
pub(crate) fn verifier_key(folder: &Path) -> Result<VerifierKey, Failure> {
    let path = PathBuf::from("log.vkey");
    let bytes = read_small(&folder.join(&path), MAX_SMALL_BYTES)
        .map_err(Failure::at(&folder.join(&path)))?
        .ok_or_else(|| Damage::Missing { path: path.clone() })?;
    VerifierKey::parse(&bytes).map_err(|_| Damage::File { path }.into())
}

/// The marker: how many records need no journal, and how many bytes their full tiles have.
pub(crate) fn marker(folder: &Path) -> Result<(u64, u64), Failure> {
    let path = folder.join("settled");
    let Some(bytes) = read_small(&path, MAX_SMALL_BYTES).map_err(Failure::at(&path))? else { return Ok((0, 0)) };
    parse_marker(&bytes).ok_or_else(|| Damage::File { path: "settled".into() }.into())
}

/// Reads the file `settled`: how many records need no journal, and how many bytes their full tiles have.
#[must_use]
pub fn parse_marker(bytes: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (size, stored) = text.strip_suffix('\n')?.split_once(' ')?;
    let parsed = (size.parse().ok()?, stored.parse().ok()?);
    let counted = parsed.0 < UNCOUNTABLE && parsed.1 < UNCOUNTABLE;
    (counted && format!("{} {}\n", parsed.0, parsed.1) == text).then_some(parsed)
}

/// The newest checkpoint of the two places where it may stand, and the length of the history up to its last whole note.
fn newest_checkpoint(folder: &Path, verifier: &VerifierKey) -> Result<(Option<Checkpoint>, u64), Failure> {
    let read = |name: &str, limit| {
        let path = folder.join(name);
        read_small(&path, limit).map_err(Failure::at(&path))
    };
    let open = |name: &str, note: &[u8]| {
        Checkpoint::open(note, verifier).map_err(|source| Damage::Note { path: name.into(), source })
    };
    let history = read("checkpoints", HISTORY_BYTES + MAX_NOTE_BYTES as u64)?.unwrap_or_default();
    let (notes, torn) = split_notes(&history);
    let whole = (history.len() - torn.len()) as u64;
    let mut newest = notes.last().map(|note| open("checkpoints", note)).transpose()?;
    if let Some(note) = read("checkpoint", MAX_NOTE_BYTES as u64)? {
        let published = open("checkpoint", &note)?;
        match &newest {
            None => return Err(Damage::Missing { path: "checkpoints".into() }.into()),
            Some(newest) if newest.size >= published.size => {}
            Some(_) => newest = Some(published),
        }
    }
    Ok((newest, whole))
}
