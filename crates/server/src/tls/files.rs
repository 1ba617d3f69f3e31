//! Certificates that somebody else renews: read from files, read again when these change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{Days, UnixTime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Certificate, CertificateError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Remaining days below which the log warns, once for each.
const WARN_DAYS: [Days; 3] = [Days(30), Days(7), Days(1)];

/// Where the operator puts certificate chain (leaf first) and private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both files and checks that they fit.
    ///
    /// # Errors
    /// Any [`CertificateError`] but `Make`.
    pub fn open(&self) -> Result<Arc<Certificate>, CertificateError> {
        let (chain, key) = self.read()?;
        Certificate::new(chain, key)
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&self.certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|_| self.lacks_certificate())?;
        if chain.is_empty() {
            return Err(self.lacks_certificate());
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| CertificateError::Content { path: self.key.clone(), expected: "private key" })?;
        Ok((chain, key))
    }

    fn lacks_certificate(&self) -> CertificateError {
        CertificateError::Content { path: self.certificate.clone(), expected: "certificate" }
    }

    /// What tells one state of the files from another: time of change, size and inode of each.
    fn mark(&self) -> [Option<(SystemTime, u64, u64)>; 2] {
        use std::os::unix::fs::MetadataExt;
        [&self.certificate, &self.key]
            .map(|path| std::fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len(), m.ino()))))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

/// Watches `files` for as long as it is polled: puts a changed pair in place, and warns below 30, 7 and 1 days of
/// remaining validity.
///
/// A pair that cannot be used (half written, not fitting) leaves the present one in place and is tried again at the
/// next look. `hurry` makes a look happen at once, for SIGHUP.
pub async fn watch_files(files: CertificateFiles, certificate: Arc<Certificate>, hurry: Arc<tokio::sync::Notify>) {
    let mut mark = files.mark();
    let mut broken = None;
    let mut expiry = ExpiryWatch::default();
    loop {
        expiry.look(certificate.expires(), now());
        let asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = hurry.notified() => true,
        };
        let present = files.mark();
        if present == mark && !asked {
            continue;
        }
        match files.read().and_then(|(chain, key)| certificate.replace(chain, key)) {
            Ok(()) => {
                mark = present;
                broken = None;
                expiry = ExpiryWatch::default();
                tracing::info!(certificate = %files.certificate.display(), "certificate read again");
            }
            Err(error) if broken != Some(present) || asked => {
                broken = Some(present);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the changed certificate cannot be used; the present one stays");
            }
            Err(_) => {}
        }
    }
}

/// Remembers which warnings were given.
#[derive(Debug, Default)]
struct ExpiryWatch {
    warned: Option<Days>,
}

impl ExpiryWatch {
    /// Warns if `expires` has come below another of the thresholds. Returns which.
    fn look(&mut self, expires: UnixTime, now: UnixTime) -> Option<Days> {
        let due = WARN_DAYS.into_iter().rev().find(|days| expires < now.plus_days(*days))?;
        if self.warned.is_some_and(|warned| warned <= due) {
            return None;
        }
        self.warned = Some(due);
        let hours = (expires.0 - now.0).max(0) / 3600;
        tracing::warn!(hours_left = hours, "the TLS certificate expires soon: renew it");
        Some(due)
    }
}

fn now() -> UnixTime {
    UnixTime(jiff::Timestamp::now().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_warned_of_once_per_threshold() {
        let end = UnixTime(100 * 86_400);
        let mut watch = ExpiryWatch::default();
        let mut look = |days_left: i64| watch.look(end, end.plus_seconds(-days_left * 86_400 + 1));
        assert_eq!(look(40), None);
        assert_eq!(look(30), Some(Days(30)));
        assert_eq!(look(20), None);
        assert_eq!(look(7), Some(Days(7)));
        assert_eq!(look(1), Some(Days(1)));
        assert_eq!(look(0), None);
    }

    #[test]
    fn a_certificate_file_without_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { certificate: folder.path().join("c"), key: folder.path().join("k") };
        std::fs::write(&files.certificate, "").unwrap();
        std::fs::write(&files.key, "").unwrap();
        let refused = files.open().expect_err("an empty file");
        assert!(refused.to_string().ends_with("holds no certificate"), "{refused}");
    }
}
