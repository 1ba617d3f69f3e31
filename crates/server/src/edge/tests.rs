//! The edge over real TLS sockets, with a small application behind it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use model::UnixTime;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::{Certificate, CertificateFiles, DevelopmentCertificates, Named, server_config};
use crate::watch::{Watched, Watcher};

/// Echoes, waits, panics: by path.
#[derive(Default)]
struct Toy {
    finished: AtomicUsize,
    go_on: Notify,
}

impl Application for Toy {
    async fn answer(&self, request: Inbound) -> Outbound {
        match request.uri.path() {
            "/panic" => panic!("as asked"),
            "/wait" => {
                self.go_on.notified().await;
                self.finished.fetch_add(1, Ordering::SeqCst);
                http::Response::new(Bytes::from_static(b"waited"))
            }
            "/host" => http::Response::new(Bytes::from(request.host.unwrap_or_default())),
            _ => http::Response::new(request.body),
        }
    }

    async fn refuse(&self, _request: Inbound, refusal: Refusal) -> Outbound {
        refusal.answer()
    }

    fn must_finish(&self, method: &Method, _path: &str) -> bool {
        method != Method::GET
    }
}

struct Running {
    address: SocketAddr,
    ca: CertificateDer<'static>,
    certificate: Arc<Certificate>,
    watched: Option<Watched>,
    folder: tempfile::TempDir,
    toy: Arc<Toy>,
    traffic: Arc<Traffic>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

fn certificates(folder: &std::path::Path) -> DevelopmentCertificates {
    crate::tls::install_provider();
    let now = UnixTime(jiff::Timestamp::now().as_second());
    DevelopmentCertificates::open(folder, &Named { domain: "localhost".to_owned() }, now).unwrap()
}

async fn start(limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let made = certificates(folder.path());
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (toy, traffic) = (Arc::new(Toy::default()), Arc::new(Traffic::default()));
    let (stop, stopped) = oneshot::channel::<()>();
    let [certificate, key] = ["server.pem", "server-key.pem"].map(|name| folder.path().join(name));
    let (certificate, watched) = CertificateFiles { certificate, key }.open().unwrap();
    let tls = server_config(Arc::clone(&certificate)).unwrap();
    let served = tokio::spawn(serve(vec![listener], tls, limits, Arc::clone(&toy), Arc::clone(&traffic), async {
        let _ = stopped.await;
    }));
    Running { address, ca: made.ca, certificate, watched: Some(watched), folder, toy, traffic, stop, served }
}

impl Running {
    fn client(&self, alpn: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn connect_with(&self, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        connector.connect(ServerName::try_from("dev.managedhsm.localhost").unwrap(), tcp).await
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(&self.client(&[b"http/1.1"])).await.unwrap()
    }

    /// Sends `request` on a connection of its own and reads until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// What comes until the end, be it clean or a reset.
async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut part)).await.unwrap() {
        all.extend_from_slice(&part[..n]);
    }
    String::from_utf8(all).unwrap()
}

/// One answer with a `content-length` body, on a connection that stays open.
async fn read_answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        all.push(byte[0]);
        if all.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(all).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn quick() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        handshake_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_body_comes_whole_and_the_connection_is_kept() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    for body in ["one", "two"] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with(body));
    }
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        .await
        .unwrap();
    assert!(read_answer(&mut stream).await.ends_with("abcde"));
}

#[tokio::test]
async fn the_host_is_lower_case_with_its_port() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /host HTTP/1.1\r\nHost: Dev.ManagedHSM.localhost:8443\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut stream).await.ends_with("dev.managedhsm.localhost:8443"));
}

