//! Encrypt, decrypt, wrap and unwrap, through the module's public face.

use bytes::Bytes;
use crypto_module::{DecryptInput, EncryptInput, Encrypted, Error, KeyMaterial, SealedKey};
use model::{Curve, EncryptionAlgorithm as E, KeyKind, OctSize};
use proptest::prelude::*;

use crate::support::{Pool, block_on, pool, rsa_fixtures, secret};

const IV: [u8; 16] = [3; 16];

fn encrypt_input(algorithm: E, plaintext: &[u8]) -> EncryptInput {
    let iv = algorithm.is_cbc().then(|| Bytes::from_static(&IV));
    EncryptInput { algorithm, plaintext: Bytes::copy_from_slice(plaintext), iv, aad: None }
}

fn decrypt_input(algorithm: E, encrypted: &Encrypted) -> DecryptInput {
    DecryptInput {
        algorithm,
        ciphertext: encrypted.value.clone().into(),
        iv: encrypted.iv.clone().map(Bytes::from),
        tag: encrypted.tag.clone().map(Bytes::from),
        aad: None,
    }
}

async fn oct(pool: &Pool, len: usize) -> SealedKey {
    pool.import(KeyMaterial::Oct { k: secret(&vec![9; len]) }).await.unwrap()
}

fn fitting_key_len(algorithm: E) -> usize {
    algorithm.aes_size().map_or(24, OctSize::bytes)
}

#[test]
fn every_algorithm_works_with_its_kind_of_key_and_no_other() {
    block_on(async {
        let pool = pool();
        let mut keys = vec![pool.generate(KeyKind::Ec(Curve::P256)).await, oct(&pool, 48).await];
        for jwk in &rsa_fixtures()[..4] {
            keys.push(pool.import(jwk.material()).await.unwrap());
        }
        for len in [16, 24, 32] {
            keys.push(oct(&pool, len).await);
        }
        let text = [0x42; 32];
        let mut worked = 0;
        for key in &keys {
            for algorithm in E::ALL {
                let encrypted = pool.module.encrypt(key, encrypt_input(*algorithm, &text)).await;
                if algorithm.check_key(key.kind()).is_err() {
                    assert!(matches!(encrypted, Err(Error::AlgorithmMismatch(_))));
                    let empty = Encrypted { value: vec![0; 32], iv: None, tag: None };
                    let decrypted = pool.module.decrypt(key, decrypt_input(*algorithm, &empty)).await;
                    assert!(matches!(decrypted, Err(Error::AlgorithmMismatch(_))));
                    continue;
                }
                let encrypted = encrypted.unwrap();
                assert_eq!(encrypted.tag.is_some(), algorithm.is_gcm());
                assert_eq!(
                    encrypted.iv.as_ref().map(Vec::len),
                    match algorithm {
                        algorithm if algorithm.is_gcm() => Some(12),
                        algorithm if algorithm.is_cbc() => Some(16),
                        _ => None,
                    }
                );
                let decrypted = pool.module.decrypt(key, decrypt_input(*algorithm, &encrypted)).await.unwrap();
                assert_eq!(decrypted.into_bytes(), text, "{algorithm}");
                worked += 1;
            }
        }
        assert_eq!(worked, 4 * 3 + 3 * 6);
    });
}

