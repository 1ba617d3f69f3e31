//! The certificates of `strongroom dev`: an authority of its own and a server certificate under it, kept in the
//! data folder, so that a client that trusted the CA file once goes on trusting it.
//!
//! The authority may only sign names under the domain and the loopback addresses (RFC 5280 §4.2.1.10): whoever
//! trusts it, and whoever steals it, can do nothing to other sites.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Days, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::{Certificate, CertificateError, Expiry, expiry, provider};
use crate::files::{read_optional, write_private};
use crate::watch::{Files, Watched};

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";
const SERVER_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server-key.pem";

const CA_DAYS: Days = Days(3650);
/// Not longer than browsers accept.
const SERVER_DAYS: Days = Days(390);
/// A certificate with less than this left is replaced at start.
const RENEW_DAYS: Days = Days(30);
/// Clocks of containers and laptops are sometimes behind.
const BACKDATED_SECONDS: i64 = 86_400;

/// What the server certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The domain under which all hosts lie, such as `localhost`.
    pub domain: String,
}

/// Authority and server certificate of one data folder.
#[derive(Debug)]
pub struct DevelopmentCertificates {
    /// The authority's certificate file, which clients are given.
    pub ca_file: PathBuf,
    /// The authority's certificate.
    pub ca: CertificateDer<'static>,
    /// What to serve.
    pub certificate: Arc<Certificate>,
    folder: PathBuf,
    named: Named,
}

impl DevelopmentCertificates {
    /// Reads the certificates kept in `folder`, or makes them; renews what has less than 30 days left at `now`.
    ///
    /// Key files are readable by the owner alone. A renewed server certificate stays under the same authority.
    ///
    /// # Errors
    /// [`CertificateError::File`] when the folder cannot be read or written, [`CertificateError::Content`] when a
    /// file in it is not ours.
    pub fn open(folder: &Path, named: &Named, now: UnixTime) -> Result<Self, CertificateError> {
        let (path, folder) = (folder.to_owned(), Folder(folder));
        let (ca, ca_key) = match folder.pair(CA_FILE, CA_KEY_FILE)? {
            Some((ca, key)) if lasts(&ca, now) => (ca, folder.ca_key(&key)?),
            _ => folder.new_authority(named, now)?,
        };
        let kept = folder
            .pair(SERVER_FILE, SERVER_KEY_FILE)?
            .filter(|(leaf, _)| lasts(leaf, now) && serves(leaf, &ca, named, now))
            // A crash between the two files of a renewal leaves a key that is another certificate's.
            .and_then(|(leaf, key)| Certificate::new(vec![leaf], key).ok());
        let certificate = match kept {
            Some(kept) => kept,
            None => {
                let (leaf, key) = folder.new_server(named, &ca, &ca_key, now)?;
                Certificate::new(vec![leaf], key)?
            }
        };
        Ok(Self { ca_file: folder.0.join(CA_FILE), ca, certificate, folder: path, named: named.clone() })
    }

    /// Renews the server certificate under the same authority if it has less than 30 days left at `now`, in its file and
    /// for the handshakes to come. Answers whether it did. An authority that comes to its end is replaced at the next
    /// start only, when its clients can be given the new one.
    ///
    /// # Errors
    /// As [`open`](Self::open); the present certificate goes on being served.
    pub fn renew(&self, now: UnixTime) -> Result<bool, CertificateError> {
        if self.certificate.expires() > now.plus_days(RENEW_DAYS) || !lasts(&self.ca, now) {
            return Ok(false);
        }
        let folder = Folder(&self.folder);
        let Some((_, ca_key)) = folder.pair(CA_FILE, CA_KEY_FILE)? else {
            return Err(CertificateError::Content { path: self.folder.join(CA_KEY_FILE), expected: "private key" });
        };
        let (leaf, key) = folder.new_server(&self.named, &self.ca, &folder.ca_key(&ca_key)?, now)?;
        self.certificate.replace(vec![leaf], key)?;
        Ok(true)
    }

    /// Keeps the server certificate from its end while the node runs, and warns of the authority's.
    pub(crate) fn watched(self) -> Watched {
        let shown = Arc::new(self);
        let renewed = Arc::clone(&shown);
        Watched::new("development certificate", Files::new(Vec::new()), || Ok(()))
            .expiring(move || shown.expiries())
            .renewing(move |now| Ok(renewed.renew(now)?))
    }

