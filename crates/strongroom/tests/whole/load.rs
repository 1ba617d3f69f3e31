//! Clients at work on a pool, what each of them knows to be true, and the comparison of that with the pool.
//!
//! Every client has objects of its own and changes them one request after the other, so that it knows what each must be:
//! exactly what the last answer said, or, where a request got no answer (or a 503), that or what the request asked for,
//! and nothing between the two. One key is everybody's: its versions are made by several clients at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::log::Expected;
use crate::node::{Answer, Dev, Session, correlation};

const CRYPTO_USER: &str =
    "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b";

/// Numbers that come again with the same seed.
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From the environment (`STRONGROOM_TEST_SEED`) or the clock, and printed.
    pub(crate) fn seeded(what: &str) -> Self {
        let given = std::env::var("STRONGROOM_TEST_SEED").ok().map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1);
        eprintln!("{what}: STRONGROOM_TEST_SEED={seed}");
        Self(seed)
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn branch(&mut self) -> Self {
        Self(self.below(u64::MAX >> 33) | 1 << 40)
    }
}

/// Everything that clients of one round share.
#[derive(Clone)]
pub(crate) struct Office {
    admin: Session,
    officer: Session,
    user: Session,
    nobody: Session,
    expected: Arc<Mutex<Expected>>,
    stop: Arc<AtomicBool>,
    /// How many requests were answered 503, and how many got no answer.
    pub(crate) refused: Arc<AtomicUsize>,
    pub(crate) lost: Arc<AtomicUsize>,
}

enum Reply {
    Answered(Answer),
    /// A 503 or no answer: a change may have taken place or not.
    Unsure {
        correlation: String,
    },
}

impl Office {
    pub(crate) fn new(dev: &Dev, expected: &Arc<Mutex<Expected>>) -> Self {
        Self {
            admin: dev.of("ADMIN"),
            officer: dev.of("OFFICER"),
            user: dev.of("USER"),
            nobody: dev.of("NOBODY"),
            expected: Arc::clone(expected),
            stop: Arc::default(),
            refused: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// Asks the clients to finish.
    pub(crate) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn open(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.lost.load(Ordering::Relaxed) == 0
    }

    async fn ask(&self, session: &Session, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let correlation = correlation();
        let body = body.map(|body| {
            let text = body.to_string().replace("$id", &correlation);
            serde_json::from_str::<Value>(&text).unwrap()
        });
        match session.send(method.clone(), path, body.as_ref(), &correlation).await {
            Ok(answer) if answer.status == 503 => {
                assert_eq!(answer.code(), "ServiceUnavailable");
                self.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Reply::Unsure { correlation }
            }
            Ok(answer) => {
                assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.body);
                self.expected.lock().unwrap().answered(&answer.id, answer.status);
                Reply::Answered(answer)
            }
            Err(_) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Reply::Unsure { correlation }
            }
        }
    }

    /// A read while the node is well.
    async fn read(&self, path: &str) -> Option<Value> {
        for session in [&self.user, &self.officer] {
            match self.ask(session, Method::GET, path, None).await {
                Reply::Answered(answer) if answer.status == 200 => return Some(answer.body),
                Reply::Answered(answer) if answer.status == 404 => return None,
                Reply::Answered(answer) if answer.status == 403 => {}
                Reply::Answered(answer) => panic!("GET {path}: {} {}", answer.status, answer.body),
                Reply::Unsure { .. } => panic!("GET {path} failed while the node is well"),
            }
        }
        panic!("nobody may read {path}")
    }

    fn changed(&self, correlation: &str, changed: bool) {
        self.expected.lock().unwrap().changed(correlation, changed);
    }
}

/// All clients.
pub(crate) struct Load {
    clients: Vec<Client>,
}

enum Client {
    Keys(Keys),
    Slots(Vec<Slot>, Chance),
    Versions(Versions),
    Uses(Uses),
    Denials(Chance),
}