#[tokio::test]
async fn no_host_and_two_hosts_are_refused() {
    let edge = start(Limits::default()).await;
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = edge.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("BadParameter"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_of_the_maximum_size_passes_and_one_more_byte_does_not() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n".to_vec();
    request.resize(request.len() + 1_048_576, b'x');
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let (_, got) = tokio::join!(async { writer.write_all(&request).await.unwrap() }, async {
        let mut all = vec![0; 1_048_576];
        reader.read_exact(&mut all).await.unwrap();
        all
    });
    assert!(got.starts_with(b"HTTP/1.1 200"));

    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n".to_vec();
    request.resize(request.len() + 1_048_577, b'x');
    let answer = edge.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(r#""code":"RequestEntityTooLarge""#) && answer.contains("(Activity ID: "), "{answer}");
    for (name, value) in wire::headers::ALWAYS {
        assert!(answer.contains(&format!("{name}: {value}\r\n")), "{name} is missing: {answer}");
    }
}

#[tokio::test]
async fn a_chunked_body_without_end_is_refused_at_the_limit() {
    let edge = start(Limits { body_bytes: 10_000, ..Limits::default() }).await;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        request.extend_from_slice(b"3e8\r\n");
        request.resize(request.len() + 1000, b'x');
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = edge.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_answered_408_and_closed() {
    let edge = start(quick()).await;
    let answer = edge.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let edge = start(quick()).await;
    let mut slow = edge.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(read_to_end(&mut slow).await, "");
    let mut idle = edge.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_long_answer_is_not_cut_by_the_idle_time_out() {
    let edge = start(quick()).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    edge.toy.go_on.notify_one();
    assert!(read_answer(&mut stream).await.ends_with("waited"));
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    edge.toy.go_on.notify_one();
    assert!(read_to_end(&mut stream).await.ends_with("waited"));
}

#[tokio::test]
async fn work_that_must_finish_outlives_its_client() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    until(|| edge.traffic.requests() == 1).await;
    drop(stream);
    until(|| edge.traffic.connections() == 0 || edge.traffic.requests() == 1).await;
    edge.toy.go_on.notify_one();
    until(|| edge.toy.finished.load(Ordering::SeqCst) == 1).await;
    until(|| edge.traffic.requests() == 0).await;
}

#[tokio::test]
async fn a_panic_answers_500_and_the_server_goes_on() {
    let edge = start(Limits::default()).await;
    let mut stream = edge.connect().await;
    for method in ["GET", "POST"] {
        let request = format!("{method} /panic HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("http/1.1 500"), "{answer}");
        assert!(answer.contains(r#""code":"InternalServerError""#) && !answer.contains("as asked"), "{answer}");
    }
    stream.write_all(b"GET /host HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("http/1.1 200"));
    assert_eq!(edge.traffic.requests(), 0);
}

#[tokio::test]
async fn malformed_requests_are_refused_and_end_only_their_connection() {
    let edge = start(Limits::default()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(60_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (request, status) in [
        ("NONSENSE\r\n\r\n", "400"),
        ("GET / HTTP/7.0\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"),
        (long.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        let answer = edge.exchange(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{:.60}: {answer}", request);
    }
    assert!(edge.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn nothing_is_read_after_a_request_with_both_a_length_and_chunks() {
    let edge = start(Limits::default()).await;
    for fields in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        let answer = edge.exchange(format!("{request}GET /host HTTP/1.1\r\nHost: smuggled\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("smuggled"), "{fields}: {answer}");
    }
}

#[tokio::test]
async fn http2_is_served_with_many_streams_on_one_connection() {
    let edge = start(Limits::default()).await;
    let stream = edge.connect_with(&edge.client(&[b"h2"])).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let calls = (0..50).map(|n| {
        let mut sender = sender.clone();
        async move {
            let body = format!("body {n}");
            let request = http::Request::post("https://dev.managedhsm.localhost:1/x").body(Full::from(body.clone()));
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
        }
    });
    futures_util::future::join_all(calls).await;
    let request = http::Request::get("https://Dev.managedhsm.localhost:1/host").body(Full::from(String::new()));
    let host = sender.send_request(request.unwrap()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(host, "dev.managedhsm.localhost:1");
    let big = http::Request::post("https://a/").body(Full::from("x".repeat(1_048_577)));
    assert_eq!(sender.send_request(big.unwrap()).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn handshakes_that_are_never_finished_hinder_nobody() {
    let edge = start(Limits::default()).await;
    let config = edge.client(&[b"h2"]).config().clone();
    let name = ServerName::try_from("dev.managedhsm.localhost").unwrap();
    let mut stalled = Vec::new();
    for _ in 0..600 {
        let mut hello = Vec::new();
        rustls::ClientConnection::new(Arc::clone(&config), name.clone()).unwrap().write_tls(&mut hello).unwrap();
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        stalled.push(stream);
    }
    until(|| edge.traffic.connections() == 600).await;
    tokio::time::timeout(Duration::from_secs(5), edge.connect()).await.expect("there is room for another");
}

#[tokio::test]
async fn bodies_of_one_source_have_their_bound_and_small_ones_pass_again_later() {
    let edge = start(Limits { body_bytes: 4096, ..Limits::default() }).await;
    let stream = edge.connect_with(&edge.client(&[b"h2"])).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Unfinished>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut waiting = Vec::new();
    for _ in 0..70 {
        let (body, end) = Unfinished::of(vec![b'x'; 4000]);
        let answer = sender.send_request(http::Request::post("https://a/").body(body).unwrap());
        waiting.push((tokio::spawn(answer), end));
    }
    until(|| waiting.iter().any(|(answer, _)| answer.is_finished())).await;
    let mut refused = 0;
    for (answer, end) in waiting {
        drop(end);
        let answer = answer.await.unwrap().unwrap();
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.headers()["retry-after"], "1");
            refused += 1;
        }
    }
    assert!((5..60).contains(&refused), "{refused} refused");
    let (body, end) = Unfinished::of(vec![b'x'; 4000]);
    drop(end);
    let request = http::Request::post("https://a/").body(body).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
}

/// A body that ends when its end is dropped.
struct Unfinished(Option<Bytes>, oneshot::Receiver<()>);

impl Unfinished {
    fn of(bytes: Vec<u8>) -> (Self, oneshot::Sender<()>) {
        let (end, ended) = oneshot::channel();
        (Self(Some(bytes.into()), ended), end)
    }
}

impl hyper::body::Body for Unfinished {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(bytes)))),
            None => std::pin::Pin::new(&mut self.1).poll(cx).map(|_| None),
        }
    }
}

#[tokio::test]
async fn a_connection_whose_request_was_given_up_is_idle_like_any_other() {
    let edge = start(quick()).await;
    let stream = edge.connect_with(&edge.client(&[b"h2"])).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a/wait").body(Full::default()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    until(|| edge.traffic.requests() == 1).await;
    answer.abort();
    until(|| edge.traffic.requests() == 0).await;
    until(|| edge.traffic.connections() == 0).await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_reads_a_clean_end() {
    let edge = start(Limits::default()).await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert!(all.is_empty());
}

#[tokio::test]
async fn a_silent_client_is_let_go_before_the_handshake() {
    let edge = start(quick()).await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let mut all = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all)).await.unwrap();
    until(|| edge.traffic.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_do_not_hinder_another() {
    raise_file_limit();
    let edge = start(Limits::default()).await;
    let connector = edge.client(&[b"http/1.1"]);
    let mut idle = Vec::new();
    while idle.len() < 2000 {
        let batch = (0..50).map(|_| edge.connect_with(&connector));
        for stream in futures_util::future::join_all(batch).await {
            idle.push(stream.unwrap());
        }
    }
    assert_eq!(edge.traffic.connections(), 2000);
    let begun = Instant::now();
    let answer = edge.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(idle);
    until(|| edge.traffic.connections() == 0).await;
}

#[tokio::test]
async fn beyond_the_cap_the_longest_idle_connection_makes_room() {
    let edge = start(Limits { connections_per_source: 2, ..Limits::default() }).await;
    let mut first = edge.connect().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut second = edge.connect().await;
    let mut third = edge.connect().await;
    assert_eq!(read_to_end(&mut first).await, "");
    for stream in [&mut second, &mut third] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(read_answer(stream).await.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn a_changed_certificate_is_served_and_no_connection_dropped() {
    let mut edge = start(Limits::default()).await;
    let watcher = Watcher::start(edge.watched.take().into_iter().collect());
    let mut before = edge.connect().await;
    for file in ["server.pem", "server-key.pem"] {
        std::fs::remove_file(edge.folder.path().join(file)).unwrap();
    }
    let renewed = certificates(edge.folder.path());
    watcher.hurry();
    until(|| edge.certificate.leaf() == renewed.certificate.leaf()).await;

    before.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut before).await.starts_with("http/1.1 200"));
    let after = edge.connect().await;
    assert_eq!(after.get_ref().1.peer_certificates().unwrap()[0].as_ref(), renewed.certificate.leaf());

    std::fs::write(edge.folder.path().join("server.pem"), "-----BEGIN").unwrap();
    watcher.hurry();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(edge.certificate.leaf(), renewed.certificate.leaf());
    edge.connect().await;
}

/// A connection from `local` on which a ClientHello was sent and nothing else. Gives the server no time to run.
fn greeted(edge: &Running, local: [u8; 4]) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((local, 0))).unwrap();
    connect(&socket, &edge.address).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    let mut roots = RootCertStore::empty();
    roots.add(edge.ca.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("dev.managedhsm.localhost").unwrap();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut stream).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

#[tokio::test]
async fn a_flood_of_handshakes_from_one_source_is_not_in_front_of_another() {
    raise_file_limit();
    let edge = start(Limits { handshakes_per_source: 2, ..Limits::default() }).await;
    let flood: Vec<_> = (0..300).map(|_| greeted(&edge, [127, 0, 0, 1])).collect();
    let other = greeted(&edge, [127, 0, 0, 2]);
    let answered = |stream: &std::net::TcpStream| stream.peek(&mut [0]).is_ok();
    while !answered(&other) {
        tokio::task::yield_now().await;
    }
    let before = flood.iter().filter(|stream| answered(stream)).count();
    assert!(before < 100, "{before} of the flood were answered first");
    until(|| flood.iter().all(answered)).await;
}

#[tokio::test]
async fn tls_sessions_are_resumed() {
    let edge = start(Limits::default()).await;
    let connector = edge.client(&[b"http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = edge.connect_with(&connector).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_answer(&mut stream).await;
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_takes_nothing_new() {
    let edge = start(Limits::default()).await;
    let mut busy = edge.connect().await;
    let mut idle = edge.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(|| edge.traffic.requests() == 1).await;
    edge.stop.send(()).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    until_async(async || TcpStream::connect(edge.address).await.is_err()).await;
    edge.toy.go_on.notify_one();
    assert!(read_to_end(&mut busy).await.ends_with("waited"));
    tokio::time::timeout(Duration::from_secs(5), edge.served).await.unwrap().unwrap();
}

async fn until(condition: impl Fn() -> bool) {
    until_async(async || condition()).await;
}

async fn until_async(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it happens within ten seconds");
}

fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}
