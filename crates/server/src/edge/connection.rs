//! One connection from its first byte to its last.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::Place;
use super::answer::respond;
use super::lines::{Counted, Line, watch_interval};
use super::{Application, Shared};

/// First byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// How long a connection that was asked to end may take for closing words once nothing is in work.
const PARTING: Duration = Duration::from_secs(2);

/// Sees a connection through, whatever the other side does.
pub(super) async fn attend<A: Application>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    open: Counted,
    shared: Arc<Shared<A>>,
) {
    let line = Arc::clone(&place.line);
    let tls = tokio::select! {
        biased;
        tls = tokio::time::timeout(shared.limits.handshake_timeout, shake_hands(stream, &place, &shared)) => tls,
        () = line.asked_to_end() => return,
    };
    match tls {
        Ok(Some(tls)) => converse(tls, peer, &line, &shared).await,
        Ok(None) | Err(_) => tracing::debug!(%peer, "no TLS handshake"),
    }
    drop((place, open));
}

/// The TLS handshake. `None` when the other side does not speak TLS that we accept; it is told so as far as TLS can.
async fn shake_hands<A>(mut stream: TcpStream, place: &Place, shared: &Shared<A>) -> Option<TlsStream<TcpStream>> {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        part(&mut stream).await;
        return None;
    }
    let mut acceptor = pin!(LazyConfigAcceptor::new(Acceptor::default(), stream));
    let hello = match acceptor.as_mut().await {
        Ok(hello) => hello,
        Err(_) => {
            if let Some(mut stream) = acceptor.take_io() {
                part(&mut stream).await;
            }
            return None;
        }
    };
    let tls = {
        // For the arithmetic alone, so that who never finishes keeps nobody waiting; held while others get their turn of
        // this thread, so that not all that one source sends is in front of them.
        let _turn = place.handshakes.acquire().await.ok()?;
        tokio::task::yield_now().await;
        hello.into_stream(Arc::clone(&shared.tls))
    };
    match tls.into_fallible().await {
        Ok(tls) => Some(tls),
        Err((_, mut stream)) => {
            part(&mut stream).await;
            None
        }
    }
}

/// Closes so that the other side reads an end and no reset: no more words of ours, and theirs are read away.
async fn part(stream: &mut TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        for _ in 0..16 {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Whoever is not interested in a clean end does not get one.
    let _ = tokio::time::timeout(PARTING, farewell).await;
}

/// HTTP/2 where both agreed on it, HTTP/1.1 otherwise.
async fn converse<A: Application>(
    tls: TlsStream<TcpStream>,
    peer: SocketAddr,
    line: &Arc<Line>,
    shared: &Arc<Shared<A>>,
) {
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request| respond(request, peer, Arc::clone(line), Arc::clone(shared)));
    let io = TokioIo::new(Watched { tls, line: (!http2).then(|| Arc::clone(line)) });
    if http2 {
        let mut connection = pin!(shared.http2.serve_connection(io, service));
        watch(connection.as_mut(), |connection| connection.graceful_shutdown(), line, shared).await;
    } else {
        let mut connection = pin!(shared.http1.serve_connection(io, service));
        watch(connection.as_mut(), |connection| connection.graceful_shutdown(), line, shared).await;
    }
}

/// Drives `connection` until it ends, is asked to end, or has used up its time.
async fn watch<C, A>(mut connection: Pin<&mut C>, wind_down: impl Fn(Pin<&mut C>), line: &Line, shared: &Shared<A>)
where
    C: Future<Output = hyper::Result<()>>,
{
    let interval = watch_interval(&shared.limits);
    let mut tick = pin!(tokio::time::sleep(interval));
    loop {
        tokio::select! {
            biased;
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = line.asked_to_end() => break,
            () = tick.as_mut() => {
                if line.is_overdue(&shared.limits) {
                    break;
                }
                tick.as_mut().reset(tokio::time::Instant::now() + interval);
            }
        }
    }
    wind_down(connection.as_mut());
    // What the application has in its hands is waited for (the whole server's stop has its own bound).
    loop {
        match tokio::time::timeout(PARTING, connection.as_mut()).await {
            Ok(_) => return,
            Err(_) if line.is_sheddable() => return,
            Err(_) => {}
        }
    }
}

/// A stream that tells its [`Line`] when bytes arrive.
struct Watched {
    tls: TlsStream<TcpStream>,
    /// None on HTTP/2, where bytes between requests mean nothing.
    line: Option<Arc<Line>>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tls).poll_read(cx, buf))?;
        if let Some(line) = &self.line
            && buf.filled().len() > before
        {
            line.bytes_arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
