//! Random lives of a pool against a plain model of what it should hold.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;

use model::deleted_keys::PurgeProtection;
use model::rbac::{CRYPTO_USER, RoleAssignment, Scope};
use model::{KeyKind, KeyVersion, OctSize, Unusable};
use pool::{Error, ImportRequest, KeyChange, NewKey, Quotas};
use proptest::prelude::*;
use proptest::sample::Index;
use testkit::{Fault, OWNER, Setup, TestPool, call, key_name, key_ref, new_oct, rotation_policy, sign_request};

const NAMES: [&str; 3] = ["a", "a-b", "b"];
const KIND: KeyKind = KeyKind::Oct(OctSize::AES_256);
const WEEK: i64 = 7 * 86_400;
/// Few, so that the limit is met.
const VERSIONS: usize = 5;

#[derive(Clone, Debug)]
enum Event {
    Create {
        key: usize,
        enabled: bool,
        expires_in: Option<i64>,
    },
    Import {
        key: usize,
    },
    Rotate {
        key: usize,
    },
    Update {
        key: usize,
        version: Option<Index>,
        enabled: bool,
    },
    Delete {
        key: usize,
    },
    Recover {
        key: usize,
    },
    Purge {
        key: usize,
    },
    Sign {
        key: usize,
        version: Option<Index>,
        by_owner: bool,
    },
    Grant,
    Revoke,
    Advance {
        seconds: i64,
    },
    PurgeDue,
    Restart,
    /// The next commit fails so.
    Fail {
        fault: Fault,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let key = || 0..NAMES.len();
    let version = || proptest::option::of(any::<Index>());
    let expires_in = proptest::option::of(prop_oneof![Just(100), Just(WEEK)]);
    prop_oneof![
        4 => (key(), any::<bool>(), expires_in)
            .prop_map(|(key, enabled, expires_in)| Event::Create { key, enabled, expires_in }),
        2 => key().prop_map(|key| Event::Import { key }),
        2 => key().prop_map(|key| Event::Rotate { key }),
        3 => (key(), version(), any::<bool>())
            .prop_map(|(key, version, enabled)| Event::Update { key, version, enabled }),
        3 => key().prop_map(|key| Event::Delete { key }),
        2 => key().prop_map(|key| Event::Recover { key }),
        2 => key().prop_map(|key| Event::Purge { key }),
        5 => (key(), version(), any::<bool>())
            .prop_map(|(key, version, by_owner)| Event::Sign { key, version, by_owner }),
        1 => Just(Event::Grant),
        1 => Just(Event::Revoke),
        2 => prop_oneof![Just(99), Just(1), Just(WEEK - 1), Just(WEEK)].prop_map(|seconds| Event::Advance { seconds }),
        2 => Just(Event::PurgeDue),
        1 => Just(Event::Restart),
        1 => prop_oneof![Just(Fault::NoSpace), Just(Fault::UnknownLost), Just(Fault::UnknownApplied)]
            .prop_map(|fault| Event::Fail { fault }),
    ]
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Version {
    id: KeyVersion,
    enabled: bool,
    expires: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Key {
    versions: Vec<Version>,
    /// When it goes for ever.
    purge_at: Option<i64>,
}

/// Kinds of outcome, as far as the model tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Done,
    NotFound,
    NotPermitted,
    Deleted,
    Quota,
    Disabled,
    Expired,
    PurgeProtected,
    Unavailable,
}

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound(_) => Self::NotFound,
            Error::NotPermitted { .. } => Self::NotPermitted,
            Error::DeletedButRecoverable(_) => Self::Deleted,
            Error::Quota { .. } => Self::Quota,
            Error::Unusable(Unusable::Disabled(_)) => Self::Disabled,
            Error::Unusable(Unusable::Expired(_)) => Self::Expired,
            Error::PurgeProtected => Self::PurgeProtected,
            Error::Unavailable { .. } => Self::Unavailable,
            other => panic!("{other}"),
        }
    }
}

fn outcome<T>(result: &Result<T, Error>) -> Outcome {
    result.as_ref().map_or_else(Outcome::from, |_| Outcome::Done)
}

/// What a pool should hold.
struct Model {
    keys: BTreeMap<&'static str, Key>,
    now: i64,
    protection: PurgeProtection,
    granted: Option<RoleAssignment>,
    fault: Option<Fault>,
}

impl Model {
    fn live(&mut self, name: &str) -> Option<&mut Key> {
        self.keys.get_mut(name).filter(|key| key.purge_at.is_none())
    }

    /// What stands in the way of a new version, a missing key apart.
    fn refuses_version(&self, name: &str) -> Option<Outcome> {
        let key = self.keys.get(name)?;
        if key.purge_at.is_some() {
            return Some(Outcome::Deleted);
        }
        (key.versions.len() >= VERSIONS).then_some(Outcome::Quota)
    }

