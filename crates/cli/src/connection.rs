//! Requests to a pool over TLS, with a token from its authority.
//!
//! The first request of a connection goes out bare, as every client's does; the pool's 401 says where to get a token
//! ([`challenge`]). The token is kept for the life of the connection only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Method, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use wire::errors::ErrorReply;
use wire::headers::WWW_AUTHENTICATE;
use wire::versions::ApiVersion;
use zeroize::Zeroizing;

use crate::challenge::{self, pool_url, same_origin};
use crate::configuration::{Configuration, Format};
use crate::error::{Error, code_of};
use crate::surroundings::Secret;

/// The longest answer that is read.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// More pages than the largest pool has.
const MAX_PAGES: usize = 40_000;

/// One pool, one caller.
pub(crate) struct Connection {
    configuration: Configuration,
    http: reqwest::Client,
    pool: Url,
    token: Option<HeaderValue>,
}

/// An answer, as text and understood as `T`.
pub(crate) struct Answer<T> {
    /// What the service wrote.
    pub(crate) json: Value,
    /// What it means.
    pub(crate) meaning: T,
}

impl Connection {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::File`] if the file of certificates cannot be read, [`Error::Configuration`] if there is none in it.
    pub(crate) fn new(configuration: Configuration) -> Result<Self, Error> {
        let pool = pool_url(&configuration.pool)?;
        let http = client(&pool, configuration.ca_file.as_deref())?;
        Ok(Self { configuration, http, pool, token: None })
    }

    /// How the user wants to see answers.
    pub(crate) fn format(&self) -> Format {
        self.configuration.output
    }

    /// Sends one request and reads its answer. `path` begins with a slash and holds no character that needs encoding.
    ///
    /// # Errors
    /// [`Error::Service`] if the pool refuses; [`Error::Challenge`] or [`Error::Token`] if no token can be had;
    /// [`Error::Network`]; [`Error::Answer`] for anything that is not the JSON of `T`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer<T>, Error> {
        let url = self.url(path, &[]);
        understood(&self.send(method, url, body).await?)
    }

    /// Sends one request whose answer has no body.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub(crate) async fn call_without_answer(&mut self, method: Method, path: &str) -> Result<(), Error> {
        let url = self.url(path, &[]);
        self.send(method, url, None).await.map(drop)
    }

    /// All entries of a list, over as many pages as it has. The JSON is one list of them.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`Error::Answer`] also if a page points to another host, or the pages do not end.
    pub(crate) async fn list<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer<Vec<T>>, Error> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Value>,
            #[serde(rename = "nextLink")]
            next: Option<String>,
        }
        let mut entries = Vec::new();
        let mut url = self.url(path, query);
        for _ in 0..MAX_PAGES {
            let page: Page = understood(&self.send(Method::GET, url.clone(), None).await?)?.meaning;
            entries.extend(page.value);
            let Some(next) = page.next.filter(|link| !link.is_empty()) else {
                let meaning = entries.iter().map(|entry| T::deserialize(entry).map_err(|_| not_understood()));
                return Ok(Answer { meaning: meaning.collect::<Result<_, _>>()?, json: json!({ "value": entries }) });
            };
            let next = next_page(&self.pool, &next)?;
            if next == url {
                break;
            }
            url = next;
        }
        Err(Error::Answer("the pages of a list do not end".to_owned()))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.pool.clone();
        url.set_path(path);
        url.query_pairs_mut().append_pair("api-version", ApiVersion::CLIENT.as_str()).extend_pairs(query);
        url
    }

    async fn send(&mut self, method: Method, url: Url, body: Option<&Value>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let bare = self.http.request(method.clone(), url.clone()).header("content-length", "0");
                let refused = self.answer(bare).await?;
                if refused.status() != StatusCode::UNAUTHORIZED {
                    return Err(Error::Answer(format!(
                        "a request without a token was answered with {}, not 401; is there a pool at {}?",
                        refused.status().as_u16(),
                        self.configuration.pool
                    )));
                }
                let token = self.fetch_token(refused.headers().get(WWW_AUTHENTICATE)).await?;
                self.token.insert(token).clone()
            }
        };
        let mut request = self.http.request(method, url).header(AUTHORIZATION, token);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = self.answer(request).await?;
        let (status, host) = (answer.status(), self.pool.host_str().unwrap_or_default().to_owned());
        let challenge = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = body_of(answer, &host).await?;
        if status.is_success() { Ok(bytes) } else { Err(refusal(status.as_u16(), &bytes, challenge.as_deref())) }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|source| network(&self.pool, source))
    }

    async fn fetch_token(&self, challenge: Option<&HeaderValue>) -> Result<HeaderValue, Error> {
        let header = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let request = challenge::decide(&self.configuration, header)?;
        let form = Zeroizing::new(
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.configuration.client_id)
                .append_pair("client_secret", self.configuration.client_secret.expose())
                .append_pair("scope", &request.scope)
                .finish(),
        );
        let http = client(&request.endpoint, self.configuration.ca_file.as_deref())?;
        let post = http.post(request.endpoint.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = post.body(form.to_string()).send().await.map_err(|source| network(&request.endpoint, source))?;
        let status = answer.status();
        let bytes = body_of(answer, request.endpoint.host_str().unwrap_or_default()).await?;
        if status != StatusCode::OK {
            return Err(Error::Token { status: status.as_u16(), message: token_refusal(&bytes) });
        }
        let token = token_of(&bytes).ok_or_else(|| Error::Token {
            status: status.as_u16(),
            message: "its answer holds no bearer token".to_owned(),
        })?;
        let mut header =
            HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.expose()))).map_err(|_| Error::Token {
                status: 200,
                message: "its token has characters that no token has".to_owned(),
            })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Where the next page is, if it is on the pool.
fn next_page(pool: &Url, link: &str) -> Result<Url, Error> {
    let url = Url::parse(link).ok().filter(|url| same_origin(pool, url));
    url.filter(|url| url.username().is_empty() && url.password().is_none())
        .ok_or_else(|| Error::Answer("a page of a list points away from the pool".to_owned()))
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<Answer<T>, Error> {
    let json: Value = serde_json::from_slice(bytes).map_err(|_| not_understood())?;
    let meaning = T::deserialize(&json).map_err(|_| not_understood())?;
    Ok(Answer { json, meaning })
}

/// serde's own error may repeat what it read.
fn not_understood() -> Error {
    Error::Answer("it is not the JSON that belongs to the question".to_owned())
}

fn refusal(status: u16, body: &[u8], challenge: Option<&str>) -> Error {
    let Some(reply) = ErrorReply::parse(body) else {
        let message = match (status, challenge) {
            (401, Some(header)) if header.contains("insufficient_claims") => "its token was revoked",
            (401, _) => "its token is of another tenant, issuer or audience, or not valid now",
            _ => "no reason given",
        };
        return Error::Service { status, code: code_of(status).to_owned(), message: message.to_owned() };
    };
    let code = reply.inner.and_then(|inner| inner.code).unwrap_or(reply.code);
    Error::Service { status, code, message: reply.message }
}

/// The token in an authority's answer.
fn token_of(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        token_type: Option<String>,
        // Borrowed: a token has no characters that JSON escapes.
        access_token: &'a str,
    }
    let reply: Reply<'_> = serde_json::from_slice(body).ok()?;
    let bearer = reply.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let graphic = reply.access_token.bytes().all(|b| b.is_ascii_graphic());
    Secret::new(reply.access_token).filter(|_| bearer && graphic)
}

/// What an authority says about a refusal (RFC 6749 section 5.2).
fn token_refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Reply {
        error: String,
        error_description: Option<String>,
    }
    match serde_json::from_slice(body) {
        Ok(Reply { error, error_description: Some(description) }) => format!("{error}: {description}"),
        Ok(Reply { error, error_description: None }) => error,
        Err(_) => "no reason given".to_owned(),
    }
}

/// See [`crate::fuzzing::answers`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    challenge::fuzz(&text);
    let _ = next_page(&Url::parse("https://dev.managedhsm.localhost:8443").expect("an address"), &text);
    for refused in [refusal(500, bytes, Some(&text)), Error::Token { status: 400, message: token_refusal(bytes) }] {
        assert!(!refused.line().contains(char::is_control), "a refusal is one line");
    }
    if let Some(token) = token_of(bytes) {
        assert!(HeaderValue::from_str(token.expose()).is_ok());
    }
}

async fn body_of(mut answer: Response, host: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    let failed = |source: reqwest::Error| Error::Network { host: host.to_owned(), source: source.without_url() };
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::Answer(format!("it is longer than {MAX_ANSWER} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn network(url: &Url, source: reqwest::Error) -> Error {
    Error::Network { host: url.host_str().unwrap_or_default().to_owned(), source: source.without_url() }
}

/// A client for the host of `url`: TLS only, redirects not followed, `ca_file` trusted beside the system's authorities.
fn client(url: &Url, ca_file: Option<&Path>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .https_only(true)
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(120))
        .user_agent(concat!("strongroom-cli/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Resolver);
    if is_this_machine(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|source| Error::file(path.display(), source))?;
        let certificates = Certificate::from_pem_bundle(&pem).ok().filter(|certificates| !certificates.is_empty());
        let certificates = certificates
            .ok_or_else(|| Error::Configuration(format!("{}: there is no PEM certificate in it", path.display())))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|source| network(url, source))
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => is_localhost(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `localhost` and every name below it mean this machine (RFC 6761 section 6.3), whatever the system's resolver knows.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

/// The system's resolver, but for names under `localhost`.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if is_localhost(name.as_str()) {
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                return Ok(Box::new(loopback.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs);
            }
            let name = name.as_str().to_owned();
            let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await??;
            Ok(Box::new(found) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_next_page_is_on_the_pool() {
        let pool = url("https://a.b:8443");
        let link = "https://A.b:8443/keys?api-version=7.5&$skiptoken=x";
        assert_eq!(next_page(&pool, link).unwrap().query(), Some("api-version=7.5&$skiptoken=x"));
        for bad in [
            "https://a.b/keys",
            "http://a.b:8443/keys",
            "https://evil.a.b:8443/keys",
            "https://u@a.b:8443/keys",
            "https://:p@a.b:8443/keys",
            "/keys",
            "",
        ] {
            assert!(matches!(next_page(&pool, bad), Err(Error::Answer(_))), "{bad:?}");
        }
        assert!(next_page(&url("https://a.b"), "https://a.b:443/keys").is_ok());
    }

    #[test]
    fn names_below_localhost_mean_this_machine() {
        for near in ["localhost", "dev.managedhsm.LOCALHOST", "a.localhost."] {
            assert!(is_localhost(near), "{near}");
        }
        for far in ["localhost.example", "notlocalhost", "", "a.b"] {
            assert!(!is_localhost(far), "{far}");
        }
        for (text, near) in [("https://127.0.0.1", true), ("https://[::1]:1", true), ("https://10.0.0.1", false)] {
            assert_eq!(is_this_machine(&url(text)), near, "{text}");
        }
    }

    #[test]
    fn a_token_is_a_bearer_token_of_visible_characters() {
        let read = |text: &str| token_of(text.as_bytes()).map(|token| token.expose().to_owned());
        assert_eq!(read(r#"{"access_token":"a.b.c","expires_in":5}"#).as_deref(), Some("a.b.c"));
        assert_eq!(read(r#"{"token_type":"bearer","access_token":"a"}"#).as_deref(), Some("a"));
        for bad in [
            "",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\r\nb: c"}"#,
            r#"{"access_token":"a","token_type":"pop"}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_inner_code() {
        let body = br#"{"error":{"code":"Conflict","message":"m","innererror":{"code":"ObjectIsBeingRecovered"}}}"#;
        assert_eq!(refusal(409, body, None).code(), "ObjectIsBeingRecovered");
        let proxy = refusal(404, b"<html>", None);
        assert_eq!(proxy.line(), "error: NotFound: not found (404): no reason given");
        let revoked = refusal(401, b"", Some("Bearer a=\"b\", error=\"insufficient_claims\""));
        assert!(revoked.line().ends_with("its token was revoked"), "{}", revoked.line());
        assert_eq!(token_refusal(br#"{"error":"invalid_client","error_description":"d"}"#), "invalid_client: d");
        assert_eq!(token_refusal(b"oops"), "no reason given");
    }
}
