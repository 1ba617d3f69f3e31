//! Names and fixed values of the headers that answers carry.
//!
//! Source: recorded answers of the live service.

/// On every answer, whatever it is: even one without a body.
pub const ALWAYS: &[(&str, &str)] = &[
    ("content-type", "application/json; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("content-security-policy", "default-src 'self'"),
];

/// Milliseconds that the answer took, on every answer.
pub const SERVER_LATENCY: &str = "x-ms-server-latency";
/// The build that answered, on every GET.
pub const BUILD_VERSION: &str = "x-ms-build-version";
/// Where the pool is, on every authenticated answer.
pub const KEYVAULT_REGION: &str = "x-ms-keyvault-region";
/// How the client is connected, on every authenticated answer; see [`network`].
pub const KEYVAULT_NETWORK: &str = "x-ms-keyvault-network-info";
/// The id of this request, which error messages repeat as their Activity ID.
pub const REQUEST_ID: &str = "x-ms-request-id";
/// The client's own id of this request; sent back when [`RETURN_CLIENT_REQUEST_ID`] asks for it.
pub const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";
/// `true` where the client wants [`CLIENT_REQUEST_ID`] back.
pub const RETURN_CLIENT_REQUEST_ID: &str = "x-ms-return-client-request-id";
/// The challenge of a 401; see [`Challenge`](crate::challenge::Challenge).
pub const WWW_AUTHENTICATE: &str = "www-authenticate";
/// The methods that a path knows, on a 405.
pub const ALLOW: &str = "allow";
/// Seconds after which to try again, on 429 and 503.
pub const RETRY_AFTER: &str = "retry-after";
/// The headers by which a POST may say that it means PATCH or DELETE.
pub const METHOD_OVERRIDES: &[&str] = &["x-http-method", "x-http-method-override", "x-http-request"];

/// The value of [`KEYVAULT_NETWORK`] for a client at `address`.
#[must_use]
pub fn network(address: std::net::IpAddr) -> String {
    let family = if address.is_ipv4() { "Ipv4" } else { "Ipv6" };
    format!("conn_type={family};addr={address};act_addr_fam={family};")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_is_described_as_the_live_service_does() {
        let text = network("203.0.113.7".parse().unwrap());
        assert_eq!(text, "conn_type=Ipv4;addr=203.0.113.7;act_addr_fam=Ipv4;");
        assert!(network("2001:db8::1".parse().unwrap()).starts_with("conn_type=Ipv6;addr=2001:db8::1;"));
    }

    #[test]
    fn names_are_lower_case_as_http_2_wants_them() {
        let named = ALWAYS.iter().map(|(name, _)| *name);
        for name in named.chain(METHOD_OVERRIDES.iter().copied()).chain([SERVER_LATENCY, REQUEST_ID, ALLOW]) {
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }
}
