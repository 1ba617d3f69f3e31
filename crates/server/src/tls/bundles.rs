//! Authorities that outgoing calls trust beside the system's: read from files, read again when these change.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use model::UnixTime;
use rustls::pki_types::CertificateDer;

use super::files::read_certificates;
use super::{CertificateError, Expiry, expiry};
use crate::jwks::Outgoing;
use crate::watch::{Files, Watched};

/// PEM files with any number of authorities each, at least one.
#[derive(Debug)]
pub struct CaBundles {
    files: Vec<PathBuf>,
    expiries: ArcSwap<Vec<Expiry>>,
}

/// The bundles as first read.
pub(crate) struct OpenedBundles {
    pub(crate) bundles: Arc<CaBundles>,
    /// All certificates of all files.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    seen: Files,
}

impl CaBundles {
    /// Reads the files. None at all is fine.
    ///
    /// # Errors
    /// [`CertificateError::File`] or [`CertificateError::Content`] of the first that cannot be used.
    pub(crate) fn open(files: &[PathBuf]) -> Result<OpenedBundles, CertificateError> {
        let seen = Files::new(files.to_vec());
        let (roots, expiries) = read(files)?;
        let bundles = Arc::new(Self { files: files.to_vec(), expiries: ArcSwap::from_pointee(expiries) });
        Ok(OpenedBundles { bundles, roots, seen })
    }

    /// The nearest end of validity in each file.
    #[must_use]
    pub fn expiries(&self) -> Arc<Vec<Expiry>> {
        self.expiries.load_full()
    }
}

impl OpenedBundles {
    /// Has `outgoing` trust what the files hold from now on.
    pub(crate) fn watched(self, outgoing: Arc<Outgoing>) -> Watched {
        let bundles = Arc::clone(&self.bundles);
        let read = move || {
            let (roots, expiries) = read(&bundles.files)?;
            outgoing.trust(&roots)?;
            bundles.expiries.store(Arc::new(expiries));
            Ok(())
        };
        Watched::new("CA bundles", self.seen, read).expiring(move || self.bundles.expiries().to_vec())
    }
}

fn read(files: &[PathBuf]) -> Result<(Vec<CertificateDer<'static>>, Vec<Expiry>), CertificateError> {
    let (mut roots, mut expiries) = (Vec::new(), Vec::new());
    for path in files {
        let content = || CertificateError::Content { path: path.clone(), expected: "certificate" };
        let found = read_certificates(path)?;
        let at = nearest_end(&found).ok_or_else(content)?;
        expiries.push(Expiry { file: path.clone(), at });
        roots.extend(found);
    }
    Ok((roots, expiries))
}

/// The nearest end of validity; `None` if one of them is no certificate.
pub(super) fn nearest_end(certificates: &[CertificateDer<'_>]) -> Option<UnixTime> {
    certificates.iter().map(|der| expiry(der)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use model::Days;

    use super::*;
    use crate::tls::{DevelopmentCertificates, Named};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// An authority made at `now`, PEM. It lasts 3,650 days.
    fn authority(now: UnixTime) -> Vec<u8> {
        crate::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let named = Named { domain: "localhost".to_owned() };
        std::fs::read(DevelopmentCertificates::open(folder.path(), &named, now).unwrap().ca_file).unwrap()
    }

    #[test]
    fn the_nearest_end_in_each_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [both, late] = ["both", "late"].map(|name| folder.path().join(name));
        let later = NOW.plus_days(Days(100));
        std::fs::write(&both, [authority(later), authority(NOW)].concat()).unwrap();
        std::fs::write(&late, authority(later)).unwrap();
        let opened = CaBundles::open(&[both.clone(), late.clone()]).unwrap();
        assert_eq!(opened.roots.len(), 3);
        let ends: Vec<_> = opened.bundles.expiries().iter().map(|one| (one.file.clone(), one.days_left(NOW))).collect();
        assert_eq!(ends, [(both, 3650), (late, 3750)]);
    }

    #[test]
    fn a_bundle_without_certificates_or_with_something_else_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let good = String::from_utf8(authority(NOW)).unwrap();
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in ["", "no certificate", nonsense, &(good.clone() + nonsense), &good[..good.len() / 2]] {
            std::fs::write(&path, content).unwrap();
            let refused = CaBundles::open(std::slice::from_ref(&path)).map(|_| ()).unwrap_err();
            assert_eq!(refused.to_string(), format!("{} holds no certificate", path.display()), "{content}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(CaBundles::open(&[path]), Err(CertificateError::File { .. })));
        assert!(CaBundles::open(&[]).unwrap().roots.is_empty());
    }
}
