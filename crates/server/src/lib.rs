//! HTTP, TLS, configuration, issuers; the composition root.

pub mod config;
pub mod data_folder;
pub mod dev;
pub mod edge;
mod files;
pub mod issuer;
pub mod jwks;
pub mod local_socket;
pub mod logging;
pub mod status;
pub mod tls;
