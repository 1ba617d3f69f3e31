//! The formats of `SPEC.md`, against what another implementation wrote from that page alone (`fixtures/spec.py`).

use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use crypto_module::{KeyFacts, Module, NodeKey, Origin, ReleasePolicyRecord};
use model::{
    Attributes, Curve, KeyKind, KeyOperation, KeyOperations, PoolName, SignatureAlgorithm as A, Tags, UnixTime,
};

use crate::support::{KEY_PATH, PATH, block_on, engine, sign_input, verify_input};

fn fixture(name: &str) -> Vec<u8> {
    let all: serde_json::Value = serde_json::from_str(include_str!("fixtures/spec.json")).unwrap();
    let text = all[name].as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn what_was_written_from_the_specification_alone_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, &fixture("node_key")).unwrap();
    let node_key = NodeKey::load_or_create(&path).unwrap();
    let pool = engine().open_pool(&node_key, &PoolName::parse("contoso").unwrap(), &fixture("sealed_root")).unwrap();

    let (sealing_key, version) = (Bytes::from(fixture("sealing_key")), Bytes::from(fixture("version")));
    let key = pool.load(PATH, KEY_PATH, &sealing_key, version.clone()).unwrap();
    assert_eq!((key.kind(), key.origin(), key.exportable()), (KeyKind::Ec(Curve::P256), Origin::Imported, true));
    assert_eq!(key.sequence(), 7);
    assert_eq!(
        *key.facts(),
        KeyFacts {
            attributes: Attributes {
                enabled: true,
                not_before: Some(UnixTime(100)),
                expires: Some(UnixTime(2_000_000_000)),
                created: UnixTime(1_800_000_000),
                updated: UnixTime(1_800_000_001),
            },
            operations: KeyOperations::of(&[KeyOperation::Sign, KeyOperation::Verify, KeyOperation::Export]),
            tags: Tags::new([("app".into(), String::new()), ("team".into(), "søk".into())].into()).unwrap(),
            release_policy: Some(Box::new(ReleasePolicyRecord {
                data: Bytes::from_static(b"{\"version\":\"1.0.0\"}"),
                immutable: true,
            })),
        }
    );
    block_on(async {
        let signature = pool.sign(&key, sign_input(A::Es256, &[1; 32])).await.unwrap();
        assert!(pool.verify(&key, verify_input(A::Es256, &[1; 32], &signature)).await.unwrap());
    });

    let value = fixture("value");
    assert_eq!(pool.open_value("settings/a", &value).unwrap(), (3, b"a value".to_vec()));
    let head = pool.open_head(&fixture("head")).unwrap();
    assert_eq!(head.sequence(), 9);
    assert!(head.matches([pool.element("settings/a", &value), pool.element(PATH, &version)]));
    assert_eq!(pool.log_key("contoso/node-1").unwrap().public_key(), *fixture("log_public"));
}
