//! The module in software: this process's memory and arithmetic.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{Curve, KeyKind};

use crate::codec::{Reader, VERSION};
use crate::engine::Shared;
use crate::hierarchy::{Master, Masters};
use crate::keys::{self, NewKey, PublicKey, encrypt_with_public, verify_with_public};
use crate::log::SoftwareLogKey;
use crate::module::{
    DecryptInput, EncryptInput, Encrypted, GenerateKey, ImportKey, LONGEST_INPUT, MOST_RANDOM_BYTES, Module, SignInput,
    VerifyInput,
};
use crate::record::{self, Header, Place};
use crate::seal::{self, Purpose};
use crate::{Element, Error, Head, KeyFacts, LogKey, Origin, Plaintext, SealedKey};

/// The software module of one pool, from [`Engine::create_pool`](crate::Engine::create_pool) or
/// [`Engine::open_pool`](crate::Engine::open_pool).
pub struct Software {
    engine: Arc<Shared>,
    masters: Arc<Masters>,
}

impl Software {
    pub(crate) fn new(engine: Arc<Shared>, masters: Masters) -> Self {
        Self { engine, masters: Arc::new(masters) }
    }

    /// Seals a key that was just made or taken in.
    fn seal_new(
        &self,
        new: NewKey,
        place: &Place<'_>,
        origin: Origin,
        exportable: bool,
        facts: KeyFacts,
    ) -> Result<SealedKey, Error> {
        let header = Header { kind: new.kind, origin, exportable, public: new.public };
        SealedKey::create(&self.masters, place, header, &new.material, facts)
    }

    /// Makes the key itself, on the threads that its kind needs.
    async fn new_key(&self, kind: KeyKind, public_exponent: Option<&[u8]>) -> Result<NewKey, Error> {
        let exponent = match public_exponent {
            None => 65537,
            Some(bytes) if matches!(kind, KeyKind::Rsa(_)) => keys::rsa_exponent(bytes)
                .ok_or(Error::InvalidInput { what: "an RSA public exponent is odd, from 3 to 2^32" })?,
            Some(_) => return Err(Error::InvalidInput { what: "only an RSA key has a public exponent" }),
        };
        match kind {
            KeyKind::Rsa(size) => {
                if exponent == 65537
                    && let Some(key) = self.engine.take_from_stock(size)
                {
                    self.engine.generation.wake();
                    return Ok(key);
                }
                self.engine.generation.run(move || keys::generate_rsa(size, exponent)).await
            }
            KeyKind::Oct(size) if !size.is_aes() => {
                Err(Error::InvalidInput { what: "a generated symmetric key has 128, 192 or 256 bits" })
            }
            _ if is_long(kind) => self.engine.arithmetic.run(move || keys::generate(kind)).await,
            _ => keys::generate(kind),
        }
    }
}

/// Whether the private operations of such a key take too long for a thread that serves connections: about 100 µs, as
/// the example `throughput` measures them.
fn is_long(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Rsa(_) | KeyKind::Akp(_)) || is_long_in_public(kind)
}

/// Whether verifying, too, takes that long.
fn is_long_in_public(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Ec(Curve::P256K | Curve::P384 | Curve::P521))
}

/// From this many bytes on, symmetric arithmetic takes about as long.
const LONG_INPUT: usize = 64 << 10;

#[async_trait]
impl Module for Software {
    fn new_sealing_key(&self, key_path: &str) -> Result<Bytes, Error> {
        record::new_sealing_key(&self.masters, key_path)
    }

    async fn generate(&self, request: GenerateKey) -> Result<SealedKey, Error> {
        let GenerateKey { path, key_path, sealing_key, kind, public_exponent, exportable, facts } = request;
        let place = Place { path: &path, key_path: &key_path, sealing_key: &sealing_key };
        place.check(&self.masters, &facts, exportable)?;
        let new = self.new_key(kind, public_exponent.as_deref()).await?;
        self.seal_new(new, &place, Origin::Generated, exportable, facts)
    }

    async fn import(&self, request: ImportKey) -> Result<SealedKey, Error> {
        let ImportKey { path, key_path, sealing_key, material, exportable, facts } = request;
        let place = Place { path: &path, key_path: &key_path, sealing_key: &sealing_key };
        place.check(&self.masters, &facts, exportable)?;
        // Finding factors takes as long as making them; nobody who signs is to wait for that.
        let workers = if material.lacks_factors() { &self.engine.generation } else { &self.engine.arithmetic };
        let new = workers.run(move || keys::import(material)).await?;
        self.seal_new(new, &place, Origin::Imported, exportable, facts)
    }

