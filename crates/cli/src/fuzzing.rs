//! The parsers of this crate, past their own doors: what fuzzers call. Each tells nothing about the outcome, and must
//! return for all bytes.

use crate::{configuration, connection, keys, text};

/// Key files: PEM, and JSON Web Keys.
pub fn key_files(bytes: &[u8]) {
    keys::fuzz(bytes);
}

/// Environment file and configuration file.
pub fn settings_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    configuration::fuzz(&text);
}

/// What a pool and an authority answer: challenge, refusal, token, the link to the next page; and what is shown of it.
pub fn answers(bytes: &[u8]) {
    connection::fuzz(bytes);
    let answered = String::from_utf8_lossy(bytes);
    for shown in [text::printable(&answered), text::printable_json(&answered).replace('\n', "")] {
        assert!(!shown.contains(char::is_control), "a terminal must not obey a pool");
    }
}
