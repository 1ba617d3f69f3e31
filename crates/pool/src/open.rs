//! Opening a pool: everything is read, authenticated and compared with the head before anything is served.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use audit::Record;
use crypto_module::{Elements, Head, Module, SealedKey};
use model::rbac::Access;
use model::settings::Settings;
use model::{KeyName, KeyVersion, PoolName};
use store::{Entry, ReadError, Store};

use crate::clock::Clock;
use crate::founding::Properties;
use crate::paths::{Kind, Paths};
use crate::records::{
    KeyRecord, LogRecord, OutboxRecord, PropertiesRecord, RoleAssignmentRecord, RoleDefinitionRecord, SettingsRecord,
    Unreadable, decode,
};
use crate::view::{Key, Quotas, State, View};
use crate::writer::{Planned, Waiting, Writer, channel, head_line};
use crate::{Directory, Inner, Pool, keys};

/// Entries read from the store at a time.
const PAGE: usize = 1000;

/// What a pool is opened from.
pub struct Parts {
    /// The pool's name.
    pub name: PoolName,
    /// The name of this node, for the audit records.
    pub node: Arc<str>,
    /// Where its sealed values lie.
    pub store: Arc<dyn Store>,
    /// What holds its keys.
    pub module: Arc<dyn Module>,
    /// Its audit log on this node.
    pub log: audit::Log,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// The most it holds.
    pub quotas: Quotas,
    /// Who knows the groups of a principal, if anyone is configured.
    pub directory: Option<Arc<dyn Directory>>,
    /// What to do if the log has lost records.
    pub lost_log: LostLog,
}

/// What to do if a node's audit log has fewer records than the store remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LostLog {
    /// The pool does not open.
    #[default]
    Refuse,
    /// It opens, and the log goes on with a record that says so.
    Accept,
}

/// Why a pool cannot be opened. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store holds no such pool.
    #[error("the store holds no pool of this name")]
    Absent,
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] ReadError),
    /// The module has no randomness.
    #[error("the cryptographic module is not available")]
    Module,
    /// A stored value was changed, moved or replaced outside the program.
    #[error("the value at {path} is not the one that was written there")]
    Tampered {
        /// Where it lies.
        path: String,
    },
    /// Values are missing, were put back to an earlier state, or were added outside the program.
    #[error("the stored values are not those that the pool's head stands for")]
    HeadMismatch,
    /// The whole store was put back to an earlier state than the audit log remembers.
    #[error("the store stands at change {found}, but the audit log has seen change {seen}")]
    RolledBack {
        /// The store's head.
        found: u64,
        /// The newest head in a signed checkpoint.
        seen: u64,
    },
    /// Records of this node's audit log are gone, or all of it.
    #[error(
        "this node's audit log has {found} records, but the store remembers {known}: put the audit folder back; to go \
         on without those that are lost, which is recorded, set danger_accept_lost_log once"
    )]
    LogLost {
        /// What the log has.
        found: u64,
        /// What it had at least.
        known: u64,
    },
    /// A value was written by another version of the program.
    #[error("the value at {path} was written by another version of the program")]
    OtherVersion {
        /// Where it lies.
        path: String,
    },
}

impl Pool {
    /// Reads the pool, checks it against its head and the head against the audit log, and starts its writer. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; the first thing that is wrong.
    pub async fn open(parts: Parts) -> Result<Self, OpenError> {
        let paths = Paths::new(&parts.name);
        let loaded = Loading::new(paths.clone(), parts.module.clone())?.read(&*parts.store).await?;
        let lost = loaded.lost_log(&parts.node, parts.log.size());
        let missing = if loaded.elements.is_empty() { OpenError::Absent } else { OpenError::HeadMismatch };
        let (head, head_revision) = loaded.head.ok_or(missing)?;
        if !head.matches(loaded.elements.all()) {
            return Err(OpenError::HeadMismatch);
        }
        let seen = remembered_head(&parts.log);
        if head.sequence() < seen {
            return Err(OpenError::RolledBack { found: head.sequence(), seen });
        }
        if let Some(lost) = &lost
            && parts.lost_log == LostLog::Refuse
        {
            return Err(lost.error());
        }
        parts.log.set_extension(head_line(head.sequence()));

        let (handle, inbox) = channel();
        let inner = Arc::new(Inner {
            name: parts.name,
            node: parts.node,
            paths: paths.clone(),
            properties: loaded.properties.ok_or(OpenError::HeadMismatch)?,
            module: parts.module.clone(),
            view: View::new(State {
                sequence: head.sequence(),
                keys: loaded.keys,
                access: Access::new(loaded.roles, loaded.assignments),
                settings: loaded.settings,
            }),
            writer: handle,
            log: parts.log,
            clock: parts.clock,
            quotas: parts.quotas,
            directory: parts.directory,
            first_creations: keys::FirstCreations::default(),
            in_making: keys::InMaking::default(),
        });
        let writer = Writer {
            paths,
            store: parts.store,
            module: parts.module,
            head,
            head_revision,
            elements: loaded.elements,
            undelivered: loaded.outbox,
            delivered: Vec::new(),
            unresolved: None,
        };
        tokio::spawn(writer.run(inbox, Arc::downgrade(&inner)));
        inner.writer.deliver();
        if let Some(lost) = lost {
            inner.go_on_without(&lost).await?;
        }
        Ok(Self(inner))
    }
}

