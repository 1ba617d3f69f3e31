//! HTTP, TLS, configuration, issuers; the composition root.

pub mod edge;
mod files;
pub mod tls;
