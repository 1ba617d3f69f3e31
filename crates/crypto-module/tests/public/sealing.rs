//! What the store holds: nothing that was changed, moved or mixed opens, and nothing shows a secret.

use std::sync::Arc;

use bytes::Bytes;
use crypto_module::{
    Error, KeyFacts, KeyMaterial, Module, NodeKey, Options, PublicKey, ReleasePolicyRecord, SealedKey,
};
use model::{Curve, KeyKind, KeyOperations, MlDsa, OctSize, PoolName, SignatureAlgorithm as A, Tags, UnixTime};
use proptest::prelude::*;

use crate::support::{
    KEY_PATH, PATH, Pool, block_on, engine, facts, pool, pool_of, rsa_fixtures, secret, sign_input, verify_input,
};

fn is_tampered<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Tampered))
}

async fn one_of_each_kind(pool: &Pool) -> Vec<SealedKey> {
    let mut keys = vec![pool.import(rsa_fixtures()[0].material()).await.unwrap()];
    for kind in [KeyKind::Ec(Curve::P521), KeyKind::Oct(OctSize::AES_192), KeyKind::Akp(MlDsa::MlDsa65)] {
        keys.push(pool.generate(kind).await);
    }
    keys
}

#[test]
fn a_stored_version_loads_as_what_it_was() {
    block_on(async {
        let pool = pool();
        for key in one_of_each_kind(&pool).await {
            let loaded = pool.load(key.value()).unwrap();
            assert_eq!(
                (loaded.kind(), loaded.public(), loaded.facts(), loaded.exportable(), loaded.origin()),
                (key.kind(), key.public(), key.facts(), key.exportable(), key.origin())
            );
            assert_eq!((loaded.sequence(), loaded.path(), loaded.value()), (1, PATH, key.value()));
        }
    });
}

#[test]
fn every_changed_or_missing_byte_of_a_version_is_noticed_at_load() {
    block_on(async {
        let pool = pool();
        for key in one_of_each_kind(&pool).await {
            let value = key.value();
            for index in 0..value.len() {
                let mut changed = value.to_vec();
                changed[index] ^= 1 << (index % 8);
                assert!(is_tampered(&pool.load(&changed)), "{} byte {index}", key.kind());
                assert!(is_tampered(&pool.load(&value[..index])));
            }
            assert!(is_tampered(&pool.load(&[value, &[0][..]].concat())));
        }
    });
}

#[test]
fn a_version_opens_only_at_its_place_under_its_sealing_key_in_its_pool() {
    block_on(async {
        let engine = engine();
        let (pool, other) = (pool_of(&engine), pool_of(&engine));
        let key = pool.generate(KeyKind::Ec(Curve::P256)).await;
        let value = || key.value().clone();
        let second = pool.module.new_sealing_key(KEY_PATH).unwrap();
        assert!(is_tampered(&pool.module.load("keys/orders/2", KEY_PATH, &pool.sealing_key, value())));
        assert!(is_tampered(&pool.module.load(PATH, "keys/bills", &pool.sealing_key, value())));
        assert!(is_tampered(&pool.module.load(PATH, KEY_PATH, &second, value())));
        assert!(is_tampered(&other.module.load(PATH, KEY_PATH, &pool.sealing_key, value())));

        // The cache is shared; a key that another pool has open is still not this pool's.
        pool.module.sign(&key, sign_input(A::Es256, &[1; 32])).await.unwrap();
        assert!(is_tampered(&other.module.sign(&key, sign_input(A::Es256, &[1; 32])).await));
        assert!(is_tampered(&other.module.verify(&key, verify_input(A::Es256, &[1; 32], &[1; 64])).await));
        assert!(is_tampered(&other.module.update(&key, facts())));

        // A sealing key of another name does not open, so nothing is made under it.
        let foreign = Pool { module: pool.module.clone(), sealing_key: pool.module.new_sealing_key("keys/x").unwrap() };
        assert!(is_tampered(&foreign.try_generate(KeyKind::Ec(Curve::P256), None).await));
    });
}

