//! Sign and verify, through the module's public face, for every kind of key.
use crate::support::{Pool, block_on, pool, rsa_fixtures, secret, sign_input, verify_input};
use aws_lc_rs::digest;
use bytes::Bytes;
use crypto_module::{Error, PublicKey, SealedKey, VerifyInput, verify_with_public};
use model::{Curve, KeyKind, MlDsa, OctSize, RsaSize, SignatureAlgorithm as A};

fn message_for(algorithm: A) -> Vec<u8> {
    vec![0x42; algorithm.digest_len().unwrap_or(36)]
}

/// Signs, verifies, and checks that a changed signature, message or length is not accepted.
async fn round_trip(pool: &Pool, key: &SealedKey, algorithm: A) {
    let message = message_for(algorithm);
    let signature = pool.module.sign(key, sign_input(algorithm, &message)).await.unwrap();
    let valid = async |message: &[u8], signature: &[u8]| {
        pool.module.verify(key, verify_input(algorithm, message, signature)).await.unwrap()
    };
    assert!(valid(&message, &signature).await, "{algorithm}");
    for index in [0, signature.len() / 2, signature.len() - 1] {
        let mut changed = signature.clone();
        changed[index] ^= 4;
        assert!(!valid(&message, &changed).await, "{algorithm} byte {index}");
    }
    let mut other = message.clone();
    other[0] ^= 1;
    assert!(!valid(&other, &signature).await);
    assert!(!valid(&message, &signature[1..]).await);
    assert!(!valid(&message, &[&signature[..], &[0]].concat()).await);
    assert!(!valid(&message, &[]).await);
    if *key.public() != PublicKey::None {
        assert!(verify_with_public(key.public(), &verify_input(algorithm, &message, &signature)).unwrap());
    }
}

#[test]
fn every_algorithm_signs_with_its_kind_of_key_and_no_other() {
    block_on(async {
        let pool = pool();
        let mut keys = Vec::new();
        for jwk in &rsa_fixtures()[..4] {
            keys.push(pool.import(jwk.material()).await.unwrap());
        }
        for curve in Curve::ALL {
            keys.push(pool.generate(KeyKind::Ec(*curve)).await);
        }
        for size in [OctSize::AES_128, OctSize::AES_192, OctSize::AES_256] {
            keys.push(pool.generate(KeyKind::Oct(size)).await);
        }
        for set in MlDsa::ALL {
            keys.push(pool.generate(KeyKind::Akp(*set)).await);
        }
        let mut signed = 0;
        for key in &keys {
            for algorithm in A::ALL {
                if algorithm.check_key(key.kind()).is_ok() {
                    round_trip(&pool, key, *algorithm).await;
                    signed += 1;
                } else {
                    let refused = pool.module.sign(key, sign_input(*algorithm, &message_for(*algorithm))).await;
                    assert!(matches!(refused, Err(Error::AlgorithmMismatch(_))));
                }
            }
        }
        assert_eq!(signed, 4 * 7 + 4 + 3 * 3 + 3);
    });
}

#[test]
fn a_digest_of_the_wrong_length_is_refused() {
    block_on(async {
        let pool = pool();
        let rsa = pool.import(rsa_fixtures()[0].material()).await.unwrap();
        let ec = pool.generate(KeyKind::Ec(Curve::P521)).await;
        for (key, algorithm) in [(&rsa, A::Rs256), (&rsa, A::Ps384), (&rsa, A::Rs512), (&ec, A::Es512)] {
            for len in [0, 20, 31, 33, 47, 49, 63, 65, 1000] {
                let signed = pool.module.sign(key, sign_input(algorithm, &vec![1; len])).await;
                assert!(matches!(signed, Err(Error::InvalidInput { .. })), "{algorithm} {len}");
                let verified = pool.module.verify(key, verify_input(algorithm, &vec![1; len], &[1; 256])).await;
                assert!(matches!(verified, Err(Error::InvalidInput { .. })));
            }
        }
    });
}

#[test]
fn rsnull_pads_the_given_bytes_and_takes_at_most_the_modulus_less_11() {
    block_on(async {
        let pool = pool();
        let key = pool.import(rsa_fixtures()[0].material()).await.unwrap();
        for len in [0, 1, 36, 245] {
            let message = vec![7; len];
            let signature = pool.module.sign(&key, sign_input(A::RsNull, &message)).await.unwrap();
            assert!(pool.module.verify(&key, verify_input(A::RsNull, &message, &signature)).await.unwrap());
        }
        let long = pool.module.sign(&key, sign_input(A::RsNull, &[7; 246])).await;
        assert!(matches!(long, Err(Error::InvalidInput { .. })));
        assert!(!pool.module.verify(&key, verify_input(A::RsNull, &[7; 246], &[1; 256])).await.unwrap());

        // With the digest information in front, RSNULL is RS256.
        let hash = digest::digest(&digest::SHA256, b"message");
        let info = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ];
        let raw = pool.module.sign(&key, sign_input(A::RsNull, &[&info, hash.as_ref()].concat())).await.unwrap();
        let rs256 = pool.module.sign(&key, sign_input(A::Rs256, hash.as_ref())).await.unwrap();
        assert_eq!(raw, rs256);
    });
}

