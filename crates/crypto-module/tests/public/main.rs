//! The module through its public face.
#![cfg(test)]

mod encryption;
mod formats;
mod import;
mod sealing;
mod signatures;
mod support;
mod vectors;
