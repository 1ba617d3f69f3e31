//! Keys: created, imported, read, listed, changed, deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use crypto_module::{GenerateKey, ImportKey, KeyFacts, KeyMaterial, PublicKey, SealedKey};
use model::{
    Attributes, KeyKind, KeyName, KeyOperation, KeyOperations, KeyRef, KeyVersion, Operation, PrincipalId, Tags,
    UnixTime,
};
use store::Path;
use uuid::Uuid;

use crate::admission::Permit;
use crate::deleted_keys::DeletedKeyVersion;
use crate::error::Error;
use crate::records::{Deletion, KeyRecord, Unreadable, encode};
use crate::rotation::{StoredPolicy, rotated};
use crate::view::{Effect, Key, State};
use crate::writer::{Planned, module_failed};
use crate::{Call, Inner, Pool};

/// How often a version is made again because the key changed under it.
const TRIES: usize = 8;

/// One version of a key as the pool knows it: everything a caller may see.
#[derive(Clone)]
pub struct KeyVersionState {
    /// The key's name as its creator wrote it.
    pub name: KeyName,
    /// The version.
    pub version: KeyVersion,
    /// Its kind, public part and facts; sealed otherwise.
    pub sealed: SealedKey,
}

/// What a new version begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// Allowed operations; `None` for the default of the key's kind.
    pub operations: Option<KeyOperations>,
    /// Whether it may be used at once.
    pub enabled: bool,
    /// No new use before this.
    pub not_before: Option<UnixTime>,
    /// No new use from this on.
    pub expires: Option<UnixTime>,
    /// The owner's tags.
    pub tags: Tags,
}

impl NewKey {
    fn facts(&self, kind: KeyKind, now: UnixTime) -> Result<KeyFacts, Error> {
        let operations = self.operations.unwrap_or_else(|| kind.default_operations());
        check_operations(kind, operations)?;
        check_validity(self.not_before, self.expires)?;
        Ok(KeyFacts {
            attributes: Attributes {
                enabled: self.enabled,
                not_before: self.not_before,
                expires: self.expires,
                created: now,
                updated: now,
            },
            operations,
            tags: self.tags.clone(),
            release_policy: None,
        })
    }
}

/// A key made elsewhere.
pub struct ImportRequest {
    /// What it is said to be.
    pub kind: KeyKind,
    /// Its private or secret part; checked for consistency by the module.
    pub material: KeyMaterial,
    /// What the version begins with.
    pub new: NewKey,
}

/// What to change of a version; absent members stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyChange {
    /// Allowed operations.
    pub operations: Option<KeyOperations>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// No new use before this.
    pub not_before: Option<UnixTime>,
    /// No new use from this on.
    pub expires: Option<UnixTime>,
    /// All tags; the old ones go.
    pub tags: Option<Tags>,
}

fn check_operations(kind: KeyKind, operations: KeyOperations) -> Result<(), Error> {
    let alone = operations.contains(KeyOperation::Import);
    let fits = operations.is_subset_of(kind.possible_operations())
        && (!alone || operations == KeyOperations::of(&[KeyOperation::Import]));
    if fits { Ok(()) } else { Err(Error::KeyOperations) }
}

fn check_validity(not_before: Option<UnixTime>, expires: Option<UnixTime>) -> Result<(), Error> {
    match (not_before, expires) {
        (Some(not_before), Some(expires)) if not_before >= expires => Err(Error::ValidityOrder),
        _ => Ok(()),
    }
}

