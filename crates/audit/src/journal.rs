//! The node's journal: where records become durable, and the one place that is written while callers wait.
//!
//! # Form
//!
//! A journal is a folder of segments `<number, 16 hexadecimal digits>.seg`, all of one length, zero-filled or recycled
//! before use so that a write changes no metadata of the file and `fdatasync` writes data alone. Integers are big-endian.
//!
//! ```text
//! segment := header page (4096) · batch* · anything
//! header  := "srm-audit-seg-1\n" · number u64 · first batch u64 · length u64 · SHA-256 of these · zeros up to the page
//! batch   := "srm-btch" · batch u64 · bytes of frames u32 · frames u32 · digest (32) · tag (32) · frame* · zeros up to the page
//! frame   := log (16) · index u64 · record id (16) · once u8 · length u32 · 0x00 · entry
//! digest  := SHA-256("srm-btch" · segment u64 · batch u64 · bytes u32 · frames u32 · (frame up to the entry · leaf hash)*)
//! ```
//!
//! The tag authenticates the digest under the node's journal key. The digest alone tells a torn batch from a whole one,
//! with no key; the tag tells the node's own batches from those that somebody with the disk put behind the newest
//! checkpoint. A whole batch with another tag is refused.
//!
//! The byte before an entry is the one that RFC 6962 puts before a leaf, so that a leaf is hashed where it stands.
//!
//! # What is durable
//!
//! Batches are numbered without gaps. Batch `n + 1` is written only after batch `n` is durable, at a page of its own, so
//! that no write touches a page that holds something acknowledged. A batch counts as a whole or not at all.
//!
//! After a failed write or `fdatasync` nothing is known about the pages that were under way: the kernel may have marked
//! them clean and dropped them, and a second `fdatasync` would succeed over a hole. So the segment is abandoned: nothing
//! is ever written to it again, the batch is refused, and the next one, with the *same* number, opens a new segment.
//! The header of a segment names its first batch; any batch of that number or above in an earlier segment is void.
//! Reading therefore never finds two meanings for one index.
//!
//! Opening always begins a new segment with the last batch that was found, written again: it may be one whose
//! `fdatasync` failed and which only the page cache still holds. All batches before it were durable before it began.
//!
//! # The end
//!
//! The batches of the newest segment end where the next one is not valid. That is a torn write, never acknowledged,
//! unless a batch with a higher number than the expected one stands anywhere after it: then the broken one had been
//! durable, and opening is refused. In older segments the batches must reach up to the first of the next segment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, create_file, sync_folder};
use crate::merkle::{Hash, sha256};

/// Names a log within the journal: the first half of the hash of its origin.
pub(crate) type LogKey = [u8; 16];

const PAGE: usize = 4096;
const SEGMENT_MAGIC: &[u8; 16] = b"srm-audit-seg-1\n";
const BATCH_MAGIC: &[u8; 8] = b"srm-btch";
const BATCH_HEADER: usize = 88;
const DIGEST: std::ops::Range<usize> = 24..56;
const TAG: std::ops::Range<usize> = 56..BATCH_HEADER;
const FRAME_HEADER: usize = 46;

/// The bytes that a segment needs beside its batches.
pub(crate) const SEGMENT_OVERHEAD: u64 = PAGE as u64;

/// Nothing is ever counted up to this: records, batches, segments, bytes. What claims to be is not ours, and below it sums
/// cannot overflow.
pub(crate) const UNCOUNTABLE: u64 = 1 << 62;

/// The node's key for its journal. Whoever implements it keeps the key to itself.
pub trait JournalKey: Send + Sync {
    /// The message authentication code of a batch's digest.
    fn tag(&self, digest: &[u8; 32]) -> [u8; 32];
}

/// One record on its way into the journal, or out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) log: LogKey,
    pub(crate) index: u64,
    pub(crate) id: u128,
    /// Whether it was appended idempotently, so that its id must be remembered.
    pub(crate) once: bool,
    pub(crate) entry: &'a [u8],
}