impl Inner {
    /// Has the store remember the log as it is now, and the log that an operator accepted the loss.
    async fn go_on_without(&self, lost: &Lost) -> Result<(), OpenError> {
        let why = lost.error().to_string();
        tracing::error!(%why, "the loss is accepted, and recorded");
        let record = Record { status: 200, reason: Some(why.into()), ..self.blank_record("AcceptLostLog") };
        let recorded = async {
            let (committed, ()) = self.writer.commit(record, |_, _| Ok((Planned::default(), ()))).await?;
            self.deliver(committed).await
        };
        recorded.await.map_err(|_| lost.error())
    }
}

/// How many records of its own log a node has, and how many it had at least.
struct Lost {
    found: u64,
    known: u64,
}

impl Lost {
    fn error(&self) -> OpenError {
        OpenError::LogLost { found: self.found, known: self.known }
    }
}

/// The newest head that the log's checkpoint remembers, or a record that was not signed yet when the node ended; 0 if
/// none.
fn remembered_head(log: &audit::Log) -> u64 {
    let signed = log
        .latest_checkpoint()
        .iter()
        .flat_map(|checkpoint| &checkpoint.extension)
        .filter_map(|line| line.strip_prefix("head ")?.parse().ok())
        .max();
    signed.unwrap_or(0).max(log.newest_change())
}

/// Versions that a key's record names and that have not all been read.
struct Awaited {
    /// Those that can be used, oldest first.
    order: Vec<KeyVersion>,
    /// How many are missing, those included that are going for ever.
    left: usize,
}

/// A pool half read.
struct Loading {
    paths: Paths,
    module: Arc<dyn Module>,
    head: Option<(Head, store::Revision)>,
    properties: Option<Properties>,
    settings: Settings,
    elements: Elements,
    keys: BTreeMap<KeyName, Arc<Key>>,
    /// Of each key whose versions have not all been read, by its name.
    awaited: HashMap<KeyName, Awaited>,
    roles: Vec<model::rbac::RoleDefinition>,
    assignments: Vec<model::rbac::RoleAssignment>,
    outbox: Vec<Waiting>,
    logs: Vec<LogRecord>,
}

impl Loading {
    fn new(paths: Paths, module: Arc<dyn Module>) -> Result<Self, OpenError> {
        let elements = Elements::new().map_err(|_| OpenError::Module)?;
        Ok(Self {
            paths,
            module,
            head: None,
            properties: None,
            settings: Settings::default(),
            elements,
            keys: BTreeMap::new(),
            awaited: HashMap::new(),
            roles: Vec::new(),
            assignments: Vec::new(),
            outbox: Vec::new(),
            logs: Vec::new(),
        })
    }

    /// Why the log of `node`, which has `found` records, cannot be the one that the store remembers.
    fn lost_log(&self, node: &str, found: u64) -> Option<Lost> {
        let known = self.logs.iter().find(|log| log.node == node)?.size;
        // A node's first change may have been committed and not recorded yet; it still waits in the outbox then.
        let begun = known > 0 || !self.outbox.iter().any(|waiting| waiting.since == 0);
        let known = known.max(u64::from(begun));
        (found < known).then_some(Lost { found, known })
    }