impl Pool {
    /// Makes a key, or a new version of an existing one.
    ///
    /// `public_exponent` is big-endian and for RSA only; without one it is 65537.
    ///
    /// # Errors
    /// [`Error::DeletedButRecoverable`], [`Error::Quota`], [`Error::KeyOperations`], [`Error::ValidityOrder`],
    /// [`Error::Busy`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `createKey`.
    pub async fn create_key(
        &self,
        call: &Call,
        name: &KeyName,
        kind: KeyKind,
        public_exponent: Option<Box<[u8]>>,
        new: NewKey,
    ) -> Result<KeyVersionState, Error> {
        let operation = Operation::CreateKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let facts = new.facts(kind, permit.now())?;
            self.make_version(permit, name, Source::Generate { kind, public_exponent, facts }).await
        })
        .await
    }

    /// Brings a key in, as a new key or a new version of an existing one.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key), and [`Error::Input`] for material that does not belong together.
    ///
    /// Source: keys document, operation `importKey`.
    pub async fn import_key(
        &self,
        call: &Call,
        name: &KeyName,
        request: ImportRequest,
    ) -> Result<KeyVersionState, Error> {
        let operation = Operation::ImportKey;
        let ImportRequest { kind, material, new } = request;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let facts = new.facts(kind, permit.now())?;
            self.make_version(permit, name, Source::Import { kind, material: Some(material), facts }).await
        })
        .await
    }

    /// A version of a key: the public part and the attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getKey`.
    pub async fn key(&self, call: &Call, key: &KeyRef) -> Result<KeyVersionState, Error> {
        let operation = Operation::GetKey;
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            let found = {
                let state = permit.state();
                let live = state.live(&key.name)?;
                let (version, sealed) = live.version(key.version)?;
                KeyVersionState { name: live.name.clone(), version, sealed }
            };
            permit.concerns(found.version, None);
            Ok(found)
        })
        .await
    }

    /// The latest version of each of up to `limit` live keys whose names follow `after`, and whether there are more.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getKeys`.
    pub async fn keys(
        &self,
        call: &Call,
        after: Option<&KeyName>,
        limit: usize,
    ) -> Result<(Vec<KeyVersionState>, bool), Error> {
        let operation = Operation::ListKeys;
        self.admitted(call, operation, operation.scope(None), async |permit| {
            let state = permit.state();
            let latest = names_after(&state, after).filter(|key| key.deleted.is_none()).filter_map(|key| {
                let (version, sealed) = key.version(None).ok()?;
                Some(KeyVersionState { name: key.name.clone(), version, sealed })
            });
            Ok(page(latest, limit))
        })
        .await
    }

    /// Up to `limit` versions of a key, oldest first, that follow `after` in that order, and whether there are more.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getKeyVersions`.
    pub async fn key_versions(
        &self,
        call: &Call,
        name: &KeyName,
        after: Option<KeyVersion>,
        limit: usize,
    ) -> Result<(Vec<KeyVersionState>, bool), Error> {
        let operation = Operation::ListKeyVersions;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let key = permit.state().live(name)?.clone();
            let skip = match after {
                None => 0,
                Some(after) => key.versions.iter().position(|(version, _)| *version == after).map_or(0, |at| at + 1),
            };
            let versions = key.versions[skip..].iter().map(|(version, sealed)| KeyVersionState {
                name: key.name.clone(),
                version: *version,
                sealed: sealed.clone(),
            });
            Ok(page(versions, limit))
        })
        .await
    }

    /// Changes attributes, operations or tags of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::KeyOperations`], [`Error::ValidityOrder`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `updateKey`.
    pub async fn update_key(&self, call: &Call, key: &KeyRef, change: KeyChange) -> Result<KeyVersionState, Error> {
        let operation = Operation::UpdateKey;
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            // Fixed here, so that the record names the version that is changed, whatever is made meanwhile.
            let (version, _) = permit.state().live(&key.name).and_then(|live| live.version(key.version))?;
            permit.concerns(version, None);
            let (name, now) = (key.name.clone(), permit.now());
            permit
                .commit(move |state, pool| {
                    let live = state.live(&name)?;
                    let (_, sealed) = live.version(Some(version))?;
                    let facts = changed(&sealed, &change, now)?;
                    let sealed = pool.module.update(&sealed, facts).map_err(module_failed)?;
                    let path = pool.paths.key_version(&live.name, version);
                    let writes = vec![(path, Some(sealed.value().clone()))];
                    let mut next = Key::clone(live);
                    for (existing, slot) in &mut next.versions {
                        if *existing == version {
                            *slot = sealed.clone();
                        }
                    }
                    let answer = KeyVersionState { name: next.name.clone(), version, sealed };
                    Ok((Planned { writes, effects: vec![Effect::Key(Arc::new(next))] }, answer))
                })
                .await
        })
        .await
    }

    /// Deletes a key with all its versions, recoverably.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `deleteKey`.
    pub async fn delete_key(&self, call: &Call, name: &KeyName) -> Result<DeletedKeyVersion, Error> {
        let operation = Operation::DeleteKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let (name, now) = (name.clone(), permit.now());
            permit
                .commit(move |state, pool| {
                    let key = state.live(&name)?;
                    let deletion = Deletion { at: now, purge_at: pool.properties.retention.purge_date(now) };
                    let next = Key { deleted: Some(deletion), ..Key::clone(key) };
                    let answer = DeletedKeyVersion::latest(&next, deletion)?;
                    let writes = vec![pool.key_write(&next, state.sequence + 1)?];
                    Ok((Planned { writes, effects: vec![Effect::Key(Arc::new(next))] }, answer))
                })
                .await
        })
        .await
    }

    /// Makes a version from `source` and commits it. If the key changed meanwhile in a way that matters, the version is
    /// made again.
    pub(crate) async fn make_version(
        &self,
        permit: &Permit<'_>,
        name: &KeyName,
        mut source: Source,
    ) -> Result<KeyVersionState, Error> {
        for _ in 0..TRIES {
            let attempt = self.attempt(permit, name)?;
            let made = source.make(&attempt, permit).await?;
            permit.concerns(attempt.version, None);
            match self.commit_version(permit, attempt, made).await {
                Err(Error::Contention) => tracing::debug!("a key changed while a version of it was made"),
                outcome => return outcome,
            }
        }
        Err(Error::Contention)
    }

    /// Looks whether a version may be added, and draws its name.
    fn attempt(&self, permit: &Permit<'_>, name: &KeyName) -> Result<Attempt, Error> {
        let pool = &*self.0;
        let existing = {
            let state = permit.state();
            let existing = state.writable(name)?.cloned();
            pool.check_quotas(&state, existing.as_deref())?;
            existing
        };
        let (name, sealing_key) = match existing {
            Some(key) => (key.name.clone(), Arc::new(key.sealing_key.clone())),
            None => {
                let path = pool.paths.key(name);
                let make = || pool.module.new_sealing_key(path.as_str()).map_err(module_failed);
                (name.clone(), pool.first_creations.sealing_key(name, make)?)
            }
        };
        let version = KeyVersion(*Uuid::new_v4().as_bytes());
        Ok(Attempt {
            path: pool.paths.key_version(&name, version),
            key_path: pool.paths.key(&name),
            name,
            version,
            sealing_key,
        })
    }

    /// Commits a made version; [`Error::Contention`] if it has to be made again.
    async fn commit_version(
        &self,
        permit: &Permit<'_>,
        attempt: Attempt,
        made: Made,
    ) -> Result<KeyVersionState, Error> {
        permit
            .commit(move |state, pool| {
                let existing = state.writable(&attempt.name)?;
                pool.check_quotas(state, existing.map(|key| &**key))?;
                let stale = match existing {
                    Some(key) => key.sealing_key != *attempt.sealing_key || !made.is_of(key)?,
                    None => made.of.is_some() || !pool.first_creations.holds(&attempt.name, &attempt.sealing_key),
                };
                if stale {
                    return Err(Error::Contention);
                }
                let mut next = existing.map_or_else(|| attempt.new_key(), |key| Key::clone(key));
                next.versions.push((attempt.version, made.sealed.clone()));
                let writes = vec![
                    (attempt.path.clone(), Some(made.sealed.value().clone())),
                    pool.key_write(&next, state.sequence + 1)?,
                ];
                let answer =
                    KeyVersionState { name: next.name.clone(), version: attempt.version, sealed: made.sealed.clone() };
                Ok((Planned { writes, effects: vec![Effect::Key(Arc::new(next))] }, answer))
            })
            .await
    }
}