impl Load {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut clients = Vec::new();
        for owner in ["ann", "ben", "cem"] {
            clients.push(Client::Keys(Keys::new(owner, chance.branch())));
        }
        let mut slots =
            |one: fn(u64) -> Slot, first: u64| Client::Slots((first..first + 5).map(one).collect(), chance.branch());
        clients.push(slots(Slot::assignment, 1));
        clients.push(slots(Slot::definition, 101));
        clients.extend((0..3).map(|_| Client::Versions(Versions::default())));
        clients.push(Client::Uses(Uses::default()));
        clients.push(Client::Denials(chance.branch()));
        Self { clients }
    }

    /// Sets the clients to work. They go on until the office is closed or the connection is lost.
    pub(crate) fn start(self, office: &Office) -> JoinSet<Busy> {
        let mut working = JoinSet::new();
        for client in self.clients {
            let office = office.clone();
            working.spawn(async move { Busy(client.work(&office).await) });
        }
        working
    }

    /// Waits until all have stopped.
    pub(crate) async fn gather(mut working: JoinSet<Busy>) -> Self {
        let mut clients = Vec::new();
        while let Some(client) = working.join_next().await {
            clients.push(client.unwrap().0);
        }
        Self { clients }
    }

    /// Compares everything with the pool, and takes over what an unanswered request has changed.
    pub(crate) async fn check(self, office: &Office) -> Self {
        let mut checking = JoinSet::new();
        for client in self.clients {
            let office = office.clone();
            checking.spawn(async move { Busy(client.check(&office).await) });
        }
        let checked = Self::gather(checking).await;
        checked.check_lists(office).await;
        checked
    }

    /// The listings of keys name all that there are and no other.
    async fn check_lists(&self, office: &Office) {
        let (mut live, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for key in self.clients.iter().filter_map(Client::keys).flatten() {
            match key.state {
                State::Absent => false,
                State::Live(_) => live.insert(key.name.clone()),
                State::Deleted(..) => deleted.insert(key.name.clone()),
            };
        }
        let owned = |entries: Vec<Value>| -> BTreeSet<String> {
            let names =
                entries.iter().map(|entry| entry["kid"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
            names.filter(|name| name.starts_with("own-")).collect()
        };
        assert_eq!(owned(office.user.list("/keys").await), live);
        assert_eq!(owned(office.officer.list("/deletedkeys").await), deleted);
    }
}

/// A client on its way from task to task.
pub(crate) struct Busy(Client);

impl Client {
    fn keys(&self) -> Option<&[Key]> {
        match self {
            Self::Keys(keys) => Some(&keys.keys),
            _ => None,
        }
    }

    async fn work(mut self, office: &Office) -> Self {
        while office.open() {
            match &mut self {
                Self::Keys(keys) => keys.step(office).await,
                Self::Slots(slots, chance) => {
                    let which = chance.below(slots.len() as u64) as usize;
                    slots[which].step(office).await;
                }
                Self::Versions(versions) => versions.step(office).await,
                Self::Uses(uses) => uses.step(office).await,
                Self::Denials(chance) => deny(office, chance).await,
            }
            tokio::task::yield_now().await;
        }
        self
    }

    async fn check(mut self, office: &Office) -> Self {
        match &mut self {
            Self::Keys(keys) => keys.check(office).await,
            Self::Slots(slots, _) => {
                for slot in slots {
                    slot.check(office).await;
                }
            }
            Self::Versions(versions) => versions.check(office).await,
            Self::Uses(uses) => uses.check(office).await,
            Self::Denials(_) => {}
        }
        self
    }
}

// ---------------------------------------------------------------- keys of one client

/// Some keys that this client alone changes.
struct Keys {
    keys: Vec<Key>,
    chance: Chance,
}

struct Key {
    name: String,
    state: State,
    pending: Option<(Change, String)>,
}

/// What a key is, as far as clients can see it.
#[derive(Clone, PartialEq, Debug)]
enum State {
    Absent,
    Live(Bundles),
    /// With the answer of the deletion.
    Deleted(Bundles, Value),
}

/// All versions of a key, as their bundles.
#[derive(Clone, PartialEq, Debug, Default)]
struct Bundles {
    by_version: BTreeMap<String, Value>,
    latest: String,
    /// The rotation policy, once it has been set.
    policy: Option<Value>,
}

#[derive(Clone, Debug)]
enum Change {
    Create,
    Rotate,
    Update(String),
    Policy(u64),
    Delete,
    Recover,
    Purge,
}

impl Keys {
    fn new(owner: &str, chance: Chance) -> Self {
        let key = |number| Key { name: format!("own-{owner}-{number}"), state: State::Absent, pending: None };
        Self { keys: (0..3).map(key).collect(), chance }
    }

    async fn step(&mut self, office: &Office) {
        let chance = &mut self.chance;
        let which = chance.below(self.keys.len() as u64) as usize;
        let key = &mut self.keys[which];
        if key.pending.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return;
        }
        let change = match &key.state {
            State::Absent => Change::Create,
            State::Deleted(..) if chance.below(2) == 0 => Change::Recover,
            State::Deleted(..) => Change::Purge,
            State::Live(bundles) if bundles.by_version.len() >= 8 => Change::Delete,
            State::Live(bundles) => match chance.below(20) {
                0..6 => Change::Create,
                // Without a policy there is no rotation.
                6..8 if bundles.policy.is_some() => Change::Rotate,
                6..11 => Change::Policy(chance.below(900)),
                11..14 => Change::Delete,
                _ => {
                    let versions: Vec<_> = bundles.by_version.keys().cloned().collect();
                    Change::Update(versions[chance.below(versions.len() as u64) as usize].clone())
                }
            },
        };
        let name = &key.name;
        let (session, method, path, body) = match &change {
            Change::Create => {
                let kind = match chance.below(3) {
                    0 => json!({"kty": "EC-HSM", "crv": "P-256"}),
                    _ => json!({"kty": "oct-HSM", "key_size": 256}),
                };
                let mut body = json!({"tags": {"by": "$id"}, "attributes": {"nbf": 1_600_000_000}});
                body.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
                (&office.user, Method::POST, format!("/keys/{name}/create"), Some(body))
            }
            Change::Rotate => (&office.user, Method::POST, format!("/keys/{name}/rotate"), Some(json!({}))),
            Change::Update(version) => {
                let attributes = json!({"enabled": chance.below(3) > 0, "exp": 4_000_000_000_u64 + chance.below(1000)});
                let body = json!({"attributes": attributes, "tags": {"by": "$id", "more": "x"}});
                (&office.user, Method::PATCH, format!("/keys/{name}/{version}"), Some(body))
            }
            Change::Policy(days) => {
                let body = json!({
                    "lifetimeActions": [{"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}}],
                    "attributes": {"expiryTime": expiry(*days)},
                });
                (&office.user, Method::PUT, format!("/keys/{name}/rotationpolicy"), Some(body))
            }
            Change::Delete => (&office.user, Method::DELETE, format!("/keys/{name}"), None),
            Change::Recover => (&office.officer, Method::POST, format!("/deletedkeys/{name}/recover"), None),
            Change::Purge => (&office.officer, Method::DELETE, format!("/deletedkeys/{name}"), None),
        };
        match office.ask(session, method, &path, body.as_ref()).await {
            Reply::Unsure { correlation } => key.pending = Some((change, correlation)),
            Reply::Answered(answer) => {
                let body = answer.ok();
                key.state = applied(key.state.clone(), &change, body);
            }
        }
    }

    async fn check(&mut self, office: &Office) {
        for key in &mut self.keys {
            let observed = key.observe(office).await;
            let name = &key.name;
            match key.pending.take() {
                None => assert_eq!(observed, key.state, "{name} is not what was answered"),
                Some((change, correlation)) => {
                    let changed = observed != key.state;
                    if changed {
                        let (before, after) = (&key.state, &observed);
                        assert!(
                            explains(&change, before, after, &correlation),
                            "{change:?} of {name} is half done.\nbefore: {before:?}\nafter: {after:?}"
                        );
                    }
                    office.changed(&correlation, changed);
                }
            }
            key.state = observed;
        }
    }
}

fn expiry(days: u64) -> String {
    format!("P{}D", 100 + days)
}

/// What the key is after `change` was answered with `body`.
fn applied(before: State, change: &Change, body: Value) -> State {
    let version = || body["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    match (before, change) {
        (State::Absent, Change::Create) => {
            let latest = version();
            State::Live(Bundles { by_version: [(latest.clone(), body)].into(), latest, policy: None })
        }
        (State::Live(mut bundles), Change::Create | Change::Rotate) => {
            bundles.latest = version();
            let twice = bundles.by_version.insert(bundles.latest.clone(), body);
            assert!(twice.is_none(), "a version was given twice");
            State::Live(bundles)
        }
        (State::Live(mut bundles), Change::Update(updated)) => {
            assert_eq!(version(), *updated);
            bundles.by_version.insert(updated.clone(), body);
            State::Live(bundles)
        }
        (State::Live(bundles), Change::Policy(_)) => State::Live(Bundles { policy: Some(body), ..bundles }),
        (State::Live(bundles), Change::Delete) => State::Deleted(bundles, body),
        (State::Deleted(bundles, _), Change::Recover) => {
            assert_eq!(body, bundles.by_version[&bundles.latest]);
            State::Live(bundles)
        }
        (State::Deleted(..), Change::Purge) => State::Absent,
        (before, change) => panic!("{change:?} cannot be asked for in {before:?}"),
    }
}

/// Whether `after` is exactly what `change`, asked for with `correlation`, makes of `before`.
fn explains(change: &Change, before: &State, after: &State, correlation: &str) -> bool {
    let none = Bundles::default();
    match (change, before, after) {
        (Change::Create, State::Absent, State::Live(after)) => one_more(&none, after, Some(correlation)),
        (Change::Create, State::Live(before), State::Live(after)) => one_more(before, after, Some(correlation)),
        (Change::Rotate, State::Live(before), State::Live(after)) => one_more(before, after, None),
        (Change::Update(version), State::Live(before), State::Live(after)) => {
            let (old, new) = (&before.by_version[version], &after.by_version[version]);
            let mut rest = after.clone();
            rest.by_version.insert(version.clone(), old.clone());
            rest == *before
                && new["tags"] == json!({"by": correlation, "more": "x"})
                && new["key"] == old["key"]
                && new["attributes"]["created"] == old["attributes"]["created"]
                && new["attributes"]["exp"].as_u64().is_some_and(|exp| exp >= 4_000_000_000)
        }
        (Change::Policy(days), State::Live(before), State::Live(after)) => {
            let same = Bundles { policy: before.policy.clone(), ..after.clone() } == *before;
            same && after.policy.as_ref().is_some_and(|policy| policy["attributes"]["expiryTime"] == expiry(*days))
        }
        (Change::Delete, State::Live(before), State::Deleted(after, bundle)) => {
            before == after && bundle["key"] == before.by_version[&before.latest]["key"]
        }
        (Change::Recover, State::Deleted(before, _), State::Live(after)) => before == after,
        (Change::Purge, State::Deleted(..), State::Absent) => true,
        _ => false,
    }
}

/// Whether `after` has exactly one version more, the latest, tagged with `tag` if that is given.
fn one_more(before: &Bundles, after: &Bundles, tag: Option<&str>) -> bool {
    let mut rest = after.clone();
    let Some(new) = rest.by_version.remove(&after.latest) else { return false };
    rest.latest.clone_from(&before.latest);
    rest == *before && tag.is_none_or(|tag| new["tags"]["by"] == tag)
}

impl Key {
    async fn observe(&self, office: &Office) -> State {
        let name = &self.name;
        let Some(latest) = office.read(&format!("/keys/{name}")).await else {
            return match office.read(&format!("/deletedkeys/{name}")).await {
                None => State::Absent,
                Some(bundle) => match &self.state {
                    // Versions of a deleted key cannot be read; they are looked at once it is recovered.
                    State::Live(bundles) | State::Deleted(bundles, _) => State::Deleted(bundles.clone(), bundle),
                    State::Absent => State::Deleted(Bundles::default(), bundle),
                },
            };
        };
        let version_of = |kid: &Value| kid.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let mut by_version = BTreeMap::new();
        for entry in office.user.list(&format!("/keys/{name}/versions?maxresults=5")).await {
            let version = version_of(&entry["kid"]);
            let bundle = office.read(&format!("/keys/{name}/{version}")).await.unwrap();
            assert_eq!((&entry["attributes"], &entry["tags"]), (&bundle["attributes"], &bundle["tags"]));
            by_version.insert(version, bundle);
        }
        let latest = version_of(&latest["key"]["kid"]);
        let policy = office.read(&format!("/keys/{name}/rotationpolicy")).await.unwrap();
        let policy = Some(policy).filter(|policy| !policy["attributes"]["expiryTime"].is_null());
        State::Live(Bundles { by_version, latest, policy })
    }
}

// ---------------------------------------------------------------- role assignments and definitions

/// A place that holds one role assignment or definition, or none.
struct Slot {
    path: String,
    body: Value,
    /// Whether a PUT replaces what is there.
    replaceable: bool,
    state: Option<Value>,
    pending: Option<(Method, String)>,
}

impl Slot {
    fn assignment(number: u64) -> Self {
        let scope = if number.is_multiple_of(2) { "/keys" } else { "" };
        let principal = format!("aaaaaaaa-0000-4000-8000-{number:012}");
        Self {
            path: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", guid(number)),
            body: json!({"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": principal}}),
            replaceable: false,
            state: None,
            pending: None,
        }
    }

    fn definition(number: u64) -> Self {
        let permissions = json!([{"dataActions": ["Microsoft.KeyVault/managedHsm/keys/read/action"]}]);
        let properties = json!({
            "roleName": format!("role {number}"), "description": "$id", "type": "CustomRole",
            "permissions": permissions, "assignableScopes": ["/"],
        });
        Self {
            path: format!("/providers/Microsoft.Authorization/roleDefinitions/{}", guid(number)),
            body: json!({"properties": properties}),
            replaceable: true,
            state: None,
            pending: None,
        }
    }

    async fn step(&mut self, office: &Office) {
        if self.pending.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return;
        }
        let even = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros().is_multiple_of(2);
        let put = self.state.is_none() || (self.replaceable && even);
        let (method, body) = if put { (Method::PUT, Some(&self.body)) } else { (Method::DELETE, None) };
        match office.ask(&office.admin, method.clone(), &self.path, body).await {
            Reply::Unsure { correlation } => self.pending = Some((method, correlation)),
            Reply::Answered(answer) => {
                let body = answer.ok();
                self.state = put.then_some(body);
            }
        }
    }

    async fn check(&mut self, office: &Office) {
        let observed = match office.ask(&office.admin, Method::GET, &self.path, None).await {
            Reply::Answered(answer) if answer.status == 404 => None,
            Reply::Answered(answer) => Some(answer.ok()),
            Reply::Unsure { .. } => panic!("GET {} failed while the node is well", self.path),
        };
        match self.pending.take() {
            None => assert_eq!(observed, self.state, "{}", self.path),
            Some((method, correlation)) => {
                let changed = observed != self.state;
                if let (true, Some(body)) = (changed, &observed) {
                    assert_eq!(method, Method::PUT, "{}", self.path);
                    let (wanted, found) = (&self.body["properties"], &body["properties"]);
                    assert!(!self.replaceable || found["description"] == correlation, "{found}");
                    assert!(self.replaceable || found["principalId"] == wanted["principalId"], "{found}");
                }
                office.changed(&correlation, changed);
            }
        }
        self.state = observed;
    }
}

fn guid(number: u64) -> String {
    format!("bbbbbbbb-0000-4000-8000-{number:012}")
}

// ---------------------------------------------------------------- one key, many clients

/// Versions that this client made of the key that is everybody's; see [`shared`].
#[derive(Default)]
struct Versions {
    made: BTreeMap<String, String>,
    pending: Vec<String>,
    generation: usize,
}

/// The most versions of a key are a hundred, so that there are several keys, one after the other.
fn shared(generation: usize) -> String {
    format!("shared-{generation}")
}

impl Versions {
    async fn step(&mut self, office: &Office) {
        if self.made.len() + self.pending.len() >= 30 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return;
        }
        let body = json!({"kty": "oct-HSM", "key_size": 128, "tags": {"by": "$id"}});
        let path = format!("/keys/{}/create", shared(self.generation));
        match office.ask(&office.user, Method::POST, &path, Some(&body)).await {
            Reply::Unsure { correlation } => self.pending.push(correlation),
            Reply::Answered(answer) => {
                let bundle = answer.ok();
                let by = bundle["tags"]["by"].as_str().unwrap().to_owned();
                self.made.insert(by, bundle["key"]["kid"].as_str().unwrap().to_owned());
            }
        }
    }

    async fn check(&mut self, office: &Office) {
        let name = shared(self.generation);
        let versions = office.user.list(&format!("/keys/{name}/versions")).await;
        let found: BTreeMap<&str, &str> = versions
            .iter()
            .map(|entry| (entry["tags"]["by"].as_str().unwrap(), entry["kid"].as_str().unwrap()))
            .collect();
        assert_eq!(found.len(), versions.len(), "a request made two versions");
        for (by, kid) in &self.made {
            assert_eq!(found.get(by.as_str()), Some(&kid.as_str()), "a version of {name} is lost");
        }
        for correlation in self.pending.drain(..) {
            let version = found.get(correlation.as_str());
            if let Some(kid) = version {
                self.made.insert(correlation.clone(), (*kid).to_owned());
            }
            office.changed(&correlation, version.is_some());
        }
        if self.made.len() >= 20 {
            self.made.clear();
            self.generation += 1;
        }
    }
}

