//! Whole commands against a pool that plays its part from a text file, over TLS.
//!
//! Each file of `tests/transcripts` is a sequence of cases apart by empty lines. A case is made of lines by their first
//! character:
//!
//! ```text
//! # a comment
//! % NAME=value          an environment variable; NAME= takes one away
//! @ name text           a file that is there before, with this text
//! & text                what stands on standard input
//! $ strongroom ...      the command; words apart by spaces, or in double quotes
//! > METHOD path body    what the pool is asked, with a token: api-version left out, the body compared as JSON
//! < status body         what it answers
//! | text                a line on standard output
//! ! text                a line on standard error
//! = name text           a file that is there afterwards, with this text
//! ? 1                   the exit code, 0 if there is no such line
//! ```
//!
//! `{pool}` is the pool's address and `{dir}` the folder of the files.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::surroundings::Surroundings;
use crate::{Command, execute};

const SECRET: &str = "s3cret+/&=";

#[derive(Parser)]
#[command(name = "strongroom", term_width = 120)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[tokio::test]
async fn every_transcript_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the transcripts are gone");
    let pool = Pool::start().await;
    let mut failures = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for case in text.split("\n\n").filter(|case| case.lines().any(|line| line.starts_with('$'))) {
            let case = Case::parse(case);
            let played = case.play(&pool).await;
            if played != case.expected {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                failures.push(format!("{name}: $ {}\nexpected:\n{}\nfound:\n{played}", case.command, case.expected));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One case, and what it should look like when it is played: its own lines from the command on.
#[derive(Default)]
struct Case {
    variables: Vec<(String, String)>,
    files: Vec<(String, String)>,
    input: String,
    command: String,
    answers: Vec<String>,
    results: Vec<String>,
    expected: String,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case = Self::default();
        let mut parts: BTreeMap<char, String> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mark = line.chars().next().unwrap();
            let rest = line[1..].strip_prefix(' ').unwrap_or(&line[1..]).to_owned();
            let pair = |at: char| rest.split_once(at).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            match mark {
                '#' => {}
                '%' => case.variables.push(pair('=')),
                '@' => case.files.push(pair(' ')),
                '&' => case.input += &rest,
                '$' => case.command = rest,
                '<' => case.answers.push(rest),
                '=' => {
                    case.results.push(pair(' ').0);
                    parts.entry('=').or_default().push_str(&format!("= {rest}\n"));
                }
                '>' | '|' | '!' | '?' => parts.entry(mark).or_default().push_str(&format!("{mark} {rest}\n")),
                _ => panic!("no such line: {line}"),
            }
        }
        parts.entry('?').or_insert_with(|| "? 0\n".to_owned());
        case.expected = in_order(&parts);
        case
    }

    async fn play(&self, pool: &Pool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        fs::write(folder.path().join("ca.pem"), &pool.ca).unwrap();
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text.replace("{pool}", &pool.address)).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let filled = |text: &str| text.replace("{pool}", &pool.address).replace("{dir}", &dir);
        let mut variables = BTreeMap::from([
            ("STRONGROOM_POOL_URL".to_owned(), pool.address.clone()),
            ("STRONGROOM_CA_FILE".to_owned(), format!("{dir}/ca.pem")),
            ("STRONGROOM_CLIENT_ID".to_owned(), "app".to_owned()),
            ("STRONGROOM_CLIENT_SECRET".to_owned(), SECRET.to_owned()),
        ]);
        variables.extend(self.variables.iter().map(|(name, value)| (name.clone(), filled(value))));
        pool.script.lock().unwrap().answers = self.answers.iter().map(|answer| filled(answer)).collect();

        let (mut output, mut errors, mut input) = (Vec::new(), Vec::new(), self.input.as_bytes());
        let words = words(&filled(&self.command));
        let code = match Program::try_parse_from(words) {
            Ok(program) => {
                let mut around = Surroundings {
                    environment: &|name| variables.get(name).cloned(),
                    input: Some(&mut input as &mut dyn Read),
                    output: &mut output,
                    errors: &mut errors,
                    prompt: &|_| Err(std::io::ErrorKind::Unsupported.into()),
                };
                i32::from(execute(program.command, &mut around).await)
            }
            Err(error) => {
                let text = error.to_string();
                if error.use_stderr() {
                    errors.extend(text.bytes())
                } else {
                    output.extend(text.bytes())
                }
                error.exit_code()
            }
        };

        let shown = |text: &str| text.replace(&pool.address, "{pool}").replace(&dir, "{dir}");
        let lines = |mark: char, bytes: &[u8]| {
            let text = shown(std::str::from_utf8(bytes).unwrap());
            assert!(!text.contains(SECRET), "a secret is shown: {text}");
            text.lines().filter(|line| !line.is_empty()).map(|line| format!("{mark} {line}\n")).collect::<String>()
        };
        let results = self.results.iter().map(|name| {
            let bytes = fs::read(folder.path().join(name)).unwrap_or_default();
            format!("= {name} {}\n", String::from_utf8_lossy(&bytes))
        });
        let mut script = pool.script.lock().unwrap();
        let unused = std::mem::take(&mut script.answers);
        assert!(unused.is_empty(), "never asked for: {unused:?}");
        let asked = std::mem::take(&mut script.asked).iter().map(|line| format!("> {}\n", shown(line))).collect();
        in_order(&BTreeMap::from([
            ('>', asked),
            ('|', lines('|', &output)),
            ('!', lines('!', &errors)),
            ('=', results.collect()),
            ('?', format!("? {code}\n")),
        ]))
    }
}