/// A batch under construction.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    hashed: Vec<u8>,
    leaves: Vec<Hash>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH_HEADER], hashed: Vec::new(), leaves: Vec::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER);
        self.hashed.clear();
        self.leaves.clear();
    }

    /// The frames and their leaf hashes, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Frame<'_>, Hash)> {
        frames(&self.bytes[BATCH_HEADER..]).zip(self.leaves.iter().copied())
    }

    /// The bytes that the batch takes in a segment.
    fn padded(&self) -> u64 {
        self.bytes.len().next_multiple_of(PAGE) as u64
    }

    /// The bytes it has so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, frame: Frame<'_>) {
        let start = self.bytes.len();
        let length = u32::try_from(frame.entry.len()).expect("a record is at most 32 KiB");
        self.bytes.extend_from_slice(&frame.log);
        self.bytes.extend_from_slice(&frame.index.to_be_bytes());
        self.bytes.extend_from_slice(&frame.id.to_be_bytes());
        self.bytes.push(u8::from(frame.once));
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.push(0);
        let entry = self.bytes.len();
        self.bytes.extend_from_slice(frame.entry);
        let leaf = sha256(&self.bytes[entry - 1..]);
        self.hashed.extend_from_slice(&self.bytes[start..entry]);
        self.hashed.extend_from_slice(&leaf);
        self.leaves.push(leaf);
    }

    /// The bytes to write, padded to whole pages.
    fn seal(&mut self, segment: u64, batch: u64, key: &dyn JournalKey) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - BATCH_HEADER).expect("a batch is smaller than a segment");
        let count = u32::try_from(self.leaves.len()).expect("a batch is smaller than a segment");
        let digest = batch_digest(segment, batch, length, count, &self.hashed);
        self.bytes[..8].copy_from_slice(BATCH_MAGIC);
        self.bytes[8..16].copy_from_slice(&batch.to_be_bytes());
        self.bytes[16..20].copy_from_slice(&length.to_be_bytes());
        self.bytes[20..24].copy_from_slice(&count.to_be_bytes());
        self.bytes[DIGEST].copy_from_slice(&digest);
        self.bytes[TAG].copy_from_slice(&key.tag(&digest));
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
        &self.bytes
    }
}

