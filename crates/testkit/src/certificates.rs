//! Certificates of any age.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use model::UnixTime;
use server::tls::{DevelopmentCertificates, Named};

/// Writes `ca.pem`, `server.pem` and `server-key.pem` into `folder`, for hosts under `localhost`, as if that had been
/// done some days ago. They last 3,650 and 390 days from then.
pub fn certificates_made(days_ago: u16, folder: &Path) {
    server::tls::install_provider();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then = UnixTime(i64::try_from(now).unwrap() - i64::from(days_ago) * 86_400);
    DevelopmentCertificates::open(folder, &Named { domain: "localhost".to_owned() }, then).unwrap();
}
