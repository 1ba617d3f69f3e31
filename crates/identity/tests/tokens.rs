//! Tokens signed with real keys, and every way in which one is refused.
#![expect(clippy::unwrap_used, reason = "fixtures are made outside of test functions")]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Audience, Issuer, Issuers, KeySet, MAX_TOKEN_BYTES, TokenError, Verifier};
use model::{Caller, UnixTime};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: UnixTime = UnixTime(1_800_000_000);
const TENANT: &str = "9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11";
const RESOURCE: &str = "https://managedhsm.example.net:8443";
const ENTRA: &str = "https://login.example.net/9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11/v2.0";
const ENTRA_V1: &str = "https://sts.example.net/9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11/";
const OTHER: &str = "https://keycloak.example.net/realms/hsm";

/// The issuers of these tests. `ENTRA` has an RSA key and both curves, `OTHER` another key on P-256.
struct World {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    others: EcdsaKeyPair,
    verifier: Verifier,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let rsa = RsaKeyPair::from_pkcs8(include_bytes!("fixtures/rsa-2048.p8")).unwrap();
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let others = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let mut only_pss = rsa_jwk(&rsa, "only-pss");
    only_pss["alg"] = "PS256".into();
    let entra = [rsa_jwk(&rsa, "rsa"), only_pss, ec_jwk(&p256, "p256"), ec_jwk(&p384, "p384")];
    let issuers = vec![
        Issuer::new([ENTRA, ENTRA_V1], [TENANT], key_set(&entra)),
        Issuer::new([OTHER], [TENANT], key_set(&[ec_jwk(&others, "others")])),
    ];
    let verifier = Verifier::new(Arc::new(Issuers::new(issuers).unwrap()), Audience::resources([RESOURCE]));
    World { rsa, p256, p384, others, verifier }
});

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    json!({"kty": "RSA", "use": "sig", "kid": kid, "n": encode(public.n), "e": encode(public.e)})
}

fn ec_jwk(key: &EcdsaKeyPair, kid: &str) -> Value {
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let curve = if x.len() == 32 { "P-256" } else { "P-384" };
    json!({"kty": "EC", "crv": curve, "kid": kid, "x": encode(x), "y": encode(y)})
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({
        "aud": RESOURCE, "iss": ENTRA, "tid": TENANT, "oid": "11111111-2222-3333-4444-555555555555",
        "iat": NOW.0 - 10, "nbf": NOW.0 - 10, "exp": NOW.0 + 3600, "azp": "app", "uti": "t-1",
    })
}

/// The claims with one of them set, or removed if `null`.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.into(), value),
    };
    claims
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", encode(header), encode(claims))
}

fn by_rsa(header: &str, claims: &str, encoding: &'static dyn RsaEncoding) -> String {
    let message = unsigned(header, claims);
    let mut signature = vec![0; WORLD.rsa.public_modulus_len()];
    WORLD.rsa.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", encode(signature))
}

fn by_ec(key: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let message = unsigned(header, claims);
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", encode(signature))
}

fn header(alg: &str, kid: &str) -> String {
    json!({"typ": "JWT", "alg": alg, "kid": kid}).to_string()
}

/// A token as the issuer would make it from these claims.
fn genuine(claims: &Value) -> String {
    by_rsa(&header("RS256", "rsa"), &claims.to_string(), &RSA_PKCS1_SHA256)
}

fn verify(token: &str) -> Result<Caller, TokenError> {
    WORLD.verifier.verify(token, NOW)
}

#[test]
fn each_accepted_algorithm_verifies_with_a_key_of_its_kind() {
    let claims = claims().to_string();
    for token in [
        by_rsa(&header("RS256", "rsa"), &claims, &RSA_PKCS1_SHA256),
        by_rsa(&header("PS256", "rsa"), &claims, &RSA_PSS_SHA256),
        by_rsa(&header("PS256", "only-pss"), &claims, &RSA_PSS_SHA256),
        by_ec(&WORLD.p256, &header("ES256", "p256"), &claims),
        by_ec(&WORLD.p384, &header("ES384", "p384"), &claims),
    ] {
        let caller = verify(&token).unwrap();
        assert_eq!(caller.principal.as_str(), "11111111-2222-3333-4444-555555555555");
        assert_eq!((caller.tenant.as_ref(), caller.issuer.as_ref()), (TENANT, ENTRA));
        assert_eq!((caller.issued_at, caller.expires_at), (Some(UnixTime(NOW.0 - 10)), UnixTime(NOW.0 + 3600)));
    }
}

