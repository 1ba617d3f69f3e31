//! What the server proves itself with: the one TLS configuration, and certificates that can be changed under it.

mod bundles;
mod development;
mod expiry;
mod files;

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::UnixTime;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use bundles::CaBundles;
pub use development::{DevelopmentCertificates, Named};
pub use expiry::Expiry;
pub(crate) use expiry::ExpiryWarnings;
use expiry::expiry;
pub use files::CertificateFiles;

/// Why no certificate could be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {expected}")]
    Content {
        /// Which.
        path: std::path::PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// Key and certificate do not fit, or the key is of a kind we do not serve.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The library refused our own parameters.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Makes the one cryptography provider the process-wide default. Harmless when done twice.
pub fn install_provider() {
    // An error says that a default is there already; it can only be the same, as no other provider is linked.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// The certificate in use, and the seam to put another one in its place while connections go on.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<Served>,
}

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    expires: UnixTime,
}

impl Certificate {
    /// Takes a chain (leaf first) and the leaf's private key.
    ///
    /// # Errors
    /// [`CertificateError::Pair`] if they do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(Served::new(chain, key)?) }))
    }

    /// Puts another certificate in place for the handshakes to come. Open connections keep theirs.
    ///
    /// # Errors
    /// [`CertificateError::Pair`]; the present one stays then.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), CertificateError> {
        self.current.store(Arc::new(Served::new(chain, key)?));
        Ok(())
    }

    /// The end of validity of the leaf in use.
    pub fn expires(&self) -> UnixTime {
        self.current.load().expires
    }

    /// The leaf in use, DER.
    pub fn leaf(&self) -> Vec<u8> {
        self.current.load().key.cert.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
    }
}

impl Served {
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, CertificateError> {
        let expires = chain
            .first()
            .and_then(|leaf| expiry(leaf))
            .ok_or(CertificateError::Pair(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding)))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(CertificateError::Pair)?;
        Ok(Self { key: Arc::new(key), expires })
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

/// The server's side of TLS 1.2 and 1.3: session tickets, HTTP/2 and HTTP/1.1 by ALPN, no early data.
///
/// # Errors
/// Only if the provider cannot serve both versions, or has no randomness for ticket keys.
pub fn server_config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// See [`crate::fuzzing::certificates`].
pub(crate) fn fuzz(pem: &[u8]) {
    if let Some(chain) = files::parse_certificates(pem) {
        let _ = bundles::nearest_end(&chain);
        if let Some(key) = files::parse_key(pem) {
            let _ = Certificate::new(chain, key);
        }
    }
    let _ = files::parse_key(pem);
    let _ = expiry(pem);
}