    /// Whether a change that may happen does, given what the store does next.
    fn commits(&mut self) -> bool {
        !matches!(self.fault.take(), Some(Fault::NoSpace | Fault::Unwritable | Fault::UnknownLost))
    }

    /// The outcome of a change that nothing stands in the way of.
    fn change(&mut self) -> Outcome {
        if self.commits() { Outcome::Done } else { Outcome::Unavailable }
    }

    fn pick(&self, name: &str, version: Option<&Index>) -> Option<KeyVersion> {
        let versions = &self.keys.get(name)?.versions;
        version.filter(|_| !versions.is_empty()).map(|index| index.get(versions).id)
    }
}

async fn apply(pool: &mut TestPool, model: &mut Model, event: &Event) {
    let owner = call(OWNER);
    match event.clone() {
        Event::Create { key, enabled, expires_in } => {
            let name = NAMES[key];
            let expires = expires_in.map(|seconds| model::UnixTime(model.now + seconds));
            let new = NewKey { enabled, expires, ..new_oct() };
            let made = pool.pool().create_key(&owner, &key_name(name), KIND, None, new).await;
            let expected = model.refuses_version(name).unwrap_or_else(|| model.change());
            assert_eq!(outcome(&made), expected);
            if let Ok(made) = made {
                let version = Version { id: made.version, enabled, expires: expires.map(|at| at.0) };
                model.keys.entry(name).or_default().versions.push(version);
            }
        }
        Event::Import { key } => {
            let name = NAMES[key];
            let material = crypto_module::KeyMaterial::Oct { k: vec![7; 32].into() };
            let request = ImportRequest { kind: KIND, material, new: new_oct() };
            let made = pool.pool().import_key(&owner, &key_name(name), request).await;
            let expected = model.refuses_version(name).unwrap_or_else(|| model.change());
            assert_eq!(outcome(&made), expected);
            if let Ok(made) = made {
                let version = Version { id: made.version, enabled: true, expires: None };
                model.keys.entry(name).or_default().versions.push(version);
            }
        }
        Event::Rotate { key } => {
            let name = NAMES[key];
            if model.live(name).is_some() && model.fault.is_none() {
                pool.pool().set_rotation_policy(&owner, &key_name(name), rotation_policy()).await.unwrap();
            } else if model.live(name).is_some() {
                return;
            }
            let made = pool.pool().rotate(&owner, &key_name(name)).await;
            let expected = match (model.live(name).is_some(), model.refuses_version(name)) {
                (false, _) => Outcome::NotFound,
                (true, Some(refused)) => refused,
                (true, None) => model.change(),
            };
            assert_eq!(outcome(&made), expected);
            if let Ok(made) = made {
                let expires = Some(model.now + 28 * 86_400);
                let version = Version { id: made.version, enabled: true, expires };
                model.keys.entry(name).or_default().versions.push(version);
            }
        }
        Event::Update { key, version, enabled } => {
            let name = NAMES[key];
            let version = model.pick(name, version.as_ref());
            let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
            let changed = pool.pool().update_key(&owner, &key_ref(name, version), change).await;
            let expected = if model.live(name).is_some() { model.change() } else { Outcome::NotFound };
            assert_eq!(outcome(&changed), expected);
            if let (Ok(changed), Some(key)) = (changed, model.live(name)) {
                let latest = key.versions.last().unwrap().id;
                assert_eq!(changed.version, version.unwrap_or(latest));
                key.versions.iter_mut().find(|v| v.id == changed.version).unwrap().enabled = enabled;
            }
        }
        Event::Delete { key } => {
            let name = NAMES[key];
            let gone = pool.pool().delete_key(&owner, &key_name(name)).await;
            let expected = if model.live(name).is_some() { model.change() } else { Outcome::NotFound };
            assert_eq!(outcome(&gone), expected);
            let now = model.now;
            if let (Ok(gone), Some(key)) = (gone, model.live(name)) {
                assert_eq!((gone.deleted.0, gone.scheduled_purge.0), (now, now + WEEK));
                key.purge_at = Some(now + WEEK);
            }
        }
        Event::Recover { key } => {
            let name = NAMES[key];
            let back = pool.pool().recover_deleted_key(&owner, &key_name(name)).await;
            let deleted = model.keys.get(name).is_some_and(|key| key.purge_at.is_some());
            assert_eq!(outcome(&back), if deleted { model.change() } else { Outcome::NotFound });
            if back.is_ok() {
                model.keys.get_mut(name).unwrap().purge_at = None;
            }
        }
        Event::Purge { key } => {
            let name = NAMES[key];
            let purged = pool.pool().purge_deleted_key(&owner, &key_name(name)).await;
            let deleted = model.keys.get(name).is_some_and(|key| key.purge_at.is_some());
            let expected = match (deleted, model.protection) {
                (false, _) => Outcome::NotFound,
                (true, PurgeProtection::On) => Outcome::PurgeProtected,
                (true, PurgeProtection::Off) => model.change(),
            };
            assert_eq!(outcome(&purged), expected);
            if purged.is_ok() {
                model.keys.remove(name);
            }
        }
        Event::Sign { key, version, by_owner } => {
            let name = NAMES[key];
            let version = model.pick(name, version.as_ref());
            let by = if by_owner { OWNER } else { "user" };
            let signed = pool.pool().sign(&call(by), &key_ref(name, version), sign_request()).await;
            let (now, may) = (model.now, by_owner || model.granted.is_some());
            let found = model.live(name).and_then(|key| match version {
                None => key.versions.last(),
                Some(id) => key.versions.iter().find(|v| v.id == id),
            });
            let expected = match found {
                _ if !may => Outcome::NotPermitted,
                None => Outcome::NotFound,
                Some(version) if !version.enabled => Outcome::Disabled,
                Some(version) if version.expires.is_some_and(|at| now >= at) => Outcome::Expired,
                Some(_) => Outcome::Done,
            };
            assert_eq!(outcome(&signed), expected);
        }
        Event::Grant if model.granted.is_none() && model.fault.is_none() => {
            model.granted = Some(pool.grant("user", CRYPTO_USER, Scope::Keys).await);
        }
        Event::Revoke if model.fault.is_none() => {
            if let Some(granted) = model.granted.take() {
                pool.revoke(&granted).await;
            }
        }
        Event::Grant | Event::Revoke => {}
        Event::Advance { seconds } => {
            pool.clock().advance(seconds);
            model.now += seconds;
        }
        Event::PurgeDue => {
            let now = model.now;
            let due: Vec<_> = model
                .keys
                .iter()
                .filter(|(_, key)| key.purge_at.is_some_and(|at| at <= now))
                .map(|(name, _)| *name)
                .collect();
            // A fault meets the first key that is due; the rest waits for the next call.
            let fails = !due.is_empty() && !model.commits();
            let purged = pool.pool().purge_due().await;
            assert_eq!(outcome(&purged), if fails { Outcome::Unavailable } else { Outcome::Done });
            if !fails {
                due.iter().for_each(|name| drop(model.keys.remove(name)));
            }
        }
        Event::Restart => pool.restart().await,
        Event::Fail { fault } => {
            if model.fault.is_none() {
                pool.faults().fail_commit(0, fault);
                model.fault = Some(fault);
            }
        }
    }
}