fn in_order(parts: &BTreeMap<char, String>) -> String {
    ['>', '|', '!', '=', '?'].iter().filter_map(|mark| parts.get(mark)).cloned().collect()
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 { words.push(part.to_owned()) } else { words.extend(part.split_whitespace().map(str::to_owned)) }
    }
    words
}

/// A pool and its authority on loopback.
struct Pool {
    address: String,
    ca: String,
    script: Arc<Mutex<Script>>,
}

/// What is still to be answered, and what was asked.
#[derive(Default)]
struct Script {
    answers: VecDeque<String>,
    asked: Vec<String>,
}

impl Pool {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["*.managedhsm.localhost".to_owned(), "login.localhost".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script::default()));
        let (acceptor, scripted) = (TlsAcceptor::from(Arc::new(config)), script.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, scripted) = (acceptor.clone(), scripted.clone());
                tokio::spawn(async move {
                    // A client that does not trust us goes away here.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    while let Some(request) = Request::read(&mut stream).await {
                        let answer = request.answer(port, &scripted);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address: format!("https://dev.managedhsm.localhost:{port}"), ca: ca.pem(), script }
    }
}

struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Request {
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next()?.to_owned();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { line, headers, body: String::from_utf8(body).unwrap() })
    }

    fn answer(&self, port: u16, script: &Mutex<Script>) -> String {
        let (method, target) = self.line.strip_suffix(" HTTP/1.1").unwrap().split_once(' ').unwrap();
        if self.headers["host"].starts_with("login.") {
            return self.token(port, target);
        }
        let Some(token) = self.headers.get("authorization") else {
            assert_eq!(self.body, "", "a request without a token has no body");
            let challenge = format!(
                "www-authenticate: Bearer authorization=\"https://login.localhost:{port}/tenant-1\", \
                 resource=\"https://managedhsm.localhost:{port}\"\r\n"
            );
            return reply(401, &challenge, "");
        };
        assert_eq!(token, "Bearer t0ken");
        let (path, query) = target.split_once('?').unwrap();
        let items: Vec<&str> = query.split('&').collect();
        assert_eq!(items[0], "api-version=2025-07-01");
        let rest = if items.len() > 1 { format!("?{}", items[1..].join("&")) } else { String::new() };
        let body = if self.body.is_empty() {
            String::new()
        } else {
            assert_eq!(self.headers["content-type"], "application/json");
            format!(" {}", serde_json::from_str::<Value>(&self.body).unwrap())
        };
        let mut script = script.lock().unwrap();
        script.asked.push(format!("{method} {path}{rest}{body}"));
        match script.answers.pop_front() {
            Some(answer) => {
                let (status, body) = answer.split_once(' ').unwrap_or((&answer, ""));
                reply(status.parse().unwrap(), "", body)
            }
            None => reply(500, "", ""),
        }
    }

    fn token(&self, port: u16, target: &str) -> String {
        assert_eq!(target, "/tenant-1/oauth2/v2.0/token");
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(self.body.as_bytes()).collect();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["scope"], format!("https://managedhsm.localhost:{port}/.default"));
        if (&*form["client_id"], &*form["client_secret"]) != ("app", SECRET) {
            return reply(401, "", r#"{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret"}"#);
        }
        reply(200, "", r#"{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"access_token":"t0ken"}"#)
    }
}

fn reply(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}
