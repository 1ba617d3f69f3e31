//! A pool to test with.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use audit::Record;
use crypto_module::{Engine, Module, NodeKey};
use model::deleted_keys::{PurgeProtection, Retention};
use model::rbac::{CRYPTO_OFFICER, CRYPTO_USER, Guid, RoleAssignment, Scope};
use model::{Days, KeyKind, KeyOperation, KeyOperations, OctSize, PoolName, PrincipalId, UnixTime};
use pool::{Call, Directory, Founding, KeyVersionState, LostLog, NewKey, OpenError, Parts, Pool, Properties, Quotas};
use server::audit_keys::{NodeJournalKey, PoolLogKey};
use store::{Embedded, Memory};
use tempfile::TempDir;
use uuid::Uuid;

use crate::calls::{call, key_name, principal};
use crate::clock::TestClock;
use crate::faults::{Faults, FaultyStore};
use crate::raw::Snapshot;

/// The principal who administers every test pool.
pub const ADMIN: &str = "admin";
/// The principal who may do everything with keys of every test pool, and nothing else.
pub const OWNER: &str = "owner";

/// What a test pool begins with.
pub struct Setup {
    /// How long deleted keys can be recovered.
    pub retention: Retention,
    /// Whether they can be purged before that.
    pub purge_protection: PurgeProtection,
    /// The most it holds.
    pub quotas: Quotas,
    /// Who knows the groups of a principal.
    pub directory: Option<Arc<dyn Directory>>,
    /// What the audit log may use.
    pub audit: audit::Options,
    /// What to do if the audit log has lost records.
    pub lost_log: LostLog,
    /// When its clock begins.
    pub now: UnixTime,
    /// Who administers it beside [`ADMIN`].
    pub administrators: Vec<PrincipalId>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            retention: Retention::LONGEST,
            purge_protection: PurgeProtection::Off,
            quotas: Quotas::default(),
            directory: None,
            audit: audit::Options { segment_bytes: 256 << 10, ..audit::Options::default() },
            lost_log: LostLog::Refuse,
            now: UnixTime(1_800_000_000),
            administrators: Vec::new(),
        }
    }
}

impl Setup {
    /// With a retention of seven days, the shortest there is.
    #[must_use]
    pub fn one_week(self) -> Self {
        Self { retention: Retention::new(Days(7)).unwrap(), ..self }
    }

    /// Founds the pool and opens it.
    pub async fn start(self) -> TestPool {
        let mut made = TestPool {
            disk: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
            node_key: NodeKey::ephemeral().unwrap(),
            clock: Arc::new(TestClock::at(self.now)),
            faults: Arc::default(),
            setup: self,
            running: None,
        };
        made.found().await;
        made.start().await.unwrap();
        made
    }
}

/// A pool, and what it stands on.
pub struct TestPool {
    setup: Setup,
    disk: Arc<Memory>,
    folder: TempDir,
    node_key: NodeKey,
    clock: Arc<TestClock>,
    faults: Arc<Faults>,
    running: Option<Running>,
}

/// What lives from one start to the next stop; dropped in this order.
struct Running {
    pool: Pool,
    module: Arc<dyn Module>,
    store: Arc<Embedded>,
    node: audit::Node,
}

