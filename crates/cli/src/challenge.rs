//! What a pool's 401 says, and how far it is believed.
//!
//! A client secret goes to the configured authority. Where none is configured, the pool's word is taken only for an
//! authority in its own domain: whoever answers at a mistyped address must not learn a secret. A token is asked for the
//! resource that the pool names only if the pool lies inside it, so that it cannot have a token made out for somebody
//! else.

use url::Url;
use wire::urls::BaseUrl;

use crate::configuration::{Configuration, is_tenant};
use crate::error::Error;

/// A token request that may be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TokenRequest {
    /// Where to.
    pub(crate) endpoint: Url,
    /// For what: `<resource>/.default`.
    pub(crate) scope: String,
}

/// A challenge as the pool sent it.
#[derive(PartialEq, Eq, Debug)]
struct Challenge {
    /// `https://host[:port]`.
    authority: Url,
    tenant: String,
    /// `https://host[:port]`.
    resource: BaseUrl,
    resource_url: Url,
}

/// Decides where the token request goes and what it asks for.
///
/// # Errors
/// [`Error::Challenge`] if `header` is no challenge or asks for more trust than it has; the text says which flag gives
/// it.
pub(crate) fn decide(configuration: &Configuration, header: &str) -> Result<TokenRequest, Error> {
    let challenge = Challenge::parse(header)
        .ok_or_else(|| Error::Challenge("the pool's 401 does not say where to get a token, and for what".to_owned()))?;
    let pool = pool_url(&configuration.pool)?;
    if configuration.verify_challenge_resource && !lies_inside(&pool, &challenge.resource_url) {
        return Err(Error::Challenge(format!(
            "the pool wants a token for {}, which is no parent domain of {}; if that is right, give \
             --no-verify-challenge-resource",
            challenge.resource, configuration.pool
        )));
    }
    let scope = format!("{}/.default", challenge.resource);
    let (authority, tenant) = match (&configuration.authority, &configuration.tenant) {
        (Some(authority), Some(tenant)) => (authority, tenant),
        (Some(authority), None) if same_origin(authority, &challenge.authority) => (authority, &challenge.tenant),
        (Some(authority), None) => {
            return Err(Error::Challenge(format!(
                "the pool names the authority {}, but {} is configured; give the tenant with --tenant",
                origin(&challenge.authority),
                origin(authority)
            )));
        }
        (None, tenant) if is_near(&pool, &challenge.authority) => {
            (&challenge.authority, tenant.as_ref().unwrap_or(&challenge.tenant))
        }
        (None, _) => {
            return Err(Error::Challenge(format!(
                "the pool names the authority {0}, which is not in its own domain; if the secret may be sent there, \
                 give --authority {0}",
                origin(&challenge.authority)
            )));
        }
    };
    let mut endpoint = authority.clone();
    endpoint.set_path(&format!("/{tenant}/oauth2/v2.0/token"));
    Ok(TokenRequest { endpoint, scope })
}

impl Challenge {
    /// Reads `Bearer authorization="https://host/tenant", resource="https://host"`, further items passed over.
    fn parse(header: &str) -> Option<Self> {
        let mut items = header.strip_prefix("Bearer ")?.split(',').filter_map(|item| {
            let (name, value) = item.trim().split_once('=')?;
            Some((name, value.strip_prefix('"')?.strip_suffix('"')?))
        });
        let item = |wanted: &str| items.clone().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let (authority, tenant) = item("authorization")?.rsplit_once('/')?;
        let resource = BaseUrl::parse(item("resource")?)?;
        let read = Self {
            authority: url_of(&BaseUrl::parse(authority).filter(|base| base.as_str() == authority)?)?,
            tenant: Some(tenant).filter(|tenant| is_tenant(tenant))?.to_owned(),
            resource_url: url_of(&resource)?,
            resource,
        };
        items
            .by_ref()
            .filter(|(name, _)| matches!(*name, "authorization" | "resource"))
            .nth(2)
            .is_none()
            .then_some(read)
    }
}

/// See [`crate::fuzzing::answers`].
pub(crate) fn fuzz(header: &str) {
    for challenge in [Challenge::parse(header), Challenge::parse(&format!("Bearer {header}"))].into_iter().flatten() {
        assert!(is_tenant(&challenge.tenant));
        let pool = challenge.resource_url;
        let _ = (lies_inside(&pool, &challenge.authority), is_near(&pool, &challenge.authority));
    }
}

