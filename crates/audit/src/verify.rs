//! Verification with nothing but the folder and the public key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::checkpoint::{Checkpoint, MAX_NOTE_BYTES, NoteError, Origin, VerifierKey, split_notes};
use crate::disk::read_small;
use crate::error::Damage;
use crate::journal::{JournalError, Replay};
use crate::merkle::{Frontier, Hash, Subtrees, consistency_path, inclusion_path, leaf_hash, node_hash, range_root};
use crate::record::Record;
use crate::recover::{Failure, marker, verifier_key};
use crate::settle::HISTORY_BYTES;
use crate::tiles::{
    Edge, EdgeError, StoredTree, TILE_SIZE, Tail, TileKind, TileName, parse_bundle, parse_hashes, read_cut,
};

/// What a verified log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its name.
    pub origin: Origin,
    /// SHA-256 of the public key that its checkpoints verified under, in hexadecimal.
    pub key_fingerprint: String,
    /// How many records it holds.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// How many of them the newest checkpoint signs. Nothing proves that those after it are all there.
    pub signed: u64,
    /// How many checkpoints were checked.
    pub checkpoints: usize,
    /// The earliest and the latest time in a record, in milliseconds since 1970; `None` in an empty log.
    pub times: Option<(i64, i64)>,
}

/// Why a log does not verify.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// The disk cannot be read.
    #[error("{path} cannot be read")]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The journal lacks what was durable.
    #[error("the journal was changed")]
    Journal {
        /// What was found.
        source: Arc<JournalError>,
    },
    /// The key that was given is no verifier key.
    #[error("not a verifier key")]
    Key {
        /// What is wrong with it.
        source: NoteError,
    },
    /// The log names another key than the one that was given.
    #[error("the log belongs to another key than the given one")]
    OtherKey,
    /// The log is not what was signed.
    #[error("the log was changed")]
    Tampered {
        /// What was found.
        source: Damage,
    },
    /// A proof was asked for that the log is too short for, or that there is none of.
    #[error("there is no such proof in a log of {size} records")]
    NoProof {
        /// How many records it holds.
        size: u64,
    },
}

impl From<Failure> for VerifyError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(path, error) => Self::Disk { path, source: Arc::new(error) },
            Failure::Damage(source) => Self::Tampered { source },
        }
    }
}

impl From<Damage> for VerifyError {
    fn from(source: Damage) -> Self {
        Self::Tampered { source }
    }
}

/// Computes the whole tree again from the entries and compares everything with it: every tile, the journal, and every
/// checkpoint, each of which must be signed by the log's key.
///
/// `folder` is a log's folder; the journal beside it is read too if it is there. A copied folder verifies alone if it
/// was copied from a closed node, or after [`Log::checkpoint`](crate::Log::checkpoint) while nothing was appended. The
/// key is the one in the folder unless `key` gives the text of the expected one, as it should: a folder with a key of
/// its own can only be consistent with itself.
///
/// Not covered, because nothing follows from it: the journal's spare segment, what stands in a segment behind its last
/// batch, and that batch itself if tiles hold its records; partial tiles above the marker `settled`; the line end of
/// `log.vkey`; and files that this crate does not write. Records behind the newest checkpoint, at most an interval's,
/// are those that whoever can write the folder may have removed or made up; the report counts them.
///
/// # Errors
/// [`VerifyError`], with the first record that differs where that can be told.
pub fn verify(folder: &Path, key: Option<&str>) -> Result<Report, VerifyError> {
    let expected = match key {
        Some(text) => Some(VerifierKey::parse(text.as_bytes()).map_err(|source| VerifyError::Key { source })?),
        None => None,
    };
    // A running node writes, moves the marker and gives segments back meanwhile; then it is looked at again.
    let mut attempts = 0..10;
    loop {
        let before = activity(folder);
        match verify_once(folder, expected.as_ref()) {
            Err(_) if activity(folder) != before && attempts.next().is_some() => {}
            result => return result,
        }
    }
}

/// What changes whenever a running node does something to the log or the journal: names, lengths and times of change.
fn activity(folder: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let journal = journal_folder(folder);
    let segments = std::fs::read_dir(&journal).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = ["settled", "checkpoint", "checkpoints"].into_iter().map(|name| folder.join(name));
    let mut seen: Vec<_> = segments
        .chain(files)
        .filter_map(|path| {
            let found = std::fs::metadata(&path).ok()?;
            Some((path, found.len(), found.modified().ok()))
        })
        .collect();
    seen.sort();
    seen
}