#[test]
fn records_and_blobs_of_different_versions_do_not_mix() {
    block_on(async {
        let pool = pool();
        let (a, b) = (pool.generate(KeyKind::Ec(Curve::P256)).await, pool.generate(KeyKind::Ec(Curve::P256)).await);
        let parts = |key: &SealedKey| {
            let blob = u32::from_be_bytes(key.value()[1..5].try_into().unwrap()) as usize;
            (key.value()[..5 + blob].to_vec(), key.value()[5 + blob..].to_vec())
        };
        let updated = pool.module.update(&a, facts()).unwrap();
        assert_eq!(parts(&a).0, parts(&updated).0, "the blob never changes");
        assert!(is_tampered(&pool.load(&[parts(&a).0, parts(&b).1].concat())));
        assert!(is_tampered(&pool.load(&[parts(&b).0, parts(&updated).1].concat())));
        // The whole old value is authentic: only the head knows that it is old.
        assert_eq!(pool.load(&[parts(&a).0, parts(&a).1].concat()).unwrap().sequence(), 1);
    });
}

#[test]
fn an_update_changes_facts_counts_up_and_keeps_the_key() {
    block_on(async {
        let pool = pool();
        let key = pool.generate(KeyKind::Ec(Curve::P256)).await;
        let signature = pool.module.sign(&key, sign_input(A::Es256, &[1; 32])).await.unwrap();
        let mut next = facts();
        next.attributes.enabled = false;
        next.attributes.expires = Some(UnixTime(i64::MAX));
        next.operations = KeyOperations::default();
        next.tags = Tags::default();
        let updated = pool.module.update(&key, next.clone()).unwrap();
        let loaded = pool.load(updated.value()).unwrap();
        assert_eq!((loaded.facts(), loaded.sequence(), loaded.public()), (&next, 2, key.public()));
        assert!(pool.module.verify(&loaded, verify_input(A::Es256, &[1; 32], &signature)).await.unwrap());
        assert_eq!(pool.module.update(&loaded, facts()).unwrap().sequence(), 3);

        next.attributes.created = UnixTime(1);
        assert!(matches!(pool.module.update(&key, next), Err(Error::InvalidInput { .. })));
    });
}

#[test]
fn an_immutable_policy_is_never_changed_dropped_or_loosened() {
    block_on(async {
        let pool = pool();
        let key = pool.import(KeyMaterial::Oct { k: secret(&[7; 32]) }).await.unwrap();
        let with = |data: &'static [u8], immutable| KeyFacts {
            release_policy: Some(Box::new(ReleasePolicyRecord { data: Bytes::from_static(data), immutable })),
            ..facts()
        };
        let open = pool.module.update(&key, with(b"one", false)).unwrap();
        let changed = pool.module.update(&open, with(b"two", false)).unwrap();
        let pinned = pool.module.update(&changed, with(b"two", true)).unwrap();
        let pinned = pool.load(pinned.value()).unwrap();
        for loose in [with(b"two", false), with(b"three", true), facts()] {
            assert!(matches!(pool.module.update(&pinned, loose), Err(Error::PolicyImmutable)));
        }
        let mut disabled = with(b"two", true);
        disabled.attributes.enabled = false;
        assert!(pool.module.update(&pinned, disabled).is_ok(), "other facts go on changing");
    });
}

#[test]
fn only_an_exportable_key_has_a_release_policy_and_it_has_a_limit() {
    block_on(async {
        let pool = pool();
        let with = |len| KeyFacts {
            release_policy: Some(Box::new(ReleasePolicyRecord { data: vec![1; len].into(), immutable: false })),
            ..facts()
        };
        let kept = pool.generate(KeyKind::Oct(OctSize::AES_256)).await;
        assert!(matches!(pool.module.update(&kept, with(3)), Err(Error::InvalidInput { .. })));
        let free = pool.import(KeyMaterial::Oct { k: secret(&[7; 32]) }).await.unwrap();
        assert!(pool.module.update(&free, with(64 << 10)).is_ok());
        assert!(matches!(pool.module.update(&free, with((64 << 10) + 1)), Err(Error::InvalidInput { .. })));
    });
}

