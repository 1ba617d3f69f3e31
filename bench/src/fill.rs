//! Many keys in a data folder that no server has open, made by the pool itself.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use audit::Origin;
use clap::Args;
use crypto_module::{Engine, Module, NodeKey};
use model::{Caller, Curve, Groups, KeyKind, KeyName, PoolName, PrincipalId, UnixTime};
use pool::{Call, LostLog, NewKey, Outcome, Parts, Pool, Quotas, SystemClock};
use server::audit_keys::{NodeJournalKey, PoolLogKey};
use store::{Embedded, Store};
use tokio::task::JoinSet;
use uuid::Uuid;

/// The name of a development node, as its audit log has it.
const NODE: &str = "dev";

/// Keys that are made at the same time.
const AT_ONCE: usize = 48;

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct FillArguments {
    /// The data folder of a development node.
    #[arg(long)]
    data: PathBuf,
    /// Its pool.
    #[arg(long)]
    pool: String,
    /// The object id of a principal that may create keys.
    #[arg(long)]
    principal: String,
    /// How many P-256 keys to make.
    #[arg(long)]
    keys: usize,
    /// How many of them to name, evenly spread, on standard output, as `name/version`.
    #[arg(long)]
    sample: usize,
}

/// Makes the keys.
pub(crate) fn fill(arguments: &FillArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let name = PoolName::parse(&arguments.pool)?;
        let node_key = NodeKey::load_or_create(&arguments.data.join("node.key"))?;
        let journal_key = Arc::new(NodeJournalKey(node_key.journal_key()?));
        let audit = audit::Node::open(&arguments.data.join("audit"), audit::Options::default(), journal_key)?;
        let pool = open(arguments, name, &node_key, &audit).await?;
        let named = make(arguments, &pool).await?;
        drop(pool);
        tokio::task::spawn_blocking(move || audit.close()).await?;
        let mut out = std::io::stdout().lock();
        for key in named {
            writeln!(out, "{key}")?;
        }
        anyhow::Ok(())
    })
}

async fn open(
    arguments: &FillArguments,
    name: PoolName,
    node_key: &NodeKey,
    audit: &audit::Node,
) -> anyhow::Result<Pool> {
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&arguments.data.join("store.redb"))?);
    let options = crypto_module::Options { generation_queue: AT_ONCE * 2, rsa_stock: 0, ..Default::default() };
    let engine = Engine::start(&options)?;
    let root = pool::sealed_root(&*store, &name).await?.context("the folder holds no such pool")?;
    let module: Arc<dyn Module> = Arc::new(engine.open_pool(node_key, &name, &root)?);
    let origin = Origin::parse(&format!("strongroom/{}/{NODE}", name.as_str())).context("a name for the log")?;
    let signer = Arc::new(PoolLogKey(module.log_key(origin.as_str())?));
    let log = audit.log(&origin, signer)?;
    Ok(Pool::open(Parts {
        name,
        node: NODE.into(),
        store,
        module,
        log,
        clock: Arc::new(SystemClock),
        quotas: Quotas { keys: usize::MAX, ..Quotas::default() },
        directory: None,
        lost_log: LostLog::Refuse,
    })
    .await?)
}

async fn make(arguments: &FillArguments, pool: &Pool) -> anyhow::Result<Vec<String>> {
    let principal = PrincipalId::parse(&arguments.principal).context("the principal's object id")?;
    let caller = Arc::new(Caller {
        principal,
        tenant: Uuid::nil().to_string().into(),
        issuer: "bench".into(),
        application: None,
        upn: None,
        groups: Groups::Listed(Vec::new()),
        token_id: None,
        issued_at: None,
        expires_at: UnixTime(i64::MAX),
    });
    ensure!(arguments.sample > 0 && arguments.sample <= arguments.keys, "as many keys can be named as are made");
    let (mut making, mut named) = (JoinSet::new(), Vec::new());
    for number in 0..arguments.keys {
        if making.len() >= AT_ONCE {
            named.extend(making.join_next().await.transpose()?.transpose()?.flatten());
        }
        let wanted = number % (arguments.keys / arguments.sample) == 0;
        let (pool, call) = (pool.clone(), call(&caller));
        making.spawn(async move {
            let name = format!("many-{number:07}");
            let new =
                NewKey { operations: None, enabled: true, not_before: None, expires: None, tags: Default::default() };
            let made = pool.create_key(&call, &KeyName::parse(&name)?, KeyKind::Ec(Curve::P256), None, new).await?;
            anyhow::Ok(wanted.then(|| format!("{name}/{}", made.version)))
        });
    }
    while let Some(made) = making.join_next().await {
        named.extend(made??);
    }
    Ok(named)
}

fn call(caller: &Arc<Caller>) -> Call {
    Call {
        caller: Arc::clone(caller),
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: Uuid::new_v4(),
        correlation: None,
        user_agent: None,
        request: "bench fill".into(),
        received: Instant::now(),
        success: Outcome { status: 200, code: None },
        failure: |_| Outcome { status: 500, code: None },
    }
}
