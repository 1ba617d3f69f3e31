//! The module through its public face.
#![cfg(test)]
#![expect(clippy::unwrap_used, reason = "helpers of tests are not marked as tests")]

mod signatures;
mod support;
