use super::*;

use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn refusal(result: Result<Map<String, Value>, Error>) -> String {
    result.unwrap_err().line()
}

#[test]
fn every_form_of_a_private_key_reads_as_the_same_json_web_key() {
    for (pem, jwk) in [
        ("rsa-pkcs1.pem", "rsa.jwk"),
        ("rsa-pkcs8.pem", "rsa.jwk"),
        ("p256-sec1.pem", "p256.jwk"),
        ("p256-pkcs8.pem", "p256.jwk"),
        ("p256k-sec1.pem", "p256k.jwk"),
        ("p256k-pkcs8.pem", "p256k.jwk"),
        ("p384-sec1.pem", "p384.jwk"),
        ("p384-pkcs8.pem", "p384.jwk"),
        ("p521-sec1.pem", "p521.jwk"),
        ("p521-pkcs8.pem", "p521.jwk"),
    ] {
        let read = from_pem(&fixture(pem)).unwrap();
        assert!(read == from_jwk(&fixture(jwk)).unwrap(), "{pem}");
        let body = serde_json::to_vec(&json!({ "key": read })).unwrap();
        assert!(wire::keys::ImportKey::parse(&body).is_ok(), "{pem}");
    }
}

#[test]
fn what_cannot_be_imported_is_refused_with_a_reason() {
    for (pem, says) in [
        ("ed25519.pem", "no RSA key, and no EC key"),
        ("p256-no-public.pem", "together with its public point"),
        ("encrypted.pem", "is encrypted"),
        ("rsa.jwk", "no private key in PEM"),
    ] {
        let line = refusal(from_pem(&fixture(pem)));
        assert!(line.contains(says), "{pem}: {line}");
    }
    assert!(refusal(from_pem(b"")).contains("no private key"));
}

#[test]
fn only_the_key_itself_leaves_a_json_web_key_file() {
    let jwk = br#"{"kty":"oct","k":"AQID","kid":"mine","use":"enc","key_ops":["sign"],"x5c":["a"]}"#;
    let read = from_jwk(jwk).unwrap();
    assert_eq!(Value::Object(read), json!({ "kty": "oct", "k": "AQID" }));
    for bad in ["", "[]", "{}", r#"{"kty":1}"#, "s3cret"] {
        let line = refusal(from_jwk(bad.as_bytes()));
        assert!(line.starts_with("error: Input: ") && !line.contains("s3cret"), "{line}");
    }
}

#[test]
fn a_key_cut_anywhere_is_refused() {
    let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(&fixture("p256-pkcs8.pem")).unwrap() else {
        panic!()
    };
    let der = der.secret_pkcs8_der();
    assert!(pkcs8(der).is_some());
    for end in 0..der.len() {
        assert!(pkcs8(&der[..end]).is_none(), "{end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        let _ = (from_pem(&bytes), from_jwk(&bytes), pkcs8(&bytes), rsa(&bytes), ec(&bytes, None));
    }
}