/// Where the journal lies beside a log's folder.
fn journal_folder(folder: &Path) -> PathBuf {
    folder.parent().map_or_else(|| PathBuf::from("../journal"), |node| node.join("journal"))
}

fn verify_once(folder: &Path, expected: Option<&VerifierKey>) -> Result<Report, VerifyError> {
    let key = verifier_key(folder)?;
    if expected.is_some_and(|expected| *expected != key) {
        return Err(VerifyError::OtherKey);
    }
    let (checkpoints, count, newest) = checkpoints(folder, &key)?;
    let stored = Stored::open(folder, key.origin())?;
    let mut walk = Walk { stored: &stored, checkpoints, frontier: Frontier::default(), times: None };
    let mut edge = Edge::default();
    let mut full_bytes = 0;
    walk.check_roots()?;
    while let Some((entries, bundle)) = walk.next_bundle()? {
        let mut tail = Tail::default();
        for entry in entries.iter() {
            let leaf = walk.take(entry)?;
            tail.push(entry, leaf);
            if walk.frontier.size() == stored.settled {
                edge.extend(&mut tail);
                complete(&stored, &mut edge, &mut full_bytes, bundle.as_deref())?;
                let mut wrong = None;
                let visited = edge.partial(|name, bytes| {
                    wrong = wrong.take().or(stored.compare(name, bytes, None).err());
                    Ok(())
                });
                visited.map_err(Failure::at(folder))?;
                wrong.map_or(Ok(()), Err)?;
            }
        }
        edge.extend(&mut tail);
        complete(&stored, &mut edge, &mut full_bytes, bundle.as_deref())?;
    }
    let size = walk.frontier.size();
    if newest > size {
        return Err(Damage::Short { found: size, signed: newest }.into());
    }
    if stored.settled > 0 && full_bytes != stored.bytes {
        return Err(Damage::File { path: "settled".into() }.into());
    }
    Ok(Report {
        origin: key.origin().clone(),
        key_fingerprint: key.fingerprint(),
        size,
        root: walk.frontier.root(),
        signed: newest,
        checkpoints: count,
        times: walk.times,
    })
}

/// Compares the tiles that are full now, and counts the bytes of those below the marker.
fn complete(stored: &Stored, edge: &mut Edge, bytes: &mut u64, bundle: Option<&[u8]>) -> Result<(), VerifyError> {
    let mut wrong = None;
    let visited = edge.complete(|name, expected| {
        if stored.is_settled(name) {
            *bytes += expected.len() as u64;
        }
        wrong = wrong.take().or(stored.compare(name, expected, bundle).err());
        Ok(())
    });
    visited.map_err(Failure::at(&stored.folder))?;
    wrong.map_or(Ok(()), |failure| Err(failure.into()))
}

/// The roots that were signed, by size.
type Roots = BTreeMap<u64, Vec<Hash>>;

/// Opens every checkpoint of the log. Also returns how many there are and the size of the newest.
fn checkpoints(folder: &Path, key: &VerifierKey) -> Result<(Roots, usize, u64), VerifyError> {
    let read = |name: &str, limit| -> Result<Vec<u8>, VerifyError> {
        let path = folder.join(name);
        let bytes = read_small(&path, limit).map_err(Failure::at(&path))?;
        Ok(bytes.ok_or_else(|| Damage::Missing { path: name.into() })?)
    };
    let open = |name: &str, note: &[u8]| {
        Checkpoint::open(note, key).map_err(|source| Damage::Note { path: name.into(), source })
    };
    let published = read("checkpoint", MAX_NOTE_BYTES as u64)?;
    let history = read("checkpoints", HISTORY_BYTES + MAX_NOTE_BYTES as u64)?;
    let (notes, torn) = split_notes(&history);
    if notes.is_empty() || !torn.is_empty() {
        return Err(Damage::File { path: "checkpoints".into() }.into());
    }
    let mut roots = Roots::new();
    let mut newest = 0;
    for note in &notes {
        let checkpoint = open("checkpoints", note)?;
        if checkpoint.size < newest {
            return Err(Damage::Order { size: checkpoint.size }.into());
        }
        newest = checkpoint.size;
        roots.entry(checkpoint.size).or_default().push(checkpoint.root);
    }
    let published = open("checkpoint", &published)?;
    roots.entry(published.size).or_default().push(published.root);
    Ok((roots, notes.len(), newest.max(published.size)))
}

