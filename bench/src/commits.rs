//! What one group commit takes on this disk.
//!
//! The pattern is the one of the audit journal: the next pages of a file that is zero-filled beforehand, written at
//! once and followed by `fdatasync`. It is a plain file, so that nothing of the product is in the number.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The records of one batch: one of each connection.
const RECORDS: usize = crate::load::CONNECTIONS;

/// A record of a signature in the journal, with its frame.
const RECORD: usize = 800;

const PAGE: usize = 4096;

/// A segment of the journal.
const SEGMENT: usize = 16 << 20;

/// Group commits in `folder`, one after the other for `window`, and how long each took.
pub(crate) fn group_commits(folder: &Path, window: Duration) -> std::io::Result<Vec<Duration>> {
    let path = folder.join("commits");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; SEGMENT], 0)?;
    file.sync_all()?;
    let batch = vec![0x5a; (RECORDS * RECORD).next_multiple_of(PAGE)];
    let places = SEGMENT / batch.len();
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < window {
        let at = (took.len() % places) * batch.len();
        let one = Instant::now();
        file.write_all_at(&batch, at as u64)?;
        file.sync_data()?;
        took.push(one.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(took)
}