/// A version about to be made.
struct Attempt {
    name: KeyName,
    version: KeyVersion,
    path: Path,
    key_path: Path,
    sealing_key: Arc<Bytes>,
}

/// Where a new version comes from.
pub(crate) enum Source {
    /// The module makes it.
    Generate { kind: KeyKind, public_exponent: Option<Box<[u8]>>, facts: KeyFacts },
    /// It was made elsewhere. The material is no value to copy: it can be taken in once.
    Import { kind: KeyKind, material: Option<KeyMaterial>, facts: KeyFacts },
    /// The module makes it like the latest version.
    Rotate,
}

impl Source {
    async fn make(&mut self, attempt: &Attempt, permit: &Permit<'_>) -> Result<Made, Error> {
        match self {
            Self::Generate { kind, public_exponent, facts } => {
                let sealed = attempt.generate(permit, *kind, public_exponent.clone(), facts.clone()).await?;
                Ok(Made { sealed, of: None })
            }
            Self::Import { kind, material, facts } => {
                // Taken in already, and the key changed under it: the client is asked to try again.
                let material = material.take().ok_or(Error::Contention)?;
                let sealed = attempt.import(permit, *kind, material, facts.clone()).await?;
                if sealed.kind() != *kind {
                    return Err(Error::Input("the key is not of the type and size that it is said to be".to_owned()));
                }
                Ok(Made { sealed, of: None })
            }
            Self::Rotate => {
                let (latest, policy) = {
                    let state = permit.state();
                    let key = state.live(&attempt.name)?;
                    (key.version(None)?.1, key.rotation.as_deref().cloned())
                };
                let facts = rotated(latest.facts(), policy.as_ref(), permit.now())?;
                let sealed = attempt.generate(permit, latest.kind(), exponent_of(latest.public()), facts).await?;
                Ok(Made { sealed, of: Some((latest, policy)) })
            }
        }
    }
}