#[test]
fn an_algorithm_that_does_not_fit_the_key_is_refused() {
    let claims = claims().to_string();
    for (token, why) in [
        (by_rsa(&header("RS256", "only-pss"), &claims, &RSA_PKCS1_SHA256), "the key says PS256"),
        (by_rsa(&header("RS512", "rsa"), &claims, &RSA_PKCS1_SHA512), "not on our list"),
        (by_rsa(&header("rs256", "rsa"), &claims, &RSA_PKCS1_SHA256), "names are exact"),
        (by_rsa(&header("RS256", "p256"), &claims, &RSA_PKCS1_SHA256), "a curve cannot do RSA"),
        (by_ec(&WORLD.p256, &header("ES256", "rsa"), &claims), "an RSA key cannot do ECDSA"),
        (by_ec(&WORLD.p256, &header("ES384", "p256"), &claims), "the curve decides the hash"),
        (by_ec(&WORLD.p384, &header("ES256", "p384"), &claims), "the curve decides the hash"),
    ] {
        assert_eq!(verify(&token), Err(TokenError::Algorithm), "{why}");
    }
}

#[test]
fn an_unsigned_token_is_refused_in_every_spelling() {
    for alg in ["none", "None", "NONE", ""] {
        let message = unsigned(&header(alg, "rsa"), &claims().to_string());
        assert_eq!(verify(&format!("{message}.")), Err(TokenError::Algorithm), "{alg}");
    }
    let message = unsigned(&header("RS256", "rsa"), &claims().to_string());
    assert_eq!(verify(&format!("{message}.")), Err(TokenError::Signature));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let n = RsaPublicKeyComponents::<Vec<u8>>::from(WORLD.rsa.public_key()).n;
    for secret in [n.as_slice(), encode(&n).as_bytes(), WORLD.rsa.public_key().as_ref()] {
        let message = unsigned(&header("HS256", "rsa"), &claims().to_string());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        assert_eq!(verify(&format!("{message}.{}", encode(tag))), Err(TokenError::Algorithm));
    }
}

