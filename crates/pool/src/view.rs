//! What the pool knows, in memory: everything a read or a cryptographic operation needs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use crypto_module::SealedKey;
use model::rbac::Access;
use model::settings::Settings;
use model::{KeyName, KeyVersion};

use crate::error::{Error, Missing};
use crate::records::Deletion;
use crate::rotation::StoredPolicy;

/// The most a pool holds.
///
/// Source: product article on service limits, for the defaults of those that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quotas {
    /// Keys, deleted ones included.
    pub keys: usize,
    /// Versions of one key.
    pub versions: usize,
    /// Custom role definitions.
    pub role_definitions: usize,
    /// Role assignments at `/`, and again at `/keys`.
    pub assignments: usize,
    /// Role assignments at one key.
    pub assignments_per_key: usize,
    /// Role assignments in all, at keys that do not exist included.
    pub assignments_in_all: usize,
    /// Keys whose making takes long (RSA) that one principal may have in the making at the same time.
    pub keys_in_making: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            keys: 5000,
            versions: 100,
            role_definitions: 50,
            assignments: 50,
            assignments_per_key: 10,
            assignments_in_all: 10_000,
            keys_in_making: 16,
        }
    }
}

/// One key with all its versions. Replaced, never changed in place.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: KeyName,
    pub(crate) sealing_key: Bytes,
    /// Oldest first; never empty but while a purge runs.
    pub(crate) versions: Vec<(KeyVersion, SealedKey)>,
    pub(crate) deleted: Option<Deletion>,
    /// What a purge has left to remove. The sealing key is gone then, so that nothing of it opens any more.
    pub(crate) going: Vec<KeyVersion>,
    pub(crate) rotation: Option<Box<StoredPolicy>>,
}

impl Key {
    /// Whether a purge has begun: nothing brings the key back.
    pub(crate) fn is_going(&self) -> bool {
        !self.going.is_empty()
    }

    /// The version asked for, or the latest.
    pub(crate) fn version(&self, version: Option<KeyVersion>) -> Result<(KeyVersion, SealedKey), Error> {
        match version {
            None => self.versions.last(),
            Some(wanted) => self.versions.iter().find(|(version, _)| *version == wanted),
        }
        .cloned()
        .ok_or_else(|| Error::NotFound(Missing::Key(self.name.clone())))
    }
}

/// The pool at one moment.
pub(crate) struct State {
    /// The sequence number of the head it belongs to: counts the changes.
    pub(crate) sequence: u64,
    pub(crate) keys: BTreeMap<KeyName, Arc<Key>>,
    pub(crate) access: Access,
    pub(crate) settings: Settings,
}

impl State {
    /// The key of this name, if it is live.
    pub(crate) fn live(&self, name: &KeyName) -> Result<&Arc<Key>, Error> {
        self.keys
            .get(name)
            .filter(|key| key.deleted.is_none())
            .ok_or_else(|| Error::NotFound(Missing::Key(name.clone())))
    }

    /// The key of this name, if it is deleted and not already going.
    pub(crate) fn deleted(&self, name: &KeyName) -> Result<(&Arc<Key>, Deletion), Error> {
        self.keys
            .get(name)
            .filter(|key| !key.is_going())
            .and_then(|key| key.deleted.map(|deletion| (key, deletion)))
            .ok_or_else(|| Error::NotFound(Missing::DeletedKey(name.clone())))
    }

    /// The key of this name if it is live, nothing if the name is free.
    pub(crate) fn writable(&self, name: &KeyName) -> Result<Option<&Arc<Key>>, Error> {
        match self.keys.get(name) {
            Some(key) if key.is_going() => Err(Error::BeingPurged(name.clone())),
            Some(key) if key.deleted.is_some() => Err(Error::DeletedButRecoverable(name.clone())),
            found => Ok(found),
        }
    }
}

/// What a committed change does to the state.
pub(crate) enum Effect {
    Key(Arc<Key>),
    KeyGone(KeyName),
    /// Nothing that is looked up here: the module forgets the version.
    VersionGone(SealedKey),
    Access(Access),
    Settings(Settings),
}

impl Effect {
    pub(crate) fn version_gone(&self) -> Option<&SealedKey> {
        if let Self::VersionGone(version) = self { Some(version) } else { None }
    }
}

/// The newest state, shared. Its lock is held for look-ups and replacements only, never across a wait.
pub(crate) struct View(RwLock<State>);

impl View {
    pub(crate) fn new(state: State) -> Self {
        Self(RwLock::new(state))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn apply(&self, effects: Vec<Effect>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.sequence += 1;
        for effect in effects {
            match effect {
                Effect::Key(key) => {
                    state.keys.insert(key.name.clone(), key);
                }
                Effect::KeyGone(name) => {
                    state.keys.remove(&name);
                }
                Effect::VersionGone(_) => {}
                Effect::Access(access) => state.access = access,
                Effect::Settings(settings) => state.settings = settings,
            }
        }
    }
}