/// A log as its files hold it.
pub(crate) struct Stored {
    folder: PathBuf,
    /// How many records stand in tiles.
    pub(crate) settled: u64,
    bytes: u64,
    /// The index of the first record in the journal.
    first: u64,
    /// The entries of the records in the journal.
    journal: Vec<Vec<u8>>,
}

impl Stored {
    pub(crate) fn open(folder: &Path, origin: &Origin) -> Result<Self, VerifyError> {
        let replay = Replay::read(&journal_folder(folder), None)
            .map_err(|error| VerifyError::Journal { source: Arc::new(error) })?;
        let (settled, bytes) = marker(folder)?;
        let key = origin.key();
        let frames: Vec<_> = replay.frames().filter(|(_, frame)| frame.log == key).collect();
        let first = frames.first().map_or(settled, |(_, frame)| frame.index);
        if first > settled {
            return Err(Damage::Record { index: settled }.into());
        }
        for (expected, (_, frame)) in (first..).zip(&frames) {
            if frame.index != expected {
                return Err(Damage::Record { index: expected }.into());
            }
        }
        let journal = frames.into_iter().map(|(_, frame)| frame.entry.to_vec()).collect();
        Ok(Self { folder: folder.to_owned(), settled, bytes, first, journal })
    }

    /// How many records there are.
    pub(crate) fn size(&self) -> u64 {
        self.settled.max(self.first + self.journal.len() as u64)
    }

    /// The entry of a record, if the journal has it.
    pub(crate) fn in_journal(&self, index: u64) -> Option<&[u8]> {
        let position = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.journal.get(position).map(|entry| &entry[..])
    }

    /// The bundle that holds record `index`, which is below the marker.
    pub(crate) fn bundle(&self, index: u64) -> Result<Vec<u8>, Failure> {
        let number = index / TILE_SIZE;
        let width = (self.settled - number * TILE_SIZE).min(TILE_SIZE) as usize;
        let name = TileName { kind: TileKind::Entries, number, width };
        let bytes = read_cut(&self.folder, name).map_err(Failure::edge(&self.folder))?;
        match parse_bundle(&bytes) {
            Ok(entries) if entries.len() == width => Ok(bytes),
            _ => Err(Damage::File { path: name.path() }.into()),
        }
    }

    /// Whether the marker says that this tile is there.
    fn is_settled(&self, name: TileName) -> bool {
        let level = match name.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => u32::from(level),
        };
        name.number * TILE_SIZE + name.width as u64 <= self.settled >> (8 * level)
    }

    /// Compares a tile with what it must be. `known` are the bytes of the bundle that is looked at, if it was read.
    fn compare(&self, name: TileName, expected: &[u8], known: Option<&[u8]>) -> Result<(), Failure> {
        if name.kind == TileKind::Entries && known == Some(expected) {
            return Ok(());
        }
        let found = match read_cut(&self.folder, name) {
            Ok(found) => found,
            Err(EdgeError::Missing(_)) if !self.is_settled(name) => return Ok(()),
            Err(error) => return Err(Failure::edge(&self.folder)(error)),
        };
        if found == expected {
            return Ok(());
        }
        let first = name.number * TILE_SIZE;
        let differs = |position: usize| Damage::Entry { index: first + position as u64 }.into();
        Err(match name.kind {
            TileKind::Hashes(0) => match (parse_hashes(&found), parse_hashes(expected)) {
                (Ok(found), Ok(expected)) => {
                    let equal = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
                    differs(equal)
                }
                _ => Damage::File { path: name.path() }.into(),
            },
            _ => Damage::File { path: name.path() }.into(),
        })
    }
}

/// One pass over all records.
struct Walk<'a> {
    stored: &'a Stored,
    checkpoints: Roots,
    frontier: Frontier,
    times: Option<(i64, i64)>,
}

/// Entries and, if they come from one, the bytes of their bundle.
type Bundle = (Vec<Vec<u8>>, Option<Vec<u8>>);