/// Everything that the pool shows of its keys.
async fn assert_shows(pool: &TestPool, model: &Model) {
    let owner = || call(OWNER);
    let (live, _) = pool.pool().keys(&owner(), None, 100).await.unwrap();
    let (deleted, _) = pool.pool().deleted_keys(&owner(), None, 100).await.unwrap();
    let shown = live
        .iter()
        .map(|key| (key.name.as_str().to_owned(), key.version, None))
        .chain(deleted.iter().map(|d| (d.key.name.as_str().to_owned(), d.key.version, Some(d.scheduled_purge.0))));
    let mut shown: Vec<_> = shown.collect();
    shown.sort_unstable();
    let held: Vec<_> = model
        .keys
        .iter()
        .map(|(name, key)| ((*name).to_owned(), key.versions.last().unwrap().id, key.purge_at))
        .collect();
    assert_eq!(shown, held);
    for key in live {
        let (versions, more) = pool.pool().key_versions(&owner(), &key.name, None, 100).await.unwrap();
        assert!(!more);
        let versions: Vec<_> = versions
            .iter()
            .map(|state| {
                let attributes = &state.sealed.facts().attributes;
                let expires = attributes.expires.map(|at| at.0);
                Version { id: state.version, enabled: attributes.enabled, expires }
            })
            .collect();
        assert_eq!(versions, model.keys[key.name.as_str()].versions);
    }
}

async fn live(events: &[Event], protection: PurgeProtection) {
    let quotas = Quotas { versions: VERSIONS, ..Quotas::default() };
    let setup = Setup { quotas, purge_protection: protection, ..Setup::default() }.one_week();
    let now = setup.now.0;
    let mut pool = setup.start().await;
    let mut model = Model { keys: BTreeMap::new(), now, protection, granted: None, fault: None };
    for event in events {
        apply(&mut pool, &mut model, event).await;
        assert_shows(&pool, &model).await;
    }
    pool.restart().await;
    assert_shows(&pool, &model).await;
    let mut changes: Vec<_> = pool.records().await.iter().filter_map(|record| record.change).collect();
    changes.sort_unstable();
    assert_eq!(changes, (2..2 + changes.len() as u64).collect::<Vec<_>>(), "every change has one record");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_does_what_the_model_says(
        events in proptest::collection::vec(event(), 1..50),
        protected in any::<bool>(),
    ) {
        let protection = if protected { PurgeProtection::On } else { PurgeProtection::Off };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live(&events, protection));
    }
}