// ---------------------------------------------------------------- use and denial

/// Results that must still be good: a signature and a ciphertext, with the versions that made them.
#[derive(Default)]
struct Uses {
    signed: Option<(String, Value)>,
    sealed: Option<(String, Value)>,
}

/// The keys that [`Uses`] uses.
pub(crate) async fn make_keys(user: &Session) {
    user.post("/keys/signer/create", &json!({"kty": "EC-HSM", "crv": "P-256"})).await.ok();
    user.post("/keys/sealer/create", &json!({"kty": "oct-HSM", "key_size": 256})).await.ok();
}

fn digest() -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Uses {
    async fn step(&mut self, office: &Office) {
        let value = digest();
        let body = json!({"alg": "ES256", "value": value});
        if let Reply::Answered(answer) = office.ask(&office.user, Method::POST, "/keys/signer/sign", Some(&body)).await
        {
            self.signed = Some((value.clone(), answer.ok()));
        }
        let body = json!({"alg": "A256GCM", "value": value});
        if let Reply::Answered(answer) =
            office.ask(&office.user, Method::POST, "/keys/sealer/encrypt", Some(&body)).await
        {
            self.sealed = Some((value, answer.ok()));
        }
    }

    async fn check(&mut self, office: &Office) {
        if let Some((digest, signed)) = &self.signed {
            let body = json!({"alg": "ES256", "digest": digest, "value": signed["value"]});
            assert_eq!(office.user.post("/keys/signer/verify", &body).await.ok()["value"], true);
        }
        if let Some((plain, sealed)) = &self.sealed {
            let body = json!({"alg": "A256GCM", "value": sealed["value"], "iv": sealed["iv"], "tag": sealed["tag"]});
            assert_eq!(office.user.post("/keys/sealer/decrypt", &body).await.ok()["value"], plain.as_str());
        }
    }
}

/// Asks for what is not allowed, not there or not possible: each is answered and recorded like a success.
async fn deny(office: &Office, chance: &mut Chance) {
    let sign = json!({"alg": "ES256", "value": digest()});
    let (session, method, path, body, status) = match chance.below(4) {
        0 => (&office.nobody, Method::POST, "/keys/signer/sign", Some(&sign), 403),
        1 => (&office.nobody, Method::DELETE, "/keys/signer", None, 403),
        2 => (&office.user, Method::GET, "/keys/there-is-none", None, 404),
        _ => (&office.user, Method::GET, "/keys/not_a_name", None, 400),
    };
    if let Reply::Answered(answer) = office.ask(session, method, path, body).await {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(!answer.code().is_empty());
    }
}