#[test]
fn every_failure_to_decrypt_looks_the_same() {
    block_on(async {
        let pool = pool();
        let rsa = pool.import(rsa_fixtures()[0].material()).await.unwrap();
        let aes = oct(&pool, 32).await;
        let refused = async |key: &SealedKey, input: DecryptInput| {
            let result = pool.module.decrypt(key, input).await;
            assert!(matches!(result, Err(Error::Refused)), "{result:?}");
        };
        for (key, algorithm) in [
            (&rsa, E::RsaOaep),
            (&rsa, E::RsaOaep256),
            (&aes, E::A256Gcm),
            (&aes, E::A256Kw),
            (&aes, E::CkmAesKeyWrap),
            (&aes, E::CkmAesKeyWrapPad),
        ] {
            let good = pool.module.encrypt(key, encrypt_input(algorithm, &[7; 32])).await.unwrap();
            for index in 0..good.value.len() {
                let mut bad = good.clone();
                bad.value[index] ^= 1;
                refused(key, decrypt_input(algorithm, &bad)).await;
            }
            for value in [vec![], vec![1; 8], vec![0xff; good.value.len()], [&good.value[..], &[0; 8]].concat()] {
                refused(key, decrypt_input(algorithm, &Encrypted { value, ..good.clone() })).await;
            }
        }
        for value in [vec![], vec![1], vec![0; 255], vec![0; 256], vec![0xff; 256], vec![1; 257]] {
            refused(&rsa, decrypt_input(E::Rsa15, &Encrypted { value, iv: None, tag: None })).await;
        }
        for value in [vec![], vec![1; 15], vec![1; 17]] {
            for algorithm in [E::A256Cbc, E::A256CbcPad] {
                let bad = Encrypted { value: value.clone(), iv: Some(IV.to_vec()), tag: None };
                refused(&aes, decrypt_input(algorithm, &bad)).await;
            }
        }
        // Another tag, another IV, other additional data.
        let good = pool.module.encrypt(&aes, encrypt_input(E::A256Gcm, b"text")).await.unwrap();
        let mut bad = good.clone();
        bad.tag.as_mut().unwrap()[0] ^= 1;
        refused(&aes, decrypt_input(E::A256Gcm, &bad)).await;
        let mut bad = good.clone();
        bad.iv.as_mut().unwrap()[0] ^= 1;
        refused(&aes, decrypt_input(E::A256Gcm, &bad)).await;
        let aad = Some(Bytes::from_static(b"x"));
        refused(&aes, DecryptInput { aad, ..decrypt_input(E::A256Gcm, &good) }).await;
    });
}

#[test]
fn gcm_draws_its_own_iv_and_takes_only_its_own_lengths() {
    block_on(async {
        let pool = pool();
        let key = oct(&pool, 16).await;
        let given = EncryptInput { iv: Some(Bytes::from_static(&[1; 12])), ..encrypt_input(E::A128Gcm, b"text") };
        assert!(matches!(pool.module.encrypt(&key, given).await, Err(Error::InvalidInput { .. })));
        let a = pool.module.encrypt(&key, encrypt_input(E::A128Gcm, b"")).await.unwrap();
        let b = pool.module.encrypt(&key, encrypt_input(E::A128Gcm, b"")).await.unwrap();
        assert_ne!(a.iv, b.iv);
        assert!(pool.module.decrypt(&key, decrypt_input(E::A128Gcm, &a)).await.unwrap().as_bytes().is_empty());
        for (iv, tag) in [
            (None, Some(16)),
            (Some(12), None),
            (Some(16), Some(16)),
            (Some(11), Some(16)),
            (Some(12), Some(12)),
            (Some(12), Some(17)),
        ] {
            let input = DecryptInput {
                iv: iv.map(|len| vec![0; len].into()),
                tag: tag.map(|len| vec![0; len].into()),
                ..decrypt_input(E::A128Gcm, &a)
            };
            assert!(matches!(pool.module.decrypt(&key, input).await, Err(Error::InvalidInput { .. })));
        }
    });
}

#[test]
fn cbc_fills_with_zero_bytes_and_gives_the_filled_text_back() {
    block_on(async {
        let pool = pool();
        let key = oct(&pool, 32).await;
        for (len, filled) in [(1, 16), (5, 16), (16, 16), (17, 32), (32, 32)] {
            let encrypted = pool.module.encrypt(&key, encrypt_input(E::A256Cbc, &vec![7; len])).await.unwrap();
            let text = pool.module.decrypt(&key, decrypt_input(E::A256Cbc, &encrypted)).await.unwrap().into_bytes();
            assert_eq!(text, [vec![7; len], vec![0; filled - len]].concat());
        }
        for (algorithm, iv) in [(E::A256Cbc, None), (E::A256CbcPad, Some(12)), (E::A256CbcPad, Some(17))] {
            let iv = iv.map(|len| vec![0; len].into());
            let input = EncryptInput { iv, ..encrypt_input(algorithm, b"text") };
            assert!(matches!(pool.module.encrypt(&key, input).await, Err(Error::InvalidInput { .. })));
        }
        let empty = pool.module.encrypt(&key, encrypt_input(E::A256Cbc, b"")).await;
        assert!(matches!(empty, Err(Error::InvalidInput { .. })));
    });
}