impl TestPool {
    /// The pool.
    ///
    /// # Panics
    /// While it is stopped.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.running.as_ref().expect("the pool is stopped").pool
    }

    /// What opens and seals its values.
    ///
    /// # Panics
    /// While it is stopped.
    #[must_use]
    pub fn module(&self) -> &dyn Module {
        &*self.running.as_ref().expect("the pool is stopped").module
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// What goes wrong with its store.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The folder of its node's audit logs.
    #[must_use]
    pub fn audit_folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Opens it as it is configured from now on, the next time.
    pub fn setup(&mut self) -> &mut Setup {
        &mut self.setup
    }

    /// What its store holds.
    pub async fn raw(&self) -> Snapshot {
        match &self.running {
            Some(running) => Snapshot::of(&*running.store).await,
            None => Snapshot::of(&Embedded::on(self.disk.clone()).unwrap()).await,
        }
    }

    /// Makes its store hold exactly this.
    ///
    /// # Panics
    /// Unless it is stopped.
    pub async fn tamper(&self, snapshot: &Snapshot) {
        assert!(self.running.is_none(), "stop the pool first");
        snapshot.write(&Embedded::on(self.disk.clone()).unwrap()).await;
    }

    /// What to do at the next start if the audit log has lost records.
    pub fn set_lost_log(&mut self, lost_log: LostLog) {
        self.setup.lost_log = lost_log;
    }

    /// Closes everything, and waits until it is closed. Whoever still holds the pool keeps it from closing.
    pub async fn stop(&mut self) {
        let Some(Running { pool, module: _, store, node }) = self.running.take() else { return };
        drop(pool);
        for _ in 0..10_000 {
            if Arc::strong_count(&store) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&store), 1, "someone still holds the pool");
        node.close();
    }

    /// Opens what was stopped.
    ///
    /// # Errors
    /// [`OpenError`] from the pool; it stays stopped then.
    pub async fn start(&mut self) -> Result<(), OpenError> {
        assert!(self.running.is_none(), "stop the pool first");
        let store = Arc::new(Embedded::on(self.disk.clone()).unwrap());
        let Some(root) = pool::sealed_root(&*store, &pool_name()).await? else { return Err(OpenError::Absent) };
        let Ok(module) = engine().open_pool(&self.node_key, &pool_name(), &root) else {
            return Err(OpenError::Tampered { path: format!("pools/{}/root", pool_name()) });
        };
        let module: Arc<dyn Module> = Arc::new(module);
        let journal_key = Arc::new(NodeJournalKey(self.node_key.journal_key().unwrap()));
        let node = audit::Node::open(self.folder.path(), self.setup.audit, journal_key).unwrap();
        let origin = audit::Origin::parse(&format!("strongroom.test/{}/a", pool_name())).unwrap();
        let key = module.log_key(origin.as_str()).unwrap();
        let log = node.log(&origin, Arc::new(PoolLogKey(key))).unwrap();
        let pool = Pool::open(Parts {
            name: pool_name(),
            node: "a".into(),
            store: Arc::new(FaultyStore::new(store.clone(), self.faults.clone())),
            module: module.clone(),
            log,
            clock: self.clock.clone(),
            quotas: self.setup.quotas,
            directory: self.setup.directory.clone(),
            lost_log: self.setup.lost_log,
        })
        .await?;
        self.running = Some(Running { pool, module, store, node });
        Ok(())
    }

    /// Closes everything and opens it again from what was durable.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await.unwrap();
    }

    /// All records of the pool's log, in order, after the log was verified against its newest checkpoint.
    pub async fn records(&self) -> Vec<Record> {
        let log = self.pool().log();
        let signed = log.checkpoint().await.unwrap();
        let folder = self.folder.path().join(log.origin().folder());
        let report = audit::verify(&folder, None).unwrap();
        assert!(report.signed >= signed.size);
        audit::read(&folder, 0).unwrap().map(|record| record.unwrap().1).collect()
    }

    /// The records that `call` left, in order.
    pub async fn records_of(&self, call: &Call) -> Vec<Record> {
        let id = Some(call.request_id.as_u128());
        self.records().await.into_iter().filter(|record| record.request_id == id).collect()
    }

    /// Takes the journal of the audit log away and fills what the log still holds open, until nothing can be recorded.
    pub async fn break_log(&self) {
        std::fs::rename(self.folder.path().join("journal"), self.folder.path().join("away")).unwrap();
        let filler = Record { user_agent: Some("x".repeat(30_000).into()), ..self.pool().blank_record("Filler") };
        for _ in 0..100 {
            if self.pool().log().append(&filler, audit::Class::Authenticated).await.is_err() {
                return;
            }
        }
        panic!("the audit log can still be written");
    }

    /// Fills the audit log until only its reserve is left, whatever the log still tidies up.
    pub async fn fill_log_up_to_the_reserve(&self) {
        for size in [30_000, 10_000, 1, 1, 1] {
            let filler = Record { user_agent: Some("x".repeat(size).into()), ..self.pool().blank_record("Filler") };
            while self.pool().log().append(&filler, audit::Class::Unauthenticated).await.is_ok() {}
            self.pool().log().checkpoint().await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Gives the journal back.
    pub fn mend_log(&self) {
        std::fs::rename(self.folder.path().join("away"), self.folder.path().join("journal")).unwrap();
    }

    /// Gives a role, and returns the assignment.
    pub async fn grant(&self, to: &str, role: Guid, scope: Scope) -> RoleAssignment {
        let name = Guid(Uuid::new_v4().as_u128());
        let assignment = RoleAssignment { name, scope, principal: principal(to), role };
        self.pool().put_role_assignment(&call(ADMIN), assignment).await.unwrap()
    }

    /// Takes a role away.
    pub async fn revoke(&self, assignment: &RoleAssignment) {
        self.pool().delete_role_assignment(&call(ADMIN), assignment.scope.clone(), assignment.name).await.unwrap();
    }

    async fn found(&self) {
        let store = Embedded::on(self.disk.clone()).unwrap();
        let (root, module) = engine().create_pool(&self.node_key, &pool_name()).unwrap();
        let module: Arc<dyn Module> = Arc::new(module);
        let mut administrators = vec![principal(ADMIN)];
        administrators.extend(self.setup.administrators.iter().cloned());
        let founding = Founding {
            properties: Properties {
                retention: self.setup.retention,
                purge_protection: self.setup.purge_protection,
                created: self.setup.now,
            },
            administrators,
            assignments: vec![(principal(OWNER), CRYPTO_USER), (principal(OWNER), CRYPTO_OFFICER)],
        };
        pool::found(&store, &module, &pool_name(), root.into(), &founding).await.unwrap();
    }
}

/// The name of every test pool.
fn pool_name() -> PoolName {
    PoolName::parse("test").unwrap()
}

/// One engine for all pools of a test process.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let options = crypto_module::Options { workers: 2, rsa_stock: 0, ..crypto_module::Options::default() };
        Engine::start(&options).unwrap()
    })
}

/// What a new version begins with that may be used for everything an oct key can do but leave.
#[must_use]
pub fn new_oct() -> NewKey {
    use KeyOperation as O;
    NewKey {
        operations: Some(KeyOperations::of(&[O::Encrypt, O::Decrypt, O::Sign, O::Verify, O::WrapKey, O::UnwrapKey])),
        enabled: true,
        not_before: None,
        expires: None,
        tags: model::Tags::default(),
    }
}

/// Makes a 256-bit oct key, or a new version of one, as [`OWNER`].
pub async fn oct_key(pool: &TestPool, name: &str) -> KeyVersionState {
    let kind = KeyKind::Oct(OctSize::AES_256);
    pool.pool().create_key(&call(OWNER), &key_name(name), kind, None, new_oct()).await.unwrap()
}
