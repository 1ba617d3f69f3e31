//! The latest commits, kept in memory for watches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{Event, Feed, Prefix, Revision, WatchError, Write};

/// Commits kept.
const COMMITS: usize = 4096;
/// Bytes of paths and values kept; the newest commit is kept whatever its size.
const BYTES: usize = 64 << 20;

/// A history that knows nothing of the commits up to `head`, and the one who adds to it.
pub(super) fn starting_after(head: Revision) -> (History, Publisher) {
    let ring = Arc::new(Mutex::new(Ring { oldest: head.next(), events: VecDeque::new(), bytes: 0 }));
    let (sender, news) = watch::channel(());
    (History { ring: ring.clone(), news }, Publisher { ring, news: sender })
}

/// The side of the readers.
#[derive(Debug)]
pub(super) struct History {
    ring: Arc<Mutex<Ring>>,
    news: watch::Receiver<()>,
}

impl History {
    /// A watch from revision `from`.
    pub(super) fn watch(&self, prefix: Prefix, from: Revision) -> Result<Reader, WatchError> {
        // No commit has revision 0, so that nothing is missed by not having it.
        let from = from.max(Revision(1));
        let oldest = locked(&self.ring).oldest;
        if from < oldest {
            return Err(WatchError::Compacted { oldest });
        }
        Ok(Reader { ring: self.ring.clone(), news: self.news.clone(), prefix, from })
    }
}

/// The side of the writer. When it is dropped, watches end.
#[derive(Debug)]
pub(super) struct Publisher {
    ring: Arc<Mutex<Ring>>,
    news: watch::Sender<()>,
}

impl Publisher {
    /// Adds commits that are durable, of the revisions that come next.
    pub(super) fn publish(&mut self, events: Vec<Event>) {
        let mut ring = locked(&self.ring);
        for event in events {
            ring.push(event);
        }
        drop(ring);
        self.news.send_replace(());
    }
}

/// One watch.
pub(super) struct Reader {
    ring: Arc<Mutex<Ring>>,
    news: watch::Receiver<()>,
    prefix: Prefix,
    from: Revision,
}

#[async_trait]
impl Feed for Reader {
    async fn next(&mut self) -> Result<Event, WatchError> {
        loop {
            // Seen before the ring is looked at, so that what is published after the look is news.
            let closed = self.news.has_changed().is_err();
            self.news.mark_unchanged();
            loop {
                let Some(event) = locked(&self.ring).at(self.from)? else { break };
                self.from = event.revision.next();
                if let Some(event) = narrowed(&event, &self.prefix) {
                    return Ok(event);
                }
            }
            if closed {
                return Err(WatchError::Closed);
            }
            // An error means closed, which the next turn reports after a last look.
            let _ = self.news.changed().await;
        }
    }
}

/// Commits of successive revisions.
#[derive(Debug)]
struct Ring {
    /// Revision of the first event, or of the next if there is none.
    oldest: Revision,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, event: Event) {
        debug_assert_eq!(event.revision.0, self.oldest.0 + self.events.len() as u64, "revisions follow each other");
        self.bytes += size(&event);
        self.events.push_back(Arc::new(event));
        while self.events.len() > COMMITS || (self.bytes > BYTES && self.events.len() > 1) {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= size(&gone);
            self.oldest = gone.revision.next();
        }
    }

    /// The event of `revision`; `None` if it is yet to come.
    fn at(&self, revision: Revision) -> Result<Option<Arc<Event>>, WatchError> {
        let Some(index) = revision.0.checked_sub(self.oldest.0) else {
            return Err(WatchError::Compacted { oldest: self.oldest });
        };
        Ok(usize::try_from(index).ok().and_then(|index| self.events.get(index).cloned()))
    }
}

fn locked(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(event: &Event) -> usize {
    event.writes.iter().map(Write::size).sum()
}

/// What of `event` lies under `prefix`, if anything does.
fn narrowed(event: &Event, prefix: &Prefix) -> Option<Event> {
    let writes: Vec<Write> = event.writes.iter().filter(|write| prefix.contains(write.path())).cloned().collect();
    (!writes.is_empty()).then_some(Event { revision: event.revision, writes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Path;

    fn event(revision: u64, value: usize) -> Event {
        let write = Write::Put(Path::parse("a").unwrap(), vec![0; value].into());
        Event { revision: Revision(revision), writes: vec![write] }
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_told_and_not_given_a_gap() {
        let (history, mut publisher) = starting_after(Revision(7));
        let mut reader = history.watch(Prefix::all(), Revision(8)).unwrap();
        publisher.publish((8..8 + COMMITS as u64).map(|revision| event(revision, 0)).collect());
        assert_eq!(reader.next().await.unwrap().revision, Revision(8));
        publisher.publish((0..2).map(|more| event(8 + COMMITS as u64 + more, 0)).collect());
        assert_eq!(reader.next().await, Err(WatchError::Compacted { oldest: Revision(10) }));
    }

    #[tokio::test]
    async fn the_history_is_bounded_in_bytes() {
        let (history, mut publisher) = starting_after(Revision(0));
        publisher.publish((1..=80).map(|revision| event(revision, 1 << 20)).collect());
        let Err(WatchError::Compacted { oldest }) = history.watch(Prefix::all(), Revision(1)).map(|_| ()) else {
            panic!()
        };
        assert!(oldest > Revision(16) && oldest < Revision(24), "{oldest}");
        assert!(locked(&history.ring).bytes <= BYTES);
    }

    #[tokio::test]
    async fn a_closed_history_is_read_to_its_end() {
        let (history, mut publisher) = starting_after(Revision(0));
        let mut reader = history.watch(Prefix::all(), Revision(1)).unwrap();
        publisher.publish(vec![event(1, 0), event(2, 0)]);
        drop(publisher);
        assert_eq!(reader.next().await, Ok(event(1, 0)));
        assert_eq!(reader.next().await, Ok(event(2, 0)));
        assert_eq!(reader.next().await, Err(WatchError::Closed));
    }
}
