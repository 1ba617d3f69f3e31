//! All logs of one node: the queue in front of the journal and the thread that empties it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::checkpoint::{Origin, Signer, VerifierKey};
use crate::disk::{Disk, LocalDisk, create_file, create_folder};
use crate::error::{AppendError, OpenError};
use crate::gather::{self, Announced, Pace};
use crate::journal::{Batch, Frame, JournalKey, LogKey, Replay, Writer};
use crate::log::{Class, Log, LogState};
use crate::settle::{self, Request};
use crate::{record, recover};

/// The most bytes that wait in the queue.
const QUEUE_BYTES: usize = 32 << 20;

/// The most bytes that are durable in the journal and wait for their tiles, in memory.
const BACKLOG_BYTES: u64 = 256 << 20;

/// The smallest segment: several of the longest records.
const MIN_SEGMENT_BYTES: u64 = 256 << 10;

/// What the logs of a node may use, and when they are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The most bytes of all logs and the journal together; `None` leaves it to the disk.
    pub max_bytes: Option<u64>,
    /// How many bytes below the limit, or of the disk's free space, only authenticated requests may use.
    pub reserve_bytes: u64,
    /// How many bytes of the disk are left free.
    pub min_free_bytes: u64,
    /// How long records stand unsigned, at most.
    pub checkpoint_interval: Duration,
    /// The length of a journal segment. A multiple of 4,096, at least 256 KiB.
    pub segment_bytes: u64,
    /// How many records may wait for the disk; one in eight of these slots is open to unauthenticated requests.
    pub queue_length: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: None,
            reserve_bytes: 64 << 20,
            min_free_bytes: 16 << 20,
            checkpoint_interval: Duration::from_secs(1),
            segment_bytes: 16 << 20,
            queue_length: 8192,
        }
    }
}

/// All logs of one node, open. Dropping it is [`Node::close`].
pub struct Node {
    shared: Arc<Shared>,
    damaged: Mutex<HashMap<LogKey, OpenError>>,
    /// Logs with records in the journal, but without a folder.
    homeless: HashSet<LogKey>,
    threads: Vec<JoinHandle<()>>,
    _lock: File,
}

/// What the threads and the handles share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    queue: Mutex<Queue>,
    queued: Condvar,
    pub(crate) announced: Announced,
    pub(crate) logs: Mutex<BTreeMap<LogKey, Arc<LogState>>>,
    pub(crate) segments: Mutex<Vec<SegmentNote>>,
    pub(crate) requests: Mutex<Requests>,
    pub(crate) requested: Condvar,
    pub(crate) space: Space,
    /// Held while the journal's spare segment is made, taken or given back.
    pub(crate) spare: Arc<Mutex<()>>,
    syncs: Arc<AtomicU64>,
}

/// A segment of the journal, and up to which record of each log it is needed.
pub(crate) struct SegmentNote {
    pub(crate) number: u64,
    pub(crate) needed: HashMap<LogKey, u64>,
}

/// What the background thread is asked to do.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) waiting: Vec<Request>,
    /// There is more to do than the next interval should wait for.
    pub(crate) urgent: bool,
    pub(crate) closing: bool,
}

/// What is known of the space that is left, in bytes.
pub(crate) struct Space {
    /// Taken by full tiles.
    pub(crate) stored: AtomicU64,
    /// Taken by the journal.
    pub(crate) journal: AtomicU64,
    /// Not yet in full tiles, and going to be.
    pub(crate) backlog: AtomicU64,
    /// Free on the disk when it was last asked.
    pub(crate) free: AtomicU64,
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    /// The entries, one behind the other.
    bytes: Vec<u8>,
    unauthenticated: usize,
    unauthenticated_bytes: usize,
    closed: bool,
}

/// One record that waits for the disk.
pub(crate) struct Item {
    pub(crate) log: Arc<LogState>,
    pub(crate) id: u128,
    /// For a change: from which index on its id must not stand twice.
    pub(crate) once: Option<u64>,
    pub(crate) entry: Range<usize>,
    pub(crate) reply: oneshot::Sender<Result<Placed, AppendError>>,
}

