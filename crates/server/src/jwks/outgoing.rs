//! The only way out for calls that the configuration, and not a client of ours, decides on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls_pki_types::CertificateDer;
use url::{Host, Url};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole exchange may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether calls to this machine itself may be made, over `http` too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loopback {
    /// As `dev` does, so that a test issuer on the same machine works.
    Allowed,
    /// Everywhere else.
    Refused,
}

/// Why nothing was brought back.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// Host and port are not on the allow list: add them to the configuration if they should be.
    #[error("{0} is not on the list of allowed destinations")]
    NotAllowed(String),
    /// Only `https` goes out; `http` only to this machine, where that is allowed.
    #[error("{0} would be sent without TLS")]
    Plaintext(String),
    /// The address is link-local, of a metadata service, or of this machine.
    #[error("{0} is an address to which no call is made")]
    Address(IpAddr),
    /// No connection, no valid certificate, no whole answer in time, or a name that leads to a refused address.
    #[error("no answer")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is not 200; redirects are not followed.
    #[error("the answer has status {0}")]
    Status(u16),
    /// A body beyond the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The trusted certificates could not be set up.
    #[error("the certificates to trust cannot be used")]
    Trust(#[source] reqwest::Error),
}

/// Makes calls to allowed destinations.
///
/// A destination is a host and a port. It must be on the list, and the address that its name resolves to, at the very
/// moment of connecting, must be one that calls may go to, so that a name that changes its address gains nothing. No
/// proxy is used and no redirect followed.
pub struct Outgoing {
    client: ArcSwap<reqwest::Client>,
    destinations: BTreeSet<(String, u16)>,
    loopback: Loopback,
}

impl Outgoing {
    /// Calls may go to host and port of each of `destinations`. Certificates are checked against the system's roots and
    /// `extra_roots`.
    ///
    /// # Errors
    /// [`OutgoingError::Trust`] if an extra root is no certificate, or if there are destinations but no root at all.
    pub fn new<'a>(
        destinations: impl IntoIterator<Item = &'a Url>,
        loopback: Loopback,
        extra_roots: &[CertificateDer<'_>],
    ) -> Result<Self, OutgoingError> {
        // The client takes the process's provider. An error says that there is one already, which is the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let destinations: BTreeSet<_> = destinations.into_iter().filter_map(destination).collect();
        let client = client(destinations.is_empty(), loopback, extra_roots)?;
        Ok(Self { client: ArcSwap::from_pointee(client), destinations, loopback })
    }

