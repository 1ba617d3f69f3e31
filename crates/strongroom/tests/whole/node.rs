//! A running node, and calls to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a node may take until it is ready. A loaded machine is slow; a hanging test is worse.
const READY: Duration = Duration::from_secs(60);
/// How long an answer may take. Nothing that a node does, a full disk included, takes a client longer.
const PATIENCE: Duration = Duration::from_secs(20);
const VERSION: &str = "api-version=7.4";

/// The accounts of `dev`.
pub(crate) const ACCOUNTS: [&str; 5] = ["ADMIN", "OFFICER", "USER", "AUDITOR", "NOBODY"];

/// A command line of the program.
pub(crate) fn program<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(arguments);
    command
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    program(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a failing command says: one line on standard error, and nothing else.
pub(crate) fn refusal(output: &Output) -> String {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "it did not fail: {errors}");
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let said: Vec<&str> = errors.lines().filter(|line| line.starts_with("strongroom: ")).collect();
    let seals = errors.lines().filter(|line| line.contains(" WARN SEAL: ")).count();
    assert_eq!((said.len(), errors.lines().count()), (1, 1 + seals), "{errors}");
    assert!(output.stdout.is_empty());
    said[0].to_owned()
}

/// A port that nobody has, outside of those that the system gives to outgoing connections, so that a node can come back
/// to it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed) * 7) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Gives every request of this process an id of its own.
pub(crate) fn correlation() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("whole-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running node, killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) port: u16,
    /// Where it writes its log.
    errors: PathBuf,
}

impl Node {
    /// Starts `command`, whose node will listen on `port`, with its standard error in a file at `errors`.
    pub(crate) fn spawn(mut command: Command, port: u16, errors: &Path) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(errors).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, port, errors: errors.to_owned() }
    }

    /// Waits until `ready`, and fails if the process ends before that.
    pub(crate) fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} before it was {what}: {}", self.said());
            }
            assert!(begun.elapsed() < READY, "it is not {what} after {READY:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it wrote to standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as a service manager does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("standard error of the node at port {}:\n{}", self.port, self.said());
        }
    }
}

/// A node of `strongroom dev` with its folder, its environment file and tokens for all of its accounts.
pub(crate) struct Dev {
    pub(crate) node: Node,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) http: Http,
    tokens: BTreeMap<&'static str, String>,
}

impl Dev {
    /// Starts one with its data in `base/data`.
    pub(crate) async fn start(base: &Path, port: u16) -> Self {
        Self::start_with(base, port, program(["dev"])).await
    }

    /// Starts `command`, which is `strongroom dev` in some way, with the usual arguments after its own.
    pub(crate) async fn start_with(base: &Path, port: u16, command: Command) -> Self {
        let env_file = base.join("env");
        let _ = fs::remove_file(&env_file);
        let mut node = Node::spawn(dev_command(base, port, command), port, &base.join("errors"));
        node.wait_until("ready", || env_file.exists());
        let environment = environment(&fs::read_to_string(&env_file).unwrap());
        let ca = fs::read(&environment["STRONGROOM_CA_FILE"]).unwrap();
        let http = Http::new(&environment["STRONGROOM_POOL_URL"], &ca, port);
        let mut dev = Self { node, environment, http, tokens: BTreeMap::new() };
        dev.new_tokens().await;
        dev
    }

    /// Gets tokens for all accounts.
    pub(crate) async fn new_tokens(&mut self) {
        for account in ACCOUNTS {
            let token = self.token(account).await;
            self.tokens.insert(account, token);
        }
    }

    /// Gets a token by client credentials.
    async fn token(&self, account: &str) -> String {
        let of = |name: &str| self.environment[&format!("STRONGROOM_{name}")].as_str();
        let url = format!("{}/{}/oauth2/v2.0/token", of("AUTHORITY"), of("TENANT_ID"));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", of(&format!("{account}_CLIENT_ID")))
            .append_pair("client_secret", of(&format!("{account}_CLIENT_SECRET")))
            .append_pair("scope", &format!("https://managedhsm.localhost:{}/.default", self.node.port))
            .finish();
        let request = self.http.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token for {account}: {answer}")).to_owned()
    }

    /// Calls to the pool as one of the accounts.
    pub(crate) fn of(&self, account: &'static str) -> Session {
        Session { http: self.http.clone(), token: self.tokens[account].clone() }
    }