    /// When authority and server certificate end.
    fn expiries(&self) -> Vec<Expiry> {
        let ca = expiry(&self.ca).map(|at| Expiry { file: self.ca_file.clone(), at });
        let server = Expiry { file: self.folder.join(SERVER_FILE), at: self.certificate.expires() };
        ca.into_iter().chain([server]).collect()
    }
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    /// A certificate and its key, unless one of them is not there.
    fn pair(
        &self,
        certificate: &str,
        key: &str,
    ) -> Result<Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>, CertificateError> {
        let (certificate, key) = (self.0.join(certificate), self.0.join(key));
        let read = |path: &Path| {
            read_optional(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
        };
        let (Some(certificate_pem), Some(key_pem)) = (read(&certificate)?, read(&key)?) else { return Ok(None) };
        let parsed = CertificateDer::from_pem_slice(&certificate_pem)
            .map_err(|_| CertificateError::Content { path: certificate, expected: "certificate" })?;
        let parsed_key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| CertificateError::Content { path: key, expected: "private key" })?;
        Ok(Some((parsed, parsed_key)))
    }

    fn ca_key(&self, key: &PrivateKeyDer<'_>) -> Result<KeyPair, CertificateError> {
        KeyPair::try_from(key.secret_der()).map_err(|_| CertificateError::Content {
            path: self.0.join(CA_KEY_FILE),
            expected: "private key of the authority",
        })
    }

    fn new_authority(
        &self,
        named: &Named,
        now: UnixTime,
    ) -> Result<(CertificateDer<'static>, KeyPair), CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = authority(named);
        set_validity(&mut params, now, now.plus_days(CA_DAYS));
        let ca = params.self_signed(&key)?;
        self.write(CA_KEY_FILE, key.serialize_pem().as_bytes())?;
        self.write(CA_FILE, ca.pem().as_bytes())?;
        Ok((ca.der().clone(), key))
    }

