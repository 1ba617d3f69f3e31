//! The background thread: tiles, checkpoints, and the end of old journal segments.
//!
//! At every interval it writes the tiles that became full and signs what is new. A log that has been quiet for an
//! interval, or whose records keep an old journal segment alive, or that is asked for a checkpoint, is *settled*: its
//! partial tiles are written too, everything is made durable, and the marker `settled` moves. What stands below the
//! marker needs no journal any more; what stands above is written again from the journal when the log is opened.
//!
//! Only the partial tiles of the newest settled size are kept for sure; C2SP would keep those of every checkpoint until
//! the full tile is there, which a log that signs every second cannot afford. Whoever holds an older checkpoint uses
//! the wider tile, of which the narrower one is a prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::checkpoint::{Checkpoint, extension_lines, split_notes};
use crate::disk::{open_or_create_file, replace, sync_folder};
use crate::error::CheckpointError;
use crate::gather;
use crate::journal;
use crate::log::LogState;
use crate::merkle::{Hash, sha256};
use crate::node::Shared;
use crate::record::Record;
use crate::tiles::{
    Edge, EdgeError, TILE, TILE_SIZE, TileKind, TileName, parse_bundle, partial_tiles, read_tile, remove_partials,
    write_tile,
};

/// When the history of checkpoints has more bytes than this, its older part is thinned.
pub(crate) const HISTORY_BYTES: u64 = 2 << 20;

/// What the background thread is asked to do.
pub(crate) enum Request {
    /// Sign and settle a log.
    Checkpoint { log: Arc<LogState>, reply: oneshot::Sender<Result<Checkpoint, CheckpointError>> },
    /// Look for a record by its id.
    Find { log: Arc<LogState>, id: u128, since: u64, until: u64, reply: oneshot::Sender<io::Result<Option<u64>>> },
}

/// What stands between a log's memory and its folder.
pub(crate) struct Settling {
    edge: Edge,
    /// Tiles whose bytes may not have reached the disk, by their path below the log's folder.
    unsynced: BTreeMap<PathBuf, Written>,
    /// The length of the history of checkpoints, up to its last whole note.
    history: u64,
}

struct Written {
    hash: Hash,
    /// A sync has failed: what the disk holds is unknown.
    failed: bool,
}

impl Settling {
    pub(crate) fn new(edge: Edge, history: u64) -> Self {
        Self { edge, unsynced: BTreeMap::new(), history }
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.edge.waiting_bytes()
    }

    /// Takes over what was appended, and writes the tiles that are full. Returns size and root at that moment.
    fn advance(&mut self, shared: &Shared, log: &LogState) -> (u64, Hash, io::Result<()>) {
        let (size, root) = {
            let mut live = log.live();
            self.edge.extend(&mut live.tail);
            (live.frontier.size(), live.frontier.root())
        };
        let waiting = self.edge.waiting_bytes();
        let (unsynced, mut stored) = (&mut self.unsynced, 0);
        // What the marker names must stay until the marker moves.
        let named = partial_tiles(log.settled.load(Ordering::Acquire));
        let completed = self.edge.complete(|name, bytes| {
            write_tile(&*shared.disk, &log.folder, name, bytes)?;
            if !named.iter().any(|partial| name.is_wider(*partial)) {
                remove_partials(&log.folder, name, None)?;
            }
            stored += bytes.len() as u64;
            unsynced.insert(name.path(), Written { hash: sha256(bytes), failed: false });
            Ok(())
        });
        log.stored.fetch_add(stored, Ordering::Relaxed);
        shared.space.stored.fetch_add(stored, Ordering::Relaxed);
        shared.space.backlog.fetch_sub(waiting - self.edge.waiting_bytes(), Ordering::Relaxed);
        (size, root, completed)
    }

    /// Writes the partial tiles, makes everything durable, and moves the marker.
    fn settle(&mut self, shared: &Shared, log: &LogState) -> io::Result<()> {
        let size = self.edge.size();
        let before = log.settled.load(Ordering::Acquire);
        if size == before {
            return Ok(());
        }
        let unsynced = &mut self.unsynced;
        self.edge.partial(|name, bytes| {
            write_tile(&*shared.disk, &log.folder, name, bytes)?;
            unsynced.insert(name.path(), Written { hash: sha256(bytes), failed: false });
            Ok(())
        })?;
        self.flush(shared, log)?;
        let marker = format!("{size} {}\n", log.stored.load(Ordering::Relaxed));
        replace(&*shared.disk, &log.folder.join("scratch"), &log.folder.join("settled"), marker.as_bytes(), true)?;
        sync_folder(&log.folder)?;
        log.settled.store(size, Ordering::Release);
        remove_narrower(&log.folder, before, size)
    }

