//! Which host answers what.
//!
//! | host | answers |
//! |---|---|
//! | `<pool>.managedhsm.<domain>` | the data plane of that pool |
//! | `login.<domain>` | the built-in issuer, where enabled |
//! | `localhost` or an address | the only pool there is, and the built-in issuer under its own paths |
//! | any | `GET /healthz` and `GET /readyz`, for load balancers |
//!
//! A host is looked up with its port as the client wrote it. The port decides what the challenge names as resource, since
//! some clients compare it; a port that is not ours is routed as if it were our first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use model::PoolName;
use pool::Clock;
use tokio::sync::Semaphore;
use uuid::Uuid;
use wire::challenge::{Challenge, ChallengeError};

use crate::data_plane::{self, DataPlane};
use crate::edge::{Application, Inbound, Outbound, Refusal, azure_error};
use crate::issuer::TokenIssuer;

/// One pool as its host shows it.
pub struct PoolHost {
    /// Its name.
    pub name: PoolName,
    /// The tenant whose tokens it takes.
    pub tenant: Uuid,
    /// What answers.
    pub plane: Arc<DataPlane>,
}

/// How the hosts are named and where clients get tokens.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The domain under which all hosts lie.
    pub domain: String,
    /// The ports that clients use, at least one.
    pub ports: Vec<u16>,
    /// Where clients without a token are sent; `None` for the built-in issuer.
    pub authority: Option<String>,
}

/// Names under which this machine reaches itself.
const BARE: [&str; 2] = ["localhost", "127.0.0.1"];

impl Naming {
    /// The audience of tokens for the pools, one for each port.
    #[must_use]
    pub fn resources(&self) -> Vec<String> {
        self.ports.iter().map(|port| at(&format!("managedhsm.{}", self.domain), *port)).collect()
    }

    /// The addresses at which the built-in issuer answers: the challenge names one of them.
    #[must_use]
    pub fn issuer_origins(&self) -> Vec<String> {
        let login = format!("login.{}", self.domain);
        let hosts = [login.as_str()].into_iter().chain(BARE);
        hosts.flat_map(|host| self.ports.iter().map(move |port| at(host, *port))).collect()
    }

    fn challenge(&self, tenant: Uuid, built_in: &str, port: u16) -> Result<Challenge, ChallengeError> {
        let authority = self.authority.clone().unwrap_or_else(|| at(built_in, port));
        let resource = at(&format!("managedhsm.{}", self.domain), port);
        Challenge::new(&authority, &tenant.to_string(), &resource)
    }
}

/// `https://host[:port]`.
fn at(host: &str, port: u16) -> String {
    match port {
        443 => format!("https://{host}"),
        _ => format!("https://{host}:{port}"),
    }
}

/// Everything that one node answers.
pub struct Hosts {
    routes: HashMap<String, Route>,
    /// The first port, by which hosts with another one are routed.
    port: u16,
    clock: Arc<dyn Clock>,
    /// Token requests that wait or are answered.
    token_requests: Arc<Semaphore>,
    /// Of these, those that are answered: one for each core.
    signing: Arc<Semaphore>,
}

/// How many token requests may wait or be answered before others are told to come back.
const TOKEN_REQUESTS: usize = 1024;

enum Route {
    Pool(Arc<DataPlane>, Challenge),
    Issuer(Arc<TokenIssuer>),
    Bare { pool: Option<(Arc<DataPlane>, Challenge)>, issuer: Option<Arc<TokenIssuer>>, tenant: Option<String> },
}

impl Hosts {
    /// Lays out the hosts. `issuers` are the built-in issuer at each of [`Naming::issuer_origins`], in that order, for
    /// `issuer_tenant`; none if it is not enabled.
    ///
    /// # Errors
    /// [`ChallengeError`] if domain, authority or tenant cannot stand in a challenge.
    pub fn new(
        naming: &Naming,
        pools: &[PoolHost],
        issuers: Vec<TokenIssuer>,
        issuer_tenant: Uuid,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ChallengeError> {
        let login = format!("login.{}", naming.domain);
        let mut issuers: HashMap<String, Arc<TokenIssuer>> =
            naming.issuer_origins().into_iter().zip(issuers.into_iter().map(Arc::new)).collect();
        let mut routes = HashMap::new();
        for port in naming.ports.iter().copied() {
            let mut add = |host: &str, route| routes.insert(at(host, port)["https://".len()..].to_owned(), route);
            for pool in pools {
                let challenge = naming.challenge(pool.tenant, &login, port)?;
                let host = format!("{}.managedhsm.{}", pool.name.as_str(), naming.domain);
                add(&host, Route::Pool(Arc::clone(&pool.plane), challenge));
            }
            if let Some(issuer) = issuers.remove(&at(&login, port)) {
                add(&login, Route::Issuer(issuer));
            }
            for bare in BARE {
                let issuer = issuers.remove(&at(bare, port));
                let authority = if issuer.is_some() { bare } else { &login };
                let pool = match pools {
                    [only] => Some((Arc::clone(&only.plane), naming.challenge(only.tenant, authority, port)?)),
                    _ => None,
                };
                let tenant = issuer.is_some().then(|| issuer_tenant.to_string());
                add(bare, Route::Bare { pool, issuer, tenant });
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            routes,
            port: naming.ports.first().copied().unwrap_or(443),
            clock,
            token_requests: Arc::new(Semaphore::new(TOKEN_REQUESTS)),
            signing: Arc::new(Semaphore::new(cores)),
        })
    }

    fn route(&self, host: Option<&str>) -> Option<&Route> {
        let host = host.unwrap_or("localhost");
        if let Some(route) = self.routes.get(host) {
            return Some(route);
        }
        let name = meant(host);
        self.routes.get(&at(name, self.port)["https://".len()..])
    }

    async fn issue(&self, issuer: &Arc<TokenIssuer>, request: Inbound) -> Outbound {
        let (issuer, now, source) = (Arc::clone(issuer), self.clock.now(), request.peer.ip());
        let mut asked = Request::new(request.body);
        *asked.method_mut() = request.method;
        *asked.uri_mut() = request.uri;
        *asked.headers_mut() = request.headers;
        if asked.method() != Method::POST {
            return issuer.answer(&asked, source, now);
        }
        // Signing a token takes about a millisecond: too long for a thread that serves connections, and many threads
        // that sign would leave these no time.
        let Ok(place) = Arc::clone(&self.token_requests).try_acquire_owned() else { return busy() };
        let Ok(turn) = Arc::clone(&self.signing).acquire_owned().await else { return busy() };
        let signing = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            issuer.answer(&asked, source, now)
        });
        match signing.await {
            Ok(answer) => answer,
            Err(_) => azure_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "The request could not be completed because of an internal error.",
            ),
        }
    }
}