#[test]
fn values_and_heads_open_only_unchanged_and_in_their_place() {
    let pool = pool();
    let sealed = pool.module.seal_value("roles/1", 42, b"value").unwrap();
    assert_eq!(pool.module.open_value("roles/1", &sealed).unwrap(), (42, b"value".to_vec()));
    assert!(is_tampered(&pool.module.open_value("roles/2", &sealed)));
    let element = pool.module.element("roles/1", &sealed);
    let (head, stored) = pool.module.advance_head(&pool.module.empty_head(), &[], &[element]).unwrap();
    assert!(head.matches([element]) && pool.module.open_head(&stored).unwrap().matches([element]));
    for index in 0..sealed.len() {
        let mut changed = sealed.to_vec();
        changed[index] ^= 0x80;
        assert!(is_tampered(&pool.module.open_value("roles/1", &changed)));
        assert!(!head.matches([pool.module.element("roles/1", &changed)]));
    }
    for index in 0..stored.len() {
        let mut changed = stored.to_vec();
        changed[index] ^= 1;
        assert!(is_tampered(&pool.module.open_head(&changed)));
    }
    assert!(is_tampered(&pool.module.open_head(&sealed)), "a value is no head");
    assert!(is_tampered(&pool.module.open_value("roles/1", &stored)), "a head is no value");
    let long = pool.module.seal_value("roles/1", 1, &vec![0; (1 << 20) + 1]);
    assert!(matches!(long, Err(Error::InvalidInput { .. })));
}

#[test]
fn a_pool_opens_again_under_its_node_key_and_name_only() {
    block_on(async {
        let engine = engine();
        let (node_key, name) = (NodeKey::ephemeral().unwrap(), PoolName::parse("contoso").unwrap());
        let (sealed_root, module) = engine.create_pool(&node_key, &name).unwrap();
        let module: Arc<dyn Module> = Arc::new(module);
        let pool = Pool { sealing_key: module.new_sealing_key(KEY_PATH).unwrap(), module };
        let key = pool.generate(KeyKind::Ec(Curve::P384)).await;
        let log_key = pool.module.log_key("contoso/node-1").unwrap();

        let again = engine.open_pool(&node_key, &name, &sealed_root).unwrap();
        let loaded = again.load(PATH, KEY_PATH, &pool.sealing_key, key.value().clone()).unwrap();
        let signature = again.sign(&loaded, sign_input(A::Es384, &[1; 48])).await.unwrap();
        assert!(pool.module.verify(&key, verify_input(A::Es384, &[1; 48], &signature)).await.unwrap());
        assert_eq!(again.log_key("contoso/node-1").unwrap().public_key(), log_key.public_key());
        assert_ne!(again.log_key("contoso/node-2").unwrap().public_key(), log_key.public_key());

        assert!(is_tampered(&engine.open_pool(&node_key, &PoolName::parse("fabrikam").unwrap(), &sealed_root)));
        assert!(is_tampered(&engine.open_pool(&NodeKey::ephemeral().unwrap(), &name, &sealed_root)));
        for index in 0..sealed_root.len() {
            let mut changed = sealed_root.clone();
            changed[index] ^= 1;
            assert!(is_tampered(&engine.open_pool(&node_key, &name, &changed)));
        }
    });
}

