//! The client's side of one keep-alive connection: HTTP/1.1 by hand, because only the server shall be measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest answer that is understood.
const LONGEST: usize = 16 << 10;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The name in the certificate.
    pub(crate) name: ServerName<'static>,
    pub(crate) tls: Arc<ClientConfig>,
}

/// An open connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(&target.tls)).connect(target.name.clone(), stream).await?;
        Ok(Self { stream, answer: vec![0; LONGEST] })
    }

    /// Sends a whole request and reads the whole answer, which must be 200. Returns the length of its body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.answer[read..]).await?;
            if more == 0 {
                bail!("the connection ended, or the answer is too long: {}", self.begin(read));
            }
            read += more;
            let Some((head, body)) = lengths(&self.answer[..read]) else { continue };
            if read >= head + body {
                if !self.answer.starts_with(b"HTTP/1.1 200 ") {
                    bail!("not 200: {}", self.begin(read));
                }
                return Ok(body);
            }
        }
    }

    fn begin(&self, read: usize) -> String {
        String::from_utf8_lossy(&self.answer[..read.min(1500)]).into_owned()
    }
}

/// The lengths of head and body, once the head is complete.
fn lengths(answer: &[u8]) -> Option<(usize, usize)> {
    const NAME: &[u8] = b"content-length:";
    let mut start = 0;
    let mut body = 0;
    loop {
        let end = start + answer[start..].iter().position(|byte| *byte == b'\n')? + 1;
        let line = answer[start..end].trim_ascii();
        if line.is_empty() {
            return Some((end, body));
        }
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            body = std::str::from_utf8(line[NAME.len()..].trim_ascii()).ok()?.parse().ok()?;
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::lengths;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(lengths(head), Some((head.len(), 12)));
        assert_eq!(lengths(&head[..head.len() - 1]), None);
        assert_eq!(lengths(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((27, 0)));
    }
}
