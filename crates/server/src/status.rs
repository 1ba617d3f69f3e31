//! What `strongroom status` shows: is it up, since when, with what, and what needs somebody's attention soon.

use std::sync::Arc;

use crypto_module::HardeningReport;
use jiff::Timestamp;
use model::UnixTime;
use serde::{Deserialize, Serialize};

use crate::data_plane::Strangers;
use crate::edge::Traffic;
use crate::tls::{CaBundles, Certificate, Expiry};

/// The status document. Fields are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When it began to serve, RFC 3339.
    pub serving_since: String,
    /// The addresses that it listens on.
    pub listening: Vec<String>,
    /// The pools that it serves.
    pub pools: Vec<String>,
    /// What protects root keys at rest.
    pub seal: String,
    /// The end of the TLS certificate's validity, RFC 3339.
    pub certificate_expires: String,
    /// The same in whole days from now; negative when it is over.
    pub certificate_days_left: i64,
    /// The files with authorities that outgoing calls trust.
    pub ca_bundles: Vec<CaBundle>,
    /// Whether all memory is locked: if not, keys in use may reach swap space.
    pub memory_locked: bool,
    /// Whether no other process of the same user may read the memory.
    pub tracing_refused: bool,
    /// Whether a crash leaves no core file.
    pub core_files_off: bool,
    /// Connections open now.
    pub connections: usize,
    /// Requests being answered now.
    pub requests: usize,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections refused since the start because a limit was reached.
    pub connections_refused: u64,
    /// Requests without a token since the start. Most clients begin with one.
    pub requests_without_token: u64,
    /// Requests since the start whose token failed.
    pub requests_with_failed_token: u64,
}

/// A file with authorities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaBundle {
    /// Where, as configured.
    pub file: String,
    /// The nearest end of validity in it, RFC 3339.
    pub nearest_expiry: String,
    /// The same in whole days from now; negative when it is over.
    pub days_left: i64,
}

/// What a status document is drawn from.
#[derive(Clone, Debug)]
pub struct StatusSource {
    /// When serving began.
    pub since: Timestamp,
    /// The addresses that it listens on.
    pub listening: Vec<String>,
    /// The pools that it serves.
    pub pools: Vec<String>,
    /// What protects root keys at rest.
    pub seal: &'static str,
    /// The certificate in use.
    pub certificate: Arc<Certificate>,
    /// The authorities trusted.
    pub bundles: Arc<CaBundles>,
    /// Connections and requests.
    pub traffic: Arc<Traffic>,
    /// Whom the data planes did not know.
    pub strangers: Arc<Strangers>,
    /// What the system allowed.
    pub hardening: HardeningReport,
}

impl StatusSource {
    /// The status at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Status {
        let UnixTime(expires) = self.certificate.expires();
        let bundle = |expiry: &Expiry| CaBundle {
            file: expiry.file.display().to_string(),
            nearest_expiry: end(expiry.at),
            days_left: expiry.days_left(UnixTime(now.as_second())),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving_since: shown(self.since),
            listening: self.listening.clone(),
            pools: self.pools.clone(),
            seal: self.seal.to_owned(),
            certificate_expires: end(UnixTime(expires)),
            certificate_days_left: (expires - now.as_second()).div_euclid(86_400),
            ca_bundles: self.bundles.expiries().iter().map(bundle).collect(),
            memory_locked: self.hardening.memory_locked,
            tracing_refused: self.hardening.tracing_refused,
            core_files_off: self.hardening.core_files_off,
            connections: self.traffic.connections(),
            requests: self.traffic.requests(),
            connections_accepted: self.traffic.accepted(),
            connections_refused: self.traffic.refused(),
            requests_without_token: self.strangers.without_token(),
            requests_with_failed_token: self.strangers.with_failed_token(),
        }
    }
}

fn end(UnixTime(seconds): UnixTime) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), shown)
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{DevelopmentCertificates, Named};

    #[test]
    fn the_document_tells_how_long_certificates_last() {
        crate::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let named = Named { domain: "localhost".to_owned() };
        let made = DevelopmentCertificates::open(folder.path(), &named, UnixTime(now.as_second())).unwrap();
        let source = StatusSource {
            since: now,
            listening: vec!["127.0.0.1:8443".to_owned()],
            pools: vec!["dev".to_owned()],
            seal: "key-file",
            certificate: made.certificate,
            bundles: CaBundles::open(std::slice::from_ref(&made.ca_file)).unwrap().bundles,
            traffic: Arc::default(),
            strangers: Arc::default(),
            hardening: HardeningReport { memory_locked: true, tracing_refused: true, core_files_off: true },
        };
        let status = source.at(now);
        assert_eq!(status.certificate_days_left, 390);
        let bundle = CaBundle {
            file: made.ca_file.display().to_string(),
            nearest_expiry: "2037-01-12T08:00:00Z".to_owned(),
            days_left: 3650,
        };
        assert_eq!(status.ca_bundles, [bundle]);
        assert_eq!(status.serving_since, "2027-01-15T08:00:00Z");
        let later = source.at(now + jiff::SignedDuration::from_hours(24 * 391));
        assert_eq!((later.certificate_days_left, later.ca_bundles[0].days_left), (-1, 3650 - 391));
    }
}