#[test]
fn a_log_key_signs_what_its_public_key_verifies() {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    let key = pool().module.log_key("contoso/node-1").unwrap();
    let signature = key.sign(b"checkpoint");
    let public = UnparsedPublicKey::new(&ED25519, key.public_key());
    assert!(public.verify(b"checkpoint", &signature).is_ok());
    assert!(public.verify(b"checkpoints", &signature).is_err());
}

#[test]
fn a_key_pushed_out_of_the_cache_or_forgotten_still_works() {
    block_on(async {
        let options = Options { workers: 1, rsa_stock: 0, cache_bytes: 20 << 10, ..Options::default() };
        let pool = pool_of(&crypto_module::Engine::start(&options).unwrap());
        let mut keys = Vec::new();
        for _ in 0..50 {
            keys.push(pool.generate(KeyKind::Ec(Curve::P256)).await);
        }
        for _ in 0..3 {
            for key in &keys {
                let signature = pool.module.sign(key, sign_input(A::Es256, &[1; 32])).await.unwrap();
                assert!(pool.module.verify(key, verify_input(A::Es256, &[1; 32], &signature)).await.unwrap());
            }
        }
        pool.module.forget(&keys[0]);
        assert!(pool.module.sign(&keys[0], sign_input(A::Es256, &[1; 32])).await.is_ok());
    });
}

#[test]
fn keys_made_ahead_of_need_are_given_out_once_and_made_again() {
    block_on(async {
        let options = Options { workers: 1, rsa_stock: 1, ..Options::default() };
        let pool = pool_of(&crypto_module::Engine::start(&options).unwrap());
        let mut moduli = Vec::new();
        for _ in 0..4 {
            let key = pool.generate(KeyKind::Rsa(model::RsaSize::Rsa2048)).await;
            let PublicKey::Rsa { n, e } = key.public() else { panic!("not RSA") };
            assert_eq!(**e, [1, 0, 1]);
            assert!(!moduli.contains(n));
            moduli.push(n.clone());
        }
    });
}

#[test]
fn too_many_waiting_requests_are_told_so() {
    block_on(async {
        let options =
            Options { workers: 1, arithmetic_queue: 4, generation_queue: 1, rsa_stock: 0, ..Options::default() };
        let pool = Arc::new(pool_of(&crypto_module::Engine::start(&options).unwrap()));
        let key = pool.import(rsa_fixtures()[3].material()).await.unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (pool, key) = (pool.clone(), key.clone());
                tokio::spawn(async move { pool.module.sign(&key, sign_input(A::Rs256, &[1; 32])).await })
            })
            .collect();
        let (mut done, mut busy) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => done += 1,
                Err(Error::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(done >= 4 && busy > 0, "{done} done, {busy} busy");
    });
}

#[test]
fn random_bytes_are_1_to_128_and_differ() {
    let pool = pool();
    for count in [1, 16, 128] {
        assert_eq!(pool.module.random(count).unwrap().len(), count);
    }
    assert_ne!(pool.module.random(32).unwrap(), pool.module.random(32).unwrap());
    for count in [0, 129, usize::MAX] {
        assert!(matches!(pool.module.random(count), Err(Error::InvalidInput { .. })));
    }
}