impl Application for Hosts {
    async fn answer(&self, request: Inbound) -> Outbound {
        if request.method == Method::GET && matches!(request.uri.path(), "/healthz" | "/readyz") {
            return healthy();
        }
        match self.route(request.host.as_deref()) {
            Some(Route::Pool(plane, challenge)) => plane.answer(request, challenge).await,
            Some(Route::Issuer(issuer)) => self.issue(issuer, request).await,
            Some(Route::Bare { issuer: Some(issuer), tenant, .. })
                if is_issuers(request.uri.path(), tenant.as_deref()) =>
            {
                self.issue(issuer, request).await
            }
            Some(Route::Bare { pool: Some((plane, challenge)), .. }) => plane.answer(request, challenge).await,
            Some(Route::Bare { .. }) | None => azure_error(
                StatusCode::NOT_FOUND,
                "HostNotFound",
                "Nothing answers at this host. Use the address of a pool, <pool>.managedhsm.<domain>.",
            ),
        }
    }

    async fn refuse(&self, request: Inbound, refusal: Refusal) -> Outbound {
        match self.route(request.host.as_deref()) {
            Some(Route::Pool(plane, challenge)) => plane.refuse(request, refusal, challenge).await,
            Some(Route::Bare { pool: Some((plane, challenge)), tenant, .. })
                if !is_issuers(request.uri.path(), tenant.as_deref()) =>
            {
                plane.refuse(request, refusal, challenge).await
            }
            _ => refusal.answer(),
        }
    }

    fn must_finish(&self, method: &Method, path: &str) -> bool {
        data_plane::must_finish(method, path)
    }
}

fn busy() -> Outbound {
    let message = "Too many token requests at once. Try again in a second.";
    let mut answer = azure_error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn healthy() -> Outbound {
    let mut answer = Response::new(Bytes::from_static(b"ok\n"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Whether a path at a bare host is the issuer's: its first segment is the tenant, or stands for any tenant.
fn is_issuers(path: &str, tenant: Option<&str>) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    ["common", "adfs"].into_iter().chain(tenant).any(|own| first.eq_ignore_ascii_case(own))
}

/// The name that a client means by its `Host`, without the port: an address is this machine's.
fn meant(host: &str) -> &str {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() { "localhost" } else { name }
}

/// See [`crate::fuzzing::host`].
pub(crate) fn fuzz(host: &str) {
    let name = meant(host);
    assert!(name == "localhost" || host.starts_with(name));
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(ports: &[u16]) -> Naming {
        Naming { domain: "localhost".to_owned(), ports: ports.to_vec(), authority: None }
    }

    #[test]
    fn resources_and_origins_carry_every_port_but_443() {
        let naming = naming(&[8443, 443]);
        assert_eq!(naming.resources(), ["https://managedhsm.localhost:8443", "https://managedhsm.localhost"]);
        assert_eq!(naming.issuer_origins()[..2], ["https://login.localhost:8443", "https://login.localhost"]);
    }

    #[test]
    fn the_issuer_has_its_own_paths_at_a_bare_host() {
        for path in ["/T1/oauth2/v2.0/token", "/common/discovery/instance", "/adfs/oauth2/token", "//t1/x"] {
            assert!(is_issuers(path, Some("t1")), "{path}");
        }
        for path in ["/", "/keys", "/keys/t1", "/providers/Microsoft.Authorization/roleDefinitions", "/t2/oauth2"] {
            assert!(!is_issuers(path, Some("t1")), "{path}");
        }
    }

    #[test]
    fn a_port_is_told_from_an_address() {
        assert_eq!(without_port("a.example:8443"), "a.example");
        assert_eq!(without_port("[::1]:8443"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("a.example"), "a.example");
    }
}