    async fn read(mut self, store: &dyn Store) -> Result<Self, OpenError> {
        let mut after: Option<store::Path> = None;
        loop {
            let page = store.list(&self.paths.all(), after.as_ref(), PAGE).await?;
            for entry in page.entries {
                // The head stands for one value at each path. A store with two at one is not one that we wrote.
                if after.as_ref().is_some_and(|before| *before >= entry.path) {
                    return Err(OpenError::HeadMismatch);
                }
                after = Some(entry.path.clone());
                match self.paths.kind(&entry.path) {
                    None => return Err(OpenError::OtherVersion { path: entry.path.as_str().to_owned() }),
                    Some(Kind::KeyVersion(name, version)) => self.take_version(&name, version, entry)?,
                    Some(kind) => self.take(kind, &entry)?,
                }
            }
            if !page.more {
                break;
            }
        }
        if self.awaited.is_empty() { Ok(self) } else { Err(OpenError::HeadMismatch) }
    }

    fn note(&mut self, entry: &Entry) {
        let element = self.module.element(entry.path.as_str(), &entry.value);
        self.elements.insert(entry.path.as_str(), element);
    }

    fn take(&mut self, kind: Kind, entry: &Entry) -> Result<(), OpenError> {
        match kind {
            Kind::Root => return Ok(()),
            Kind::Head => {
                let head = self.module.open_head(&entry.value).map_err(|_| tampered(&entry.path))?;
                self.head = Some((head, entry.revision));
                return Ok(());
            }
            _ => self.note(entry),
        }
        let (_, value) =
            self.module.open_value(entry.path.as_str(), &entry.value).map_err(|_| tampered(&entry.path))?;
        let other_version = |_: Unreadable| OpenError::OtherVersion { path: entry.path.as_str().to_owned() };
        match kind {
            Kind::Properties => {
                let record: PropertiesRecord = decode(&value).map_err(other_version)?;
                self.properties = Some(Properties::from_record(&record).map_err(other_version)?);
            }
            Kind::Settings => {
                let record: SettingsRecord = decode(&value).map_err(other_version)?;
                self.settings = Settings {
                    allow_key_management_operations_through_arm: record.allow_key_management_operations_through_arm,
                };
            }
            Kind::Key => {
                let record: KeyRecord = decode(&value).map_err(other_version)?;
                let (mut key, order) = keys::from_record(&record).map_err(other_version)?;
                key.versions.reserve_exact(order.len());
                let left = order.len() + key.going.len();
                if left > 0 {
                    self.awaited.insert(key.name.clone(), Awaited { order, left });
                }
                self.keys.insert(key.name.clone(), Arc::new(key));
            }
            Kind::RoleDefinition => {
                let record: RoleDefinitionRecord = decode(&value).map_err(other_version)?;
                self.roles.push(record.role().map_err(other_version)?);
            }
            Kind::RoleAssignment => {
                let record: RoleAssignmentRecord = decode(&value).map_err(other_version)?;
                self.assignments.push(record.assignment().map_err(other_version)?);
            }
            Kind::Outbox => {
                let OutboxRecord { since, record } = decode(&value).map_err(other_version)?;
                self.outbox.push(Waiting { outbox: entry.path.clone(), record, since });
            }
            Kind::Log => self.logs.push(decode(&value).map_err(other_version)?),
            Kind::Root | Kind::Head | Kind::KeyVersion(..) => {}
        }
        Ok(())
    }

    /// Hangs a version on its key, which stands before it in the order of paths. Of one that is going for ever only the
    /// path is looked at: nothing opens it.
    fn take_version(&mut self, name: &str, version: KeyVersion, entry: Entry) -> Result<(), OpenError> {
        self.note(&entry);
        let key = self.keys.get_mut(name).and_then(Arc::get_mut).ok_or(OpenError::HeadMismatch)?;
        let awaited = self.awaited.get_mut(name).ok_or(OpenError::HeadMismatch)?;
        if !key.going.contains(&version) {
            if !awaited.order.contains(&version) {
                return Err(OpenError::HeadMismatch);
            }
            let (path, key_path) = (entry.path, self.paths.key(&key.name));
            let sealed = self.module.load(path.as_str(), key_path.as_str(), &key.sealing_key, entry.value);
            key.versions.push((version, sealed.map_err(|_| tampered(&path))?));
        }
        awaited.left -= 1;
        if awaited.left == 0 {
            let place = |(version, _): &(KeyVersion, SealedKey)| awaited.order.iter().position(|own| own == version);
            key.versions.sort_by_cached_key(place);
            self.awaited.remove(name);
        }
        Ok(())
    }
}

fn tampered(path: &store::Path) -> OpenError {
    OpenError::Tampered { path: path.as_str().to_owned() }
}
