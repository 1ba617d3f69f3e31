//! Tokens of issuers that are not built in.

use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::node::{Dev, free_port, program};

/// An issuer with one key.
pub(crate) struct Issuer {
    /// Claim `iss`.
    pub(crate) name: &'static str,
    key_id: &'static str,
    key: EcdsaKeyPair,
}

impl Issuer {
    pub(crate) fn new(name: &'static str, key_id: &'static str) -> Self {
        Self { name, key_id, key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    /// Its JWK set.
    pub(crate) fn keys(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.key_id, "x": encode(x), "y": encode(y)}]})
    }

    /// A token for the pools at `port`, good for an hour.
    pub(crate) fn token(&self, port: u16, tenant: &str, principal: &str) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id});
        let claims = json!({
            "iss": self.name, "aud": format!("https://managedhsm.localhost:{port}"), "tid": tenant, "oid": principal,
            "iat": now, "nbf": now, "exp": now + 3600,
        });
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_two_further_issuers_are_good_with_the_keys_of_each_and_no_other() {
    let base = tempfile::tempdir().unwrap();
    let (base, port) = (base.path(), free_port());
    let first = Issuer::new("https://one.issuer.localhost:9", "one");
    let second = Issuer::new("https://two.issuer.localhost:9", "two");
    let own = Issuer::new("of the built-in issuer", "own");
    let mut command = program(["dev"]);
    let file = |issuer: &Issuer| {
        let path = base.join(issuer.key_id);
        fs::write(&path, issuer.keys().to_string()).unwrap();
        path
    };
    command.arg("--jwks-file").arg(file(&own));
    command.args(["--issuer", first.name]).arg("--jwks-file").arg(file(&first));
    command.args(["--issuer", second.name]).arg("--jwks-file").arg(file(&second));
    let dev = Dev::start_with(base, port, command).await;
    let tenant = dev.environment["STRONGROOM_TENANT_ID"].clone();
    let user = dev.object("USER").to_owned();
    let asked = async |token: String| dev.http.with(&token).get("/keys").await.status;

    for issuer in [&first, &second] {
        assert_eq!(asked(issuer.token(port, &tenant, &user)).await, 200, "{}", issuer.name);
        let stranger = "99999999-0000-4000-8000-000000000009";
        assert_eq!(asked(issuer.token(port, &tenant, stranger)).await, 403, "{}: no role", issuer.name);
        assert_eq!(asked(issuer.token(port, stranger, &user)).await, 401, "{}: another tenant", issuer.name);
        assert_eq!(asked(issuer.token(port + 1, &tenant, &user)).await, 401, "{}: another audience", issuer.name);
    }
    // The first one's name and key id over the second one's signature, and an issuer that nobody named.
    let forged = Issuer { name: first.name, key_id: first.key_id, ..second };
    assert_eq!(asked(forged.token(port, &tenant, &user)).await, 401);
    let unknown = Issuer { name: "https://three.issuer.localhost:9", ..first };
    assert_eq!(asked(unknown.token(port, &tenant, &user)).await, 401);
    // The key named before any issuer is good for the built-in one.
    let built_in = format!("{}/{tenant}/v2.0", dev.environment["STRONGROOM_AUTHORITY"]);
    let own = Issuer { name: Box::leak(built_in.into_boxed_str()), ..own };
    assert_eq!(asked(own.token(port, &tenant, &user)).await, 200);
}
