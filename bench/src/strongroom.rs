//! The product: `strongroom dev` on a folder that is kept, and a client of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::arithmetic::Operation;
use crate::http1::Target;
use crate::machine::Cores;
use crate::process::Child;

/// The pool's name, and the version of the interface that is spoken.
pub(crate) const POOL: &str = "bench";
const API_VERSION: &str = "7.4";

/// How long a start may take.
const LONGEST_START: Duration = Duration::from_secs(120);

/// How often a starting server is looked at, and so how exact the time of its start is.
const LOOK: Duration = Duration::from_millis(1);

/// A running server with a client that has a token.
pub(crate) struct Strongroom {
    pub(crate) child: Child,
    /// From its start until it had done its first job and written its environment.
    pub(crate) ready: Duration,
    pub(crate) client: Client,
}

impl Strongroom {
    /// Starts `program` on the data in `folder`, which is made if it is not there.
    pub(crate) async fn start(program: &Path, folder: &Path, cores: Cores) -> anyhow::Result<Self> {
        let file = folder.with_extension("env");
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log = std::fs::File::create(folder.with_extension("log"))?;
        let mut command = Command::new(program);
        command.args(["dev", "--port", "0", "--pool", POOL, "--data"]).arg(folder).arg("--env-file").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let begun = Instant::now();
        let mut child = Child::start("the server", &mut command, cores)?;
        while !file.exists() {
            let said = || std::fs::read_to_string(folder.with_extension("log")).unwrap_or_default();
            child.check().with_context(said)?;
            ensure!(begun.elapsed() < LONGEST_START, "the server is not ready after {LONGEST_START:?}");
            tokio::time::sleep(LOOK).await;
        }
        let ready = begun.elapsed();
        // Written under another name first, so it is complete.
        let client = Client::new(&Environment::parse(&std::fs::read_to_string(&file)?)).await?;
        Ok(Self { child, ready, client })
    }
}

/// What the server tells programs.
struct Environment(HashMap<String, String>);

impl Environment {
    fn parse(file: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("STRONGROOM_")?.split_once('=')?;
            let value = match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
                Some(quoted) => quoted.replace(r"'\''", "'"),
                None => value.to_owned(),
            };
            Some((name.to_owned(), value))
        };
        Self(file.lines().filter_map(line).collect())
    }

    fn value(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the environment lacks STRONGROOM_{name}"))
    }
}

/// A client with the rights of a crypto user.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pool: Url,
    token: String,
    /// The object id of the account it uses.
    pub(crate) principal: String,
    pub(crate) target: Target,
}

impl Client {
    async fn new(environment: &Environment) -> anyhow::Result<Self> {
        let pool = Url::parse(environment.value("POOL_URL")?)?;
        let authority = Url::parse(environment.value("AUTHORITY")?)?;
        let port = pool.port().context("the pool's address has a port")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ca = std::fs::read(environment.value("CA_FILE")?)?;

        let mut http = reqwest::Client::builder().no_proxy().tls_certs_only([reqwest::Certificate::from_pem(&ca)?]);
        for url in [&pool, &authority] {
            http = http.resolve(url.host_str().context("an address has a host")?, address);
        }
        let http = http.timeout(Duration::from_secs(60)).build()?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", environment.value("USER_CLIENT_ID")?)
            .append_pair("client_secret", environment.value("USER_CLIENT_SECRET")?)
            .append_pair("scope", &format!("https://managedhsm.localhost:{port}/.default"))
            .finish();
        let tokens = authority.join(&format!("/{}/oauth2/v2.0/token", environment.value("TENANT_ID")?))?;
        let request = http.post(tokens).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = json_of(request.send().await?).await.context("no token")?;
        let token = answer["access_token"].as_str().context("no token in the answer")?.to_owned();

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca)?)?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(pool.host_str().context("an address has a host")?.to_owned())?;
        let principal = environment.value("USER_OBJECT_ID")?.to_owned();
        Ok(Self { http, pool, token, principal, target: Target { address, name, tls: Arc::new(tls) } })
    }

    /// Makes a key for `operation`; answers its name and version as they stand in a path.
    pub(crate) async fn create(&self, name: &str, operation: Operation) -> anyhow::Result<String> {
        let body = match operation {
            Operation::RsaSign => json!({"kty": "RSA-HSM", "key_size": 2048}),
            Operation::EcSign => json!({"kty": "EC-HSM", "crv": "P-256"}),
            Operation::AesWrap => json!({"kty": "oct-HSM", "key_size": 256}),
        };
        let url = self.pool.join(&format!("/keys/{name}/create?api-version={API_VERSION}"))?;
        let sent = self.http.post(url).bearer_auth(&self.token).json(&body).send().await?;
        let answer = json_of(sent).await.with_context(|| format!("key {name} was not made"))?;
        let kid = answer["key"]["kid"].as_str().context("a key has a kid")?;
        let version = kid.rsplit('/').next().unwrap_or_default();
        Ok(format!("{name}/{version}"))
    }

    /// The bytes of a request to use `key` (`name/version`) for `operation`.
    pub(crate) fn request(&self, operation: Operation, key: &str) -> Vec<u8> {
        let value = URL_SAFE_NO_PAD.encode([7; 32]);
        let (call, algorithm) = match operation {
            Operation::RsaSign => ("sign", "RS256"),
            Operation::EcSign => ("sign", "ES256"),
            Operation::AesWrap => ("wrapkey", "A256KW"),
        };
        let body = json!({"alg": algorithm, "value": value}).to_string();
        let host = self.pool.authority();
        let (token, length) = (&self.token, body.len());
        format!(
            "POST /keys/{key}/{call}?api-version={API_VERSION} HTTP/1.1\r\nhost: {host}\r\n\
             authorization: Bearer {token}\r\naccept: application/json\r\ncontent-type: application/json\r\n\
             user-agent: strongroom-bench\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

async fn json_of(answer: reqwest::Response) -> anyhow::Result<Value> {
    let (status, body) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        bail!("{status}: {body}");
    }
    Ok(serde_json::from_str(&body)?)
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let environment = Environment::parse("STRONGROOM_A=plain\nSTRONGROOM_B='it'\\''s = this'\n\nother=1\n");
        assert_eq!(environment.value("A").unwrap(), "plain");
        assert_eq!(environment.value("B").unwrap(), "it's = this");
        assert!(environment.value("other").is_err());
    }
}