#[test]
fn critical_extensions_are_refused_even_when_empty() {
    for crit in [r#"["b64"]"#, r#"["exp"]"#, "[]", "null"] {
        let header = format!(r#"{{"alg":"RS256","kid":"rsa","crit":{crit}}}"#);
        let token = by_rsa(&header, &claims().to_string(), &RSA_PKCS1_SHA256);
        assert_eq!(verify(&token), Err(TokenError::Malformed("header")), "{crit}");
    }
}

#[test]
fn a_token_of_another_type_is_refused() {
    let typed = |typ: &str| {
        let header = json!({"typ": typ, "alg": "RS256", "kid": "rsa"}).to_string();
        verify(&by_rsa(&header, &claims().to_string(), &RSA_PKCS1_SHA256)).map(|_| ())
    };
    assert_eq!(typed("jwt"), Ok(()));
    assert_eq!(typed("at+jwt"), Ok(()));
    assert_eq!(typed("logout+jwt"), Err(TokenError::Malformed("header")));
    assert_eq!(typed("dpop+jwt"), Err(TokenError::Malformed("header")));
}

#[test]
fn a_key_that_a_token_brings_along_is_never_used() {
    let mine = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let brought = |kid: &str| {
        json!({
            "alg": "ES256", "kid": kid, "jwk": ec_jwk(&mine, kid), "jku": "https://evil.example/keys",
            "x5u": "https://evil.example/cert", "x5c": ["AAAA"],
        })
        .to_string()
    };
    assert_eq!(verify(&by_ec(&mine, &brought("p256"), &claims().to_string())), Err(TokenError::Signature));
    let unknown = TokenError::UnknownKey { issuer: ENTRA.into(), key_id: "mine".into() };
    assert_eq!(verify(&by_ec(&mine, &brought("mine"), &claims().to_string())), Err(unknown));
    // The members themselves are no offence: the known key still decides.
    assert!(verify(&by_ec(&WORLD.p256, &brought("p256"), &claims().to_string())).is_ok());
}

#[test]
fn a_key_counts_only_for_its_own_issuer() {
    let others = header("ES256", "others");
    let unknown = TokenError::UnknownKey { issuer: ENTRA.into(), key_id: "others".into() };
    assert_eq!(verify(&by_ec(&WORLD.others, &others, &claims().to_string())), Err(unknown));
    let own = with("iss", json!(OTHER)).to_string();
    assert_eq!(verify(&by_ec(&WORLD.others, &others, &own)).unwrap().issuer.as_ref(), OTHER);
    let unknown = TokenError::UnknownKey { issuer: OTHER.into(), key_id: "p256".into() };
    assert_eq!(verify(&by_ec(&WORLD.p256, &header("ES256", "p256"), &own)), Err(unknown));
}

#[test]
fn an_unknown_key_is_named_only_when_it_can_be_printed() {
    let long = "k".repeat(257);
    for kid in ["", "a b", "a\nb", "schlüssel", long.as_str()] {
        let token = by_rsa(&header("RS256", kid), &claims().to_string(), &RSA_PKCS1_SHA256);
        assert_eq!(verify(&token), Err(TokenError::Malformed("key id")), "{kid:?}");
    }
    let token = by_rsa(r#"{"alg":"RS256"}"#, &claims().to_string(), &RSA_PKCS1_SHA256);
    assert_eq!(verify(&token), Err(TokenError::Malformed("key id")));
}

#[test]
fn truncated_reordered_and_altered_tokens_are_refused() {
    let token = genuine(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!() };
    assert!(verify(&token).is_ok());
    for bad in [
        String::new(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!("{header}.{signature}.{claims}"),
        format!("{header}.{claims}.{}", &signature[..signature.len() - 4]),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}.{signature}AAAA"),
        format!(" {token}"),
        format!("{token} "),
        format!("{header}.{}.{signature}", encode(with("oid", json!("someone-else")).to_string())),
        format!("{}.{claims}.{signature}", encode(self::header("PS256", "rsa"))),
    ] {
        let refusal = verify(&bad).unwrap_err();
        assert!(matches!(refusal, TokenError::Malformed(_) | TokenError::Signature), "{refusal:?}");
    }
}

#[test]
fn an_ecdsa_signature_is_fixed_width_and_not_zero() {
    let token = by_ec(&WORLD.p256, &header("ES256", "p256"), &claims().to_string());
    let (message, _) = token.rsplit_once('.').unwrap();
    for signature in [vec![0; 64], vec![0; 96], vec![], vec![0x30, 6, 2, 1, 1, 2, 1, 1]] {
        assert_eq!(verify(&format!("{message}.{}", encode(signature))), Err(TokenError::Signature));
    }
}

#[test]
fn a_member_of_the_header_may_come_once_only() {
    for header in [
        r#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"none","kid":"rsa","a\u006cg":"RS256"}"#,
        r#"{"alg":"RS256","kid":"rsa","kid":"p256"}"#,
        r#"["RS256","rsa"]"#,
    ] {
        let token = by_rsa(header, &claims().to_string(), &RSA_PKCS1_SHA256);
        assert_eq!(verify(&token), Err(TokenError::Malformed("header")), "{header}");
    }
}

#[test]
fn a_token_of_more_than_16_kib_is_not_read() {
    let padded = |n: usize| genuine(&with("pad", json!("x".repeat(n))));
    let longest = (10_000..12_288).rev().find(|n| padded(*n).len() <= MAX_TOKEN_BYTES).unwrap();
    assert!(verify(&padded(longest)).is_ok());
    assert_eq!(verify(&padded(longest + 3)), Err(TokenError::Malformed("length")));
}

#[test]
fn a_token_is_valid_from_its_start_to_its_end_and_a_minute_around() {
    let at = |name: &str, seconds: i64| verify(&genuine(&with(name, json!(NOW.0 + seconds)))).map(|_| ());
    assert_eq!(at("exp", -59), Ok(()));
    assert_eq!(at("exp", -60), Err(TokenError::Expired));
    assert_eq!(at("nbf", 60), Ok(()));
    assert_eq!(at("nbf", 61), Err(TokenError::NotYetValid));
    assert_eq!(at("iat", 61), Err(TokenError::NotYetValid));
    assert_eq!(verify(&genuine(&with("exp", json!(i64::MAX)))).map(|_| ()), Ok(()));
    assert_eq!(verify(&genuine(&with("exp", json!(i64::MIN)))), Err(TokenError::Expired));
    assert_eq!(verify(&genuine(&with("exp", Value::Null))), Err(TokenError::Malformed("exp")));
}

#[test]
fn a_token_is_for_our_audience_in_either_form() {
    let other = "https://vault.example.net";
    let aud = |value: Value| verify(&genuine(&with("aud", value))).map(|_| ());
    assert_eq!(aud(json!(RESOURCE)), Ok(()));
    assert_eq!(aud(json!(format!("{RESOURCE}/"))), Ok(()));
    assert_eq!(aud(json!([other, RESOURCE])), Ok(()));
    for bad in
        [json!(other), json!([other]), json!([]), json!(""), json!(format!("{RESOURCE}.evil.example")), Value::Null]
    {
        assert_eq!(aud(bad.clone()), Err(TokenError::Audience), "{bad}");
    }
    assert_eq!(aud(json!({"0": RESOURCE})), Err(TokenError::Malformed("claims")));
}

#[test]
fn issuer_tenant_and_principal_must_be_known() {
    let changed = |name: &str, value: Value| verify(&genuine(&with(name, value))).map(|_| ());
    assert_eq!(changed("iss", json!(ENTRA_V1)), Ok(()), "both names of an issuer count");
    assert_eq!(changed("iss", json!(format!("{ENTRA}/"))), Err(TokenError::Issuer), "issuers are compared exactly");
    assert_eq!(changed("iss", Value::Null), Err(TokenError::Malformed("claims")));
    assert_eq!(changed("tid", json!(TENANT.to_uppercase())), Ok(()));
    assert_eq!(changed("tid", json!("00000000-0000-0000-0000-000000000000")), Err(TokenError::Tenant));
    assert_eq!(changed("tid", Value::Null), Err(TokenError::Tenant));
    assert_eq!(changed("oid", Value::Null), Err(TokenError::Principal));
    assert_eq!(changed("oid", json!("")), Err(TokenError::Principal));
    assert_eq!(changed("oid", json!("a b")), Err(TokenError::Principal));
}

#[test]
fn what_a_key_verified_is_known_to_rest_on_that_very_key() {
    let token = by_ec(&WORLD.others, &header("ES256", "others"), &with("iss", json!(OTHER)).to_string());
    let (_, signed_by) = WORLD.verifier.verify_with_key(&token, NOW).unwrap();
    let knowing = |keys: &[Value]| Issuers::new(vec![Issuer::new([OTHER], [TENANT], key_set(keys))]).unwrap();
    assert!(knowing(&[ec_jwk(&WORLD.others, "others"), ec_jwk(&WORLD.p256, "p256")]).still_hold(&signed_by));
    assert!(!knowing(&[]).still_hold(&signed_by));
    assert!(!knowing(&[ec_jwk(&WORLD.p256, "others")]).still_hold(&signed_by), "the id is taken over by another key");
    let rotated = knowing(&[ec_jwk(&WORLD.others, "others")]).with_keys(0, key_set(&[]));
    assert!(!rotated.still_hold(&signed_by));
}

#[test]
fn a_refusal_tells_nothing_of_the_token() {
    let marked = with("oid", json!("MARKED-oid MARKED"));
    for token in [genuine(&marked), genuine(&with("aud", json!("MARKED"))), genuine(&with("tid", json!("MARKED")))] {
        let refusal = verify(&token).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("MARKED"), "{refusal:?}");
    }
}

proptest! {
    /// The twin of the fuzz target.
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        identity::fuzz(&bytes);
    }

    #[test]
    fn near_claims_never_panic(text in r#"\{("(iss|aud|exp|nbf|tid|oid|groups|hasgroups|_claim_names|upn|kid|keys|alg)":("t"|"a"|-?[0-9]{1,20}(\.[0-9]+)?(e[0-9]{1,3})?|\["a"\]|\{"groups":1\}|null),){0,8}"iss":"i"\}"#) {
        identity::fuzz(text.as_bytes());
        identity::fuzz(unsigned(&text, &text).as_bytes());
    }

    #[test]
    fn any_changed_byte_makes_a_token_worthless(at in any::<prop::sample::Index>(), flip in 1u8..=127) {
        let mut token = genuine(&claims()).into_bytes();
        let at = at.index(token.len());
        token[at] ^= flip;
        let text = String::from_utf8_lossy(&token).into_owned();
        prop_assert!(verify(&text).is_err());
    }
}
