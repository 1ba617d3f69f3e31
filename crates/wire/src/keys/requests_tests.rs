use proptest::prelude::*;

use super::*;
use crate::base64url::encode;

fn create(body: &str) -> Result<CreateKey, BodyError> {
    CreateKey::parse(body.as_bytes())
}

fn refusal<T: fmt::Debug>(result: Result<T, BodyError>) -> String {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, "BadParameter");
    refusal.message
}

#[test]
fn each_type_has_its_default() {
    for (body, kind) in [
        (r#"{"kty":"RSA"}"#, KeyKind::Rsa(RsaSize::Rsa2048)),
        (r#"{"kty":"RSA-HSM","key_size":4096}"#, KeyKind::Rsa(RsaSize::Rsa4096)),
        (r#"{"kty":"EC"}"#, KeyKind::Ec(Curve::P256)),
        (r#"{"kty":"EC-HSM","crv":"P-521","key_size":null}"#, KeyKind::Ec(Curve::P521)),
        (r#"{"kty":"EC-HSM","crv":"SECP256K1"}"#, KeyKind::Ec(Curve::P256K)),
        (r#"{"kty":"oct"}"#, KeyKind::Oct(OctSize::AES_256)),
        (r#"{"kty":"oct-HSM","key_size":192}"#, KeyKind::Oct(OctSize::AES_192)),
        (r#"{"kty":"AKP","alg":"ML-DSA-87"}"#, KeyKind::Akp(MlDsa::MlDsa87)),
        (r#"{"kty":"AKP-HSM","alg":"ML-DSA-44"}"#, KeyKind::Akp(MlDsa::MlDsa44)),
    ] {
        assert_eq!(create(body).unwrap().kind, kind, "{body}");
    }
    let plain = create(r#"{"kty":"RSA"}"#).unwrap();
    assert_eq!(plain.public_exponent.get(), 65_537);
    assert_eq!((plain.operations, plain.release_policy), (None, None));
    assert_eq!(plain.attributes, AttributesChange::default());
    assert!(plain.tags.is_empty());
}

#[test]
fn everything_that_a_create_states_is_read() {
    let body = create(
        r#"{"kty":"RSA-HSM","key_size":3072,"public_exponent":17,"key_ops":["sign","export","sign"],
            "attributes":{"enabled":false,"nbf":1,"exp":2,"exportable":true,"created":"ignored"},
            "tags":{"a":"b"},"release_policy":{"contentType":"application/json","data":"e30","immutable":true},
            "unknown":[{}]}"#,
    )
    .unwrap();
    assert_eq!(body.kind, KeyKind::Rsa(RsaSize::Rsa3072));
    assert_eq!(body.public_exponent.get(), 17);
    assert_eq!(body.operations, Some(KeyOperations::of(&[KeyOperation::Sign, KeyOperation::Export])));
    let attributes = AttributesChange {
        enabled: Some(false),
        not_before: Some(UnixTime(1)),
        expires: Some(UnixTime(2)),
        exportable: Some(true),
    };
    assert_eq!(body.attributes, attributes);
    assert_eq!(body.tags.as_map()["a"], "b");
    let policy = body.release_policy.unwrap();
    assert_eq!((policy.encoded.as_slice(), policy.immutable), (b"{}".as_slice(), true));
    assert_eq!(policy.content_type.as_deref(), Some("application/json"));
}

#[test]
fn a_create_that_breaks_a_rule_is_refused_by_member() {
    for (body, says) in [
        ("{}", "The member kty is required."),
        (r#"{"kty":null}"#, "The member kty is required."),
        (r#"{"kty":1}"#, "The member kty must be a text."),
        (r#"{"kty":"rsa"}"#, "The member kty must be RSA-HSM"),
        (r#"{"kty":"RSA","kty":"EC"}"#, "The member kty may come once only."),
        (r#"{"kty":"RSA","key_size":1024}"#, "The member key_size must be 2048, 3072 or 4096"),
        (r#"{"kty":"RSA","key_size":"2048"}"#, "The member key_size must be a whole number"),
        (r#"{"kty":"RSA","key_size":2048.0}"#, "The member key_size must be a whole number"),
        (r#"{"kty":"RSA","crv":"P-256"}"#, "The member crv does not belong"),
        (r#"{"kty":"RSA","public_exponent":4}"#, "The member public_exponent must be odd"),
        (r#"{"kty":"RSA","public_exponent":1}"#, "The member public_exponent must be a whole number"),
        (r#"{"kty":"EC","public_exponent":3}"#, "The member public_exponent does not belong"),
        (r#"{"kty":"EC","key_size":256}"#, "The member key_size does not belong"),
        (r#"{"kty":"EC","crv":"P-224"}"#, "The member crv must be P-256, P-256K, P-384 or P-521."),
        (r#"{"kty":"oct","key_size":512}"#, "The member key_size must be 128, 192 or 256"),
        (r#"{"kty":"AKP"}"#, "The member alg is required."),
        (r#"{"kty":"AKP","alg":"ML-KEM-768"}"#, "The member alg must be ML-DSA-44"),
        (r#"{"kty":"RSA","key_ops":"sign"}"#, "The member key_ops must be an array."),
        (r#"{"kty":"RSA","key_ops":["sign","Sign"]}"#, "The member key_ops[1] must be one of encrypt, "),
        (r#"{"kty":"RSA","attributes":1}"#, "The member attributes must be an object"),
        (r#"{"kty":"RSA","attributes":{"enabled":"true"}}"#, "The member attributes.enabled must be true or false."),
        (r#"{"kty":"RSA","attributes":{"exp":1.5}}"#, "The member attributes.exp must be a whole number"),
        (r#"{"kty":"RSA","attributes":{"nbf":253402300800}}"#, "The member attributes.nbf must be a whole number"),
        (r#"{"kty":"RSA","attributes":{"exp":1,"exp":1}}"#, "The member attributes.exp may come once only."),
        (r#"{"kty":"RSA","tags":{"a":1}}"#, "The member tags must have texts as values."),
        (r#"{"kty":"RSA","release_policy":{}}"#, "The member release_policy.data is required."),
        (r#"{"kty":"RSA","release_policy":{"data":"+"}}"#, "The member release_policy.data must be base64url"),
        ("[]", "The body must be one JSON object"),
    ] {
        let message = refusal(create(body));
        assert!(message.starts_with(says), "{body}: {message}");
    }
}

#[test]
fn an_update_tells_absent_from_empty() {
    let nothing = UpdateKey::parse(b"{}").unwrap();
    assert_eq!((nothing.operations, nothing.tags), (None, None));
    let empty = UpdateKey::parse(br#"{"key_ops":[],"tags":{}}"#).unwrap();
    assert_eq!((empty.operations, empty.tags), (Some(KeyOperations::default()), Some(Tags::default())));
    assert!(UpdateKey::parse(b"").is_err());
}

/// An RSA import with the given numbers, private ones of 7s.
fn rsa_import(n: &[u8], more: &str) -> String {
    let d = encode(&vec![7; 256]);
    format!(r#"{{"Hsm":"any","key":{{"kty":"RSA","n":"{}","e":"AAEAAQ","d":"{d}"{more}}}}}"#, encode(n))
}

#[test]
fn an_rsa_key_is_read_with_or_without_its_primes() {
    let mut n = vec![0x80; 256];
    n.insert(0, 0);
    let bare = ImportKey::parse(rsa_import(&n, "").as_bytes()).unwrap();
    let KeyMaterial::Rsa(rsa) = &bare.material else { panic!() };
    assert_eq!((rsa.size, rsa.n.len(), rsa.e.as_slice()), (RsaSize::Rsa2048, 256, [1, 0, 1].as_slice()));
    assert_eq!((rsa.d.expose().len(), rsa.primes.is_none()), (256, true));
    assert_eq!(bare.material.kind(), Some(KeyKind::Rsa(RsaSize::Rsa2048)));

    let all = r#","p":"AQ","q":"Ag","dp":"Aw","dq":"BA","qi":"BQ""#;
    let full = ImportKey::parse(rsa_import(&n, all).as_bytes()).unwrap();
    let KeyMaterial::Rsa(rsa) = &full.material else { panic!() };
    let primes = rsa.primes.as_ref().unwrap();
    let shown = [&primes.p, &primes.q, &primes.dp, &primes.dq, &primes.qi].map(|secret| secret.expose()[0]);
    assert_eq!(shown, [1, 2, 3, 4, 5]);

    let zeros = rsa_import(&n, r#","p":"AAE","q":"AAAC","dp":"AAM","dq":"BA","qi":"AAU""#)
        .replace(&encode(&[7; 256]), &encode(&[vec![0; 3], vec![7; 256]].concat()));
    let KeyMaterial::Rsa(rsa) = ImportKey::parse(zeros.as_bytes()).unwrap().material else { panic!() };
    let primes = rsa.primes.unwrap();
    let shown = [primes.p, primes.q, primes.dp, primes.dq, primes.qi].map(|secret| secret.expose().to_vec());
    assert_eq!(shown, [[1], [2], [3], [4], [5]]);
    assert_eq!(rsa.d.expose(), [7; 256]);

    let partly = refusal(ImportKey::parse(rsa_import(&n, r#","p":"AQ""#).as_bytes()));
    assert_eq!(partly, "The member key.q is required.");
    for short in [vec![0x80; 128], vec![0x7f; 256], vec![0x80; 257], vec![], vec![0; 256]] {
        let message = refusal(ImportKey::parse(rsa_import(&short, "").as_bytes()));
        assert!(message.starts_with("The member key.n must be a modulus of 2048"), "{message}");
    }
}

#[test]
fn an_elliptic_curve_key_is_widened_to_its_field() {
    let body =
        r#"{"key":{"kty":"EC-HSM","crv":"P-521","x":"AQ","y":"Ag","d":"Aw","key_ops":["sign"]},"tags":{"a":"b"}}"#;
    let import = ImportKey::parse(body.as_bytes()).unwrap();
    let KeyMaterial::Ec { curve, x, y, d } = &import.material else { panic!() };
    assert_eq!((*curve, x.len(), y.len(), d.expose().len()), (Curve::P521, 66, 66, 66));
    assert_eq!((x[65], y[65], d.expose()[65]), (1, 2, 3));
    assert_eq!(import.operations, Some(KeyOperations::of(&[KeyOperation::Sign])));
    assert_eq!(import.tags.as_map().len(), 1);

    let long = encode(&[1; 33]);
    for member in ["x", "y", "d"] {
        let value = |name| if name == member { long.as_str() } else { "AQ" };
        let body = format!(
            r#"{{"key":{{"kty":"EC","crv":"P-256","x":"{}","y":"{}","d":"{}"}}}}"#,
            value("x"),
            value("y"),
            value("d")
        );
        let message = refusal(ImportKey::parse(body.as_bytes()));
        assert_eq!(message, format!("The member key.{member} may have at most 32 bytes on this curve."));
    }
}

#[test]
fn an_import_that_breaks_a_rule_is_refused_by_member() {
    let k = |bytes: usize| format!(r#"{{"key":{{"kty":"oct","k":"{}"}}}}"#, encode(&vec![1; bytes]));
    for bytes in [16, 17, 64] {
        let import = ImportKey::parse(k(bytes).as_bytes()).unwrap();
        assert_eq!(import.material.kind(), OctSize::from_bytes(bytes).map(KeyKind::Oct));
    }
    let too_large = "JSON Web Key: k property of oct key is too large, maximum size is 64";
    assert_eq!(refusal(ImportKey::parse(k(65).as_bytes())), too_large);
    for (body, says) in [
        (k(0), "The member key.k must have 16 bytes at least."),
        (k(15), "The member key.k must have 16 bytes at least."),
        ("{}".into(), "The member key is required."),
        (r#"{"key":{}}"#.into(), "The member key.kty is required."),
        (r#"{"key":{"kty":"AKP","alg":"ML-DSA-44"}}"#.into(), "The member key.pub is required"),
        (r#"{"key":{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}}"#.into(), "The member key.priv is required"),
        (r#"{"key":{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}}"#.into(), "The member key.d is required."),
        (r#"{"key":{"kty":"EC","x":"AQ","y":"AQ","d":"AQ"}}"#.into(), "The member key.crv is required."),
        (r#"{"key":{"kty":"oct"}}"#.into(), "The member key.k is required."),
        (r#"{"key":{"kty":"oct","k":"\u0041Q"}}"#.into(), "The member key.k must be base64url without escapes."),
    ] {
        let message = refusal(ImportKey::parse(body.as_bytes()));
        assert!(message.starts_with(says), "{body}: {message}");
    }
}

#[test]
fn a_wrapped_key_is_handed_on_unread() {
    let body = br#"{"key":{"kty":"RSA-HSM","key_hsm":"e30","key_ops":["sign"]}}"#;
    let import = ImportKey::parse(body).unwrap();
    assert!(matches!(&import.material, KeyMaterial::Protected(blob) if blob == b"{}"));
    assert_eq!(import.material.kind(), None);
}

#[test]
fn no_secret_is_in_a_debug_text_or_a_refusal() {
    let n = encode(&[0x80; 256]);
    let secret = "c2VjcmV0LXNlY3JldA";
    let rsa = format!(
        r#"{{"key":{{"kty":"RSA","n":"{n}","e":"AQAB","d":"{secret}","p":"{secret}","q":"{secret}","dp":"{secret}","dq":"{secret}","qi":"{secret}"}}}}"#
    );
    let bytes = format!("{:?}", b"secret-secret".as_slice());
    let shown = |text: String| {
        let numbers = bytes.trim_matches(['[', ']']);
        assert!(!text.contains(secret) && !text.contains("secret-") && !text.contains(numbers), "{text}");
    };
    shown(format!("{:?}", ImportKey::parse(rsa.as_bytes()).unwrap()));
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        let good = format!(r#""{member}":"{secret}""#);
        for bad in
            [format!(r#""{member}":"{secret}+""#), format!(r#""{member}":["{secret}"]"#), format!("{good},{good}")]
        {
            let refused = ImportKey::parse(rsa.replace(&good, &bad).as_bytes()).unwrap_err();
            assert!(refused.message.contains(&format!("key.{member} ")), "{refused}");
            shown(format!("{refused:?}"));
        }
    }
    shown(format!("{:?}", KeyOperationInput::parse(br#"{"alg":"A256GCM","value":"c2VjcmV0LXNlY3JldA"}"#).unwrap()));
    shown(format!("{:?}", SignInput::parse(br#"{"alg":"HS256","value":"c2VjcmV0LXNlY3JldA"}"#).unwrap()));
    shown(format!("{:?}", KeyOperationInput::parse(br#"{"alg":"A256GCM","value":"c2VjcmV0LXNlY3JldA/"}"#)));
}

#[test]
fn key_operations_take_bytes_in_base64url() {
    let body = br#"{"alg":"A128CBC","value":"AQ==","iv":"Ag","aad":"","tag":null}"#;
    let input = KeyOperationInput::parse(body).unwrap();
    assert_eq!(input.algorithm, EncryptionAlgorithm::A128Cbc);
    assert_eq!((input.value, input.iv, input.aad, input.tag), (vec![1], Some(vec![2]), Some(vec![]), None));
    for (body, says) in [
        (r#"{"value":"AQ"}"#, "The member alg is required."),
        (r#"{"alg":"RSA-OAEP"}"#, "The member value is required."),
        (r#"{"alg":"RS256","value":"AQ"}"#, "The member alg is refused: algorithm is not supported: RS256."),
        (r#"{"alg":"RSA-OAEP","value":[1]}"#, "The member value must be a text."),
        (r#"{"alg":"RSA-OAEP","value":"+/=="}"#, "The member value must be base64url"),
        (r#"{"alg":"RSA-OAEP","value":"AQ ="}"#, "The member value must be base64url"),
        (r#"{"alg":"RSA-OAEP","value":"A\nQ"}"#, "The member value must be base64url"),
        (r#"{"alg":"A256GCM","value":"AQ","iv":1}"#, "The member iv must be a text."),
    ] {
        let message = refusal(KeyOperationInput::parse(body.as_bytes()));
        assert!(message.starts_with(says), "{body}: {message}");
    }
    // Newlines outside the texts are JSON's own affair.
    assert!(KeyOperationInput::parse(b"{\n\"alg\": \"RSA-OAEP\",\n\"value\":\t\"AQ\"}\r\n").is_ok());
}

#[test]
fn what_is_signed_is_a_digest_or_of_ml_dsa() {
    let sign = |body: &str| SignInput::parse(body.as_bytes());
    let mu = encode(&[5; 64]);
    let digest = sign(r#"{"alg":"RS256","value":"AQ"}"#).unwrap();
    assert_eq!(digest.algorithm, Some(SignatureAlgorithm::Rs256));
    assert_eq!(digest.to_sign, ToSign::Value { value: vec![1], context: vec![] });
    let ml_dsa = sign(r#"{"value":"AQ","context":"Ag"}"#).unwrap();
    assert_eq!(ml_dsa.algorithm, None);
    assert_eq!(ml_dsa.to_sign, ToSign::Value { value: vec![1], context: vec![2] });
    let named = sign(r#"{"alg":"ML-DSA-44","value":"AQ","context":"Ag"}"#).unwrap();
    assert_eq!((named.algorithm, named.to_sign), (Some(SignatureAlgorithm::MlDsa44), ml_dsa.to_sign));
    assert_eq!(sign(&format!(r#"{{"external_mu":"{mu}"}}"#)).unwrap().to_sign, ToSign::ExternalMu([5; 64]));
    let long = encode(&[0; 256]);
    for (body, says) in [
        ("{}".to_owned(), "The member value is required."),
        (r#"{"alg":"RS256"}"#.into(), "The member value is required."),
        (r#"{"alg":"A256GCM","value":"AQ"}"#.into(), "The member alg is refused"),
        (r#"{"alg":"RS256","value":"AQ","context":"Ag"}"#.into(), "The member context belongs to ML-DSA only."),
        (format!(r#"{{"alg":"ES256","external_mu":"{mu}"}}"#), "The member external_mu belongs to ML-DSA only."),
        (format!(r#"{{"value":"AQ","external_mu":"{mu}"}}"#), "The member value cannot come with external_mu."),
        (format!(r#"{{"context":"AQ","external_mu":"{mu}"}}"#), "The member context cannot come with external_mu."),
        (r#"{"external_mu":"AQ"}"#.into(), "The member external_mu must have 64 bytes."),
        (format!(r#"{{"value":"AQ","context":"{long}"}}"#), "The member context may have at most 255 bytes."),
    ] {
        let message = refusal(sign(&body));
        assert!(message.starts_with(says), "{body}: {message}");
    }
}

#[test]
fn a_verification_names_digest_and_signature() {
    let input = VerifyInput::parse(br#"{"alg":"ES256","digest":"AQ","value":"Ag"}"#).unwrap();
    assert_eq!(input.signed, ToSign::Value { value: vec![1], context: vec![] });
    assert_eq!((input.algorithm, input.signature), (Some(SignatureAlgorithm::Es256), vec![2]));
    for (body, says) in [
        (r#"{"alg":"ES256","value":"Ag"}"#, "The member digest is required."),
        (r#"{"alg":"ES256","digest":"Ag"}"#, "The member value is required."),
    ] {
        assert_eq!(refusal(VerifyInput::parse(body.as_bytes())), says);
    }
}

#[test]
fn a_rotation_policy_keeps_to_the_rules() {
    let parse = |body: &str| RotationPolicyBody::parse(body.as_bytes()).map(|body| body.policy);
    let full = parse(
        r#"{"id":"ignored","lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},
            "action":{"type":"rotate"}}],"attributes":{"expiryTime":"P2Y","created":1}}"#,
    )
    .unwrap();
    assert_eq!(full.expiry().map(ToString::to_string).as_deref(), Some("P2Y"));
    assert_eq!((full.actions().len(), full.actions()[0].kind), (1, ActionKind::Rotate));
    for empty in ["{}", r#"{"lifetimeActions":[],"attributes":{}}"#, r#"{"lifetimeActions":null,"attributes":null}"#] {
        assert!(parse(empty).unwrap().is_empty(), "{empty}");
    }
    let action = |trigger: &str, kind: &str| {
        format!(r#"{{"lifetimeActions":[{{"trigger":{trigger},"action":{{"type":"{kind}"}}}}]}}"#)
    };
    for (body, says) in [
        (r#"{"attributes":{"expiryTime":"P27D"}}"#.to_owned(), "The rotation policy is refused: expiryTime must be"),
        (r#"{"attributes":{"expiryTime":"1 year"}}"#.to_owned(), "The member attributes.expiryTime is refused"),
        (action("{}", "Rotate"), "The member lifetimeActions[0].trigger is refused: a trigger names exactly one"),
        (action(r#"{"timeAfterCreate":"P1D"}"#, "Rotate"), "The rotation policy is refused: timeAfterCreate"),
        (action(r#"{"timeAfterCreate":"P30D"}"#, "Delete"), "The member lifetimeActions[0].action.type must be Rotate"),
        (
            r#"{"lifetimeActions":[{"action":{"type":"Rotate"}}]}"#.to_owned(),
            "The member lifetimeActions[0].trigger is",
        ),
        (r#"{"lifetimeActions":[0,0,0]}"#.to_owned(), "The member lifetimeActions may have at most 2 elements."),
        (r#"{"lifetimeActions":{}}"#.to_owned(), "The member lifetimeActions must be an array."),
    ] {
        let message = refusal(parse(&body));
        assert!(message.starts_with(says), "{body}: {message}");
    }
}

#[test]
fn random_bytes_are_1_to_128() {
    for (count, legal) in [("1", true), ("128", true), ("0", false), ("129", false), ("-1", false), ("1.0", false)] {
        let read = RandomBytesInput::parse(format!(r#"{{"count":{count}}}"#).as_bytes());
        assert_eq!(read.as_ref().ok().map(|input| input.count.to_string()), legal.then(|| count.to_owned()), "{count}");
    }
    assert_eq!(refusal(RandomBytesInput::parse(b"{}")), "The member count is required.");
}

/// Objects of members that mean something, with values that often do.
fn plausible() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just(r#""RSA""#.to_owned()),
        Just(r#""EC-HSM""#.to_owned()),
        Just(r#""oct""#.to_owned()),
        Just(r#""P-256""#.to_owned()),
        Just(r#""RS256""#.to_owned()),
        Just(r#""AQAB""#.to_owned()),
        Just("null".to_owned()),
        Just("2048".to_owned()),
        Just("-1e400".to_owned()),
        Just("true".to_owned()),
        Just(r#"["sign"]"#.to_owned()),
        Just(r#"{"kty":"oct","k":"AQ"}"#.to_owned()),
        Just(r#"{"exp":1,"expiryTime":"P90D"}"#.to_owned()),
        Just(r#"[{"trigger":{"timeAfterCreate":"P30D"},"action":{"type":"Rotate"}}]"#.to_owned()),
    ];
    let name = "kty|crv|key_size|key_ops|attributes|tags|key|alg|value|digest|iv|aad|tag|context|count|lifetimeActions";
    proptest::collection::vec((name, value), 0..8).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, body in plausible()) {
        crate::fuzz(&bytes);
        crate::fuzz(body.as_bytes());
    }

    #[test]
    fn what_a_client_encodes_arrives(value: Vec<u8>, aad: Option<Vec<u8>>, index in 0..EncryptionAlgorithm::ALL.len()) {
        let algorithm = EncryptionAlgorithm::ALL[index];
        let aad_text = aad.as_ref().map_or("null".to_owned(), |aad| format!("\"{}\"", encode(aad)));
        let body = format!(r#"{{"aad":{aad_text},"value":"{}","alg":"{algorithm}"}}"#, encode(&value));
        let input = KeyOperationInput::parse(body.as_bytes()).unwrap();
        prop_assert_eq!(input, KeyOperationInput { algorithm, value, iv: None, aad, tag: None });
    }

    #[test]
    fn an_oct_key_arrives_whole(key in proptest::collection::vec(any::<u8>(), 16..=64)) {
        let body = format!(r#"{{"key":{{"kty":"oct-HSM","k":"{}"}}}}"#, encode(&key));
        let KeyMaterial::Oct(secret) = ImportKey::parse(body.as_bytes()).unwrap().material else { panic!() };
        prop_assert_eq!(secret.expose(), key.as_slice());
    }
}
