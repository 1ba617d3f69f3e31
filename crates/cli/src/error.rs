//! What can go wrong, named by what the reader can do next.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fmt, io};

use audit::VerifyError;
use wire::errors::codes;

use crate::text::printable;

/// Why a command did not do what it was asked.
///
/// No variant carries a secret: those that come from texts with secrets in them name the place, not the text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for something that cannot be; write it differently.
    #[error("{0}")]
    Usage(String),
    /// The address, the client or the authority is missing or wrong; set it.
    #[error("{0}")]
    Configuration(String),
    /// A file or stream cannot be read or written.
    #[error("{place}")]
    File {
        /// Which.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file with a secret in it that others can read; take their rights away.
    #[error("{} can be read or changed by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What was given as input is not what the command takes.
    #[error("{0}")]
    Input(String),
    /// The pool's 401 does not say what a client may trust; nothing was sent to anyone because of it.
    #[error("{0}")]
    Challenge(String),
    /// The authority gave no token.
    #[error("the authority gave no token ({status}): {message}")]
    Token {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// No answer came.
    #[error("no answer from {host}")]
    Network {
        /// Whom we asked.
        host: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The pool refused.
    #[error("{}: {message}", standing(*status))]
    Service {
        /// The HTTP status.
        status: u16,
        /// Azure's code, the inner one where there is one.
        code: String,
        /// What it said.
        message: String,
    },
    /// The answer is not one that a pool gives.
    #[error("the answer of the pool cannot be used: {0}")]
    Answer(String),
    /// The log is not what was signed, or there is none.
    #[error("{}", folder.display())]
    Audit {
        /// Its folder.
        folder: PathBuf,
        /// What was found.
        source: VerifyError,
    },
}

impl Error {
    /// The word after `error:`, by which scripts tell errors apart.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "Usage",
            Self::Configuration(_) => "Configuration",
            Self::File { .. } => "File",
            Self::Exposed { .. } => "FileExposed",
            Self::Input(_) => "Input",
            Self::Challenge(_) => "Challenge",
            Self::Token { .. } => "Token",
            Self::Network { .. } => "Network",
            Self::Service { code, .. } => code,
            Self::Answer(_) => "Answer",
            Self::Audit { .. } => "Audit",
        }
    }

    /// The exit code: 2 where the command line is to blame, else 1.
    pub(crate) fn exit(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }

    /// The one line for standard error, causes included.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("error: {}: {self}", self.code());
        let mut cause = self.source();
        while let Some(next) = cause {
            // Writing to a string cannot fail.
            let _ = write!(line, ": {next}");
            cause = next.source();
        }
        if line.contains("UnknownIssuer") {
            line.push_str("; give the authority that signed its certificate with --ca-file");
        }
        printable(&line)
    }

    pub(crate) fn file(place: impl fmt::Display, source: io::Error) -> Self {
        Self::File { place: place.to_string(), source }
    }
}

/// What a status means for the one who asked.
fn standing(status: u16) -> String {
    match status {
        401 => "the pool does not accept this caller (401)".to_owned(),
        403 => "not allowed (403)".to_owned(),
        404 => "not found (404)".to_owned(),
        409 => "something stands in the way (409)".to_owned(),
        429 | 503 => format!("not now, try again later ({status})"),
        _ => format!("refused ({status})"),
    }
}

/// The code that stands in for a missing one.
pub(crate) fn code_of(status: u16) -> &'static str {
    match status {
        401 => codes::UNAUTHORIZED,
        403 => codes::FORBIDDEN,
        404 => codes::NOT_FOUND,
        405 => codes::METHOD_NOT_ALLOWED,
        409 => codes::CONFLICT,
        413 => codes::REQUEST_TOO_LARGE,
        429 => codes::THROTTLED,
        503 => codes::SERVICE_UNAVAILABLE,
        500.. => codes::INTERNAL_SERVER_ERROR,
        _ => codes::BAD_PARAMETER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_caller_missing_right_and_missing_key_read_differently() {
        let line = |status| {
            let code = code_of(status).to_owned();
            Error::Service { status, code, message: "m".to_owned() }.line()
        };
        assert_eq!(line(401), "error: Unauthorized: the pool does not accept this caller (401): m");
        assert_eq!(line(403), "error: Forbidden: not allowed (403): m");
        assert_eq!(line(404), "error: NotFound: not found (404): m");
    }

    #[test]
    fn an_error_is_one_line_whatever_the_pool_said() {
        let message = "a\nb\u{1b}[31m\u{9b}c".to_owned();
        let line = Error::Service { status: 400, code: "X".to_owned(), message }.line();
        assert_eq!(line, "error: X: refused (400): a\\nb\\u{1b}[31m\\u{9b}c");
    }

    #[test]
    fn causes_are_told() {
        let error = Error::file("key.pem", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!((error.line().as_str(), error.exit()), ("error: File: key.pem: entity not found", 1));
        assert_eq!(Error::Usage(String::new()).exit(), 2);
    }
}