fn batch_digest(segment: u64, batch: u64, length: u32, count: u32, hashed: &[u8]) -> Hash {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(BATCH_MAGIC);
    context.update(&segment.to_be_bytes());
    context.update(&batch.to_be_bytes());
    context.update(&length.to_be_bytes());
    context.update(&count.to_be_bytes());
    context.update(hashed);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Writes batches, one after the other.
pub(crate) struct Writer {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    key: Arc<dyn JournalKey>,
    segment_bytes: u64,
    current: Option<Segment>,
    next_number: u64,
    next_batch: u64,
    /// Held while the spare is made, taken or given back.
    spare: Arc<Mutex<()>>,
    /// Segments that were begun since this was last taken.
    opened: Vec<u64>,
    syncs: Arc<AtomicU64>,
}

struct Segment {
    file: File,
    number: u64,
    length: u64,
    offset: u64,
}

impl Writer {
    /// A writer that goes on after `replay`, in a new segment which the first batch opens.
    pub(crate) fn new(
        folder: &Path,
        disk: Arc<dyn Disk>,
        key: Arc<dyn JournalKey>,
        segment_bytes: u64,
        replay: &Replay,
        spare: Arc<Mutex<()>>,
        syncs: Arc<AtomicU64>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            disk,
            key,
            segment_bytes,
            current: None,
            next_number: replay.next_number,
            next_batch: replay.next_batch,
            spare,
            opened: Vec::new(),
            syncs,
        }
    }

    /// The segments that were begun since the last call, those that failed at once included.
    pub(crate) fn opened(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.opened)
    }

    /// Goes back by one batch, which is about to be written again.
    pub(crate) fn rewrite_last(&mut self) {
        self.next_batch -= 1;
    }

    /// Makes `batch` durable and returns the number of its segment. After an error it is not, and never will be
    /// acknowledged, though opening may find it.
    pub(crate) fn write(&mut self, batch: &mut Batch) -> io::Result<u64> {
        // Taken out, and put back only after success: a segment that failed is never written to again.
        let mut segment = match self.current.take() {
            Some(segment) if segment.offset + batch.padded() <= segment.length => segment,
            _ => self.open_segment(batch.padded())?,
        };
        let bytes = batch.seal(segment.number, self.next_batch, &*self.key);
        self.disk.write(&segment.file, bytes, segment.offset)?;
        self.disk.sync(&segment.file)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        segment.offset += bytes.len() as u64;
        let number = segment.number;
        self.current = Some(segment);
        self.next_batch += 1;
        Ok(number)
    }

    fn open_segment(&mut self, room: u64) -> io::Result<Segment> {
        let _spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let length = self.segment_bytes.max(SEGMENT_OVERHEAD + room);
        prepare_spare(&self.folder, &*self.disk, length)?;
        let number = self.next_number;
        self.next_number += 1;
        let spare = spare_path(&self.folder);
        let file = File::options().read(true).write(true).open(&spare)?;
        let header = segment_header(number, self.next_batch, length);
        let begun = self.disk.write(&file, &header, 0).and_then(|()| self.disk.sync(&file));
        if let Err(error) = begun {
            // What the spare holds now is unknown; the next attempt makes another.
            let _ = std::fs::remove_file(&spare);
            return Err(error);
        }
        std::fs::rename(&spare, segment_path(&self.folder, number))?;
        self.opened.push(number);
        sync_folder(&self.folder)?;
        Ok(Segment { file, number, length, offset: PAGE as u64 })
    }
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.seg"))
}

fn spare_path(folder: &Path) -> PathBuf {
    folder.join("spare")
}

fn segment_header(number: u64, first_batch: u64, length: u64) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE);
    page.extend_from_slice(SEGMENT_MAGIC);
    page.extend_from_slice(&number.to_be_bytes());
    page.extend_from_slice(&first_batch.to_be_bytes());
    page.extend_from_slice(&length.to_be_bytes());
    let digest = sha256(&page);
    page.extend_from_slice(&digest);
    page.resize(PAGE, 0);
    page
}

