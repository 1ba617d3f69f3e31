//! Azure's JSON, URLs, api-versions and error body, and the table from method and path to [`model::Operation`].
//!
//! Everything here is a function of its arguments: no socket, no clock, no HTTP library. `server` reads requests and
//! writes answers with it, `cli` does the opposite with the same shapes.
//!
//! # Terms
//!
//! A [`Route`](routes::Route) is a request line understood: the [`Call`](routes::Call) it makes, names already parsed,
//! and the [`ApiVersion`](versions::ApiVersion) it was made in. A request body is parsed by the type that is named after
//! it, straight into types of `model`, or refused with a [`BodyError`](body::BodyError). An answer is a function from
//! borrowed parts and the [`BaseUrl`](urls::BaseUrl) that the client used to the bytes of a JSON text.
//!
//! The published interface has a document per part, and so has this crate: [`keys`], [`rbac`], [`settings`].
//!
//! # Example
//!
//! ```
//! use wire::keys::SignInput;
//! use wire::routes::{self, Call};
//!
//! let route = routes::parse("POST", "/keys/orders//sign", Some("api-version=7.5"), None)?;
//! assert!(matches!(route.call, Call::Sign(key) if key.name.as_str() == "orders" && key.version.is_none()));
//!
//! let input = SignInput::parse(br#"{"alg":"ES256","value":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}"#)?;
//! assert_eq!(input.algorithm, Some(model::SignatureAlgorithm::Es256));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it never does
//!
//! It answers in one shape whatever the api-version. It puts nothing of a request's secrets into an error or a `Debug`
//! text: an error names the member and the rule, not the value. Unknown members and unknown query items are ignored, as
//! the real service does; whatever is known must be right.

pub mod base64url;
pub mod body;
pub mod challenge;
pub mod errors;
pub mod headers;
pub mod keys;
pub mod paging;
pub mod rbac;
pub mod routes;
pub mod settings;
pub mod urls;
pub mod versions;

/// Feeds foreign bytes to every parser of this crate and tells nothing about the outcome: what a fuzzer calls. It must
/// return for all bytes.
///
/// The first line is taken as a request line (method, path, query; the method also as what a POST is to be instead),
/// everything also as each kind of body.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.lines().next().unwrap_or_default().splitn(3, ' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = words.next();
    let _ = routes::parse(method, path, query, None);
    let _ = routes::parse("POST", path, query, Some(method));
    let _ = routes::parse("GET", "/keys", Some(&text), None);
    let _ = urls::BaseUrl::parse(&text);
    let _ = urls::KeyUrl::parse(&text);
    keys::fuzz(bytes);
    rbac::fuzz(bytes);
    let _ = settings::parse_value(bytes);
    let _ = errors::ErrorReply::parse(bytes);
}
