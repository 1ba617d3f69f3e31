//! HTTP, TLS, configuration, issuers; the composition root.
//!
//! The way in is [`serve::serve`] (one node from a configuration file) or [`dev::dev`] (the same node with everything
//! ready-made). Both open their sockets first, take the data folder, let [`compose`] build store, module, audit logs,
//! pools and data planes into one [`hosts::Hosts`], and hand that to the [`edge`].
//!
//! # Example
//!
//! ```no_run
//! # async fn run() -> Result<(), server::StartError> {
//! server::serve::serve(std::path::Path::new("/etc/strongroom/strongroom.toml")).await
//! # }
//! ```
//!
//! # What it never does
//!
//! It holds no pool key and decides no right: the one is `crypto-module`'s, the other `pool`'s. It writes no token,
//! no secret and no request body to the log.

pub mod audit_keys;
pub mod compose;
pub mod config;
pub mod data_folder;
pub mod data_plane;
pub mod dev;
pub mod edge;
mod files;
pub mod fuzzing;
pub mod hosts;
pub mod issuer;
pub mod jwks;
pub mod local_socket;
pub mod logging;
pub mod serve;
mod start;
pub mod status;
pub mod tls;
mod watch;

pub use start::StartError;
