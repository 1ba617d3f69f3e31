//! `strongroom dev`: the production server with what a developer needs ready-made: certificates, an issuer with
//! accounts, one activated pool, a clock that can be moved. Everything else is the same code as `serve`.

mod banner;
pub mod clock;
mod first_job;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_module::NodeKey;
use identity::KeySet;
pub use model::PoolName;
use model::deleted_keys::{PurgeProtection, Retention};
use model::rbac::{CRYPTO_AUDITOR, CRYPTO_OFFICER, CRYPTO_USER, Guid};
use model::{PrincipalId, UnixTime};
pub use pool::LostLog;
use pool::Quotas;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use store::{Embedded, Store};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;
use uuid::Uuid;

use crate::compose::{BuiltIn, ComposeError, PoolSetup, Setup, compose};
use crate::config::LogFormat;
use crate::data_folder::DataFolder;
use crate::edge::Limits;
use crate::files::{can_write, remove, write_private};
use crate::hosts::Naming;
use crate::issuer::Accounts;
use crate::jwks::{Loopback, Outgoing, TrustedIssuer, metadata_address};
use crate::local_socket::{Handler, LocalSocket, Request};
use crate::logging::LogLevel;
use crate::start::{Running, STORE_FILE, StartError, listen, node_key, prepare_process, read_keys, stop_signal};
use crate::tls::{CaBundles, DevelopmentCertificates, Named};
use crate::watch::Watcher;
use banner::{Banner, Person};
use clock::DevClock;
use first_job::FirstJob;
pub use first_job::FirstJobError;

/// The domain of `dev`: browsers and some resolvers lead it to this machine by themselves.
const DOMAIN: &str = "localhost";

/// The tenant of `dev`, the same everywhere so that examples can be copied.
const TENANT: Uuid = Uuid::from_u128(0x5712_0d06_cafe_4dec_8a5e_0000_0000_0001);

/// The ready accounts, with the role that each gets at `/` beside ADMIN's.
const ACCOUNTS: [(&str, Option<Guid>, &str); 5] = [
    ("ADMIN", None, "Managed HSM Administrator"),
    ("OFFICER", Some(CRYPTO_OFFICER), "Managed HSM Crypto Officer"),
    ("USER", Some(CRYPTO_USER), "Managed HSM Crypto User"),
    ("AUDITOR", Some(CRYPTO_AUDITOR), "Managed HSM Crypto Auditor"),
    ("NOBODY", None, "no role"),
];

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// The pool's name.
    pub pool: PoolName,
    /// Where to keep everything; `None` to keep nothing.
    pub folder: Option<PathBuf>,
    /// Where to write the environment of test programs once the pool is ready.
    pub env_file: Option<PathBuf>,
    /// Stop after the first job.
    pub once: bool,
    /// Further issuers to trust, for the tenant of `dev`.
    pub issuers: Vec<FurtherIssuer>,
    /// JWK sets that are valid for the built-in issuer beside its own.
    pub built_in_keys: Vec<PathBuf>,
    /// PEM files with further authorities to trust when fetching keys.
    pub trust_ca: Vec<PathBuf>,
    /// What to do if audit logs have lost records.
    pub lost_log: LostLog,
    /// What to log, as `tracing` filters are written.
    pub log: String,
}

/// An issuer named on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FurtherIssuer {
    /// Claim `iss` of its tokens, as they write it.
    pub issuer: String,
    /// JWK sets that are valid whatever it publishes.
    pub keys: Vec<PathBuf>,
}