/// A version that was made but not yet committed.
struct Made {
    sealed: SealedKey,
    /// The version and rotation policy after which it was made, if it continues one; it is stale when they changed.
    of: Option<(SealedKey, Option<StoredPolicy>)>,
}

impl Made {
    fn is_of(&self, key: &Key) -> Result<bool, Error> {
        let Some((version, policy)) = &self.of else { return Ok(true) };
        let (_, latest) = key.version(None)?;
        Ok(latest.path() == version.path()
            && latest.sequence() == version.sequence()
            && key.rotation.as_deref() == policy.as_ref())
    }
}

impl Attempt {
    async fn generate(
        &self,
        permit: &Permit<'_>,
        kind: KeyKind,
        public_exponent: Option<Box<[u8]>>,
        facts: KeyFacts,
    ) -> Result<SealedKey, Error> {
        let request = GenerateKey {
            path: self.path.as_str().to_owned(),
            key_path: self.key_path.as_str().to_owned(),
            sealing_key: (*self.sealing_key).clone(),
            kind,
            public_exponent,
            exportable: false,
            facts,
        };
        let _making = permit.making(kind)?;
        permit.module().generate(request).await.map_err(from_module)
    }

    async fn import(
        &self,
        permit: &Permit<'_>,
        kind: KeyKind,
        material: KeyMaterial,
        facts: KeyFacts,
    ) -> Result<SealedKey, Error> {
        let request = ImportKey {
            path: self.path.as_str().to_owned(),
            key_path: self.key_path.as_str().to_owned(),
            sealing_key: (*self.sealing_key).clone(),
            material,
            exportable: false,
            facts,
        };
        let _making = permit.making(kind)?;
        permit.module().import(request).await.map_err(from_module)
    }

    fn new_key(&self) -> Key {
        Key {
            name: self.name.clone(),
            sealing_key: (*self.sealing_key).clone(),
            versions: Vec::with_capacity(1),
            deleted: None,
            going: Vec::new(),
            rotation: None,
        }
    }
}

/// Keys in the making, by who asked for them. The module makes them one after the other: nobody may fill its queue alone.
#[derive(Clone, Default)]
pub(crate) struct InMaking(Arc<Mutex<HashMap<PrincipalId, usize>>>);

/// One key in the making, until it is dropped.
pub(crate) struct Making {
    all: InMaking,
    of: PrincipalId,
}

impl InMaking {
    pub(crate) fn begin(&self, of: &PrincipalId, most: usize) -> Result<Making, Error> {
        let mut making = self.lock();
        let own = making.entry(of.clone()).or_default();
        // Nothing is in the map that is not in the making.
        if *own >= most.max(1) {
            return Err(Error::Busy);
        }
        *own += 1;
        Ok(Making { all: self.clone(), of: of.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PrincipalId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut making = self.all.lock();
        if let Some(own) = making.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                making.remove(&self.of);
            }
        }
    }
}

/// Sealing keys of names that do not exist yet, so that parallel first creations of one name make versions of one key.
#[derive(Default)]
pub(crate) struct FirstCreations(Mutex<HashMap<KeyName, Weak<Bytes>>>);