    /// Makes the tiles durable, and the folders that name them.
    fn flush(&mut self, shared: &Shared, log: &LogState) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for (path, written) in &mut self.unsynced {
            let whole = log.folder.join(path);
            if written.failed {
                // The kernel may have dropped the bytes and call the file clean. They are written anew if they can
                // still be read; if not, the log stays unsettled, and its journal stays, until it is opened again.
                let bytes = std::fs::read(&whole)?;
                if sha256(&bytes) != written.hash {
                    return Err(io::Error::other("a tile was lost by the disk; the journal holds it"));
                }
                replace(&*shared.disk, &log.folder.join("scratch"), &whole, &bytes, true)?;
                written.failed = false;
            } else {
                match File::open(&whole) {
                    Ok(file) => {
                        written.failed = true;
                        shared.disk.sync(&file)?;
                        written.failed = false;
                    }
                    // A partial tile that a wider one has replaced.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            folders.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
        for folder in folders {
            match sync_folder(&log.folder.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Signs the log as it was when it had `size` records, if the newest checkpoint says anything else.
    fn sign(&mut self, shared: &Shared, log: &LogState, size: u64, root: Hash) -> Result<(), CheckpointError> {
        let Some(signer) = log.signer.get() else { return Ok(()) };
        let checkpoint = Checkpoint { size, root, extension: extension_lines(&log.extension()) };
        if log.latest().as_ref() == Some(&checkpoint) {
            return Ok(());
        }
        let note = checkpoint.signed(&log.verifier, &**signer)?;
        if self.history + note.len() as u64 > HISTORY_BYTES {
            self.thin(shared, log)?;
        }
        let path = log.folder.join("checkpoints");
        let file = open_or_create_file(&path)?;
        file.set_len(self.history)?;
        shared.disk.write(&file, note.as_bytes(), self.history)?;
        shared.disk.sync(&file)?;
        replace(&*shared.disk, &log.folder.join("scratch"), &log.folder.join("checkpoint"), note.as_bytes(), true)?;
        if self.history == 0 {
            sync_folder(&log.folder)?;
        }
        self.history += note.len() as u64;
        *log.latest() = Some(checkpoint);
        Ok(())
    }

    /// Drops every other checkpoint of the older three quarters of the history, but not the first.
    fn thin(&mut self, shared: &Shared, log: &LogState) -> io::Result<()> {
        let path = log.folder.join("checkpoints");
        let bytes = std::fs::read(&path)?;
        let (notes, _) = split_notes(&bytes);
        let recent = notes.len() - notes.len() / 4;
        let kept: Vec<u8> = notes
            .iter()
            .enumerate()
            .filter(|(position, _)| position % 2 == 0 || *position >= recent)
            .flat_map(|(_, note)| note.iter().copied())
            .collect();
        replace(&*shared.disk, &log.folder.join("scratch"), &path, &kept, true)?;
        sync_folder(&log.folder)?;
        self.history = kept.len() as u64;
        Ok(())
    }

    /// Looks for `id` among the records `since..until`, all of which stand in tiles or at the edge.
    fn find(&self, log: &LogState, id: u128, since: u64, until: u64) -> io::Result<Option<u64>> {
        let (open_from, open) = self.edge.open_entries();
        let mut at = since;
        while at < until {
            let first = at / TILE_SIZE * TILE_SIZE;
            let stored;
            let bundle = if first >= open_from {
                open
            } else {
                let name = TileName { kind: TileKind::Entries, number: at / TILE_SIZE, width: TILE };
                stored = read_tile(&log.folder, name).map_err(|error| match error {
                    EdgeError::Io(error) => error,
                    EdgeError::Missing(_) | EdgeError::Wrong(_) => io::Error::other("a bundle is missing"),
                })?;
                &stored
            };
            let entries = parse_bundle(bundle).map_err(io::Error::other)?;
            for (index, entry) in (first..until).zip(entries).skip((at - first) as usize) {
                if Record::parse(entry).is_ok_and(|record| record.id == id) {
                    return Ok(Some(index));
                }
            }
            at = first + TILE_SIZE;
        }
        Ok(None)
    }
}

/// Removes the partial tiles of size `old`, which the marker has named until now, where the log of size `new` has others.
fn remove_narrower(folder: &Path, old: u64, new: u64) -> io::Result<()> {
    let present = partial_tiles(new);
    for name in partial_tiles(old) {
        remove_partials(folder, name, present.iter().find(|other| other.is_wider(name)).map(|other| other.width))?;
    }
    Ok(())
}

/// Signs what is new in a log; with `settle`, also brings its folder to a state that needs no journal.
pub(crate) fn checkpoint(shared: &Shared, log: &LogState, settle: bool) -> Result<(), CheckpointError> {
    let mut settling = log.settling();
    let (size, root, completed) = settling.advance(shared, log);
    settling.sign(shared, log, size, root)?;
    completed?;
    // Below the marker nothing but a signature protects a record; without one it stays in the journal.
    if settle && log.signer.get().is_some() {
        settling.settle(shared, log)?;
    }
    Ok(())
}

/// Works until the node closes, and settles everything then.
pub(crate) fn run(shared: &Shared) {
    gather::lower_priority();
    let interval = shared.options.checkpoint_interval;
    let mut due = Instant::now() + interval;
    loop {
        let (waiting, closing) = wait(shared, due);
        for request in waiting {
            answer(shared, request);
        }
        if closing || Instant::now() >= due {
            due = Instant::now() + interval;
            shared.ask_disk(Duration::ZERO);
            checkpoint_all(shared, closing);
        }
        retire_segments(shared);
        if closing {
            return;
        }
        make_spare(shared);
    }
}

/// Waits for a request, for an urgent matter, or until `due`.
fn wait(shared: &Shared, due: Instant) -> (Vec<Request>, bool) {
    let mut requests = shared.requests();
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if requests.closing || requests.urgent || !requests.waiting.is_empty() || left.is_zero() {
            requests.urgent = false;
            return (std::mem::take(&mut requests.waiting), requests.closing);
        }
        requests = shared.requested.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn answer(shared: &Shared, request: Request) {
    match request {
        Request::Checkpoint { log, reply } => {
            let done = checkpoint(shared, &log, true);
            let newest = log.latest().clone();
            let _ = reply.send(done.and_then(|()| newest.ok_or(CheckpointError::Closed)));
        }
        Request::Find { log, id, since, until, reply } => {
            let mut settling = log.settling();
            let (_, _, completed) = settling.advance(shared, &log);
            let _ = reply.send(completed.and_then(|()| settling.find(&log, id, since, until)));
        }
    }
}

fn checkpoint_all(shared: &Shared, closing: bool) {
    let logs: Vec<_> = shared.logs().values().cloned().collect();
    for log in logs {
        let size = log.size.load(Ordering::Acquire);
        let quiet = log.latest().as_ref().is_some_and(|latest| latest.size == size);
        if let Err(error) = checkpoint(shared, &log, closing || quiet) {
            tracing::error!(origin = %log.verifier.origin(), %error, "no new checkpoint; it is tried again");
        }
    }
}

/// Settles the logs whose records keep old segments alive, and gives those segments back.
fn retire_segments(shared: &Shared) {
    let needed: BTreeSet<_> = {
        let segments = shared.segments();
        let old = segments.len().saturating_sub(1);
        segments[..old].iter().flat_map(|note| note.needed.keys().copied()).collect()
    };
    let logs: Vec<_> = needed.iter().filter_map(|key| shared.logs().get(key).cloned()).collect();
    for log in logs {
        if let Err(error) = checkpoint(shared, &log, true) {
            tracing::error!(origin = %log.verifier.origin(), %error, "the log stays in the journal");
        }
    }
    loop {
        let oldest = {
            let segments = shared.segments();
            let logs = shared.logs();
            let settled = |key| logs.get(key).map_or(0, |log| log.settled.load(Ordering::Acquire));
            match &segments[..] {
                [oldest, _, ..] if oldest.needed.iter().all(|(key, &end)| settled(key) >= end) => oldest.number,
                _ => break,
            }
        };
        let retired = {
            let _spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
            journal::retire(&shared.folder.join("journal"), oldest, shared.options.segment_bytes)
        };
        if let Err(error) = retired {
            tracing::error!(%error, "an old journal segment cannot be removed");
            break;
        }
        shared.segments().remove(0);
    }
    let segments = shared.segments().len() as u64 + 1;
    shared.space.journal.store(segments * shared.options.segment_bytes, Ordering::Relaxed);
}

/// Makes the next segment ready before it is needed, unless that would take the last of the space.
fn make_spare(shared: &Shared) {
    let length = shared.options.segment_bytes;
    let free = shared.space.free.load(Ordering::Relaxed);
    if free < shared.options.min_free_bytes + 2 * length {
        return;
    }
    let _spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = journal::prepare_spare(&shared.folder.join("journal"), &*shared.disk, length) {
        tracing::warn!(%error, "no journal segment could be made ready");
    }
}
