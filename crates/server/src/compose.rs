//! The composition root: store → module → audit → pool → data plane → hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit::Origin;
use bytes::Bytes;
use crypto_module::{Engine, Module, NodeKey};
use identity::{AmbiguousIssuer, Audience, KeySetError};
use model::deleted_keys::{PurgeProtection, Retention};
use model::rbac::Guid;
use model::{PoolName, PrincipalId};
use pool::{Clock, Founding, FoundingError, LostLog, Parts, Pool, Properties, Quotas, SystemClock};
use store::Store;
use tokio::task::JoinHandle;
use uuid::Uuid;
use wire::challenge::ChallengeError;

use crate::audit_keys::{NodeJournalKey, PoolLogKey};
use crate::data_plane::{DataPlane, Strangers};
use crate::hosts::{Hosts, Naming, PoolHost};
use crate::issuer::{Accounts, FileError, SigningKey, TokenIssuer};
use crate::jwks::{Authenticator, IssuerKeys, Outgoing, TrustedIssuer};

/// How often a pool looks for deleted keys whose time is up.
const PURGE_EVERY: Duration = Duration::from_secs(5);

/// How often tokens that failed beyond what is recorded singly are looked after.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// What a node is made from.
pub struct Setup {
    /// Hosts and ports.
    pub naming: Naming,
    /// The node's name.
    pub node: Arc<str>,
    /// What answers name as the region.
    pub region: String,
    /// Where sealed values lie.
    pub store: Arc<dyn Store>,
    /// What seals the roots of the pools.
    pub node_key: NodeKey,
    /// Size of the module.
    pub module: crypto_module::Options,
    /// Where audit logs lie.
    pub audit_folder: PathBuf,
    /// Size of the audit logs.
    pub audit: audit::Options,
    /// What to do if audit logs have lost records.
    pub lost_log: LostLog,
    /// The pools' clock.
    pub clock: Arc<dyn Clock>,
    /// The pools.
    pub pools: Vec<PoolSetup>,
    /// The built-in issuer, if enabled.
    pub built_in: Option<BuiltIn>,
    /// Other issuers.
    pub trusted: Vec<TrustedIssuer>,
    /// Where keys may be fetched from.
    pub outgoing: Arc<Outgoing>,
}

/// One pool, founded with this if the store does not hold it yet.
#[derive(Clone, Debug)]
pub struct PoolSetup {
    /// Its name.
    pub name: PoolName,
    /// The tenant whose tokens it takes.
    pub tenant: Uuid,
    /// How long deleted keys can be recovered.
    pub retention: Retention,
    /// Whether they can be purged before that.
    pub purge_protection: PurgeProtection,
    /// First administrators.
    pub administrators: Vec<PrincipalId>,
    /// Further first roles.
    pub assignments: Vec<(PrincipalId, Guid)>,
    /// The most it holds.
    pub quotas: Quotas,
}

/// The built-in issuer.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    /// Where its key and accounts lie.
    pub folder: PathBuf,
    /// The tenant that it speaks for.
    pub tenant: Uuid,
    /// Keys that are valid beside its own, a JWK set each.
    pub further_keys: Vec<identity::KeySet>,
}

