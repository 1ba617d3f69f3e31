//! What all pools of a process share: worker threads, the cache of opened keys, and RSA keys made ahead of need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

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
    cache: moka::sync::Cache<[u8; 32], Arc<OpenKey>>,
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
            .weigher(|_, key: &Arc<OpenKey>| key.weight())
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
        if let Some(open) = self.cache.get(key.blob_digest()) {
            return Ok(open);
        }
        let material = key.open_material(masters)?;
        let open = Arc::new(OpenKey::parse(key.kind(), key.public(), &material)?);
        self.cache.insert(*key.blob_digest(), open.clone());
        Ok(open)
    }

    /// Drops the opened form from the cache, now.
    pub(crate) fn forget(&self, key: &SealedKey) {
        self.cache.invalidate(key.blob_digest());
        self.cache.run_pending_tasks();
    }

    /// A key made ahead of need, if there is one.
    pub(crate) fn take_from_stock(&self, size: RsaSize) -> Option<NewKey> {
        self.stock.take(size)
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RsaSize, Vec<NewKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