    /// Trusts `extra_roots` from now on, in place of those before, and the system's roots as they are now. Calls that are
    /// being made go on as they began; no connection made before is used for another call.
    ///
    /// # Errors
    /// [`OutgoingError::Trust`], as for [`Outgoing::new`]; what was trusted before still is then.
    pub fn trust(&self, extra_roots: &[CertificateDer<'_>]) -> Result<(), OutgoingError> {
        self.client.store(Arc::new(client(self.destinations.is_empty(), self.loopback, extra_roots)?));
        Ok(())
    }

    /// The body of the answer to a GET.
    ///
    /// # Errors
    /// All of [`OutgoingError`] but `Trust`; [`OutgoingError::TooLong`] above `limit` bytes.
    pub async fn get(&self, url: &Url, limit: usize) -> Result<Vec<u8>, OutgoingError> {
        self.check(url)?;
        let unreachable = |error: reqwest::Error| OutgoingError::Unreachable(error.without_url());
        let client = self.client.load_full();
        let mut answer = client.get(url.clone()).send().await.map_err(unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(OutgoingError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limit {
                return Err(OutgoingError::TooLong(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What can be told from the address alone. A literal IP address never reaches the resolver, so it is judged here.
    fn check(&self, url: &Url) -> Result<(), OutgoingError> {
        let shown = || url.origin().ascii_serialization();
        let listed = destination(url).is_some_and(|destination| self.destinations.contains(&destination));
        if !listed {
            return Err(OutgoingError::NotAllowed(shown()));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        if let Some(ip) = literal.filter(|ip| !may_go_to(*ip, self.loopback)) {
            return Err(OutgoingError::Address(ip));
        }
        let local = match literal {
            Some(ip) => ip.is_loopback(),
            None => url.host_str().is_some_and(is_local_name),
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if local && self.loopback == Loopback::Allowed => Ok(()),
            _ => Err(OutgoingError::Plaintext(shown())),
        }
    }
}

/// `idle` is the client of an installation that calls nobody: it must start on a machine that trusts nobody, such as an
/// empty container.
fn client(
    idle: bool,
    loopback: Loopback,
    extra_roots: &[CertificateDer<'_>],
) -> Result<reqwest::Client, OutgoingError> {
    let roots: Result<Vec<_>, _> = extra_roots.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
    let roots = roots.map_err(OutgoingError::Trust)?;
    let client = match idle {
        true => reqwest::Client::builder().tls_certs_only(roots),
        false => reqwest::Client::builder().tls_certs_merge(roots),
    };
    client
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .dns_resolver(Resolver(loopback))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .build()
        .map_err(OutgoingError::Trust)
}

fn destination(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()?))
}

/// `localhost` and all names below it mean this machine, whatever a name server says (RFC 6761 §6.3).
fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Services that hand out credentials to whoever asks from inside a machine, outside of the link-local ranges.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Private networks are allowed: that is where a data centre's issuer lives.
fn may_go_to(ip: IpAddr, loopback: Loopback) -> bool {
    let ip = match ip {
        IpAddr::V6(six) => embedded(six).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    let never = match ip {
        IpAddr::V4(four) => four.is_link_local() || four.is_broadcast() || four.octets()[0] == 0,
        // RFC 8215: where in an address of this prefix the IPv4 address lies is known to the site alone.
        IpAddr::V6(six) => {
            six.is_unicast_link_local() || six.is_unspecified() || matches!(six.segments(), [0x64, 0xff9b, 1, ..])
        }
    };
    if never || ip.is_multicast() || METADATA.contains(&ip) {
        return false;
    }
    loopback == Loopback::Allowed || !ip.is_loopback()
}

/// The IPv4 address that a mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056) address stands for.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

/// Leaves out of a name's addresses those that no call may go to.
struct Resolver(Loopback);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = if is_local_name(name.as_str()) {
                [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|ip| (ip, 0).into()).into()
            } else {
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect()
            };
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| may_go_to(address.ip(), loopback)).collect();
            if allowed.is_empty() {
                return Err("the name leads to no address that calls may go to".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(destination: &str, loopback: Loopback) -> Outgoing {
        Outgoing::new([&Url::parse(destination).unwrap()], loopback, &[]).unwrap()
    }

    fn refusal(url: &str, loopback: Loopback) -> Option<OutgoingError> {
        outgoing(url, loopback).check(&Url::parse(url).unwrap()).err()
    }

    #[test]
    fn link_local_and_metadata_addresses_are_never_called_in_any_spelling() {
        for host in [
            "169.254.169.254",
            "0xA9FEA9FE",
            "2852039166",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1:a9fe:a9:fe00::]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "168.63.129.16",
            "100.100.100.200",
            "0.0.0.0",
            "[::]",
            "[::ffff:0.0.0.0]",
            "224.0.0.1",
            "[ff02::1]",
            "255.255.255.255",
        ] {
            let refusal = refusal(&format!("https://{host}/"), Loopback::Allowed);
            assert!(matches!(refusal, Some(OutgoingError::Address(_))), "{host}: {refusal:?}");
        }
        for host in ["10.1.2.3", "192.168.1.1", "172.16.0.1", "[fd12:3456::1]", "8.8.8.8"] {
            assert!(refusal(&format!("https://{host}/"), Loopback::Refused).is_none(), "{host}");
        }
    }

    #[test]
    fn this_machine_is_called_only_where_that_is_allowed() {
        for host in ["127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"] {
            let url = format!("https://{host}:8443/");
            assert!(matches!(refusal(&url, Loopback::Refused), Some(OutgoingError::Address(_))), "{host}");
            assert!(refusal(&url, Loopback::Allowed).is_none(), "{host}");
        }
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for (url, allowed) in [
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]:8080/", true),
            ("http://login.localhost:8080/", true),
            ("http://localhost./", true),
            ("http://login.example.net/", false),
            ("http://localhost.example.net/", false),
            ("http://10.0.0.1/", false),
            ("ftp://localhost/", false),
        ] {
            assert_eq!(refusal(url, Loopback::Allowed).is_none(), allowed, "{url}");
        }
        let plain = refusal("http://login.localhost/", Loopback::Refused);
        assert!(matches!(plain, Some(OutgoingError::Plaintext(_))), "{plain:?}");
    }

    #[test]
    fn host_and_port_must_be_on_the_list() {
        let outgoing = outgoing("https://Login.example.net/some/path", Loopback::Refused);
        let check = |url: &str| outgoing.check(&Url::parse(url).unwrap()).is_ok();
        assert!(check("https://login.example.net/keys"));
        assert!(check("https://login.example.net:443/keys"));
        for other in ["https://login.example.net:8443/", "https://example.net/", "https://x.login.example.net/"] {
            assert!(!check(other), "{other}");
        }
    }

    #[tokio::test]
    async fn where_no_destination_is_allowed_nothing_goes_out() {
        let outgoing = Outgoing::new([], Loopback::Allowed, &[]).unwrap();
        let refusal = outgoing.get(&Url::parse("https://login.example.net/").unwrap(), 1).await;
        assert!(matches!(refusal, Err(OutgoingError::NotAllowed(_))), "{refusal:?}");
    }

    #[tokio::test]
    async fn a_name_for_this_machine_is_refused_when_it_is_resolved() {
        let url = "https://login.localhost:9/";
        let error = outgoing(url, Loopback::Refused).get(&Url::parse(url).unwrap(), 1).await.unwrap_err();
        let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        assert!(causes.any(|cause| cause.to_string().contains("no address that calls may go to")), "{error:?}");
    }
}
