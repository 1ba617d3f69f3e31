//! Files that somebody else changes while the server runs, and certificates that come to their end.
//!
//! One thread looks after all of them: every few seconds at the files, and at once when asked to (SIGHUP). What has
//! changed is read again and put in place; what cannot be used leaves the present in place, is logged once for each
//! state of the files, and is tried again at the next look. Only those who ask for something new meet what was put in
//! place: nothing that is going on ends.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use model::UnixTime;

use crate::start::StartError;
use crate::tls::{Expiry, ExpiryWarnings};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks after what it was given, until it is dropped.
pub(crate) struct Watcher(Sender<()>);

impl Watcher {
    /// Starts to look.
    pub(crate) fn start(mut watched: Vec<Watched>) -> Self {
        let (hurry, hurried) = mpsc::channel();
        thread::spawn(move || {
            loop {
                watched.iter_mut().for_each(|one| one.tend(UnixTime(Timestamp::now().as_second())));
                let look = match hurried.recv_timeout(LOOK_EVERY) {
                    Ok(()) => Look::Asked,
                    Err(RecvTimeoutError::Timeout) => Look::Routine,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                watched.iter_mut().for_each(|one| one.look(look));
            }
        });
        Self(hurry)
    }

    /// Has everything read again now, changed or not.
    pub(crate) fn hurry(&self) {
        // The thread ends only after this is dropped.
        let _ = self.0.send(());
    }
}

/// Files and the state in which they were last read.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    seen: State,
}

/// Time of change, size and inode of each; `None` where there is no such file.
type State = Vec<Option<(SystemTime, u64, u64)>>;

impl Files {
    /// The files as they are now. To be called before they are read, so that no change is lost in between.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { seen: state(&paths), paths }
    }
}

fn state(paths: &[PathBuf]) -> State {
    let of = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    paths.iter().map(of).collect()
}

/// Why a look is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// Its time has come: only what has changed is read.
    Routine,
    /// Somebody asked for it.
    Asked,
}

/// Something that is read from files, and read again when they change.
pub(crate) struct Watched {
    what: &'static str,
    files: Files,
    /// The state whose failure is in the log already.
    broken: Option<State>,
    read: Box<dyn FnMut() -> Result<(), StartError> + Send>,
    expiries: Box<dyn Fn() -> Vec<Expiry> + Send>,
    warnings: ExpiryWarnings,
    renew: Renewal,
    /// Whether the log says already that it cannot be renewed.
    stale: bool,
}

/// Renews what comes to its end at a time, if it is ours to renew; answers whether it did.
type Renewal = Box<dyn FnMut(UnixTime) -> Result<bool, StartError> + Send>;

impl Watched {
    /// `read` reads `files` and puts what it finds in place, or fails and leaves what there is.
    pub(crate) fn new(
        what: &'static str,
        files: Files,
        read: impl FnMut() -> Result<(), StartError> + Send + 'static,
    ) -> Self {
        Self {
            what,
            files,
            broken: None,
            read: Box::new(read),
            expiries: Box::new(Vec::new),
            warnings: ExpiryWarnings::default(),
            renew: Box::new(|_| Ok(false)),
            stale: false,
        }
    }

    /// Renews it before it comes to its end, instead of waiting for somebody to do so.
    pub(crate) fn renewing(self, renew: impl FnMut(UnixTime) -> Result<bool, StartError> + Send + 'static) -> Self {
        Self { renew: Box::new(renew), ..self }
    }

    /// Warns of what comes to its end. `expiries` tells of what is in place.
    pub(crate) fn expiring(self, expiries: impl Fn() -> Vec<Expiry> + Send + 'static) -> Self {
        Self { expiries: Box::new(expiries), ..self }
    }

