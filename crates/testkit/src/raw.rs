//! The stored bytes, behind the pool's back.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Commit, Embedded, Path, Prefix, Store, Write};

/// Every value of a store by its path, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot(pub BTreeMap<String, Bytes>);

impl Snapshot {
    /// Reads everything.
    pub async fn of(store: &dyn Store) -> Self {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let page = store.list(&Prefix::all(), after.as_ref(), 1000).await.unwrap();
            after = page.entries.last().map(|entry| entry.path.clone());
            all.extend(page.entries.into_iter().map(|entry| (entry.path.as_str().to_owned(), entry.value)));
            if !page.more {
                return Self(all);
            }
        }
    }

    /// Reads everything in the store at `file`, which nobody may have open.
    pub async fn of_file(file: &std::path::Path) -> Self {
        Self::of(&Embedded::open(file).unwrap()).await
    }

    /// Makes the store at `file`, which nobody may have open, hold exactly this.
    pub async fn write_file(&self, file: &std::path::Path) {
        self.write(&Embedded::open(file).unwrap()).await;
    }

    /// Makes the store hold exactly this.
    pub async fn write(&self, store: &dyn Store) {
        let present = Self::of(store).await;
        let path = |text: &String| Path::parse(text).unwrap();
        let gone = present.0.keys().filter(|text| !self.0.contains_key(*text)).map(|text| Write::Delete(path(text)));
        let changed = self
            .0
            .iter()
            .filter(|(text, value)| present.0.get(*text) != Some(value))
            .map(|(text, value)| Write::Put(path(text), value.clone()));
        let writes: Vec<Write> = gone.chain(changed).collect();
        for some in writes.chunks(16) {
            store.commit(Commit::new([], some.to_vec()).unwrap()).await.unwrap();
        }
    }

    /// This, with the value at `path` replaced; `None` takes it away.
    #[must_use]
    pub fn with(&self, path: &str, value: Option<&Bytes>) -> Self {
        let mut changed = self.clone();
        match value {
            Some(value) => changed.0.insert(path.to_owned(), value.clone()),
            None => changed.0.remove(path),
        };
        changed
    }
}