/// Runs a development node until it is asked to stop.
///
/// # Errors
/// [`StartError`]. A port that is taken and a folder that cannot be used are found before anything is touched.
pub async fn dev(options: DevOptions) -> Result<(), StartError> {
    let begun = Instant::now();
    let log = LogLevel::start(&options.log, LogFormat::Text)?;
    let hardening = prepare_process();
    let stop = stop_signal()?;
    let listeners = listen_on_loopback(options.port)?;
    let address = listeners.first().and_then(|listener| listener.local_addr().ok());
    let address = address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)));
    if let Some(path) = &options.env_file {
        can_write(path).map_err(|source| StartError::File { path: path.clone(), source })?;
    }
    let folder = match &options.folder {
        Some(path) => DataFolder::open(path)?,
        None => DataFolder::temporary()?,
    };
    // Whoever waits for the file must not find what an earlier run wrote; as long as that runs, it has the folder.
    if let Some(path) = &options.env_file {
        remove(path).map_err(|source| StartError::File { path: path.clone(), source })?;
    }
    let certificates =
        DevelopmentCertificates::open(&folder.folder("tls")?, &Named { domain: DOMAIN.to_owned() }, machine_time())?;
    let clock = Arc::new(DevClock::open(folder.path())?);
    let issuer_folder = folder.folder("issuer")?;
    let names = ACCOUNTS.map(|(name, ..)| name);
    let accounts = Accounts::load_or_create(&issuer_folder, &names).map_err(ComposeError::from)?;
    let people = people(&accounts);
    let ports = vec![address.port()];
    let naming = Naming { domain: DOMAIN.to_owned(), ports, authority: None };
    let authorities = CaBundles::open(&options.trust_ca)?;
    let bundles = Arc::clone(&authorities.bundles);
    let setup = setup(&options, &folder, naming, issuer_folder, &people, Arc::clone(&clock), &authorities.roots)?;
    let ca = certificates.ca.clone();
    let (ca_file, certificate) = (certificates.ca_file.clone(), Arc::clone(&certificates.certificate));
    let renewing = certificates.watched();
    // Not on SIGHUP: a development node ends with its terminal.
    let watcher = Watcher::start(vec![authorities.watched(Arc::clone(&setup.outgoing)), renewing]);
    let node = compose(setup).await?;
    let socket = folder.path().join("control.sock");
    let socket = LocalSocket::open(&socket).map_err(|source| StartError::Socket { path: socket, source })?;
    let banner = Banner {
        pool: options.pool.clone(),
        port: address.port(),
        tenant: TENANT,
        ca_file,
        folder: folder.path().to_owned(),
        kept: options.folder.is_some(),
        people,
    };
    let job = first_job(&banner, ca, address)?;
    let running = Running {
        listeners,
        certificate,
        bundles,
        limits: Limits::default(),
        node,
        socket,
        pools: vec![options.pool.as_str().to_owned()],
        seal: "key-file",
        hardening,
    };

    let (failed, failure) = tokio::sync::oneshot::channel();
    let first = async move {
        let outcome = welcome(&banner, job, &options, begun).await;
        if options.once || outcome.is_err() {
            let _ = failed.send(outcome);
        } else {
            std::future::pending::<()>().await;
        }
    };
    let until = async {
        tokio::select! {
            () = stop => {}
            () = first => {}
        }
    };
    running.serve(clock_handler(clock), until).await?;
    drop((watcher, folder, log));
    failure.await.unwrap_or(Ok(()))
}

/// Does the first job, then tells the developer, then their programs.
async fn welcome(banner: &Banner, job: FirstJob, options: &DevOptions, begun: Instant) -> Result<(), StartError> {
    let resolves = resolves_here(banner.pool_host());
    let steps = job.run().await?;
    if let Some(path) = &options.env_file {
        write_private(path, banner.env_file().as_bytes())
            .map_err(|source| StartError::File { path: path.clone(), source })?;
    }
    let resolves = tokio::time::timeout(RESOLVER_PATIENCE, resolves).await.is_ok_and(|found| found.unwrap_or(false));
    let mut out = io::stdout();
    let colours = rustix::termios::isatty(&out);
    // A closed standard output is no reason to stop serving.
    let _ = out.write_all(banner.text(&steps, begun.elapsed(), resolves, colours).as_bytes());
    let _ = out.flush();
    Ok(())
}