    fn look(&mut self, look: Look) {
        let present = state(&self.files.paths);
        if present == self.files.seen && look == Look::Routine {
            return;
        }
        match (self.read)() {
            Ok(()) => {
                self.files.seen = present;
                self.broken = None;
                tracing::info!(files = ?self.files.paths, "{} read again", self.what);
            }
            Err(error) if look == Look::Asked || self.broken.as_ref() != Some(&present) => {
                self.broken = Some(present);
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "{} cannot be read again: what was in use stays in use", self.what);
            }
            Err(_) => {}
        }
    }

    /// A look without a thread and its waiting.
    #[cfg(test)]
    pub(crate) fn look_now(&mut self) {
        self.look(Look::Asked);
    }

    /// Renews what is ours to renew, and warns of what comes to its end all the same.
    pub(crate) fn tend(&mut self, now: UnixTime) {
        match (self.renew)(now) {
            Ok(renewed) => {
                self.stale = false;
                if renewed {
                    tracing::info!("{} renewed", self.what);
                }
            }
            Err(error) if !self.stale => {
                self.stale = true;
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "{} cannot be renewed", self.what);
            }
            Err(_) => {}
        }
        for expiry in (self.expiries)() {
            self.warnings.look(self.what, &expiry, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A watched text file, and the text in use.
    fn watched(path: &std::path::Path) -> (Watched, Arc<Mutex<String>>, Arc<AtomicUsize>) {
        let files = Files::new(vec![path.to_owned()]);
        let in_use = Arc::new(Mutex::new(std::fs::read_to_string(path).unwrap()));
        let reads = Arc::new(AtomicUsize::new(0));
        let (path, place, count) = (path.to_owned(), Arc::clone(&in_use), Arc::clone(&reads));
        let read = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|source| StartError::File { path: path.clone(), source })?;
            *place.lock().unwrap() = text;
            Ok(())
        };
        (Watched::new("text", files, read), in_use, reads)
    }

    #[test]
    fn only_what_has_changed_is_read_again_unless_somebody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let (mut watched, in_use, reads) = watched(&path);
        watched.look(Look::Routine);
        assert_eq!(reads.load(Ordering::SeqCst), 0);
        watched.look(Look::Asked);
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        std::fs::write(&path, "another").unwrap();
        watched.look(Look::Routine);
        watched.look(Look::Routine);
        assert_eq!((in_use.lock().unwrap().as_str(), reads.load(Ordering::SeqCst)), ("another", 2));
    }

    #[test]
    fn a_file_replaced_by_another_of_the_same_size_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let (mut watched, in_use, _) = watched(&path);
        let beside = folder.path().join("beside");
        std::fs::write(&beside, "two").unwrap();
        std::fs::rename(&beside, &path).unwrap();
        watched.look(Look::Routine);
        assert_eq!(in_use.lock().unwrap().as_str(), "two");
    }

    #[test]
    fn what_cannot_be_read_leaves_the_present_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let (mut watched, in_use, reads) = watched(&path);
        std::fs::write(&path, b"\xff").unwrap();
        watched.look(Look::Routine);
        watched.look(Look::Routine);
        std::fs::remove_file(&path).unwrap();
        watched.look(Look::Routine);
        assert_eq!((in_use.lock().unwrap().as_str(), reads.load(Ordering::SeqCst)), ("one", 3));
        std::fs::write(&path, "back").unwrap();
        watched.look(Look::Routine);
        assert_eq!(in_use.lock().unwrap().as_str(), "back");
    }

    #[test]
    fn the_thread_reads_when_asked_and_ends_with_its_watcher() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let (watched, in_use, _) = watched(&path);
        std::fs::write(&path, "two").unwrap();
        let watcher = Watcher::start(vec![watched]);
        watcher.hurry();
        let until = |done: &dyn Fn() -> bool| {
            let begun = std::time::Instant::now();
            while !done() {
                assert!(
                    begun.elapsed() < Duration::from_secs(4),
                    "not at once; the next look of its own is due after five seconds"
                );
                thread::sleep(Duration::from_millis(5));
            }
        };
        until(&|| *in_use.lock().unwrap() == "two");
        drop(watcher);
        until(&|| Arc::strong_count(&in_use) == 1);
    }
}