/// Why a node does not start. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The cryptographic module.
    #[error("the cryptographic module cannot start")]
    Module(#[from] crypto_module::Error),
    /// The audit logs.
    #[error("the audit logs cannot be opened")]
    Audit(#[from] audit::OpenError),
    /// The store.
    #[error("the store cannot be read")]
    Store(#[from] store::ReadError),
    /// A pool could not be founded.
    #[error("pool {pool} cannot be founded")]
    Founding {
        /// Which.
        pool: String,
        /// Why.
        source: FoundingError,
    },
    /// A pool does not open.
    #[error("pool {pool} cannot be opened")]
    Pool {
        /// Which.
        pool: String,
        /// Why.
        source: pool::OpenError,
    },
    /// The built-in issuer's files.
    #[error("the built-in issuer cannot start")]
    Issuer(#[from] FileError),
    /// The built-in issuer's own key set.
    #[error("the built-in issuer cannot start")]
    IssuerKeys(#[from] KeySetError),
    /// Two issuers of one name.
    #[error("an issuer is configured twice")]
    Ambiguous(#[from] AmbiguousIssuer),
    /// Domain, authority or tenant cannot stand in a challenge.
    #[error("clients could not be told where to get tokens")]
    Challenge(#[from] ChallengeError),
    /// Node and pool names make no name for a log.
    #[error("{0:?} is no name for an audit log")]
    Origin(String),
}

/// A node ready to serve. Its tasks end when it is dropped; the audit logs are settled and signed then, which blocks.
pub struct Node {
    /// What answers.
    pub hosts: Arc<Hosts>,
    /// Whom its data planes did not know.
    pub strangers: Arc<Strangers>,
    planes: Vec<Arc<DataPlane>>,
    tasks: Vec<JoinHandle<()>>,
    _audit: audit::Node,
}

impl Node {
    /// Records what was only counted so far. To be called once nothing is answered any more.
    pub async fn finish(&self) {
        for plane in &self.planes {
            plane.count_the_last_failed_tokens().await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Opens everything; founds the pools that the store does not hold. Blocks on the disk.
///
/// # Errors
/// [`ComposeError`]; the first thing that is wrong.
pub async fn compose(setup: Setup) -> Result<Node, ComposeError> {
    let engine = Engine::start(&setup.module)?;
    let journal_key = Arc::new(NodeJournalKey(setup.node_key.journal_key()?));
    let audit = audit::Node::open(&setup.audit_folder, setup.audit, journal_key)?;
    let issuers = built_in_issuers(&setup)?;
    let token_clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let outgoing = setup.outgoing;

    let resources = setup.naming.resources();
    let mut trusted = setup.trusted;
    for issuer in &issuers {
        let mut own = issuer.trusted()?;
        for keys in setup.built_in.iter().flat_map(|built_in| &built_in.further_keys) {
            own.pinned = own.pinned.with(keys);
        }
        trusted.push(own);
    }

    let strangers = Arc::new(Strangers::default());
    let (mut hosts, mut planes, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for pool in &setup.pools {
        let module = open_module(&engine, &setup.node_key, &*setup.store, pool, &*setup.clock).await?;
        let name = format!("strongroom/{}/{}", pool.name.as_str(), setup.node);
        let origin = Origin::parse(&name).ok_or(ComposeError::Origin(name))?;
        let signer = Arc::new(PoolLogKey(module.log_key(origin.as_str())?));
        let opened = Pool::open(Parts {
            name: pool.name.clone(),
            node: Arc::clone(&setup.node),
            store: Arc::clone(&setup.store),
            module,
            log: audit.log(&origin, signer)?,
            clock: Arc::clone(&setup.clock),
            quotas: pool.quotas,
            directory: None,
            lost_log: setup.lost_log,
        })
        .await
        .map_err(|source| ComposeError::Pool { pool: pool.name.as_str().to_owned(), source })?;
        let keys = IssuerKeys::start(of_tenant(&trusted, pool.tenant), &outgoing)?;
        let authenticator = Authenticator::new(keys, Audience::resources(resources.iter().map(String::as_str)));
        tasks.push(tokio::spawn(purge_when_due(opened.clone())));
        let plane =
            Arc::new(DataPlane::new(opened, authenticator, token_clock.clone(), &setup.region, Arc::clone(&strangers)));
        tasks.push(tokio::spawn(count_failed_tokens(Arc::clone(&plane))));
        planes.push(Arc::clone(&plane));
        hosts.push(PoolHost { name: pool.name.clone(), tenant: pool.tenant, plane });
    }
    let issuer_tenant = setup.built_in.map_or(Uuid::nil(), |built_in| built_in.tenant);
    let hosts = Arc::new(Hosts::new(&setup.naming, &hosts, issuers, issuer_tenant, token_clock)?);
    Ok(Node { hosts, strangers, planes, tasks, _audit: audit })
}

/// The built-in issuer, once for every address at which clients may ask it: the address is part of its tokens.
fn built_in_issuers(setup: &Setup) -> Result<Vec<TokenIssuer>, ComposeError> {
    let Some(built_in) = &setup.built_in else { return Ok(Vec::new()) };
    let at = |origin: String| {
        let key = SigningKey::load_or_create(&built_in.folder)?;
        let accounts = Accounts::load_or_create(&built_in.folder, &[])?;
        Ok(TokenIssuer::new(&origin, built_in.tenant, key, accounts))
    };
    setup.naming.issuer_origins().into_iter().map(at).collect()
}

/// The issuers that may speak for `tenant`, and for that one alone.
fn of_tenant(trusted: &[TrustedIssuer], tenant: Uuid) -> Vec<TrustedIssuer> {
    let tenant = tenant.to_string();
    let may = |issuer: &&TrustedIssuer| issuer.tenants.iter().any(|own| own.eq_ignore_ascii_case(&tenant));
    trusted.iter().filter(may).map(|issuer| TrustedIssuer { tenants: vec![tenant.clone()], ..issuer.clone() }).collect()
}

async fn open_module(
    engine: &Engine,
    node_key: &NodeKey,
    store: &dyn Store,
    setup: &PoolSetup,
    clock: &dyn Clock,
) -> Result<Arc<dyn Module>, ComposeError> {
    if let Some(root) = pool::sealed_root(store, &setup.name).await? {
        return Ok(Arc::new(engine.open_pool(node_key, &setup.name, &root)?));
    }
    let (root, module) = engine.create_pool(node_key, &setup.name)?;
    let module: Arc<dyn Module> = Arc::new(module);
    let founding = Founding {
        properties: Properties {
            retention: setup.retention,
            purge_protection: setup.purge_protection,
            created: clock.now(),
        },
        administrators: setup.administrators.clone(),
        assignments: setup.assignments.clone(),
    };
    pool::found(store, &module, &setup.name, Bytes::from(root), &founding)
        .await
        .map_err(|source| ComposeError::Founding { pool: setup.name.as_str().to_owned(), source })?;
    tracing::info!(pool = setup.name.as_str(), "pool founded");
    Ok(module)
}

async fn purge_when_due(pool: Pool) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        if let Err(error) = pool.purge_due().await {
            tracing::error!(pool = pool.name().as_str(), %error, "deleted keys whose time is up were not purged");
        }
    }
}

async fn count_failed_tokens(plane: Arc<DataPlane>) {
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        plane.count_failed_tokens().await;
    }
}