    /// The object id of an account.
    pub(crate) fn object(&self, account: &str) -> &str {
        &self.environment[&format!("STRONGROOM_{account}_OBJECT_ID")]
    }
}

/// `command` with the arguments for a node in `base`.
pub(crate) fn dev_command(base: &Path, port: u16, mut command: Command) -> Command {
    command.arg("--port").arg(port.to_string()).arg("--data").arg(base.join("data"));
    command.arg("--env-file").arg(base.join("env"));
    command
}

/// An ephemeral node, its temporary folder in `base`, and its environment, which is in the file `base/env`.
pub(crate) fn ephemeral(base: &Path, port: u16) -> (Node, BTreeMap<String, String>) {
    let mut command = program(["dev", "--ephemeral", "--port", &port.to_string()]);
    command.env("TMPDIR", base).arg("--env-file").arg(base.join("env"));
    let mut node = Node::spawn(command, port, &base.join("errors"));
    node.wait_until("ready", || base.join("env").exists());
    (node, environment(&fs::read_to_string(base.join("env")).unwrap()))
}

/// `NAME=value` lines. Values that the tests meet have no quotes.
pub(crate) fn environment(text: &str) -> BTreeMap<String, String> {
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// A way to one pool, whatever the system's resolver says of its name.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) client: Client,
    pub(crate) pool: String,
}

impl Http {
    /// To the pool at `pool`, on this machine at `port`, with a certificate of the authority in `ca` (PEM).
    pub(crate) fn new(pool: &str, ca: &[u8], port: u16) -> Self {
        server::tls::install_provider();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let host = pool.strip_prefix("https://").unwrap().split(':').next().unwrap();
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(ca).unwrap()])
            .timeout(PATIENCE)
            .resolve(host, here)
            .resolve("login.localhost", here)
            .build()
            .unwrap();
        Self { client, pool: pool.to_owned() }
    }

    /// Calls with `token`.
    pub(crate) fn with(&self, token: &str) -> Session {
        Session { http: self.clone(), token: token.to_owned() }
    }
}

/// Calls with one token.
#[derive(Clone)]
pub(crate) struct Session {
    http: Http,
    token: String,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `x-ms-request-id`.
    pub(crate) id: String,
    /// JSON, or null if there is none.
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }

    /// The error code, in Azure's shape.
    pub(crate) fn code(&self) -> &str {
        assert!(self.status >= 400, "{} {}", self.status, self.body);
        let message = self.body["error"]["message"].as_str().unwrap_or_else(|| panic!("{}", self.body));
        assert!(message.ends_with(&format!("(Activity ID: {})", self.id)), "{message} in answer {}", self.id);
        self.body["error"]["code"].as_str().unwrap()
    }
}

/// The connection ended before there was a whole answer.
#[derive(Debug)]
pub(crate) struct Lost(#[expect(dead_code, reason = "shown where a test fails")] pub(crate) reqwest::Error);

impl Session {
    /// Sends a request. `path` is that of the pool, with or without a query; `correlation` is the client's id of it.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        correlation: &str,
    ) -> Result<Answer, Lost> {
        let version = match (path.contains("api-version"), path.contains('?')) {
            (true, _) => String::new(),
            (false, true) => format!("&{VERSION}"),
            (false, false) => format!("?{VERSION}"),
        };
        let url = format!("{}{path}{version}", self.http.pool);
        let mut request = self.http.client.request(method, url).bearer_auth(&self.token);
        request = request.header("x-ms-client-request-id", correlation);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(Lost)?;
        let status = answer.status().as_u16();
        let id = answer.headers().get("x-ms-request-id").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
        let bytes = answer.bytes().await.map_err(Lost)?;
        Ok(Answer { status, id, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &correlation()).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &correlation()).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body), &correlation()).await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body), &correlation()).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(body), &correlation()).await.unwrap()
    }

    /// All entries of a listing, page by page.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let (mut all, mut next) = (Vec::new(), path.to_owned());
        loop {
            let mut page = self.get(&next).await.ok();
            all.append(page["value"].as_array_mut().unwrap());
            match page["nextLink"].as_str() {
                Some(link) => next = link.strip_prefix(&self.http.pool).unwrap().to_owned(),
                None => return all,
            }
        }
    }
}
