//! Certificates that somebody else renews: read from files, read again when these change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Certificate, CertificateError, Expiry};
use crate::watch::{Files, Watched};

/// Where the operator puts certificate chain (leaf first) and private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both files and checks that they fit. The second half of the answer puts a changed pair in place.
    ///
    /// # Errors
    /// Any [`CertificateError`] but `Make`.
    pub(crate) fn open(self) -> Result<(Arc<Certificate>, Watched), CertificateError> {
        let seen = Files::new(vec![self.certificate.clone(), self.key.clone()]);
        let (chain, key) = self.read()?;
        let certificate = Certificate::new(chain, key)?;
        let (replaced, shown, file) = (Arc::clone(&certificate), Arc::clone(&certificate), self.certificate.clone());
        let read = move || {
            let (chain, key) = self.read()?;
            Ok(replaced.replace(chain, key)?)
        };
        let expiries = move || vec![Expiry { file: file.clone(), at: shown.expires() }];
        Ok((certificate, Watched::new("TLS certificate", seen, read).expiring(expiries)))
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let chain = read_certificates(&self.certificate)?;
        let key = parse_key(&read(&self.key)?)
            .ok_or_else(|| CertificateError::Content { path: self.key.clone(), expected: "private key" })?;
        Ok((chain, key))
    }
}

/// The certificates in a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = || CertificateError::Content { path: path.to_owned(), expected: "certificate" };
    parse_certificates(&read(path)?).ok_or_else(content)
}

/// The certificates in a PEM text, at least one.
pub(super) fn parse_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// The private key in a PEM text.
pub(super) fn parse_key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).ok()
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_file_without_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { certificate: folder.path().join("c"), key: folder.path().join("k") };
        std::fs::write(&files.certificate, "").unwrap();
        std::fs::write(&files.key, "").unwrap();
        let refused = files.open().map(|_| ()).expect_err("an empty file");
        assert!(refused.to_string().ends_with("holds no certificate"), "{refused}");
    }
}
