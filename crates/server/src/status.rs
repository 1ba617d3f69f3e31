//! What `strongroom status` shows: is it up, since when, with what, and what needs somebody's attention soon.

use std::sync::Arc;

use jiff::Timestamp;
use model::UnixTime;
use serde::{Deserialize, Serialize};

use crate::edge::Traffic;
use crate::tls::Certificate;

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
    /// Connections open now.
    pub connections: usize,
    /// Requests being answered now.
    pub requests: usize,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections refused since the start because a limit was reached.
    pub connections_refused: u64,
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
    /// Connections and requests.
    pub traffic: Arc<Traffic>,
}

impl StatusSource {
    /// The status at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Status {
        let UnixTime(expires) = self.certificate.expires();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving_since: shown(self.since),
            listening: self.listening.clone(),
            pools: self.pools.clone(),
            seal: self.seal.to_owned(),
            certificate_expires: Timestamp::from_second(expires).map_or_else(|_| "never".to_owned(), shown),
            certificate_days_left: (expires - now.as_second()).div_euclid(86_400),
            connections: self.traffic.connections(),
            requests: self.traffic.requests(),
            connections_accepted: self.traffic.accepted(),
            connections_refused: self.traffic.refused(),
        }
    }
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{DevelopmentCertificates, Named};

    #[test]
    fn the_document_tells_how_long_the_certificate_lasts() {
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
            traffic: Arc::default(),
        };
        let status = source.at(now);
        assert_eq!(status.certificate_days_left, 390);
        assert_eq!(status.serving_since, "2027-01-15T08:00:00Z");
        let later = source.at(now + jiff::SignedDuration::from_hours(24 * 391));
        assert_eq!(later.certificate_days_left, -1);
    }
}
