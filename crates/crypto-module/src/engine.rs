//! What all pools of a process share: worker threads, the cache of opened keys, and RSA keys made ahead of need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{PoolName, RsaSize};

use crate::hierarchy::{Masters, NodeKey};
use crate::keys::{self, NewKey, OpenKey};
use crate::seal::{self, KEY};
use crate::software::Software;
use crate::workers::Workers;
use crate::{Error, SealedKey};

/// How much of everything the module may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads for long arithmetic; one per core is right.
    pub workers: usize,
    /// How many requests may wait for a worker before the answer is [`Error::Busy`].
    pub arithmetic_queue: usize,
    /// How many requests may wait for key generation.
    pub generation_queue: usize,
    /// About how many bytes of opened keys are kept. An RSA key of 2048 bits takes 6 KiB, of 4096 bits 12 KiB.
    pub cache_bytes: u64,
    /// How many RSA keys of each size are made ahead of need, with exponent 65537; 0 for none.
    pub rsa_stock: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            arithmetic_queue: 1024,
            generation_queue: 64,
            cache_bytes: 64 << 20,
            rsa_stock: 2,
        }
    }
}

/// The shared part of the software module: start one per process, open every pool with it.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) arithmetic: Workers,
    pub(crate) generation: Workers,
    stock: Arc<Stock>,
    cache: moka::sync::Cache<[u8; 32], Arc<Slot>>,
}

/// A place in the cache. The cache frees its own entries some time after it has given them up; the key inside is let
/// go at once.
struct Slot {
    key: Mutex<Option<Arc<OpenKey>>>,
    weight: u32,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system gives no threads.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let stock = Arc::new(Stock { keys: Mutex::default(), wanted: options.rsa_stock });
        let refill = {
            let stock = stock.clone();
            Box::new(move || stock.add_one())
        };
        let cache = moka::sync::Cache::builder()
            .max_capacity(options.cache_bytes)
            .weigher(|_, slot: &Arc<Slot>| slot.weight)
            .eviction_listener(|_, slot, _| drop(slot.lock().take()))
            .build();
        Ok(Self(Arc::new(Shared {
            arithmetic: Workers::start("arithmetic", options.workers.max(1), options.arithmetic_queue)?,
            generation: Workers::start_in_background("key-generation", options.generation_queue, refill)?,
            stock,
            cache,
        })))
    }

    /// Makes a new pool: a random root, sealed under the node key and bound to the pool's name, and the module that
    /// works under it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without memory or randomness.
    pub fn create_pool(&self, node_key: &NodeKey, pool: &PoolName) -> Result<(Vec<u8>, Software), Error> {
        let mut root = zeroize::Zeroizing::new([0; KEY]);
        seal::random(&mut *root)?;
        let sealed = node_key.seal_root(pool, &root)?;
        Ok((sealed, Software::new(self.0.clone(), Masters::derive(&root)?)))
    }

    /// Opens a pool from its sealed root.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it was sealed under another node key, for another pool, or changed.
    pub fn open_pool(&self, node_key: &NodeKey, pool: &PoolName, sealed_root: &[u8]) -> Result<Software, Error> {
        let root = node_key.open_root(pool, sealed_root)?;
        Ok(Software::new(self.0.clone(), Masters::derive(&root)?))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine(..)")
    }
}

impl Shared {
    /// The opened form of a key version, from the cache or opened and parsed now.
    pub(crate) fn open_key(&self, masters: &Masters, key: &SealedKey) -> Result<Arc<OpenKey>, Error> {
        // Before the cache is asked, which all pools share.
        key.belongs_to(masters)?;
        if let Some(open) = self.cache.get(key.blob_digest()).and_then(|slot| slot.lock().clone()) {
            return Ok(open);
        }
        let material = key.open_material(masters)?;
        let open = Arc::new(OpenKey::parse(key.kind(), key.public(), &material)?);
        let slot = Slot { key: Mutex::new(Some(open.clone())), weight: open.weight() };
        self.cache.insert(*key.blob_digest(), Arc::new(slot));
        // Looked at after the insertion: a use that was under way must not keep what was forgotten meanwhile.
        if key.is_forgotten() {
            self.drop_opened(key);
        }
        Ok(open)
    }

    /// Drops the opened form from the cache, now and for ever.
    pub(crate) fn forget(&self, key: &SealedKey) {
        key.set_forgotten();
        self.drop_opened(key);
    }

    fn drop_opened(&self, key: &SealedKey) {
        self.cache.invalidate(key.blob_digest());
        self.cache.run_pending_tasks();
    }