#[test]
fn no_debug_text_or_error_shows_a_secret() {
    block_on(async {
        let engine = engine();
        let pool = pool_of(&engine);
        let fixture = &rsa_fixtures()[0];
        let scalar = [0x5e; 32];
        let mut shown = vec![
            format!("{:?}", fixture.material()),
            format!("{:?}", KeyMaterial::Oct { k: secret(&scalar) }),
            format!("{:?}", secret(&scalar)),
            format!("{:?} {engine:?}", NodeKey::ephemeral().unwrap()),
        ];
        let rsa = pool.import(fixture.material()).await.unwrap();
        let oct = pool.import(KeyMaterial::Oct { k: secret(&scalar) }).await.unwrap();
        let wrap = crypto_module::EncryptInput {
            algorithm: model::EncryptionAlgorithm::CkmAesKeyWrap,
            plaintext: Bytes::copy_from_slice(&scalar),
            iv: None,
            aad: None,
        };
        shown.push(format!("{rsa:?} {oct:?} {wrap:?}"));
        let wrapped = pool.module.encrypt(&oct, wrap).await.unwrap();
        let unwrap = crypto_module::DecryptInput {
            algorithm: model::EncryptionAlgorithm::CkmAesKeyWrap,
            ciphertext: wrapped.value.into(),
            iv: None,
            tag: None,
            aad: None,
        };
        let plaintext = pool.module.decrypt(&oct, unwrap).await.unwrap();
        assert_eq!(plaintext.as_bytes(), scalar);
        shown.push(format!("{plaintext:?}"));
        let element = pool.module.element("a", b"b");
        shown.push(format!("{element:?} {:?}", pool.module.advance_head(&pool.module.empty_head(), &[], &[element])));
        let wrong = KeyMaterial::Ec { curve: Curve::P256, x: [1; 32].into(), y: [1; 32].into(), d: secret(&scalar) };
        shown.push(format!("{wrong:?}"));
        let error = pool.import(wrong).await.unwrap_err();
        shown.push(format!("{error} {error:?}"));

        for text in &shown {
            let text = text.to_lowercase();
            for part in [&fixture.d, &fixture.p, &fixture.q, &fixture.dp, &fixture.dq, &fixture.qi, &scalar.to_vec()] {
                let window = &part[part.len() - 4..];
                let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
                let list = format!("{window:?}");
                assert!(!text.contains(&hex) && !text.contains(list.trim_matches(['[', ']'])), "{text}");
            }
        }
        assert!(shown[0].contains("RsaMaterial"), "the texts were really made");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The parsers of stored bytes meet anything without a panic, and open none of it.
    #[test]
    fn nothing_random_opens(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        blob_len in 0_u32..80,
        sealing_key in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        thread_local!(static POOL: Pool = pool());
        POOL.with(|pool| {
            let framed = [&[1][..], &blob_len.to_be_bytes(), &bytes].concat();
            for value in [&bytes, &framed] {
                prop_assert!(is_tampered(&pool.load(value)));
                prop_assert!(is_tampered(&pool.module.open_value("a", value)));
                prop_assert!(is_tampered(&pool.module.open_head(value)));
            }
            let sealing_key = Bytes::from(sealing_key);
            let loaded = pool.module.load(PATH, KEY_PATH, &sealing_key, bytes.into());
            prop_assert!(is_tampered(&loaded));
            Ok(())
        })?;
    }

    /// Facts of every shape come back as they were.
    #[test]
    fn facts_survive_the_store(
        enabled: bool,
        times in (any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>()),
        bits: u8,
        tags in prop::collection::btree_map("\\PC{1,20}", "\\PC{0,20}", 0..15),
        policy in prop::option::of((prop::collection::vec(any::<u8>(), 0..200), any::<bool>())),
    ) {
        thread_local!(static KEY: (Pool, SealedKey) = block_on(async {
            let pool = pool();
            let key = pool.import(KeyMaterial::Oct { k: secret(&[7; 32]) }).await.unwrap();
            (pool, key)
        }));
        let mut next = facts();
        next.attributes.enabled = enabled;
        next.attributes.not_before = times.0.map(UnixTime);
        next.attributes.expires = times.1.map(UnixTime);
        next.attributes.updated = UnixTime(times.2);
        next.operations = KeyOperations::from_bits(bits);
        next.tags = Tags::new(tags).unwrap();
        next.release_policy = policy.map(|(data, immutable)| Box::new(ReleasePolicyRecord { data: data.into(), immutable }));
        KEY.with(|(pool, key)| {
            let updated = pool.module.update(key, next.clone()).unwrap();
            let loaded = pool.load(updated.value()).unwrap();
            prop_assert_eq!(loaded.facts(), &next);
            Ok(())
        })?;
    }
}