/// Whether `pool`, its port included, lies below `resource`.
fn lies_inside(pool: &Url, resource: &Url) -> bool {
    let (Some(host), Some(parent)) = (pool.domain(), resource.domain()) else { return false };
    pool.port_or_known_default() == resource.port_or_known_default() && is_below(host, parent)
}

/// Whether `authority` is the pool's own address or lies in its domain.
///
/// The domain of `<pool>.managedhsm.<domain>` is `<domain>`, that of any other pool its host less the first label. A
/// domain of one label is everybody's, but for `localhost`, which is this machine's.
fn is_near(pool: &Url, authority: &Url) -> bool {
    if same_origin(pool, authority) {
        return true;
    }
    let (Some(pool), Some(authority)) = (pool.domain(), authority.domain()) else { return false };
    let Some((_, parent)) = pool.split_once('.') else { return false };
    let domain = parent.strip_prefix("managedhsm.").unwrap_or(parent);
    (domain.contains('.') || domain == "localhost") && is_below(authority, domain)
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Whether two addresses have the same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// An address as a URL. Host names are lower case in it. `None` for a host that looks like an address and is none, or
/// like an international name and is none.
fn url_of(base: &BaseUrl) -> Option<Url> {
    Url::parse(base.as_str()).ok()
}

/// The pool's address as a URL.
///
/// # Errors
/// [`Error::Configuration`] if its host is none.
pub(crate) fn pool_url(pool: &BaseUrl) -> Result<Url, Error> {
    url_of(pool).ok_or_else(|| Error::Configuration(format!("{pool} is no address of a pool: its host is no name")))
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Format;
    use crate::surroundings::Secret;
    use proptest::prelude::*;

    const POOL: &str = "https://dev.managedhsm.localhost:8443";
    const RESOURCE: &str = "https://managedhsm.localhost:8443";

    fn configuration(pool: &str, authority: Option<&str>, tenant: Option<&str>) -> Configuration {
        Configuration {
            pool: BaseUrl::parse(pool).unwrap(),
            ca_file: None,
            authority: authority.map(|text| Url::parse(text).unwrap()),
            tenant: tenant.map(str::to_owned),
            client_id: "c".to_owned(),
            client_secret: Secret::new("s").unwrap(),
            verify_challenge_resource: true,
            output: Format::Table,
        }
    }

    fn header(authority: &str, resource: &str) -> String {
        format!("Bearer authorization=\"{authority}/t-1\", resource=\"{resource}\", error=\"invalid_token\"")
    }

    fn endpoint(pool: &str, authority: Option<&str>, tenant: Option<&str>, named: &str) -> Result<String, String> {
        let mut configuration = configuration(pool, authority, tenant);
        configuration.verify_challenge_resource = false;
        decide(&configuration, &header(named, RESOURCE))
            .map(|request| request.endpoint.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_that_is_no_name_is_refused_wherever_it_stands() {
        for host in ["https://login.1", "https://xn--a", "https://1.2.3.4.5"] {
            assert!(Challenge::parse(&header(host, RESOURCE)).is_none(), "{host}");
            assert!(Challenge::parse(&header("https://login.localhost:8443", host)).is_none(), "{host}");
            assert!(matches!(pool_url(&BaseUrl::parse(host).unwrap()), Err(Error::Configuration(_))), "{host}");
        }
    }

    #[test]
    fn the_scope_is_the_resource_that_holds_the_pool() {
        let request =
            decide(&configuration(POOL, None, None), &header("https://login.localhost:8443", RESOURCE)).unwrap();
        assert_eq!(request.scope, "https://managedhsm.localhost:8443/.default");
        assert_eq!(request.endpoint.as_str(), "https://login.localhost:8443/t-1/oauth2/v2.0/token");
        let upper = configuration("https://DEV.managedhsm.localhost:8443", None, None);
        assert!(decide(&upper, &header("https://login.localhost:8443", RESOURCE)).is_ok());
        let no_port = configuration("https://a.managedhsm.example.net:443", None, None);
        let named = header("https://login.example.net", "https://managedhsm.example.net");
        assert_eq!(decide(&no_port, &named).unwrap().scope, "https://managedhsm.example.net/.default");
    }

    #[test]
    fn a_resource_that_does_not_hold_the_pool_is_refused_unless_told_otherwise() {
        for resource in [
            "https://managedhsm.localhost",
            "https://managedhsm.localhost:8444",
            "https://dev.managedhsm.localhost:8443",
            "https://edhsm.localhost:8443",
            "https://vault.example",
        ] {
            let named = header("https://login.localhost:8443", resource);
            let mut configuration = configuration(POOL, None, None);
            let line = decide(&configuration, &named).unwrap_err().line();
            assert!(line.contains("--no-verify-challenge-resource"), "{line}");
            configuration.verify_challenge_resource = false;
            assert_eq!(decide(&configuration, &named).unwrap().scope, format!("{resource}/.default"));
        }
        for pool in ["https://localhost:8443", "https://127.0.0.1:8443", "https://[::1]:8443"] {
            let named = header("https://login.localhost:8443", "https://localhost:8443");
            assert!(decide(&configuration(pool, None, None), &named).is_err(), "{pool}");
        }
    }

    #[test]
    fn the_secret_goes_to_the_configured_authority_whatever_the_pool_names() {
        let to = "https://login.example";
        for named in ["https://login.example", "https://evil.example", "https://login.localhost:8443"] {
            let sent = endpoint(POOL, Some(to), Some("mine"), named).unwrap();
            assert_eq!(sent, "https://login.example/mine/oauth2/v2.0/token");
        }
        let same = endpoint(POOL, Some(to), None, "https://login.example:443").unwrap();
        assert_eq!(same, "https://login.example/t-1/oauth2/v2.0/token");
        assert!(endpoint(POOL, Some(to), None, "https://evil.example").unwrap_err().contains("--tenant"));
    }

    #[test]
    fn without_a_configured_authority_only_one_in_the_pools_domain_is_believed() {
        for (pool, near) in [
            (POOL, "https://login.localhost:8443"),
            (POOL, "https://login.managedhsm.localhost:9000"),
            ("https://a.managedhsm.example.net", "https://login.example.net"),
            ("https://hsm.example.net", "https://login.example.net"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ] {
            assert!(endpoint(pool, None, None, near).is_ok(), "{pool} {near}");
        }
        for (pool, far) in [
            (POOL, "https://login.example"),
            (POOL, "https://localhost.evil.example"),
            (POOL, "https://evillocalhost"),
            (POOL, "https://localhost:8443"),
            ("https://a.managedhsm.azure.net", "https://login.microsoftonline.com"),
            ("https://a.managedhsm.example.net", "https://login.notexample.net"),
            ("https://a.managedhsm.net", "https://login.net"),
            ("https://a.net", "https://login.net"),
            ("https://localhost:8443", "https://localhost:9000"),
            ("https://localhost:8443", "https://login.localhost:8443"),
            ("https://127.0.0.1:8443", "https://127.0.0.2:8443"),
        ] {
            let told = endpoint(pool, None, Some("mine"), far).unwrap_err();
            assert!(told.contains(&format!("--authority {far}")), "{pool} {far}: {told}");
        }
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        for bad in [
            "",
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer authorization=\"https://login.localhost:8443/t\"",
            "Bearer resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=\"http://login.localhost:8443/t\", resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=\"https://login.localhost:8443/\", resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=\"https://login.localhost:8443/..\", resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=\"https://login.localhost:8443/a/t\", resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=\"https://u@login.localhost/t\", resource=\"https://managedhsm.localhost:8443\"",
            "Bearer authorization=https://login.localhost:8443/t, resource=https://managedhsm.localhost:8443",
        ] {
            assert!(matches!(decide(&configuration(POOL, None, None), bad), Err(Error::Challenge(_))), "{bad:?}");
        }
        let twice = format!("{}, resource=\"https://other\"", header("https://login.localhost:8443", RESOURCE));
        assert!(decide(&configuration(POOL, None, None), &twice).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_answered(text: String) {
            let _ = decide(&configuration(POOL, None, None), &text);
            let _ = decide(&configuration(POOL, None, None), &format!("Bearer {text}"));
        }

        #[test]
        fn nothing_outside_the_domain_gets_the_secret(host in "[a-z.]{1,20}") {
            let named = format!("https://{host}");
            if let Ok(endpoint) = endpoint(POOL, None, None, &named) {
                prop_assert!(Url::parse(&endpoint).unwrap().domain().unwrap().ends_with(".localhost"));
            }
        }
    }
}
