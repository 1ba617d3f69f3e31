//! The running pool, as the environment names it, and unmodified clients of it with challenge verification on.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};

/// A variable that `conformance/pool.py` sets.
///
/// # Panics
/// If it is not set.
#[must_use]
pub fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this through conformance/pool.py"))
}

/// A key client for one of the ready accounts.
///
/// # Panics
/// If the environment is not that of `conformance/pool.py`.
#[must_use]
pub fn client_of(account: &str) -> KeyClient {
    let options = KeyClientOptions { client_options: client_options(), ..Default::default() };
    KeyClient::new(&required("STRONGROOM_POOL_URL"), credential_of(account), Some(options)).unwrap()
}

/// The same at bare `localhost`, which no challenge's resource can cover: the one check of it is off.
///
/// # Panics
/// As [`client_of`].
#[must_use]
pub fn client_on_localhost(account: &str) -> KeyClient {
    let address = required("STRONGROOM_POOL_URL");
    let (_, port) = address.rsplit_once(':').unwrap();
    let options = KeyClientOptions {
        client_options: client_options(),
        verify_challenge_resource: Some(false),
        ..Default::default()
    };
    KeyClient::new(&format!("https://localhost:{port}"), credential_of(account), Some(options)).unwrap()
}

/// A key name that nothing else in this run uses.
#[must_use]
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("rust-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn credential_of(account: &str) -> Arc<dyn TokenCredential> {
    let secret = Secret::new(required(&format!("STRONGROOM_{account}_CLIENT_SECRET")));
    let options = ClientSecretCredentialOptions { client_options: client_options() };
    let client_id = required(&format!("STRONGROOM_{account}_CLIENT_ID"));
    ClientSecretCredential::new(&required("STRONGROOM_TENANT_ID"), client_id, secret, Some(options)).unwrap()
}

/// The SDK's own HTTP client, told where names under `.localhost` lead (RFC 6761: to this machine, but not every
/// resolver knows) and which authority signed the pool's certificate.
fn client_options() -> ClientOptions {
    let authority = std::fs::read(required("STRONGROOM_CA_FILE")).unwrap();
    let mut builder =
        reqwest::Client::builder().add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap());
    for url in [required("STRONGROOM_POOL_URL"), required("STRONGROOM_AUTHORITY")] {
        let address = url.strip_prefix("https://").unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        builder = builder.resolve(host, SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    }
    ClientOptions { transport: Some(Transport::new(Arc::new(builder.build().unwrap()))), ..Default::default() }
}
