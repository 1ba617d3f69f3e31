use std::collections::BTreeMap;

use model::rotation::{ActionKind, LifetimeAction, Period};
use model::{KeyOperation, OctSize, RsaSize};
use proptest::prelude::*;

use super::*;
use crate::keys::{self, requests};

const VERSION: KeyVersion = KeyVersion([0xab; 16]);
const RECOVERY: Recovery = Recovery { days: Days(90), level: "Recoverable+Purgeable" };
const ATTRIBUTES: &str = concat!(
    r#""attributes":{"enabled":true,"nbf":5,"created":10,"updated":20,"exportable":false,"#,
    r#""recoverableDays":90,"recoveryLevel":"Recoverable+Purgeable","hsmPlatform":"1"}"#
);

fn base() -> BaseUrl {
    BaseUrl::https("dev.managedhsm.localhost:8443").unwrap()
}

fn attributes() -> Attributes {
    Attributes {
        enabled: true,
        not_before: Some(UnixTime(5)),
        expires: None,
        created: UnixTime(10),
        updated: UnixTime(20),
    }
}

/// Calls `then` with the parts of a key named Orders.
fn with_parts<T>(
    kind: KeyKind,
    public: PublicParts<'_>,
    tags: &Tags,
    then: impl FnOnce(&BaseUrl, &KeyParts<'_>) -> T,
) -> T {
    let (name, attributes) = (KeyName::parse("Orders").unwrap(), attributes());
    let item = KeyItemParts {
        name: &name,
        attributes: &attributes,
        tags,
        exportable: false,
        recovery: RECOVERY,
        platform: "1",
    };
    then(&base(), &KeyParts { version: VERSION, kind, public, operations: kind.default_operations(), item })
}

fn bundle(kind: KeyKind, public: PublicParts<'_>, tags: &Tags) -> String {
    String::from_utf8(with_parts(kind, public, tags, key_bundle)).unwrap()
}

fn team() -> Tags {
    Tags::new(BTreeMap::from([("team".into(), "pay\"s".into())])).unwrap()
}

#[test]
fn each_kind_of_key_shows_its_public_half() {
    let kid = "https://dev.managedhsm.localhost:8443/keys/Orders/abababababababababababababababab";
    let none = Tags::default();
    for (kind, public, jwk) in [
        (
            KeyKind::Rsa(RsaSize::Rsa2048),
            PublicParts::Rsa { n: &[0xff, 0xfe], e: &[1, 0, 1] },
            r#""kty":"RSA-HSM","key_ops":["encrypt","decrypt","sign","verify","wrapKey","unwrapKey"],"n":"__4","e":"AQAB""#,
        ),
        (
            KeyKind::Ec(Curve::P256K),
            PublicParts::Ec { x: &[1; 3], y: &[2; 3] },
            r#""kty":"EC-HSM","key_ops":["sign","verify"],"crv":"P-256K","x":"AQEB","y":"AgIC""#,
        ),
        (
            KeyKind::Oct(OctSize::AES_256),
            PublicParts::None,
            r#""kty":"oct-HSM","key_ops":["encrypt","decrypt","wrapKey","unwrapKey"]"#,
        ),
        (
            KeyKind::Akp(MlDsa::MlDsa65),
            PublicParts::Akp(&[9]),
            r#""kty":"AKP-HSM","key_ops":["sign","verify"],"alg":"ML-DSA-65","pub":"CQ""#,
        ),
    ] {
        assert_eq!(bundle(kind, public, &none), format!(r#"{{"key":{{"kid":"{kid}",{jwk}}},{ATTRIBUTES}}}"#));
    }
    let tagged = bundle(KeyKind::Oct(OctSize::AES_256), PublicParts::None, &team());
    assert!(tagged.ends_with(r#","tags":{"team":"pay\"s"}}"#), "{tagged}");
}

#[test]
fn a_deleted_key_says_until_when_it_can_come_back() {
    let deletion = Deletion { deleted: UnixTime(100), scheduled_purge: UnixTime(7_776_100) };
    let json = with_parts(KeyKind::Oct(OctSize::AES_128), PublicParts::None, &Tags::default(), |base, key| {
        String::from_utf8(deleted_key_bundle(base, key, deletion)).unwrap()
    });
    let end = concat!(
        r#","recoveryId":"https://dev.managedhsm.localhost:8443/deletedkeys/Orders","#,
        r#""deletedDate":100,"scheduledPurgeDate":7776100}"#
    );
    assert!(json.starts_with(r#"{"key":{"kid":"#) && json.ends_with(&format!("{ATTRIBUTES}{end}")), "{json}");
    let read: keys::DeletedKeyBundle = serde_json::from_str(&json).unwrap();
    assert_eq!((read.deleted_date, read.scheduled_purge_date), (Some(100), Some(7_776_100)));
}

#[test]
fn lists_show_keys_without_and_versions_with_their_version() {
    let text = |json: Vec<u8>| String::from_utf8(json).unwrap();
    with_parts(KeyKind::Oct(OctSize::AES_128), PublicParts::None, &team(), |base, key| {
        let tags = r#""tags":{"team":"pay\"s"}"#;
        let kid = "https://dev.managedhsm.localhost:8443/keys/Orders";
        assert_eq!(
            text(key_list(base, [key.item], None)),
            format!(r#"{{"value":[{{"kid":"{kid}",{ATTRIBUTES},{tags}}}]}}"#)
        );
        assert_eq!(
            text(key_version_list(base, [(VERSION, key.item)], Some("https://a/next"))),
            format!(
                r#"{{"value":[{{"kid":"{kid}/abababababababababababababababab",{ATTRIBUTES},{tags}}}],"nextLink":"https://a/next"}}"#
            )
        );
        let deletion = Deletion { deleted: UnixTime(1), scheduled_purge: UnixTime(2) };
        assert_eq!(
            text(deleted_key_list(base, [(key.item, deletion)], None)),
            format!(
                concat!(
                    r#"{{"value":[{{"kid":"{}",{},{},"recoveryId":"https://dev.managedhsm.localhost:8443/deletedkeys/Orders","#,
                    r#""deletedDate":1,"scheduledPurgeDate":2}}]}}"#
                ),
                kid, ATTRIBUTES, tags
            )
        );
        assert_eq!(text(key_list(base, [], None)), r#"{"value":[]}"#);
    });
}

#[test]
fn results_carry_what_the_operation_made() {
    let (base, name) = (base(), KeyName::parse("Orders").unwrap());
    let kid = r#""kid":"https://dev.managedhsm.localhost:8443/keys/Orders/abababababababababababababababab""#;
    let signature = operation_result(&base, &name, VERSION, "ES256", &OperationOutput::plain(&[0xfb, 0xff]));
    assert_eq!(String::from_utf8(signature).unwrap(), format!(r#"{{{kid},"value":"-_8","alg":"ES256"}}"#));
    let gcm = OperationOutput { value: &[], iv: Some(&[1]), tag: Some(&[2]), aad: Some(&[3]) };
    let gcm = operation_result(&base, &name, VERSION, "A256GCM", &gcm);
    assert_eq!(
        String::from_utf8(gcm).unwrap(),
        format!(r#"{{{kid},"value":"","alg":"A256GCM","iv":"AQ","tag":"Ag","aad":"Aw"}}"#)
    );
    assert_eq!(
        (verification(true), verification(false)),
        (br#"{"value":true}"#.to_vec(), br#"{"value":false}"#.to_vec())
    );
    assert_eq!(random_bytes(&[0xff; 3]), br#"{"value":"____"}"#);
}

#[test]
fn a_rotation_policy_is_written_as_it_was_set() {
    let (base, name) = (base(), KeyName::parse("Orders").unwrap());
    let period = |text| Period::parse(text).unwrap();
    let policy = RotationPolicy::new(
        Some(period("P2Y")),
        vec![
            LifetimeAction { trigger: Trigger::AfterCreate(period("P18M")), kind: ActionKind::Rotate },
            LifetimeAction { trigger: Trigger::BeforeExpiry(period("P30D")), kind: ActionKind::Notify },
        ],
    )
    .unwrap();
    let json = rotation_policy(&base, &name, &policy, Some((UnixTime(1), UnixTime(2))));
    assert_eq!(
        String::from_utf8(json.clone()).unwrap(),
        concat!(
            r#"{"id":"https://dev.managedhsm.localhost:8443/keys/Orders/rotationpolicy","lifetimeActions":["#,
            r#"{"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},"action":{"type":"Rotate"}},"#,
            r#"{"trigger":{"timeAfterCreate":null,"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"#,
            r#""attributes":{"expiryTime":"P2Y","created":1,"updated":2}}"#
        )
    );
    assert_eq!(requests::RotationPolicyBody::parse(&json).unwrap().policy, policy);
    let read: keys::RotationPolicyReply = serde_json::from_slice(&json).unwrap();
    assert_eq!(read.lifetime_actions[0].trigger.time_after_create.as_deref(), Some("P18M"));

    let none = rotation_policy(&base, &name, &RotationPolicy::default(), None);
    assert!(String::from_utf8(none).unwrap().ends_with(r#""lifetimeActions":[],"attributes":{}}"#));
}

proptest! {
    #[test]
    fn bundles_read_back(
        bits: u8,
        n: Vec<u8>,
        e: Vec<u8>,
        nbf: Option<i64>,
        exp: Option<i64>,
        enabled: bool,
        tags in proptest::collection::btree_map(".{1,20}", ".{0,20}", 0..4),
    ) {
        let (name, tags) = (KeyName::parse("k").unwrap(), Tags::new(tags).unwrap());
        let attributes = Attributes {
            enabled,
            not_before: nbf.map(UnixTime),
            expires: exp.map(UnixTime),
            created: UnixTime(1),
            updated: UnixTime(2),
        };
        let item = KeyItemParts {
            name: &name,
            attributes: &attributes,
            tags: &tags,
            exportable: true,
            recovery: RECOVERY,
            platform: "1",
        };
        let operations = KeyOperations::from_bits(bits);
        let public = PublicParts::Rsa { n: &n, e: &e };
        let key = KeyParts { version: VERSION, kind: KeyKind::Rsa(RsaSize::Rsa2048), public, operations, item };
        let read: keys::KeyBundle = serde_json::from_slice(&key_bundle(&base(), &key)).unwrap();
        prop_assert_eq!(read.key.n.map(|n| n.0), Some(n));
        prop_assert_eq!(read.key.e.map(|e| e.0), Some(e));
        let names: Vec<_> = operations.iter().map(KeyOperation::as_str).collect();
        prop_assert_eq!(read.key.key_ops, names);
        prop_assert_eq!((read.attributes.nbf, read.attributes.exp, read.attributes.enabled), (nbf, exp, enabled));
        prop_assert!(read.attributes.exportable);
        prop_assert_eq!(&read.tags, tags.as_map());
        let url = crate::urls::KeyUrl::parse(&read.key.kid).unwrap();
        prop_assert_eq!((url.base, url.key.version), (base(), Some(VERSION)));
    }

    #[test]
    fn results_read_back(value: Vec<u8>, iv: Option<Vec<u8>>, tag: Option<Vec<u8>>, aad: Option<Vec<u8>>) {
        let output =
            OperationOutput { value: &value, iv: iv.as_deref(), tag: tag.as_deref(), aad: aad.as_deref() };
        let name = KeyName::parse("k").unwrap();
        let json = operation_result(&base(), &name, VERSION, "A256GCM", &output);
        let read: keys::OperationResult = serde_json::from_slice(&json).unwrap();
        // What a client encrypted, it may send back to be decrypted.
        let again = requests::KeyOperationInput::parse(&json).unwrap();
        prop_assert_eq!((&again.value, &again.iv, &again.tag, &again.aad), (&value, &iv, &tag, &aad));
        prop_assert_eq!(read.value.0, value);
        prop_assert_eq!(read.alg.as_deref(), Some("A256GCM"));
    }
}
