//! Where the plaintext of a key lies in this process's memory: nowhere before it is opened, and nowhere after it was
//! forgotten or pushed out of the cache.
//!
//! All writable memory is searched. The test itself knows the key under a mask alone, so as not to find itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use crypto_module::{Engine, ImportKey, KeyFacts, KeyMaterial, Module, NodeKey, Options, SealedKey, SignInput};
use model::{Attributes, KeyOperations, PoolName, SignatureAlgorithm, Tags, UnixTime};
use tokio::sync::Mutex;

const MASK: u8 = 0xa5;
const LENGTH: usize = 48;

/// Both tests search the same memory.
static ALONE: Mutex<()> = Mutex::const_new(());

/// 48 bytes that stand nowhere by chance, masked.
fn masked(number: u64) -> [u8; LENGTH] {
    let mut state = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 ^ number << 32 | 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
}

/// The writable mappings.
fn writable() -> Vec<Range<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapping = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(mapping).collect()
}

/// How often the key, or half of it, lies in memory.
fn copies(masked: &[u8; LENGTH]) -> usize {
    const PIECE: usize = 1 << 20;
    let half = &masked[LENGTH / 4..3 * LENGTH / 4];
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; PIECE + half.len()];
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    let mut found = std::collections::BTreeSet::new();
    for range in writable() {
        let mut at = range.start;
        while at < range.end {
            let some = usize::try_from(range.end - at).unwrap().min(buffer.len());
            // Some mappings cannot be read.
            if memory.read_exact_at(&mut buffer[..some], at).is_ok() {
                let windows = buffer[..some].windows(half.len()).enumerate();
                let matches = |window: &[u8]| window.iter().zip(half).all(|(byte, masked)| byte ^ MASK == *masked);
                let places = windows.filter(|(_, window)| matches(window)).map(|(place, _)| at + place as u64);
                found.extend(places.filter(|place| !own.contains(place)));
            }
            at += PIECE as u64;
        }
    }
    buffer.fill(0);
    found.len()
}

struct Pool {
    module: Arc<dyn Module>,
    sealing_key: Bytes,
}

impl Pool {
    fn new(cache_bytes: u64) -> Self {
        let options = Options { workers: 1, rsa_stock: 0, cache_bytes, ..Options::default() };
        let engine = Engine::start(&options).unwrap();
        let name = PoolName::parse("contoso").unwrap();
        let (_, module) = engine.create_pool(&NodeKey::ephemeral().unwrap(), &name).unwrap();
        let sealing_key = module.new_sealing_key("keys/a").unwrap();
        Self { module: Arc::new(module), sealing_key }
    }

    async fn import(&self, masked: &[u8; LENGTH]) -> SealedKey {
        let k: Vec<u8> = masked.iter().map(|byte| byte ^ MASK).collect();
        let now = UnixTime(0);
        let facts = KeyFacts {
            attributes: Attributes { enabled: true, not_before: None, expires: None, created: now, updated: now },
            operations: KeyOperations::default(),
            tags: Tags::default(),
            release_policy: None,
        };
        let request = ImportKey {
            path: "keys/a/1".into(),
            key_path: "keys/a".into(),
            sealing_key: self.sealing_key.clone(),
            material: KeyMaterial::Oct { k: k.into() },
            exportable: false,
            facts,
        };
        self.module.import(request).await.unwrap()
    }

    async fn sign(&self, key: &SealedKey) {
        let input = SignInput {
            algorithm: SignatureAlgorithm::Hs256,
            digest_or_message: vec![1; 32].into(),
            context: None,
            external_mu: false,
        };
        self.module.sign(key, input).await.unwrap();
    }
}

/// Covers what calls left on this thread's stack, which is not wiped: the next call of the same depth does it anyway.
#[inline(never)]
fn scrub_stack() {
    let mut used = [0_u8; 64 << 10];
    std::hint::black_box(&mut used);
}

#[tokio::test]
async fn an_opened_key_lies_in_memory_until_it_is_forgotten() {
    let _alone = ALONE.lock().await;
    let pool = Pool::new(1 << 20);
    let masked = masked(1);
    let key = pool.import(&masked).await;
    pool.sign(&key).await;
    scrub_stack();
    assert!(copies(&masked) >= 1, "the search finds what is there");
    pool.module.forget(&key);
    scrub_stack();
    assert_eq!(copies(&masked), 0);
}

#[tokio::test]
async fn a_key_that_the_cache_pushed_out_lies_in_memory_no_more() {
    let _alone = ALONE.lock().await;
    let pool = Pool::new(4 << 10);
    let masked_keys: Vec<_> = (2..34).map(masked).collect();
    let mut keys = Vec::new();
    for masked in &masked_keys {
        let key = pool.import(masked).await;
        pool.sign(&key).await;
        keys.push(key);
    }
    // The cache makes room when it is used.
    for _ in 0..100 {
        pool.sign(&keys[31]).await;
    }
    scrub_stack();
    let open = masked_keys.iter().filter(|masked| copies(masked) > 0).count();
    assert!((1..=16).contains(&open), "{open} of 32 keys lie in memory");
}