impl FirstCreations {
    fn sealing_key(&self, name: &KeyName, make: impl FnOnce() -> Result<Bytes, Error>) -> Result<Arc<Bytes>, Error> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sealing_key| sealing_key.strong_count() > 0);
        if let Some(shared) = waiting.get(name).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        let made = Arc::new(make()?);
        waiting.insert(name.clone(), Arc::downgrade(&made));
        Ok(made)
    }

    /// Whether `sealing_key` is the one for a name that does not exist yet. One that a purge destroyed is not, though
    /// whoever began before may still hold it.
    fn holds(&self, name: &KeyName, sealing_key: &Arc<Bytes>) -> bool {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(name).and_then(Weak::upgrade).is_some_and(|held| Arc::ptr_eq(&held, sealing_key))
    }

    /// Gives up the sealing key of a name that is purged: nothing made under it is stored any more.
    pub(crate) fn forget(&self, name: &KeyName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Inner {
    fn check_quotas(&self, state: &State, existing: Option<&Key>) -> Result<(), Error> {
        match existing {
            Some(key) if key.versions.len() >= self.quotas.versions => {
                Err(Error::Quota { what: "versions of one key", limit: self.quotas.versions })
            }
            None if state.keys.len() >= self.quotas.keys => {
                Err(Error::Quota { what: "keys, deleted ones included,", limit: self.quotas.keys })
            }
            _ => Ok(()),
        }
    }

    /// The write that stores what is not about one version.
    pub(crate) fn key_write(&self, key: &Key, sequence: u64) -> Result<(Path, Option<Bytes>), Error> {
        let path = self.paths.key(&key.name);
        let record = encode(&KeyRecord::new(key));
        let sealed = self.module.seal_value(path.as_str(), sequence, &record).map_err(module_failed)?;
        Ok((path, Some(sealed)))
    }
}

/// The key that a record describes, still without its versions, and the versions it lists.
pub(crate) fn from_record(record: &KeyRecord) -> Result<(Key, Vec<KeyVersion>), Unreadable> {
    let facts = record.facts()?;
    let key = Key {
        name: facts.name,
        sealing_key: Bytes::copy_from_slice(&record.sealing_key),
        versions: Vec::new(),
        deleted: facts.deleted,
        going: facts.going,
        rotation: facts.rotation.map(Box::new),
    };
    Ok((key, facts.versions))
}

/// The facts of a version after `change`.
fn changed(sealed: &SealedKey, change: &KeyChange, now: UnixTime) -> Result<KeyFacts, Error> {
    let mut facts = sealed.facts().clone();
    if let Some(operations) = change.operations {
        check_operations(sealed.kind(), operations)?;
        facts.operations = operations;
    }
    if let Some(enabled) = change.enabled {
        facts.attributes.enabled = enabled;
    }
    facts.attributes.not_before = change.not_before.or(facts.attributes.not_before);
    facts.attributes.expires = change.expires.or(facts.attributes.expires);
    check_validity(facts.attributes.not_before, facts.attributes.expires)?;
    if let Some(tags) = &change.tags {
        facts.tags = tags.clone();
    }
    facts.attributes.updated = now;
    Ok(facts)
}

/// The public exponent of an RSA key, to make another like it.
fn exponent_of(public: &PublicKey) -> Option<Box<[u8]>> {
    match public {
        PublicKey::Rsa { e, .. } => Some(e.clone()),
        _ => None,
    }
}

/// Keys in order of their names, from the first that follows `after`.
pub(crate) fn names_after<'a>(state: &'a State, after: Option<&KeyName>) -> impl Iterator<Item = &'a Arc<Key>> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |name| Excluded(name.clone()));
    state.keys.range((from, Unbounded)).map(|(_, key)| key)
}

/// The first `limit` items, and whether there are more.
pub(crate) fn page<T>(mut items: impl Iterator<Item = T>, limit: usize) -> (Vec<T>, bool) {
    let page: Vec<T> = items.by_ref().take(limit).collect();
    let more = items.next().is_some();
    (page, more)
}

/// What a refusal of the module means to the caller.
pub(crate) fn from_module(error: crypto_module::Error) -> Error {
    use crypto_module::Error as M;
    match error {
        M::Busy => Error::Busy,
        M::AlgorithmMismatch(mismatch) => Error::Algorithm(mismatch),
        M::InvalidInput { .. } | M::KeyMaterial { .. } | M::Refused => Error::Input(error.to_string()),
        other => module_failed(other),
    }
}
