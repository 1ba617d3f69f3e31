//! What `serve` and `dev` have in common: sockets first, then the folder, then everything else, and the way out.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_module::{HardeningReport, NodeKey};
use identity::{KeySet, KeySetError};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::compose::{ComposeError, Node};
use crate::config::ConfigError;
use crate::data_folder::DataFolderError;
use crate::dev::FirstJobError;
use crate::dev::clock::ClockError;
use crate::edge::{self, Limits, Traffic};
use crate::jwks::OutgoingError;
use crate::local_socket::{Handler, LocalSocket, Request};
use crate::logging::LogError;
use crate::status::StatusSource;
use crate::tls::{CaBundles, Certificate, CertificateError, server_config};

/// The store in a data folder.
pub(crate) const STORE_FILE: &str = "store.redb";

/// Why the server does not start, or a command about it does not do its work. With its sources, one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why; most often another program has the port.
        source: io::Error,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS itself.
    #[error("TLS cannot be served")]
    Tls(#[from] rustls::Error),
    /// The store's file.
    #[error("the store cannot be opened")]
    Store(#[from] store::OpenError),
    /// Outgoing calls.
    #[error("outgoing calls cannot be made")]
    Outgoing(#[from] OutgoingError),
    /// Everything behind the hosts.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A file that was named.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of keys.
    #[error("{} is no JWK set", path.display())]
    Keys {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeySetError,
    },
    /// The owner's socket.
    #[error("cannot open the control socket {}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key under which everything in the data folder is sealed is gone.
    #[error("the key file {} is not there, but {} was sealed with one: put it back", key_file.display(), data.display())]
    NodeKeyAbsent {
        /// Where it must be.
        key_file: PathBuf,
        /// What it opens.
        data: PathBuf,
    },
    /// Signals cannot be caught.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// The clock of `dev`.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The first job of `dev`.
    #[error("the first job failed")]
    FirstJob(#[from] FirstJobError),
    /// What was given on the command line cannot be used.
    #[error("{0}")]
    Arguments(String),
}

/// Opens a listening socket.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    edge::listen(address).map_err(|source| StartError::Listen { address, source })
}

/// Settings of the process itself: memory that cannot be read from outside, and all the files it may open.
pub(crate) fn prepare_process() -> HardeningReport {
    crate::tls::install_provider();
    let report = crypto_module::harden_process();
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    // Without it there are fewer connections, and the log says so when they run out.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, files);
    report
}

/// Says what of the process's hardening the system did not allow.
fn warn_of_what_is_lacking(report: HardeningReport) {
    if !report.memory_locked {
        tracing::warn!(
            "MEMORY NOT LOCKED. Keys in use may reach swap space: lift the limit on locked memory \
             (LimitMEMLOCK=infinity), or have no swap space"
        );
    }
    if !report.tracing_refused {
        tracing::warn!("other processes of this user may read the memory of this one: the system refused to forbid it");
    }
    if !report.core_files_off {
        tracing::warn!("a crash may leave keys in a core file: the system refused to turn core files off");
    }
}

/// A node with its sockets.
pub(crate) struct Running {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) bundles: Arc<CaBundles>,
    pub(crate) limits: Limits,
    pub(crate) node: Node,
    pub(crate) socket: LocalSocket,
    pub(crate) pools: Vec<String>,
    pub(crate) seal: &'static str,
    pub(crate) hardening: HardeningReport,
}

impl Running {
    /// Serves until `stop`, then finishes what is in flight. `more` answers what is not the status.
    pub(crate) async fn serve(self, more: Handler, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let traffic = Arc::new(Traffic::default());
        let addresses = self.listeners.iter().filter_map(|listener| listener.local_addr().ok());
        let status = StatusSource {
            since: Timestamp::now(),
            listening: addresses.map(|address| address.to_string()).collect(),
            pools: self.pools,
            seal: self.seal,
            certificate: Arc::clone(&self.certificate),
            bundles: self.bundles,
            traffic: Arc::clone(&traffic),
            strangers: Arc::clone(&self.node.strangers),
            hardening: self.hardening,
        };
        warn_of_what_is_lacking(self.hardening);
        let handler: Handler = Arc::new(move |request| match request {
            Request::Status => serde_json::to_value(status.at(Timestamp::now())).map_err(|error| error.to_string()),
            other => more(other),
        });
        let local = tokio::spawn(self.socket.serve(handler));
        let tls = server_config(self.certificate)?;
        edge::serve(self.listeners, tls, self.limits, Arc::clone(&self.node.hosts), traffic, stop).await;
        self.node.finish().await;
        local.abort();
        // Gone before the folder's lock is, so that the next process finds its own socket.
        let _ = local.await;
        Ok(())
    }
}

/// Ready when the process is asked to stop.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The node key in `key_file`, which is made for a data folder that holds nothing yet, and for no other: a new key would
/// open nothing there.
pub(crate) fn node_key(key_file: &Path, data: &Path) -> Result<NodeKey, StartError> {
    if !key_file.exists() && data.join(STORE_FILE).exists() {
        return Err(StartError::NodeKeyAbsent { key_file: key_file.to_owned(), data: data.to_owned() });
    }
    Ok(NodeKey::load_or_create(key_file).map_err(ComposeError::from)?)
}

/// The keys in a file.
pub(crate) fn read_keys(path: &Path) -> Result<KeySet, StartError> {
    KeySet::parse_jwks(&read(path)?).map_err(|source| StartError::Keys { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::File { path: path.to_owned(), source })
}