/// Makes sure that a segment lies ready. Its content means nothing.
pub(crate) fn prepare_spare(folder: &Path, disk: &dyn Disk, length: u64) -> io::Result<()> {
    let spare = spare_path(folder);
    match std::fs::metadata(&spare) {
        Ok(found) if found.len() == length => return Ok(()),
        Ok(_) => std::fs::remove_file(&spare)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let unfinished = folder.join("spare.unfinished");
    let filled = fill(&unfinished, disk, length);
    if let Err(error) = filled {
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    std::fs::rename(unfinished, spare)
}

/// Zeros on the disk: an allocated but never written block would have its first write change metadata.
fn fill(path: &Path, disk: &dyn Disk, length: u64) -> io::Result<()> {
    const CHUNK: usize = 1 << 20;
    let file = create_file(path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length) {
        // Not every file system can; the zeros below then find out about the space.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let part = (length - at).min(CHUNK as u64);
        disk.write(&file, &zeros[..part as usize], at)?;
        at += part;
    }
    disk.sync(&file)
}

/// Takes a segment that is no longer needed out of the journal; it becomes the spare if there is none.
pub(crate) fn retire(folder: &Path, number: u64, length: u64) -> io::Result<()> {
    let path = segment_path(folder, number);
    if !spare_path(folder).exists() && std::fs::metadata(&path)?.len() == length {
        return std::fs::rename(path, spare_path(folder));
    }
    std::fs::remove_file(path)
}

/// A journal that is not what this crate writes.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk cannot be read.
    #[error("the journal cannot be read")]
    Unreadable {
        /// What the disk said.
        source: io::Error,
    },
    /// A segment's first page is not a segment's.
    #[error("segment {segment:016x} of the journal is damaged")]
    Segment {
        /// Which one.
        segment: u64,
    },
    /// A batch that had been durable is missing or damaged.
    #[error("batch {batch} of the journal, which had been durable, is missing or damaged")]
    Batch {
        /// Its number.
        batch: u64,
    },
    /// A batch was written by somebody else, or under another node key.
    #[error("batch {batch} of the journal was not written by this node")]
    Forged {
        /// Its number.
        batch: u64,
    },
}

impl From<io::Error> for JournalError {
    fn from(source: io::Error) -> Self {
        Self::Unreadable { source }
    }
}

/// What a journal holds.
#[derive(Default)]
pub(crate) struct Replay {
    /// All valid batches in order.
    batches: Vec<Located>,
    /// The bytes of each segment.
    segments: BTreeMap<u64, Vec<u8>>,
    pub(crate) next_number: u64,
    pub(crate) next_batch: u64,
}

struct Located {
    segment: u64,
    number: u64,
    frames: std::ops::Range<usize>,
}

impl Replay {
    /// Reads the journal in `folder`; no folder is an empty journal. Without the key nothing is known of who wrote it.
    pub(crate) fn read(folder: &Path, key: Option<&dyn JournalKey>) -> Result<Self, JournalError> {
        let mut replay = Self { next_number: 1, next_batch: 1, ..Self::default() };
        let names = match std::fs::read_dir(folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(replay),
            Err(error) => return Err(error.into()),
        };
        let mut numbers = Vec::new();
        for name in names {
            let name = name?.file_name();
            if let Some(digits) = name.to_str().and_then(|name| name.strip_suffix(".seg"))
                && digits.len() == 16
                && let Ok(number) = u64::from_str_radix(digits, 16)
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        for (position, &number) in numbers.iter().enumerate() {
            replay.add(number, std::fs::read(segment_path(folder, number))?, position + 1 == numbers.len(), key)?;
        }
        Ok(replay)
    }

    fn add(
        &mut self,
        number: u64,
        bytes: Vec<u8>,
        newest: bool,
        key: Option<&dyn JournalKey>,
    ) -> Result<(), JournalError> {
        let first = parse_segment_header(number, &bytes).ok_or(JournalError::Segment { segment: number })?;
        if !self.segments.is_empty() && first > self.next_batch {
            return Err(JournalError::Batch { batch: self.next_batch });
        }
        self.batches.retain(|batch| batch.number < first);
        let mut at = PAGE;
        let mut batch = first;
        while let Some(end) = parse_batch(number, batch, &bytes, at) {
            if key.is_some_and(|key| !is_own(&bytes[at..at + BATCH_HEADER], key)) {
                return Err(JournalError::Forged { batch });
            }
            self.batches.push(Located { segment: number, number: batch, frames: at + BATCH_HEADER..end });
            at = end.next_multiple_of(PAGE);
            batch += 1;
        }
        if newest && later_batch(number, batch, &bytes, at) {
            return Err(JournalError::Batch { batch });
        }
        self.segments.insert(number, bytes);
        self.next_number = number + 1;
        self.next_batch = batch;
        Ok(())
    }

    /// The numbers of all segments, oldest first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.segments.keys().copied()
    }

    /// All frames in order, each with the number of its segment.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, Frame<'_>)> {
        self.batches.iter().flat_map(|batch| frames(self.bytes(batch)).map(|frame| (batch.segment, frame)))
    }

    /// The frames of the last batch.
    pub(crate) fn last_batch(&self) -> Option<impl Iterator<Item = Frame<'_>>> {
        self.batches.last().map(|batch| frames(self.bytes(batch)))
    }

    fn bytes(&self, batch: &Located) -> &[u8] {
        self.segments.get(&batch.segment).map_or(&[], |bytes| &bytes[batch.frames.clone()])
    }
}

