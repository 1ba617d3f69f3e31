//! From a bearer token, the keys its issuer is known to have, and the time, to a [`model::Caller`].
//!
//! This crate verifies and fetches nothing: `server` keeps the key sets fresh and hands them in, `cli` reads them from
//! a file. There is no clock in here either; `now` is an argument.
//!
//! # Terms
//!
//! An [`Issuer`] is one party that may vouch for callers: the `iss` values it writes, the tenants it may speak for, and
//! its [`KeySet`]. [`Issuers`] are all of them. An [`Audience`] is the resource a token must have been asked for. A
//! [`Verifier`] is issuers and audience together; it turns a token into a caller or a [`TokenError`] that says what the
//! reader can do next.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use identity::{Audience, Issuer, Issuers, KeySet, TokenError, Verifier};
//! use model::UnixTime;
//!
//! let keys = KeySet::parse_jwks(br#"{"keys":[]}"#)?;
//! let issuer = Issuer::new(
//!     ["https://login.example.net/9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11/v2.0"],
//!     ["9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11"],
//!     keys,
//! );
//! let issuers = Arc::new(Issuers::new(vec![issuer])?);
//! let verifier = Verifier::new(issuers, Audience::resources(["https://managedhsm.example.net"]));
//! assert_eq!(verifier.verify("not a token", UnixTime(1_800_000_000)), Err(TokenError::Malformed("parts")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it never does
//!
//! It takes no key, address or algorithm from a token: `jwk`, `jku`, `x5u` and `x5c` are not even read,
//! `_claim_sources` is not followed, and the algorithm must be one that the known key is for. It puts nothing of a
//! token into an error but the issuer and the key id, both bounded and printable.
//!
//! Source: RFC 7515, 7517, 7518 §3, 7519, 8725; facts in "Authentication" of the Managed HSM interface.

mod claims;
mod issuers;
mod jwks;
mod token;
mod verify;

pub use issuers::{AmbiguousIssuer, Audience, Issuer, Issuers};
pub use jwks::{Key, KeySet, KeySetError, MAX_JWKS_BYTES, MAX_KEYS};
pub use token::MAX_TOKEN_BYTES;
pub use verify::{LEEWAY_SECONDS, SignedBy, TokenError, Verifier, has_expired};

/// Feeds foreign bytes to every parser of this crate, past the signature check too, and tells nothing about the
/// outcome: what a fuzzer calls. It must return for all bytes.
pub fn fuzz(bytes: &[u8]) {
    let keys = KeySet::parse_jwks(bytes).unwrap_or_default();
    verify::fuzz(bytes, keys);
}
