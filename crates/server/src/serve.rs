//! `strongroom serve`: one node from its configuration file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pool::{LostLog, Quotas, SystemClock};
use rustls::pki_types::CertificateDer;
use store::Embedded;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::compose::{BuiltIn, PoolSetup, Setup, compose};
use crate::config::{self, Config};
use crate::data_folder::DataFolder;
use crate::hosts::Naming;
use crate::jwks::{Loopback, Outgoing, TrustedIssuer, metadata_address};
use crate::local_socket::LocalSocket;
use crate::logging::LogLevel;
use crate::start::{Running, STORE_FILE, StartError, listen, node_key, prepare_process, read_keys, stop_signal};
use crate::tls::{CaBundles, CertificateFiles};
use crate::watch::{Files, Watched, Watcher};

/// Runs a node until it is asked to stop.
///
/// # Errors
/// [`StartError`]; nothing has been served then, and an existing data folder has not been touched if it is not usable.
pub async fn serve(path: &Path) -> Result<(), StartError> {
    let file = Files::new(vec![path.to_owned()]);
    let config = Config::read(path)?;
    let log = LogLevel::start(&config.log.level, config.log.format)?;
    let hardening = prepare_process();
    let stop = stop_signal()?;
    let hang_up = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
    let listeners = config.listen.iter().copied().map(listen).collect::<Result<Vec<_>, _>>()?;
    let files = CertificateFiles { certificate: config.tls.certificate.clone(), key: config.tls.key.clone() };
    let (certificate, certificate_files) = files.open()?;
    let authorities = CaBundles::open(&config.outgoing.trust_ca)?;
    let bundles = Arc::clone(&authorities.bundles);
    let folder = DataFolder::open(&config.data_folder)?;
    let setup = setup(&config, &folder, &authorities.roots)?;
    let authority_files = authorities.watched(Arc::clone(&setup.outgoing));
    let node = compose(setup).await?;
    let socket = config.control_socket();
    let socket = LocalSocket::open(&socket).map_err(|source| StartError::Socket { path: socket, source })?;

    let watched = vec![certificate_files, authority_files, log_level(path.to_owned(), file, log)];
    let background = tokio::spawn(hurry_when_asked(Watcher::start(watched), hang_up));
    for address in &config.listen {
        tracing::info!(%address, domain = config.domain, "serving");
    }
    let pools = config.pools.keys().map(|name| name.as_str().to_owned()).collect();
    let (limits, seal) = (config.limits(), "key-file");
    let running = Running { listeners, certificate, bundles, limits, node, socket, pools, seal, hardening };
    let no_clock = Arc::new(|_| Err("the clock can only be moved in `strongroom dev`".to_owned()));
    let outcome = running.serve(no_clock, stop).await;
    background.abort();
    drop(folder);
    tracing::info!("stopped");
    outcome
}

fn setup(config: &Config, folder: &DataFolder, roots: &[CertificateDer<'_>]) -> Result<Setup, StartError> {
    let config::Seal::KeyFile { key_file } = &config.seal;
    tracing::warn!(
        key_file = %key_file.display(),
        "SEAL: KEY FILE. Whoever can read this file and the data folder has every key"
    );
    let node_key = node_key(key_file, folder.path())?;
    let trusted = config.issuers.values().map(trusted_issuer).collect::<Result<Vec<_>, _>>()?;
    let loopback = if config.outgoing.allow_loopback { Loopback::Allowed } else { Loopback::Refused };
    let outgoing = Outgoing::new(trusted.iter().filter_map(|issuer| issuer.metadata.as_ref()), loopback, roots)?;
    let built_in = match (config.issuer.enabled, config.pools.values().next()) {
        (true, Some(first)) => {
            if config.pools.values().any(|pool| pool.tenant != first.tenant) {
                let message = "the built-in issuer speaks for one tenant, but the pools have several";
                return Err(StartError::Arguments(message.to_owned()));
            }
            Some(BuiltIn { folder: folder.folder("issuer")?, tenant: first.tenant, further_keys: Vec::new() })
        }
        _ => None,
    };
    Ok(Setup {
        naming: Naming { domain: config.domain.clone(), ports: config.ports(), authority: config.authority() },
        node: config.node.as_str().into(),
        region: config.region.clone(),
        store: Arc::new(Embedded::open(&folder.path().join(STORE_FILE))?),
        node_key,
        module: module_options(&config.module),
        audit_folder: folder.folder("audit")?,
        audit: audit_options(&config.audit),
        lost_log: if config.audit.danger_accept_lost_log { LostLog::Accept } else { LostLog::Refuse },
        clock: Arc::new(SystemClock),
        pools: config.pools.iter().map(|(name, pool)| pool_setup(name.clone(), pool)).collect(),
        built_in,
        trusted,
        outgoing: Arc::new(outgoing),
    })
}

fn trusted_issuer(issuer: &config::TrustedIssuer) -> Result<TrustedIssuer, StartError> {
    // A URL of a bare host gets a slash at its end that issuers do not write.
    let name = issuer.issuer.as_str().trim_end_matches('/');
    Ok(TrustedIssuer {
        names: vec![name.to_owned(), format!("{name}/")],
        tenants: issuer.tenants.iter().map(ToString::to_string).collect(),
        pinned: issuer.keys_file.as_deref().map(read_keys).transpose()?.unwrap_or_default(),
        metadata: match issuer.fetch_keys {
            true => issuer.metadata.clone().or_else(|| metadata_address(name)),
            false => None,
        },
    })
}

fn module_options(module: &config::Module) -> crypto_module::Options {
    crypto_module::Options {
        workers: module.workers(),
        arithmetic_queue: module.queue,
        generation_queue: module.generation_queue,
        cache_bytes: module.cache,
        rsa_stock: module.rsa_stock,
    }
}

fn audit_options(audit: &config::Audit) -> audit::Options {
    audit::Options {
        max_bytes: Some(audit.max_size),
        reserve_bytes: audit.reserve,
        min_free_bytes: audit.min_free,
        checkpoint_interval: audit.checkpoint_interval,
        ..audit::Options::default()
    }
}

fn pool_setup(name: model::PoolName, pool: &config::Pool) -> PoolSetup {
    PoolSetup {
        name,
        tenant: pool.tenant,
        retention: pool.retention,
        purge_protection: pool.purge_protection,
        administrators: pool.administrators.clone(),
        assignments: Vec::new(),
        quotas: Quotas {
            keys: pool.max_keys,
            versions: pool.max_versions_per_key,
            role_definitions: pool.max_role_definitions,
            assignments: pool.max_role_assignments,
            assignments_per_key: pool.max_role_assignments_per_key,
            assignments_in_all: pool.max_role_assignments_in_all,
            keys_in_making: pool.max_keys_in_making_per_principal,
        },
    }
}

/// The log level of the configuration as it is now. Nothing else of it is taken, but all of it must be valid: whoever
/// broke it should learn of that before the next start.
fn log_level(path: PathBuf, file: Files, log: LogLevel) -> Watched {
    Watched::new("log level", file, move || Ok(log.change(&Config::read(&path)?.log.level)?))
}

/// On SIGHUP, everything that can be read again is.
async fn hurry_when_asked(watcher: Watcher, mut hang_up: Signal) {
    while hang_up.recv().await.is_some() {
        watcher.hurry();
    }
}