#[test]
fn text_of_a_length_that_an_algorithm_does_not_take_is_refused() {
    block_on(async {
        let pool = pool();
        let rsa = pool.import(rsa_fixtures()[0].material()).await.unwrap();
        for (algorithm, longest) in [(E::RsaOaep, 214), (E::RsaOaep256, 190), (E::Rsa15, 245)] {
            assert!(pool.module.encrypt(&rsa, encrypt_input(algorithm, &vec![1; longest])).await.is_ok());
            let long = pool.module.encrypt(&rsa, encrypt_input(algorithm, &vec![1; longest + 1])).await;
            assert!(matches!(long, Err(Error::InvalidInput { .. })), "{algorithm}");
            let empty = pool.module.encrypt(&rsa, encrypt_input(algorithm, b"")).await.unwrap();
            let text = pool.module.decrypt(&rsa, decrypt_input(algorithm, &empty)).await.unwrap();
            assert!(text.as_bytes().is_empty());
        }
        let aes = oct(&pool, 32).await;
        for (algorithm, len) in
            [(E::A256Kw, 0), (E::A256Kw, 8), (E::A256Kw, 17), (E::CkmAesKeyWrap, 12), (E::CkmAesKeyWrapPad, 0)]
        {
            let wrapped = pool.module.encrypt(&aes, encrypt_input(algorithm, &vec![1; len])).await;
            assert!(matches!(wrapped, Err(Error::InvalidInput { .. })), "{algorithm} {len}");
        }
        let long = vec![0; (1 << 20) + 1];
        for algorithm in [E::A256Gcm, E::A256Cbc, E::A256CbcPad, E::CkmAesKeyWrapPad] {
            let refused = pool.module.encrypt(&aes, encrypt_input(algorithm, &long)).await;
            assert!(matches!(refused, Err(Error::InvalidInput { .. })));
        }
        let most = pool.module.encrypt(&aes, encrypt_input(E::A256CbcPad, &long[1..])).await.unwrap();
        let back = pool.module.decrypt(&aes, decrypt_input(E::A256CbcPad, &most)).await.unwrap();
        assert_eq!(back.as_bytes(), &long[1..]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_encrypted_decrypts(
        algorithm in prop::sample::select(E::ALL),
        text in prop::collection::vec(any::<u8>(), 0..180),
        aad in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        thread_local!(static KEYS: (Pool, Vec<SealedKey>) = block_on(async {
            let pool = pool();
            let mut keys = vec![pool.import(rsa_fixtures()[0].material()).await.unwrap()];
            for len in [16, 24, 32] {
                keys.push(oct(&pool, len).await);
            }
            (pool, keys)
        }));
        KEYS.with(|(pool, keys)| block_on(async {
            let fits = |key: &&SealedKey| match key.kind() {
                KeyKind::Oct(size) => size.bytes() == fitting_key_len(algorithm),
                _ => algorithm.check_key(key.kind()).is_ok(),
            };
            let key = keys.iter().rev().find(fits).filter(|key| algorithm.check_key(key.kind()).is_ok());
            let key = key.unwrap_or(&keys[0]);
            let aad = aad.map(Bytes::from);
            let input = EncryptInput { aad: aad.clone(), ..encrypt_input(algorithm, &text) };
            let encrypted = match pool.module.encrypt(key, input).await {
                Ok(encrypted) => encrypted,
                Err(Error::InvalidInput { .. }) => return Ok(()),
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            };
            let input = DecryptInput { aad, ..decrypt_input(algorithm, &encrypted) };
            let back = pool.module.decrypt(key, input).await.unwrap().into_bytes();
            prop_assert_eq!(&back[..text.len()], &text[..]);
            prop_assert!(back[text.len()..].iter().all(|byte| *byte == 0));
            let fills = matches!(algorithm, E::A128Cbc | E::A192Cbc | E::A256Cbc);
            prop_assert!(fills || back.len() == text.len());
            Ok(())
        }))?;
    }

    #[test]
    fn random_ciphertext_is_refused_or_gives_text_and_never_panics(
        algorithm in prop::sample::select(E::ALL),
        ciphertext in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        thread_local!(static KEYS: (Pool, Vec<SealedKey>) = block_on(async {
            let pool = pool();
            let mut keys = vec![pool.import(rsa_fixtures()[0].material()).await.unwrap()];
            for len in [16, 24, 32] {
                keys.push(oct(&pool, len).await);
            }
            (pool, keys)
        }));
        KEYS.with(|(pool, keys)| block_on(async {
            for key in keys {
                let input = DecryptInput {
                    algorithm,
                    ciphertext: ciphertext.clone().into(),
                    iv: Some(vec![1; if algorithm.is_gcm() { 12 } else { 16 }].into()),
                    tag: Some(vec![1; 16].into()),
                    aad: None,
                };
                let result = pool.module.decrypt(key, input).await;
                let expected = matches!(result, Ok(_) | Err(Error::Refused | Error::AlgorithmMismatch(_)));
                prop_assert!(expected, "{:?}", result);
            }
            Ok(())
        }))?;
    }
}
