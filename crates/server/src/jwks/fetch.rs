//! From an issuer's metadata to its keys.

use identity::{KeySet, KeySetError, MAX_JWKS_BYTES};
use serde::Deserialize;
use url::Url;

use super::outgoing::{Outgoing, OutgoingError};

/// The longest metadata document that is read. Published ones have 2 to 8 KiB.
const MAX_METADATA_BYTES: usize = 64 * 1024;

/// Why an issuer's keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The metadata document could not be had.
    #[error("the issuer's metadata cannot be fetched")]
    Metadata(#[source] OutgoingError),
    /// The metadata document has no text members `issuer` and `jwks_uri`, the latter an absolute address.
    #[error("the issuer's metadata is malformed")]
    Malformed,
    /// The document speaks of an issuer that is not configured here: correct the names or the address.
    #[error("the metadata is that of another issuer")]
    OtherIssuer,
    /// The key set could not be had. Its host may be another than the issuer's, and then has to be allowed by itself.
    #[error("the issuer's key set cannot be fetched")]
    Keys(#[source] OutgoingError),
    /// The key set was had and is none.
    #[error("the issuer's key set cannot be used")]
    KeySet(#[from] KeySetError),
}

/// Where an issuer publishes its metadata: below the issuer's own address.
///
/// Returns `None` if the issuer is not an absolute address.
///
/// Source: OpenID Connect Discovery 1.0 §4.
#[must_use]
pub fn metadata_address(issuer: &str) -> Option<Url> {
    Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).ok()
}

/// Fetches metadata and key set of the issuer that writes one of `names`.
pub(super) async fn key_set(outgoing: &Outgoing, metadata: &Url, names: &[String]) -> Result<KeySet, FetchError> {
    let document = outgoing.get(metadata, MAX_METADATA_BYTES).await.map_err(FetchError::Metadata)?;
    let keys = keys_address(&document, names)?;
    let keys = outgoing.get(&keys, MAX_JWKS_BYTES).await.map_err(FetchError::Keys)?;
    Ok(KeySet::parse_jwks(&keys)?)
}

/// Where the metadata document says that the keys are, if it is that of an issuer that writes one of `names`.
pub(super) fn keys_address(document: &[u8], names: &[String]) -> Result<Url, FetchError> {
    let document: Metadata = serde_json::from_slice(document).map_err(|_| FetchError::Malformed)?;
    if !names.contains(&document.issuer) {
        return Err(FetchError::OtherIssuer);
    }
    Url::parse(&document.jwks_uri).map_err(|_| FetchError::Malformed)
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}