/// Both loopback addresses where the machine has both: names under `.localhost` lead to either.
fn listen_on_loopback(port: u16) -> Result<Vec<TcpListener>, StartError> {
    let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let port = v4.local_addr().map_or(port, |address| address.port());
    match listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(StartError::Listen { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

fn people(accounts: &Accounts) -> Vec<Person> {
    let person = |(name, role, role_name): (&'static str, Option<Guid>, &'static str)| {
        let account = accounts.iter().find(|account| account.display_name() == name)?;
        let secret = account.secret()?.clone();
        Some(Person { name, role, role_name, client: account.client_id(), object: account.object_id(), secret })
    };
    ACCOUNTS.into_iter().filter_map(person).collect()
}

fn setup(
    options: &DevOptions,
    folder: &DataFolder,
    naming: Naming,
    issuer_folder: PathBuf,
    people: &[Person],
    clock: Arc<DevClock>,
    roots: &[CertificateDer<'_>],
) -> Result<Setup, StartError> {
    let kept = options.folder.is_some();
    let node_key = match kept {
        true => {
            let key_file = folder.path().join("node.key");
            tracing::warn!(
                key_file = %key_file.display(),
                "SEAL: KEY FILE. Whoever can read this file and the data folder has every key"
            );
            node_key(&key_file, folder.path())?
        }
        false => NodeKey::ephemeral().map_err(ComposeError::from)?,
    };
    let store: Arc<dyn Store> = match kept {
        true => Arc::new(Embedded::open(&folder.path().join(STORE_FILE))?),
        false => Arc::new(Embedded::in_memory()?),
    };
    let trusted = options.issuers.iter().map(trusted_issuer).collect::<Result<Vec<_>, _>>()?;
    let destinations = trusted.iter().filter_map(|issuer| issuer.metadata.as_ref());
    let outgoing = Outgoing::new(destinations, Loopback::Allowed, roots)?;
    let principal = |id: Uuid| PrincipalId::parse(&id.to_string());
    let administrators = people.iter().filter(|person| person.name == "ADMIN");
    let roles = people.iter().filter_map(|person| Some((principal(person.object)?, person.role?)));
    Ok(Setup {
        naming,
        node: "dev".into(),
        region: "local".to_owned(),
        store,
        node_key,
        module: crypto_module::Options::default(),
        audit_folder: folder.folder("audit")?,
        audit: audit::Options::default(),
        lost_log: options.lost_log,
        clock,
        pools: vec![PoolSetup {
            name: options.pool.clone(),
            tenant: TENANT,
            retention: Retention::LONGEST,
            purge_protection: PurgeProtection::Off,
            administrators: administrators.filter_map(|person| principal(person.object)).collect(),
            assignments: roles.collect(),
            quotas: Quotas::default(),
        }],
        built_in: Some(BuiltIn {
            folder: issuer_folder,
            tenant: TENANT,
            further_keys: options.built_in_keys.iter().map(|path| read_keys(path)).collect::<Result<_, _>>()?,
        }),
        trusted,
        outgoing: Arc::new(outgoing),
    })
}

fn trusted_issuer(further: &FurtherIssuer) -> Result<TrustedIssuer, StartError> {
    let no_address = || StartError::Arguments(format!("--issuer {}: not an https address", further.issuer));
    let address = Url::parse(&further.issuer).map_err(|_| no_address())?;
    if address.scheme() != "https" {
        return Err(no_address());
    }
    let mut pinned = KeySet::default();
    for path in &further.keys {
        pinned = pinned.with(&read_keys(path)?);
    }
    Ok(TrustedIssuer {
        names: vec![further.issuer.clone()],
        tenants: vec![TENANT.to_string()],
        pinned,
        metadata: metadata_address(&further.issuer),
    })
}

fn first_job(banner: &Banner, ca: CertificateDer<'static>, address: SocketAddr) -> Result<FirstJob, StartError> {
    let user = banner.person("USER").ok_or_else(|| {
        StartError::Arguments("the issuer's folder lacks the account USER; remove the data folder".to_owned())
    })?;
    Ok(FirstJob {
        pool: banner.pool_url(),
        resource: format!("https://managedhsm.{DOMAIN}:{}", address.port()),
        token_endpoint: format!("{}/{TENANT}/oauth2/v2.0/token", banner.authority()),
        hosts: vec![banner.pool_host(), banner.login_host()],
        address,
        ca,
        client: user.client,
        secret: user.secret.clone(),
    })
}

fn clock_handler(clock: Arc<DevClock>) -> Handler {
    Arc::new(move |request| -> Result<Value, String> {
        match request {
            Request::ClockAdvance { by } => {
                clock.advance(&by).map_err(|error| error.to_string())?;
                tracing::warn!(by, "the clock was moved forward");
                Ok(clock.show())
            }
            Request::ClockShow => Ok(clock.show()),
            Request::Status => Err("the status is answered elsewhere".to_owned()),
        }
    })
}

/// How long the banner waits for the system's resolver; one that is slower leads nowhere on this machine.
const RESOLVER_PATIENCE: Duration = Duration::from_millis(300);

/// Whether programs on this machine that ask the system find `host` here. Asked in a thread that nobody waits for, since a
/// resolver may take its time to say no.
fn resolves_here(host: String) -> oneshot::Receiver<bool> {
    let (answer, found) = oneshot::channel();
    std::thread::spawn(move || {
        let loopback = |ip: IpAddr| ip.is_loopback();
        let here =
            (host.as_str(), 0).to_socket_addrs().is_ok_and(|mut found| found.any(|address| loopback(address.ip())));
        // The banner may have been printed without it.
        let _ = answer.send(here);
    });
    found
}

fn machine_time() -> UnixTime {
    UnixTime(jiff::Timestamp::now().as_second())
}

/// Where the control socket of a development node is.
#[must_use]
pub fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}
