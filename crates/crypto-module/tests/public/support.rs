//! A pool in memory and the fixtures, for every test of the module's public face.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use crypto_module::{
    Engine, Error, GenerateKey, ImportKey, KeyFacts, KeyMaterial, Module, NodeKey, Options, RsaFactors, RsaMaterial,
    SealedKey, SecretBytes, SignInput, VerifyInput,
};
use model::{Attributes, KeyKind, KeyOperation, KeyOperations, PoolName, SignatureAlgorithm, Tags, UnixTime};

pub(crate) const PATH: &str = "keys/orders/1";
pub(crate) const KEY_PATH: &str = "keys/orders";

/// One pool with an ephemeral node key and no stock of RSA keys.
pub(crate) struct Pool {
    pub(crate) module: Arc<dyn Module>,
    pub(crate) sealing_key: Bytes,
}

pub(crate) fn engine() -> Engine {
    Engine::start(&Options { workers: 2, rsa_stock: 0, ..Options::default() }).unwrap()
}

pub(crate) fn pool() -> Pool {
    pool_of(&engine())
}

pub(crate) fn pool_of(engine: &Engine) -> Pool {
    let (_, module) = engine.create_pool(&NodeKey::ephemeral().unwrap(), &PoolName::parse("contoso").unwrap()).unwrap();
    let module: Arc<dyn Module> = Arc::new(module);
    let sealing_key = module.new_sealing_key(KEY_PATH).unwrap();
    Pool { module, sealing_key }
}

impl Pool {
    pub(crate) async fn generate(&self, kind: KeyKind) -> SealedKey {
        self.try_generate(kind, None).await.unwrap()
    }

    pub(crate) async fn try_generate(&self, kind: KeyKind, exponent: Option<&[u8]>) -> Result<SealedKey, Error> {
        self.module
            .generate(GenerateKey {
                path: PATH.into(),
                key_path: KEY_PATH.into(),
                sealing_key: self.sealing_key.clone(),
                kind,
                public_exponent: exponent.map(Into::into),
                exportable: false,
                facts: facts(),
            })
            .await
    }

    pub(crate) async fn import(&self, material: KeyMaterial) -> Result<SealedKey, Error> {
        self.module
            .import(ImportKey {
                path: PATH.into(),
                key_path: KEY_PATH.into(),
                sealing_key: self.sealing_key.clone(),
                material,
                exportable: true,
                facts: facts(),
            })
            .await
    }

    pub(crate) fn load(&self, value: &[u8]) -> Result<SealedKey, Error> {
        self.module.load(PATH, KEY_PATH, &self.sealing_key, Bytes::copy_from_slice(value))
    }
}

pub(crate) fn facts() -> KeyFacts {
    KeyFacts {
        attributes: Attributes {
            enabled: true,
            not_before: Some(UnixTime(-5)),
            expires: None,
            created: UnixTime(1_800_000_000),
            updated: UnixTime(1_800_000_000),
        },
        operations: KeyOperations::of(&[KeyOperation::Sign, KeyOperation::Verify]),
        tags: Tags::new([("team".to_owned(), "søk".to_owned())].into()).unwrap(),
        release_policy: None,
    }
}

pub(crate) fn sign_input(algorithm: SignatureAlgorithm, message: &[u8]) -> SignInput {
    SignInput { algorithm, digest_or_message: Bytes::copy_from_slice(message), context: None, external_mu: false }
}

pub(crate) fn verify_input(algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> VerifyInput {
    VerifyInput {
        algorithm,
        digest_or_message: Bytes::copy_from_slice(message),
        signature: Bytes::copy_from_slice(signature),
        context: None,
        external_mu: false,
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn secret(bytes: &[u8]) -> SecretBytes {
    bytes.to_vec().into()
}

/// The parts of an RSA fixture as bytes.
#[derive(Clone)]
pub(crate) struct RsaJwk {
    pub(crate) n: Vec<u8>,
    pub(crate) e: Vec<u8>,
    pub(crate) d: Vec<u8>,
    pub(crate) p: Vec<u8>,
    pub(crate) q: Vec<u8>,
    pub(crate) dp: Vec<u8>,
    pub(crate) dq: Vec<u8>,
    pub(crate) qi: Vec<u8>,
}

/// 2048 bits; 2048 bits with exponent 3; 3072 bits; 4096 bits; and 1024 bits, which is too short.
pub(crate) fn rsa_fixtures() -> Vec<RsaJwk> {
    let keys: Vec<serde_json::Value> = serde_json::from_str(include_str!("fixtures/rsa.json")).unwrap();
    keys.iter()
        .map(|key| {
            let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
            RsaJwk {
                n: part("n"),
                e: part("e"),
                d: part("d"),
                p: part("p"),
                q: part("q"),
                dp: part("dp"),
                dq: part("dq"),
                qi: part("qi"),
            }
        })
        .collect()
}

impl RsaJwk {
    pub(crate) fn material(&self) -> KeyMaterial {
        let factors = RsaFactors {
            p: secret(&self.p),
            q: secret(&self.q),
            dp: secret(&self.dp),
            dq: secret(&self.dq),
            qi: secret(&self.qi),
        };
        self.with(Some(factors))
    }

    pub(crate) fn material_without_factors(&self) -> KeyMaterial {
        self.with(None)
    }

    fn with(&self, factors: Option<RsaFactors>) -> KeyMaterial {
        KeyMaterial::Rsa(RsaMaterial {
            n: self.n.clone().into(),
            e: self.e.clone().into(),
            d: secret(&self.d),
            factors,
        })
    }
}