    fn new_server(
        &self,
        named: &Named,
        ca: &CertificateDer<'_>,
        ca_key: &KeyPair,
        now: UnixTime,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = server(named)?;
        let until = now.plus_days(SERVER_DAYS);
        set_validity(&mut params, now, expiry(ca).map_or(until, |end| until.min(end)));
        let leaf = params.signed_by(&key, &Issuer::from_params(&authority(named), ca_key))?;
        self.write(SERVER_KEY_FILE, key.serialize_pem().as_bytes())?;
        self.write(SERVER_FILE, leaf.pem().as_bytes())?;
        Ok((leaf.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CertificateError> {
        let path = self.0.join(name);
        write_private(&path, bytes).map_err(|source| CertificateError::File { path, source })
    }
}

/// The authority, but for its time.
fn authority(named: &Named) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Strongroom development CA");
    params.distinguished_name.push(DnType::OrganizationName, "Strongroom on this machine");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(named.domain.clone()),
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(Ipv4Addr::new(127, 0, 0, 0).into(), 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(Ipv6Addr::LOCALHOST.into(), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    params
}

/// The server's certificate, but for its time.
fn server(named: &Named) -> Result<CertificateParams, CertificateError> {
    let domain = &named.domain;
    // A wildcard directly under a single label is refused by OpenSSL, so the hosts stand here one by one.
    let names = [
        format!("*.managedhsm.{domain}"),
        format!("managedhsm.{domain}"),
        format!("login.{domain}"),
        format!("management.{domain}"),
        format!("portal.{domain}"),
        "localhost".to_owned(),
    ];
    let mut params = CertificateParams::new(names.to_vec())?;
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Strongroom");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, now: UnixTime, until: UnixTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: UnixTime| Duration::from_secs(u64::try_from(time.0).unwrap_or(0));
    params.not_before = epoch + seconds(now.plus_seconds(-BACKDATED_SECONDS));
    params.not_after = epoch + seconds(until);
}

fn lasts(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    expiry(certificate).is_some_and(|end| end > now.plus_days(RENEW_DAYS))
}

/// Whether a client that trusts `ca` would take `leaf` for every kind of host.
fn serves(leaf: &CertificateDer<'_>, ca: &CertificateDer<'static>, named: &Named, now: UnixTime) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(ca.clone()).is_err() {
        return false;
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() else {
        return false;
    };
    let at = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or(0)));
    let domain = &named.domain;
    let hosts = [format!("any.managedhsm.{domain}"), format!("login.{domain}"), "localhost".to_owned()];
    hosts.into_iter().all(|host| {
        ServerName::try_from(host).is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], at).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn open(folder: &Path, now: UnixTime) -> DevelopmentCertificates {
        crate::tls::install_provider();
        DevelopmentCertificates::open(folder, &Named { domain: "localhost".to_owned() }, now).unwrap()
    }

    #[test]
    fn a_second_start_serves_the_same_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), NOW);
        let second = open(folder.path(), NOW.plus_days(Days(300)));
        assert_eq!(first.ca, second.ca);
        assert_eq!(first.certificate.leaf(), second.certificate.leaf());
    }

    #[test]
    fn a_key_of_another_certificate_is_no_reason_not_to_start() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = open(folder.path(), NOW);
        open(other.path(), NOW);
        std::fs::copy(other.path().join(SERVER_KEY_FILE), folder.path().join(SERVER_KEY_FILE)).unwrap();
        let second = open(folder.path(), NOW);
        assert_eq!(first.ca, second.ca);
        assert_ne!(first.certificate.leaf(), second.certificate.leaf());
    }

    #[test]
    fn a_certificate_near_its_end_is_renewed_under_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), NOW);
        let later = NOW.plus_days(Days(370));
        let second = open(folder.path(), later);
        assert_eq!(first.ca, second.ca);
        assert_ne!(first.certificate.leaf(), second.certificate.leaf());
        assert_eq!(second.certificate.expires(), later.plus_days(SERVER_DAYS));
    }

    #[test]
    fn a_running_node_renews_its_certificate_under_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = open(folder.path(), NOW);
        let (first, leaf) = (certificates.certificate.clone(), certificates.certificate.leaf());
        assert!(!certificates.renew(NOW.plus_days(Days(359))).unwrap());
        assert_eq!(first.leaf(), leaf);
        let later = NOW.plus_days(Days(361));
        assert!(certificates.renew(later).unwrap());
        assert_ne!(first.leaf(), leaf);
        assert_eq!(first.expires(), later.plus_days(SERVER_DAYS));
        let named = Named { domain: "localhost".to_owned() };
        assert!(serves(&CertificateDer::from(first.leaf()), &certificates.ca, &named, later));
        assert!(!certificates.renew(later).unwrap());
        let again = open(folder.path(), later);
        assert_eq!((&again.ca, again.certificate.leaf()), (&certificates.ca, first.leaf()));
        let mut watched = again.watched();
        watched.tend(later.plus_days(Days(370)));
        assert_ne!(open(folder.path(), later).certificate.leaf(), first.leaf(), "the watcher does so too");
        // Clients of an authority near its end would not know the next one.
        assert!(!certificates.renew(NOW.plus_days(Days(3640))).unwrap());
    }

    #[test]
    fn the_names_of_the_design_are_covered_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let named = Named { domain: "localhost".to_owned() };
        let certificates = open(folder.path(), NOW);
        let leaf = CertificateDer::from(certificates.certificate.leaf());
        assert!(serves(&leaf, &certificates.ca, &named, NOW));
        assert!(!serves(&leaf, &certificates.ca, &Named { domain: "example.org".to_owned() }, NOW));
    }

    #[test]
    fn the_authority_cannot_vouch_for_other_sites() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = open(folder.path(), NOW);
        let named = Named { domain: "localhost".to_owned() };
        let stolen = KeyPair::from_pem(&std::fs::read_to_string(folder.path().join(CA_KEY_FILE)).unwrap()).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let elsewhere = Named { domain: "example.org".to_owned() };
        let mut params = server(&elsewhere).unwrap();
        set_validity(&mut params, NOW, NOW.plus_days(Days(10)));
        let leaf = params.signed_by(&key, &Issuer::from_params(&authority(&named), stolen)).unwrap();
        assert!(!serves(leaf.der(), &certificates.ca, &elsewhere, NOW));
    }

    #[test]
    fn key_files_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), NOW);
        for name in [CA_KEY_FILE, SERVER_KEY_FILE] {
            assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_foreign_file_in_place_of_the_authority_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), NOW);
        std::fs::write(folder.path().join(CA_FILE), "not a certificate").unwrap();
        let named = Named { domain: "localhost".to_owned() };
        let refused = DevelopmentCertificates::open(folder.path(), &named, NOW);
        assert!(matches!(refused, Err(CertificateError::Content { .. })));
    }
}