    /// A key made ahead of need, if there is one.
    pub(crate) fn take_from_stock(&self, size: RsaSize) -> Option<NewKey> {
        self.stock.take(size)
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<OpenKey>>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RSA keys made ahead of need. They belong to no pool until they are taken.
struct Stock {
    keys: Mutex<HashMap<RsaSize, Vec<NewKey>>>,
    wanted: usize,
}

impl Stock {
    fn take(&self, size: RsaSize) -> Option<NewKey> {
        self.lock().get_mut(&size)?.pop()
    }

    /// Makes one key of the smallest size that is short; tells whether one was.
    fn add_one(&self) -> bool {
        let short = {
            let keys = self.lock();
            RsaSize::ALL.iter().copied().find(|size| keys.get(size).map_or(0, Vec::len) < self.wanted)
        };
        let Some(size) = short else { return false };
        match keys::generate_rsa(size, 65537) {
            Ok(key) => {
                self.lock().entry(size).or_default().push(key);
                true
            }
            Err(error) => {
                tracing::error!(%error, "a key could not be generated ahead of need");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RsaSize, Vec<NewKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Attributes, Curve, KeyKind, KeyOperations, Tags, UnixTime};

    use super::*;
    use crate::record::{self, Header, Place};
    use crate::{KeyFacts, Origin};

    fn sealed_key(masters: &Masters, sealing_key: &Bytes) -> SealedKey {
        let new = keys::generate(KeyKind::Ec(Curve::P256)).unwrap();
        let header = Header { kind: new.kind, origin: Origin::Generated, exportable: false, public: new.public };
        let now = UnixTime(0);
        let facts = KeyFacts {
            attributes: Attributes { enabled: true, not_before: None, expires: None, created: now, updated: now },
            operations: KeyOperations::default(),
            tags: Tags::default(),
            release_policy: None,
        };
        let place = Place { path: "k/1", key_path: "k", sealing_key };
        SealedKey::create(masters, &place, header, &new.material, facts).unwrap()
    }

    #[test]
    fn an_opened_key_is_freed_when_it_is_forgotten_or_pushed_out() {
        let options = Options { workers: 1, rsa_stock: 0, cache_bytes: 64 << 10, ..Options::default() };
        let engine = Engine::start(&options).unwrap().0;
        let masters = Masters::derive(&[3; KEY]).unwrap();
        let sealing_key = record::new_sealing_key(&masters, "k").unwrap();

        let key = sealed_key(&masters, &sealing_key);
        let forgotten = Arc::downgrade(&engine.open_key(&masters, &key).unwrap());
        assert!(forgotten.upgrade().is_some(), "the cache holds it");
        engine.forget(&key);
        assert!(forgotten.upgrade().is_none());

        let opened: Vec<_> = (0..200)
            .map(|_| Arc::downgrade(&engine.open_key(&masters, &sealed_key(&masters, &sealing_key)).unwrap()))
            .collect();
        engine.cache.run_pending_tasks();
        let alive = opened.iter().filter(|key| key.upgrade().is_some()).count();
        assert!((1..=32).contains(&alive), "{alive} of 200 keys of 2 KiB are alive in 64 KiB");
    }

    #[test]
    fn a_use_that_was_under_way_does_not_bring_a_forgotten_key_back() {
        let engine = Engine::start(&Options { workers: 1, rsa_stock: 0, ..Options::default() }).unwrap().0;
        let masters = Masters::derive(&[3; KEY]).unwrap();
        let sealing_key = record::new_sealing_key(&masters, "k").unwrap();
        let under_way = sealed_key(&masters, &sealing_key);
        // What is forgotten is the newest form of the version; who looked it up before has an older one.
        let newest = under_way.update(&masters, under_way.facts().clone()).unwrap();
        engine.forget(&newest);
        let opened = Arc::downgrade(&engine.open_key(&masters, &under_way).unwrap());
        assert!(opened.upgrade().is_none(), "the cache holds it");
    }

    #[test]
    fn the_stock_is_filled_and_gives_each_key_once() {
        let stock = Stock { keys: Mutex::default(), wanted: 1 };
        assert!(stock.take(RsaSize::Rsa2048).is_none());
        assert!(stock.add_one());
        assert!(stock.take(RsaSize::Rsa2048).is_some());
        assert!(stock.take(RsaSize::Rsa2048).is_none());
        assert!(!Stock { keys: Mutex::default(), wanted: 0 }.add_one());
    }
}