/// What became of an append.
#[derive(Clone, Copy)]
pub(crate) enum Placed {
    /// It stands at this index, durably.
    At(u64),
    /// Whether its id already stands above the asked index is not known any more; it was not appended.
    Unsure,
}

impl Node {
    /// Opens the logs in `folder`, which is made if it is not there. `key` is the node's own for its journal. Reads the journal, so its time grows with what was
    /// written of late, not with the logs. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`] if another process has it open, if the disk fails, or if the journal lacks what was durable or holds
    /// what this node did not write. What
    /// is wrong with a single log is told by [`Node::log`].
    pub fn open(folder: &Path, options: Options, key: Arc<dyn JournalKey>) -> Result<Self, OpenError> {
        Self::open_on(folder, options, key, Arc::new(LocalDisk))
    }

    pub(crate) fn open_on(
        folder: &Path,
        options: Options,
        key: Arc<dyn JournalKey>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, OpenError> {
        check(&options)?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::disk(path, error)
        };
        let journal = folder.join("journal");
        create_folder(&journal).map_err(at(&journal))?;
        let lock = lock(&folder.join("lock"))?;
        let replay =
            Replay::read(&journal, Some(&*key)).map_err(|error| OpenError::Journal { source: Arc::new(error) })?;
        let mut frames: HashMap<LogKey, Vec<Frame<'_>>> = HashMap::new();
        let mut segments: Vec<SegmentNote> =
            replay.numbers().map(|number| SegmentNote { number, needed: HashMap::new() }).collect();
        for (segment, frame) in replay.frames() {
            frames.entry(frame.log).or_default().push(frame);
            if let Some(note) = segments.iter_mut().find(|note| note.number == segment) {
                note.needed.insert(frame.log, frame.index + 1);
            }
        }
        let mut logs = BTreeMap::new();
        let mut damaged = HashMap::new();
        let mut stored = 0;
        for (log_folder, origin) in recover::folders(folder).map_err(at(folder))? {
            stored += recover::stored_bytes(&log_folder);
            if let Some(frames) = frames.remove(&origin.key()) {
                match recover::log(&log_folder, &origin, &frames) {
                    Ok(log) => drop(logs.insert(origin.key(), Arc::new(log))),
                    Err(error) => {
                        // Whoever opens it is told; this is for logs that nobody opens any more.
                        tracing::info!(%origin, %error, "an audit log is damaged");
                        drop(damaged.insert(origin.key(), error));
                    }
                }
            }
        }
        let homeless: HashSet<LogKey> = frames.into_keys().collect();
        segments.iter_mut().for_each(|note| note.needed.retain(|log, _| !homeless.contains(log)));

        let (spare, syncs) = (Arc::<Mutex<()>>::default(), Arc::<AtomicU64>::default());
        let mut writer =
            Writer::new(&journal, disk.clone(), key, options.segment_bytes, &replay, spare.clone(), syncs.clone());
        rewrite_last(&mut writer, &replay, &mut segments, &homeless).map_err(at(&journal))?;
        let free = disk.free(folder).map_err(at(folder))?;
        let backlog = logs.values().map(|log| log.settling().waiting_bytes()).sum();
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            disk,
            options,
            queue: Mutex::default(),
            queued: Condvar::new(),
            announced: Announced::default(),
            logs: Mutex::new(logs),
            segments: Mutex::new(segments),
            requests: Mutex::new(Requests { urgent: true, ..Requests::default() }),
            requested: Condvar::new(),
            space: Space {
                stored: AtomicU64::new(stored),
                journal: AtomicU64::new(0),
                backlog: AtomicU64::new(backlog),
                free: AtomicU64::new(free),
                asked: Mutex::new(None),
            },
            spare,
            syncs,
        });
        let mut node =
            Self { shared: shared.clone(), damaged: Mutex::new(damaged), homeless, threads: Vec::new(), _lock: lock };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run).map_err(at(folder))
        };
        let journal_shared = shared.clone();
        node.threads.push(spawn("audit-journal", Box::new(move || run_journal(&journal_shared, writer)))?);
        node.threads.push(spawn("audit-tiles", Box::new(move || settle::run(&shared)))?);
        Ok(node)
    }

    /// Opens the log named `origin`, or makes it, and signs a first checkpoint. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError::Tampered`] if the log is not the one that its checkpoints are about, [`OpenError::OtherKey`] if it
    /// belongs to another key; neither changes anything in its folder.
    pub fn log(&self, origin: &Origin, signer: Arc<dyn Signer>) -> Result<Log, OpenError> {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = damaged.get(&origin.key()) {
            return Err(error.clone());
        }
        let verifier = VerifierKey::new(origin.clone(), signer.public_key());
        let known = self.shared.logs().get(&origin.key()).cloned();
        let state = match known {
            Some(state) => state,
            None => {
                let opened = recover::open_or_create(&self.shared, &verifier, self.homeless.contains(&origin.key()));
                match opened {
                    Ok(state) => Arc::new(state),
                    Err(error @ OpenError::Tampered { .. }) => {
                        damaged.insert(origin.key(), error.clone());
                        return Err(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if state.verifier != verifier {
            return Err(OpenError::OtherKey { origin: origin.clone() });
        }
        let first = state.signer.set(signer).is_ok();
        self.shared.logs().insert(origin.key(), state.clone());
        if first {
            settle::checkpoint(&self.shared, &state, true)
                .map_err(|source| OpenError::Checkpoint { origin: origin.clone(), source })?;
        }
        Ok(Log { node: self.shared.clone(), state })
    }

    /// How often the journal waited for the disk since it was opened: far less often than records were appended, when
    /// there are many at a time.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// Refuses new records, makes those that wait durable, settles and signs every log, and ends the threads. Blocks.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.queued.notify_all();
        let mut threads = self.threads.drain(..);
        let journal = threads.next().map(JoinHandle::join);
        self.shared.requests().closing = true;
        self.shared.requested.notify_all();
        let tiles = threads.next().map(JoinHandle::join);
        if journal.is_some_and(|ended| ended.is_err()) || tiles.is_some_and(|ended| ended.is_err()) {
            tracing::error!("a thread of the audit log had panicked");
        }
    }
}

fn check(options: &Options) -> Result<(), OpenError> {
    let wrong = |what| Err(OpenError::Options { what });
    if options.segment_bytes < MIN_SEGMENT_BYTES || !options.segment_bytes.is_multiple_of(4096) {
        return wrong("a journal segment has at least 256 KiB, and whole pages of 4,096 bytes");
    }
    if options.max_bytes.is_some_and(|max| max < 4 * options.segment_bytes) {
        return wrong("the limit of the audit logs is less than four journal segments");
    }
    if options.queue_length < 8 {
        return wrong("the queue of the audit logs takes at least 8 records");
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = create_file(path).map_err(|error| OpenError::disk(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::disk(path, error)),
    }
}

/// Writes the last batch that was found into a new segment: see the journal's chapter on what is durable.
fn rewrite_last(
    writer: &mut Writer,
    replay: &Replay,
    segments: &mut Vec<SegmentNote>,
    homeless: &HashSet<LogKey>,
) -> io::Result<()> {
    let Some(frames) = replay.last_batch() else { return Ok(()) };
    let mut batch = Batch::new();
    let mut needed = HashMap::new();
    for frame in frames {
        batch.push(frame);
        if !homeless.contains(&frame.log) {
            needed.insert(frame.log, frame.index + 1);
        }
    }
    writer.rewrite_last();
    let number = writer.write(&mut batch)?;
    writer.opened();
    segments.push(SegmentNote { number, needed });
    Ok(())
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, BTreeMap<LogKey, Arc<LogState>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, Vec<SegmentNote>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something to the background thread. Dropped, and with it the channel of its answer, once it has ended.
    pub(crate) fn request(&self, request: Request) {
        let mut requests = self.requests();
        if !requests.closing {
            requests.waiting.push(request);
            self.requested.notify_one();
        }
    }

    /// A request is over whose record was announced.
    pub(crate) fn over(&self) {
        if self.announced.remove() {
            // Under the lock the journal either waits already or has not looked yet.
            drop(self.queue());
            self.queued.notify_one();
        }
    }

    fn hurry(&self) {
        self.requests().urgent = true;
        self.requested.notify_one();
    }

    /// Puts an entry into the queue, if its class may.
    pub(crate) fn enqueue(
        &self,
        entry: &[u8],
        class: Class,
        item: impl FnOnce(Range<usize>) -> Item,
    ) -> Result<(), AppendError> {
        debug_assert!(entry.len() <= record::MAX_RECORD_BYTES);
        self.admit(class)?;
        let mut queue = self.queue();
        if queue.closed {
            return Err(AppendError::Closed);
        }
        let slots = self.options.queue_length;
        if queue.items.len() >= slots || queue.bytes.len() >= QUEUE_BYTES {
            return Err(AppendError::Busy);
        }
        if class == Class::Unauthenticated {
            if queue.unauthenticated >= slots / 8 || queue.unauthenticated_bytes >= QUEUE_BYTES / 8 {
                return Err(AppendError::Reserved);
            }
            queue.unauthenticated += 1;
            queue.unauthenticated_bytes += entry.len();
        }
        let start = queue.bytes.len();
        queue.bytes.extend_from_slice(entry);
        let end = queue.bytes.len();
        queue.items.push(item(start..end));
        let present = queue.items.len();
        self.announced.came(present);
        drop(queue);
        // The journal waits for the first record, and then for the last that is announced.
        if present == 1 || self.announced.beside(present) == 0 {
            self.queued.notify_one();
        }
        Ok(())
    }

    /// Waits for records, and at the given pace for more; `None` when the queue is closed and empty.
    fn gathered(&self, pace: &Pace) -> Option<MutexGuard<'_, Queue>> {
        let mut queue = self.queue();
        while queue.items.is_empty() && !queue.closed {
            queue = self.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.items.is_empty() {
            return None;
        }
        let begun = Instant::now();
        while !queue.closed {
            let present = queue.items.len();
            self.announced.wait_with(present);
            let awaited = self.announced.beside(present);
            let left = pace.deadline(begun, awaited).saturating_duration_since(Instant::now());
            if awaited == 0 || left.is_zero() {
                break;
            }
            queue = self.queued.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.announced.wait_with(0);
        Some(queue)
    }

    /// Whether there is space for a record of this class.
    fn admit(&self, class: Class) -> Result<(), AppendError> {
        let needed = match class {
            Class::Authenticated => 0,
            Class::Unauthenticated => self.options.reserve_bytes,
        };
        if self.left() > needed || (self.ask_disk(Duration::from_millis(100)) && self.left() > needed) {
            return Ok(());
        }
        match class {
            Class::Unauthenticated => Err(AppendError::Reserved),
            Class::Authenticated => Err(AppendError::unwritable(io::Error::new(
                io::ErrorKind::StorageFull,
                "the space that the audit log may use is taken",
            ))),
        }
    }

    /// How many bytes may still be written.
    fn left(&self) -> u64 {
        let space = &self.space;
        let backlog = space.backlog.load(Ordering::Relaxed);
        if backlog > BACKLOG_BYTES {
            return 0;
        }
        let disk = space.free.load(Ordering::Relaxed).saturating_sub(self.options.min_free_bytes + backlog);
        let taken = space.stored.load(Ordering::Relaxed) + space.journal.load(Ordering::Relaxed) + backlog;
        self.options.max_bytes.map_or(disk, |max| disk.min(max.saturating_sub(taken)))
    }

    /// Asks the disk how much is free, unless it was asked less than `pause` ago. Whether it answered.
    pub(crate) fn ask_disk(&self, pause: Duration) -> bool {
        let mut asked = self.space.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|at| at.elapsed() < pause) {
            return false;
        }
        *asked = Some(Instant::now());
        match self.disk.free(&self.folder) {
            Ok(free) => {
                self.space.free.store(free, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }
}

/// Empties the queue into the journal until it is closed and empty.
fn run_journal(shared: &Shared, writer: Writer) {
    let limit = (shared.options.segment_bytes / 2).min(1 << 20) as usize;
    let mut appender = Appender {
        shared,
        writer,
        batch: Batch::new(),
        limit,
        waiting: Vec::new(),
        next: HashMap::new(),
        ids: HashMap::new(),
    };
    gather::lower_priority();
    let (mut items, mut bytes) = (Vec::new(), Vec::new());
    let mut pace = Pace::default();
    loop {
        {
            let Some(mut queue) = shared.gathered(&pace) else { return };
            std::mem::swap(&mut queue.items, &mut items);
            std::mem::swap(&mut queue.bytes, &mut bytes);
            queue.unauthenticated = 0;
            queue.unauthenticated_bytes = 0;
        }
        let began = Instant::now();
        for item in items.drain(..) {
            let entry = &bytes[item.entry.clone()];
            appender.place(item, entry);
        }
        appender.flush();
        pace.wrote(began);
        bytes.clear();
        bytes.shrink_to(1 << 20);
    }
}

/// Gathers records into a batch and makes it durable.
struct Appender<'a> {
    shared: &'a Shared,
    writer: Writer,
    batch: Batch,
    limit: usize,
    /// The records of the batch, and those that are the same as one in it.
    waiting: Vec<Waiting>,
    /// The next index of each log in the batch.
    next: HashMap<LogKey, u64>,
    /// The ids in the batch that must not stand twice.
    ids: HashMap<(LogKey, u128), u64>,
}

struct Waiting {
    item: Item,
    index: u64,
    /// Whether the batch holds it, or just another with the same id.
    own: bool,
}

impl Appender<'_> {
    fn place(&mut self, item: Item, entry: &[u8]) {
        let log = item.log.key;
        if let Some(since) = item.once {
            let (found, complete_from) = {
                let live = item.log.live();
                (live.recent.find(item.id, since), live.recent.complete_from())
            };
            if let Some(index) = found {
                let _ = item.reply.send(Ok(Placed::At(index)));
                return;
            }
            if since < complete_from {
                let _ = item.reply.send(Ok(Placed::Unsure));
                return;
            }
            if let Some(&index) = self.ids.get(&(log, item.id)) {
                self.waiting.push(Waiting { item, index, own: false });
                return;
            }
        }
        let next = self.next.entry(log).or_insert_with(|| item.log.size.load(Ordering::Relaxed));
        let index = *next;
        *next += 1;
        if item.once.is_some() {
            self.ids.insert((log, item.id), index);
        }
        self.batch.push(Frame { log, index, id: item.id, once: item.once.is_some(), entry });
        self.waiting.push(Waiting { item, index, own: true });
        if self.batch.len() >= self.limit {
            self.flush();
        }
    }

    /// Makes the batch durable and answers everyone in it.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let written = self.writer.write(&mut self.batch);
        let opened = self.writer.opened();
        {
            let mut segments = self.shared.segments();
            segments.extend(opened.iter().map(|&number| SegmentNote { number, needed: HashMap::new() }));
            if let Ok(number) = written
                && let Some(note) = segments.iter_mut().rev().find(|note| note.number == number)
            {
                note.needed.extend(self.next.iter().map(|(&log, &next)| (log, next)));
            }
        }
        match written {
            Ok(_) => self.acknowledge(),
            Err(error) => {
                tracing::error!(%error, "the audit journal cannot be written");
                let error = AppendError::unwritable(error);
                for waiting in self.waiting.drain(..) {
                    let _ = waiting.item.reply.send(Err(error.clone()));
                }
            }
        }
        if !opened.is_empty() {
            self.shared.hurry();
        }
        self.batch.clear();
        self.next.clear();
        self.ids.clear();
    }

    fn acknowledge(&mut self) {
        // Added before the records can be taken over into tiles, which subtracts them again.
        let backlog: usize = self.batch.entries().map(|(frame, _)| frame.entry.len() + 2).sum();
        self.shared.space.backlog.fetch_add(backlog as u64, Ordering::Relaxed);
        let records = self.waiting.iter().filter(|waiting| waiting.own);
        for (waiting, (frame, leaf)) in records.zip(self.batch.entries()) {
            let log = &waiting.item.log;
            let mut live = log.live();
            live.frontier.push(leaf);
            live.tail.push(frame.entry, leaf);
            if frame.once {
                live.recent.insert(frame.id, frame.index);
            }
            log.size.store(frame.index + 1, Ordering::Release);
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.item.reply.send(Ok(Placed::At(waiting.index)));
        }
    }
}