    fn load(&self, path: &str, key_path: &str, sealing_key: &Bytes, value: Bytes) -> Result<SealedKey, Error> {
        SealedKey::load(&self.masters, &Place { path, key_path, sealing_key }, value)
    }

    fn update(&self, key: &SealedKey, facts: KeyFacts) -> Result<SealedKey, Error> {
        key.update(&self.masters, facts)
    }

    fn forget(&self, key: &SealedKey) {
        self.engine.forget(key);
    }

    async fn sign(&self, key: &SealedKey, input: SignInput) -> Result<Vec<u8>, Error> {
        input.algorithm.check_key(key.kind())?;
        self.with_key(key, input.digest_or_message.len(), move |open| open.sign(&input)).await
    }

    async fn verify(&self, key: &SealedKey, input: VerifyInput) -> Result<bool, Error> {
        input.algorithm.check_key(key.kind())?;
        if *key.public() == PublicKey::None {
            return self.with_key(key, input.digest_or_message.len(), move |open| open.verify_mac(&input)).await;
        }
        key.belongs_to(&self.masters)?;
        if !is_long_in_public(key.kind()) {
            return verify_with_public(key.public(), &input);
        }
        let key = key.clone();
        self.engine.arithmetic.run(move || verify_with_public(key.public(), &input)).await
    }

    async fn encrypt(&self, key: &SealedKey, input: EncryptInput) -> Result<Encrypted, Error> {
        input.algorithm.check_key(key.kind())?;
        match key.public() {
            PublicKey::None => self.with_key(key, input.plaintext.len(), move |open| open.encrypt(&input)).await,
            public => {
                key.belongs_to(&self.masters)?;
                encrypt_with_public(public, &input)
            }
        }
    }

    async fn decrypt(&self, key: &SealedKey, input: DecryptInput) -> Result<Plaintext, Error> {
        input.algorithm.check_key(key.kind())?;
        self.with_key(key, input.ciphertext.len(), move |open| open.decrypt(&input)).await
    }

    fn random(&self, count: usize) -> Result<Vec<u8>, Error> {
        if !(1..=MOST_RANDOM_BYTES).contains(&count) {
            return Err(Error::InvalidInput { what: "the count of random bytes is 1 to 128" });
        }
        let mut bytes = vec![0; count];
        seal::random(&mut bytes)?;
        Ok(bytes)
    }

    fn seal_value(&self, path: &str, sequence: u64, value: &[u8]) -> Result<Bytes, Error> {
        if value.len() > LONGEST_INPUT {
            return Err(Error::InvalidInput { what: "the value is longer than 1 MiB" });
        }
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(9 + value.len()));
        plain.push(VERSION);
        plain.extend_from_slice(&sequence.to_be_bytes());
        plain.extend_from_slice(value);
        seal::seal(self.masters.get(Master::Value), Purpose::Value, &[path.as_bytes()], &plain).map(Bytes::from)
    }

    fn open_value(&self, path: &str, sealed: &[u8]) -> Result<(u64, Vec<u8>), Error> {
        let plain = seal::open(self.masters.get(Master::Value), Purpose::Value, &[path.as_bytes()], sealed)?;
        let mut reader = Reader::new(&plain);
        reader.version()?;
        let sequence = reader.u64()?;
        Ok((sequence, reader.rest().to_vec()))
    }

    fn element(&self, path: &str, value: &[u8]) -> Element {
        Element::of(&self.masters, path, value)
    }

    fn empty_head(&self) -> Head {
        Head::empty()
    }

    fn advance_head(&self, head: &Head, removed: &[Element], added: &[Element]) -> Result<(Head, Bytes), Error> {
        head.advance(&self.masters, removed, added)
    }

    fn open_head(&self, sealed: &[u8]) -> Result<Head, Error> {
        Head::open(&self.masters, sealed)
    }

    fn log_key(&self, origin: &str) -> Result<Arc<dyn LogKey>, Error> {
        Ok(Arc::new(SoftwareLogKey::derive(&self.masters, origin)?))
    }

    fn platform(&self) -> &'static str {
        "software"
    }
}

impl Software {
    /// Computes with the opened key: where it stands if that is short, on a worker otherwise.
    async fn with_key<T: Send + 'static>(
        &self,
        key: &SealedKey,
        input_len: usize,
        compute: impl FnOnce(&keys::OpenKey) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if !is_long(key.kind()) && input_len < LONG_INPUT {
            return compute(&*self.engine.open_key(&self.masters, key)?);
        }
        // The threads belong to the engine, so a job holds what it needs and not the engine itself.
        let (engine, masters, key) = (self.engine.clone(), self.masters.clone(), key.clone());
        self.engine.arithmetic.run(move || compute(&*engine.open_key(&masters, &key)?)).await
    }
}

impl fmt::Debug for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Software(..)")
    }
}
