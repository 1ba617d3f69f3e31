//! What the way through the module costs over the bare library.
//!
//! Signs with RSA-2048 in a bare loop on one thread, then through the module with one worker and 64 requests at a time,
//! alternately, and prints both rates and their ratio; then the time of signing and verifying with each kind of key, and of
//! loading key versions. Run it on one core: `taskset -c 0 cargo run --release -p crypto-module --example throughput`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use bytes::Bytes;
use crypto_module::{Engine, GenerateKey, KeyFacts, Module, NodeKey, Options, SealedKey, SignInput, VerifyInput};
use model::{Attributes, Curve, KeyKind, MlDsa, OctSize, PoolName, RsaSize, SignatureAlgorithm, Tags, UnixTime};

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;
const CONCURRENT: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options { workers: 1, rsa_stock: 0, ..Options::default() };
    let engine = Engine::start(&options)?;
    let (_, module) = engine.create_pool(&NodeKey::ephemeral()?, &PoolName::parse("bench")?)?;
    let module: Arc<dyn Module> = Arc::new(module);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let pair = KeyPair::generate(KeySize::Rsa2048)?;
    let key = runtime.block_on(generate(&*module, &module.new_sealing_key("k")?, KeyKind::Rsa(RsaSize::Rsa2048)))?;
    let (mut bare, mut through) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_rate(&pair)?);
        through.push(runtime.block_on(module_rate(&module, &key))?);
    }
    let (bare, through) = (median(bare), median(through));
    println!("RSA-2048 RS256, bare loop          {bare:9.0} /s");
    println!("RSA-2048 RS256, 64 through module  {through:9.0} /s   ratio {:.3}", through / bare);

    for kind in kinds() {
        let key = runtime.block_on(generate(&*module, &module.new_sealing_key("k")?, kind))?;
        let [sign, verify] = runtime.block_on(one_at_a_time(&module, &key))?.map(|time| time.as_secs_f64() * 1e6);
        println!("{:<24} sign {sign:8.1} µs, verify {verify:8.1} µs, one at a time", kind.to_string());
    }

    let sealing_key = module.new_sealing_key("k")?;
    let key = runtime.block_on(generate(&*module, &sealing_key, KeyKind::Rsa(RsaSize::Rsa2048)))?;
    let (begun, count) = (Instant::now(), 100_000);
    let loaded: Vec<_> =
        (0..count).map(|_| module.load("k/1", "k", &sealing_key, key.value().clone())).collect::<Result<_, _>>()?;
    println!("{} RSA-2048 versions loaded in {:.2} s", loaded.len(), begun.elapsed().as_secs_f64());
    Ok(())
}

fn kinds() -> Vec<KeyKind> {
    let mut kinds: Vec<_> = RsaSize::ALL.iter().map(|size| KeyKind::Rsa(*size)).collect();
    kinds.extend(Curve::ALL.iter().map(|curve| KeyKind::Ec(*curve)));
    kinds.push(KeyKind::Oct(OctSize::AES_256));
    kinds.extend(MlDsa::ALL.iter().map(|set| KeyKind::Akp(*set)));
    kinds
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn bare_rate(pair: &KeyPair) -> Result<f64, Box<dyn std::error::Error>> {
    let digest = Digest::import_less_safe(&[7; 32], &SHA256)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < ROUND {
        pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

async fn module_rate(module: &Arc<dyn Module>, key: &SealedKey) -> Result<f64, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..CONCURRENT)
        .map(|_| {
            let (module, key) = (module.clone(), key.clone());
            tokio::spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < ROUND {
                    module.sign(&key, input(&key)).await?;
                    count += 1;
                }
                Ok::<u32, crypto_module::Error>(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

async fn one_at_a_time(module: &Arc<dyn Module>, key: &SealedKey) -> Result<[Duration; 2], crypto_module::Error> {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < ROUND / 3 {
        module.sign(key, input(key)).await?;
        count += 1;
    }
    let sign = begun.elapsed() / count;

    let SignInput { algorithm, digest_or_message, context, external_mu } = input(key);
    let signature = Bytes::from(module.sign(key, input(key)).await?);
    let input = VerifyInput { algorithm, digest_or_message, signature, context, external_mu };
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < ROUND / 3 {
        assert!(module.verify(key, input.clone()).await?);
        count += 1;
    }
    Ok([sign, begun.elapsed() / count])
}

fn input(key: &SealedKey) -> SignInput {
    let algorithm = match key.kind() {
        KeyKind::Rsa(_) => SignatureAlgorithm::Rs256,
        KeyKind::Ec(Curve::P256) => SignatureAlgorithm::Es256,
        KeyKind::Ec(Curve::P256K) => SignatureAlgorithm::Es256K,
        KeyKind::Ec(Curve::P384) => SignatureAlgorithm::Es384,
        KeyKind::Ec(Curve::P521) => SignatureAlgorithm::Es512,
        KeyKind::Oct(_) => SignatureAlgorithm::Hs256,
        KeyKind::Akp(set) => SignatureAlgorithm::of_ml_dsa(set),
    };
    let digest = vec![7; algorithm.digest_len().unwrap_or(32)];
    SignInput { algorithm, digest_or_message: Bytes::from(digest), context: None, external_mu: false }
}

async fn generate(module: &dyn Module, sealing_key: &Bytes, kind: KeyKind) -> Result<SealedKey, crypto_module::Error> {
    let now = UnixTime(1_800_000_000);
    module
        .generate(GenerateKey {
            path: "k/1".into(),
            key_path: "k".into(),
            sealing_key: sealing_key.clone(),
            kind,
            public_exponent: None,
            exportable: false,
            facts: KeyFacts {
                attributes: Attributes { enabled: true, not_before: None, expires: None, created: now, updated: now },
                operations: kind.default_operations(),
                tags: Tags::default(),
                release_policy: None,
            },
        })
        .await
}
