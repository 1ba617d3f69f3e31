//! The parsers of this crate, past their own doors: what fuzzers call. Each tells nothing about the outcome, and must
//! return for all bytes.

use crate::local_socket::Request;
use crate::{data_folder, dev, hosts, issuer, jwks, tls};

/// The header `Host`.
pub fn host(bytes: &[u8]) {
    hosts::fuzz(&String::from_utf8_lossy(bytes));
}

/// What anybody may send to the built-in issuer: the first line is the `Authorization` header (none if it is empty), the
/// rest the form.
pub fn token_request(bytes: &[u8]) {
    issuer::fuzz_request(bytes);
}

/// What an issuer that is trusted answers when it is asked for its metadata, and for its keys.
pub fn issuer_documents(bytes: &[u8]) {
    jwks::fuzz(bytes);
}

/// A line on the owner's socket, and the span of time in it.
pub fn owner_request(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes);
    let by = match Request::parse(&line) {
        Some(Request::ClockAdvance { by }) => by,
        _ => line.into_owned(),
    };
    let (now, ahead) = (1_800_000_000_000, 1);
    if let Ok(further) = dev::clock::further(now, ahead, &by) {
        assert!(further > ahead, "time never goes back");
    }
}

/// Certificates, bundles of them and their keys, in PEM or DER.
pub fn certificates(bytes: &[u8]) {
    tls::fuzz(bytes);
}

/// The small files in a node's folder: accounts and signing key of the issuer, the clock of `dev`, the folder's version.
pub fn node_files(bytes: &[u8]) {
    issuer::fuzz_files(bytes);
    let _ = dev::clock::parse(bytes);
    let _ = data_folder::other_version(bytes);
}