impl Walk<'_> {
    /// The entries up to the end of the next bundle.
    fn next_bundle(&self) -> Result<Option<Bundle>, VerifyError> {
        let at = self.frontier.size();
        if at < self.stored.settled {
            let bytes = self.stored.bundle(at)?;
            let entries = parse_bundle(&bytes).unwrap_or_default();
            let skip = (at % TILE_SIZE) as usize;
            let entries = entries.into_iter().skip(skip).map(<[u8]>::to_vec).collect();
            return Ok(Some((entries, Some(bytes))));
        }
        let end = (at / TILE_SIZE + 1) * TILE_SIZE;
        let entries: Vec<_> = (at..end).map_while(|index| self.stored.in_journal(index)).map(<[u8]>::to_vec).collect();
        Ok((!entries.is_empty()).then_some((entries, None)))
    }

    /// Adds one record.
    fn take(&mut self, entry: &[u8]) -> Result<Hash, VerifyError> {
        let index = self.frontier.size();
        if self.stored.in_journal(index).is_some_and(|journal| journal != entry) {
            return Err(Damage::Conflict { index }.into());
        }
        let leaf = leaf_hash(entry);
        self.frontier.push(leaf);
        self.check_roots()?;
        let record = Record::parse(entry).map_err(|_| Damage::NoRecord { index })?;
        let (first, last) = self.times.unwrap_or((record.time, record.time));
        self.times = Some((first.min(record.time), last.max(record.time)));
        Ok(leaf)
    }

    /// Compares the tree so far with the checkpoints of its size.
    fn check_roots(&mut self) -> Result<(), VerifyError> {
        let size = self.frontier.size();
        if let Some(roots) = self.checkpoints.remove(&size) {
            let root = self.frontier.root();
            if roots.iter().any(|signed| *signed != root) {
                return Err(Damage::Root { size }.into());
            }
        }
        Ok(())
    }
}

/// Perfect subtrees out of tiles, and out of the journal for what no tile has.
struct WholeTree<'a> {
    stored: &'a Stored,
    tiles: StoredTree<'a>,
}

impl Subtrees for WholeTree<'_> {
    type Error = Failure;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Failure> {
        if (index + 1) << level <= self.stored.settled {
            return self.tiles.subtree(level, index).map_err(Failure::edge(&self.stored.folder));
        }
        if level == 0 {
            return match self.stored.in_journal(index) {
                Some(entry) => Ok(leaf_hash(entry)),
                None => Err(Damage::Record { index }.into()),
            };
        }
        let left = self.subtree(level - 1, 2 * index)?;
        let right = self.subtree(level - 1, 2 * index + 1)?;
        Ok(node_hash(&left, &right))
    }
}

/// Runs `prove` over the log in `folder`, if `fits` its size.
fn proof<T>(
    folder: &Path,
    fits: impl FnOnce(u64) -> bool,
    prove: impl FnOnce(&mut WholeTree<'_>) -> Result<T, Failure>,
) -> Result<T, VerifyError> {
    let key = verifier_key(folder)?;
    let stored = Stored::open(folder, key.origin())?;
    if !fits(stored.size()) {
        return Err(VerifyError::NoProof { size: stored.size() });
    }
    let tiles = StoredTree::new(folder, stored.settled);
    Ok(prove(&mut WholeTree { stored: &stored, tiles })?)
}

/// The root of the tree over the first `size` records of the log in `folder`, from its tiles.
///
/// # Errors
/// [`VerifyError::NoProof`] if it holds fewer; others if its files are not what they must be.
pub fn root(folder: &Path, size: u64) -> Result<Hash, VerifyError> {
    proof(folder, |found| size <= found, |tree| range_root(tree, 0, size))
}

/// The path that proves record `index` to stand in the tree over the first `size` records, lowest node first; for
/// [`verify_inclusion`](crate::verify_inclusion).
///
/// # Errors
/// [`VerifyError::NoProof`] unless `index < size` and the log holds `size` records.
pub fn inclusion_proof(folder: &Path, index: u64, size: u64) -> Result<Vec<Hash>, VerifyError> {
    proof(folder, |found| index < size && size <= found, |tree| inclusion_path(tree, index, size))
}

/// The path that proves the tree over the first `old` records to be a prefix of that over the first `new`; for
/// [`verify_consistency`](crate::verify_consistency).
///
/// # Errors
/// [`VerifyError::NoProof`] unless `old <= new` and the log holds `new` records.
pub fn consistency_proof(folder: &Path, old: u64, new: u64) -> Result<Vec<Hash>, VerifyError> {
    let prove = |tree: &mut WholeTree<'_>| if old == 0 { Ok(Vec::new()) } else { consistency_path(tree, old, new) };
    proof(folder, |found| old <= new && new <= found, prove)
}