/// The first batch of a segment, if its header is one.
fn parse_segment_header(number: u64, bytes: &[u8]) -> Option<u64> {
    let page = bytes.get(..PAGE)?;
    let first_batch = u64::from_be_bytes(*page[24..].first_chunk()?);
    let length = u64::from_be_bytes(*page[32..].first_chunk()?);
    if number >= UNCOUNTABLE || first_batch >= UNCOUNTABLE {
        return None;
    }
    (length == bytes.len() as u64 && page == segment_header(number, first_batch, length)).then_some(first_batch)
}

/// The end of the frames of the batch at `at`, if it is valid and has this number.
fn parse_batch(segment: u64, batch: u64, bytes: &[u8], at: usize) -> Option<usize> {
    let header = bytes.get(at..)?.first_chunk::<BATCH_HEADER>()?;
    if header[..8] != *BATCH_MAGIC || header[8..16] != batch.to_be_bytes() {
        return None;
    }
    let length = u32::from_be_bytes(*header[16..].first_chunk()?);
    let count = u32::from_be_bytes(*header[20..].first_chunk()?);
    let start = at + BATCH_HEADER;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let frames = bytes.get(start..end)?;
    let padding = bytes.get(end..end.next_multiple_of(PAGE))?;
    let mut hashed = Vec::new();
    let mut found = 0_u32;
    let mut rest = frames;
    while !rest.is_empty() {
        let (_, entry, after) = parse_frame(rest)?;
        let whole = &rest[..FRAME_HEADER];
        hashed.extend_from_slice(whole);
        hashed.extend_from_slice(&sha256(&rest[FRAME_HEADER - 1..FRAME_HEADER + entry.len()]));
        found += 1;
        rest = after;
    }
    let digest = batch_digest(segment, batch, length, count, &hashed);
    let valid = found == count && header[DIGEST] == digest && padding.iter().all(|&byte| byte == 0);
    valid.then_some(end)
}

/// Whether the tag in a batch's header is the one that `key` gives its digest.
fn is_own(header: &[u8], key: &dyn JournalKey) -> bool {
    let digest = header[DIGEST].first_chunk().expect("the range of the digest is one of 32 bytes");
    aws_lc_rs::constant_time::verify_slices_are_equal(&key.tag(digest), &header[TAG]).is_ok()
}

/// Whether a valid batch with a number above `broken` stands after `at`.
fn later_batch(segment: u64, broken: u64, bytes: &[u8], at: usize) -> bool {
    (at..bytes.len()).step_by(PAGE).any(|at| {
        bytes.get(at + 8..at + 16).and_then(|number| number.first_chunk()).is_some_and(|number| {
            let number = u64::from_be_bytes(*number);
            number > broken && parse_batch(segment, number, bytes, at).is_some()
        })
    })
}

/// The header, the entry and what follows.
fn parse_frame(bytes: &[u8]) -> Option<(&[u8; FRAME_HEADER], &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER>()?;
    let length = u32::from_be_bytes(*header[41..].first_chunk()?);
    let (entry, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let index = u64::from_be_bytes(*header[16..].first_chunk()?);
    (index < UNCOUNTABLE && header[40] <= 1 && header[45] == 0).then_some((header, entry, after))
}

fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, entry, after) = parse_frame(rest)?;
        rest = after;
        Some(Frame {
            log: *header[..16].first_chunk()?,
            index: u64::from_be_bytes(*header[16..].first_chunk()?),
            id: u128::from_be_bytes(*header[24..].first_chunk()?),
            once: header[40] == 1,
            entry,
        })
    })
}

/// Reads one segment and says how many records it holds: the entry point of a fuzzer.
#[must_use]
pub fn parse_segment(number: u64, bytes: &[u8]) -> Option<usize> {
    let mut replay = Replay { next_number: 1, next_batch: 1, ..Replay::default() };
    replay.add(number, bytes.to_vec(), true, None).ok()?;
    Some(replay.frames().count())
}

#[cfg(test)]
mod tests;