#[test]
fn ml_dsa_binds_its_context_and_takes_an_external_mu() {
    block_on(async {
        let pool = pool();
        for set in MlDsa::ALL {
            let key = pool.generate(KeyKind::Akp(*set)).await;
            let algorithm = A::of_ml_dsa(*set);
            let with_context = |context: &'static [u8]| {
                let mut input = sign_input(algorithm, b"message");
                input.context = Some(Bytes::from_static(context));
                input
            };
            let signature = pool.module.sign(&key, with_context(b"orders")).await.unwrap();
            for (context, expected) in
                [(Some(&b"orders"[..]), true), (Some(b"order"), false), (Some(b""), false), (None, false)]
            {
                let mut input = verify_input(algorithm, b"message", &signature);
                input.context = context.map(Bytes::from_static);
                assert_eq!(pool.module.verify(&key, input).await.unwrap(), expected);
            }
            // No context and an empty one are the same (FIPS 204, section 5.2).
            let plain = pool.module.sign(&key, with_context(b"")).await.unwrap();
            assert!(pool.module.verify(&key, verify_input(algorithm, b"message", &plain)).await.unwrap());
            assert!(pool.module.sign(&key, with_context(&[1; 255])).await.is_ok());
            assert!(matches!(pool.module.sign(&key, with_context(&[1; 256])).await, Err(Error::InvalidInput { .. })));

            let mut mu = sign_input(algorithm, &[9; 64]);
            mu.external_mu = true;
            let signature = pool.module.sign(&key, mu.clone()).await.unwrap();
            let verify = VerifyInput { external_mu: true, ..verify_input(algorithm, &[9; 64], &signature) };
            assert!(pool.module.verify(&key, verify.clone()).await.unwrap());
            assert!(!pool.module.verify(&key, VerifyInput { external_mu: false, ..verify.clone() }).await.unwrap());
            mu.context = Some(Bytes::from_static(b"orders"));
            assert!(matches!(pool.module.sign(&key, mu.clone()).await, Err(Error::InvalidInput { .. })));
            mu.context = None;
            mu.digest_or_message = Bytes::from_static(&[9; 63]);
            assert!(matches!(pool.module.sign(&key, mu).await, Err(Error::InvalidInput { .. })));
        }
    });
}

#[test]
fn hmac_gives_the_published_values() {
    // RFC 4231, test case 6 is out (a key of 131 bytes); test case 1 has a key of 20 bytes.
    block_on(async {
        let pool = pool();
        let k = secret(&[0x0b; 20]);
        let key = pool.import(crypto_module::KeyMaterial::Oct { k }).await.unwrap();
        for (algorithm, start) in [
            (A::Hs256, [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]),
            (A::Hs384, [0xaf, 0xd0, 0x39, 0x44, 0xd8, 0x48, 0x95, 0x62]),
            (A::Hs512, [0x87, 0xaa, 0x7c, 0xde, 0xa5, 0xef, 0x61, 0x9d]),
        ] {
            let mac = pool.module.sign(&key, sign_input(algorithm, b"Hi There")).await.unwrap();
            assert_eq!(mac[..8], start);
        }
        let long = pool.module.sign(&key, sign_input(A::Hs256, &vec![0; (1 << 20) + 1])).await;
        assert!(matches!(long, Err(Error::InvalidInput { .. })));
    });
}

#[test]
fn rsa_keys_are_generated_with_the_exponent_asked_for() {
    block_on(async {
        let pool = pool();
        for exponent in [&[3][..], &[17], &[1, 0, 1], &[0, 0xff, 0xff, 0xff, 0xfb]] {
            let key = pool.try_generate(KeyKind::Rsa(RsaSize::Rsa2048), Some(exponent)).await.unwrap();
            let PublicKey::Rsa { n, e } = key.public() else { panic!("not RSA") };
            assert_eq!((n.len(), n[0] >= 0x80), (256, true));
            assert_eq!(**e, *exponent.strip_prefix(&[0]).unwrap_or(exponent));
            round_trip(&pool, &key, A::Ps256).await;
        }
        for exponent in [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0], &[1, 0, 0, 0, 0], &[1, 0, 0, 0, 1]] {
            let refused = pool.try_generate(KeyKind::Rsa(RsaSize::Rsa2048), Some(exponent)).await;
            assert!(matches!(refused, Err(Error::InvalidInput { .. })), "{exponent:?}");
        }
        let ec = pool.try_generate(KeyKind::Ec(Curve::P256), Some(&[3])).await;
        assert!(matches!(ec, Err(Error::InvalidInput { .. })));
        let odd_size = pool.try_generate(KeyKind::Oct(OctSize::from_bytes(64).unwrap()), None).await;
        assert!(matches!(odd_size, Err(Error::InvalidInput { .. })));
    });
}
