//! The owner's socket: one request line, one answer line, both JSON, over a Unix socket that only the user who runs
//! the server (and root) may use.
//!
//! What is asked here never goes over the network: the status document, and in `dev` the clock.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The longest request line, in bytes.
const MAX_REQUEST: u64 = 4096;
/// The longest answer line, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// The status document.
    Status,
    /// What time the pools have, and how far it is ahead. `dev` only.
    ClockShow,
    /// Moves the pools' time forward. `dev` only.
    ClockAdvance {
        /// `P90D` (ISO 8601) or `90d`.
        by: String,
    },
}

impl Request {
    /// Reads a request line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// What answers. It must not block for long.
pub type Handler = Arc<dyn Fn(Request) -> Result<Value, String> + Send + Sync>;

/// An open socket, removed from the file system when dropped.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Opens the socket at `path`, mode 0600. A socket left there by a process that is gone is replaced.
    ///
    /// The caller must hold what makes it the only one (the data folder's lock), and the folder should be closed to others.
    ///
    /// # Errors
    /// The system's; also if something that is no socket lies there.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers for as long as it is polled.
    pub async fn serve(self, handler: Handler) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    tokio::spawn(tokio::time::timeout(TIMEOUT, async move {
                        if let Err(error) = converse(stream, &handler).await {
                            tracing::debug!(%error, "local socket");
                        }
                    }));
                }
                Err(error) => {
                    tracing::error!(%error, "local socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // Replaced at the next start otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(mut stream: UnixStream, handler: &Handler) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut line = String::new();
    tokio::io::BufReader::new((&mut stream).take(MAX_REQUEST)).read_line(&mut line).await?;
    let answer = match Request::parse(&line) {
        Some(request) => match handler(request) {
            Ok(value) => Answer::Ok(value),
            Err(message) => Answer::Error(message),
        },
        None => Answer::Error("the running server does not know this request".to_owned()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

/// Why a running server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there, or it is not ours to ask.
    #[error("no server answers at {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered with something else than an answer.
    #[error("the server's answer cannot be read")]
    Garbled,
    /// It refused, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Asks the server whose socket is at `path`. Blocks for at most some seconds.
///
/// # Errors
/// [`AskError`].
pub fn ask(path: &Path, request: &Request) -> Result<Value, AskError> {
    let unreachable = |source| AskError::Unreachable { path: path.to_owned(), source };
    let line = serde_json::to_string(request).map_err(|_| AskError::Garbled)? + "\n";
    let exchange = || {
        let mut stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
        Ok(answer)
    };
    match serde_json::from_str(&exchange().map_err(unreachable)?) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::Error(message)) => Err(AskError::Refused(message)),
        Err(_) => Err(AskError::Garbled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler() -> Handler {
        Arc::new(|request| match request {
            Request::Status => Ok(Value::from("fine")),
            _ => Err("no clock here".to_owned()),
        })
    }

    async fn asked(path: &Path, request: Request) -> Result<Value, AskError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || ask(&path, &request)).await.unwrap()
    }

    #[tokio::test]
    async fn questions_are_answered_and_refusals_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = LocalSocket::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let serving = tokio::spawn(socket.serve(handler()));
        assert_eq!(asked(&path, Request::Status).await.unwrap(), "fine");
        let refused = asked(&path, Request::ClockShow).await.expect_err("there is no clock");
        assert_eq!(refused.to_string(), "no clock here");
        serving.abort();
        assert!(serving.await.is_err());
        assert!(matches!(asked(&path, Request::Status).await, Err(AskError::Unreachable { .. })));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(LocalSocket::open(&path).unwrap());
        std::fs::write(&path, "mine").unwrap();
        assert!(LocalSocket::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn nonsense_and_endless_lines_are_answered_with_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        tokio::spawn(LocalSocket::open(&path).unwrap().serve(handler()));
        for line in [b"{}\n".to_vec(), b"\xff\n".to_vec(), vec![b'x'; 4096]] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(&line).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(!answer.contains("ok"), "{answer}");
        }
        assert_eq!(asked(&path, Request::Status).await.unwrap(), "fine");
    }
}
