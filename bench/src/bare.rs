//! The bare server: hyper and rustls as the product uses them, the same arithmetic, and nothing else.
//!
//! It reads a request, looks at nothing in it, does the arithmetic once with one key, and answers as many bytes as the
//! product does. No routes, tokens, roles, JSON, audit, limits or time-outs.

use std::convert::Infallible;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::UnixTime;
use server::tls::{DevelopmentCertificates, Named, server_config};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::arithmetic::{Arithmetic, Operation};

/// What to serve.
#[derive(Debug, Args)]
pub(crate) struct BareArguments {
    /// What each request asks for.
    #[arg(long, value_enum)]
    operation: Operation,
    /// Bytes of the body of each answer.
    #[arg(long)]
    answer: usize,
    /// The folder of the product's certificates.
    #[arg(long)]
    tls: PathBuf,
}

/// Serves until standard input ends, which it does with the process that started this one. Says its port first.
pub(crate) fn serve(arguments: &BareArguments) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        // Nothing is ever sent: this returns at the end.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let now = UnixTime(jiff::Timestamp::now().as_second());
    let certificates = DevelopmentCertificates::open(&arguments.tls, &Named { domain: "localhost".to_owned() }, now)?;
    let acceptor = TlsAcceptor::from(server_config(certificates.certificate)?);
    let arithmetic = Arc::new(Arithmetic::new(arguments.operation)?);
    let answer = Bytes::from(vec![b'x'; arguments.answer]);
    // As the product's: one worker a core, and there is one core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(attend(stream, acceptor.clone(), Arc::clone(&arithmetic), answer.clone()));
        }
    })
}

async fn attend(stream: TcpStream, acceptor: TlsAcceptor, arithmetic: Arc<Arithmetic>, answer: Bytes) {
    let _ = stream.set_nodelay(true);
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let respond = |request: Request<Incoming>| {
        let (arithmetic, answer) = (Arc::clone(&arithmetic), answer.clone());
        async move {
            let read = request.into_body().collect().await.is_ok();
            let done = read && arithmetic.once().is_ok();
            let mut response = Response::new(Full::new(answer));
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, json);
            if !done {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok::<_, Infallible>(response)
        }
    };
    let mut http1 = hyper::server::conn::http1::Builder::new();
    http1.header_read_timeout(None);
    // A connection that breaks is the load's affair, which then says so.
    let _ = http1.serve_connection(TokioIo::new(tls), service_fn(respond)).await;
}
