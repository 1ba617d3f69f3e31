//! Key operations through the unmodified Rust SDK. Signatures are checked with a library on this side.

use std::collections::HashMap;

use aws_lc_rs::{digest, signature};
use azure_core::http::{RequestContent, StatusCode};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, EncryptionAlgorithm, GetRandomBytesParameters, ImportKeyParameters, JsonWebKey,
    Key, KeyAttributes, KeyClientGetKeyOptions, KeyClientListKeyPropertiesVersionsOptions, KeyOperation,
    KeyOperationParameters, KeyRotationPolicy, KeyRotationPolicyAction, KeyRotationPolicyAttributes, KeyType,
    LifetimeAction, LifetimeActionTrigger, LifetimeActionType, SignParameters, SignatureAlgorithm,
    UpdateKeyPropertiesParameters, VerifyParameters,
};
use azure_security_keyvault_keys::{KeyClient, ResourceExt};
use conformance::{client_of, fresh_name, required};
use futures_util::TryStreamExt;

async fn created(client: &KeyClient, name: &str, parameters: CreateKeyParameters) -> Key {
    client.create_key(name, parameters.try_into().unwrap(), None).await.unwrap().into_model().unwrap()
}

fn version_of(key: &Key) -> String {
    key.resource_id().unwrap().version.unwrap()
}

fn rsa(size: i32) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(KeyType::RsaHsm), key_size: Some(size), ..Default::default() }
}

fn ec(curve: CurveName) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(KeyType::EcHsm), curve: Some(curve), ..Default::default() }
}

fn oct(size: i32) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(KeyType::OctHsm), key_size: Some(size), ..Default::default() }
}

fn operation(algorithm: EncryptionAlgorithm, value: &[u8]) -> KeyOperationParameters {
    KeyOperationParameters { algorithm: Some(algorithm), value: Some(value.to_vec()), ..Default::default() }
}

#[tokio::test]
async fn every_type_of_key_is_created() {
    let client = client_of("USER");
    for size in [2048, 3072, 4096] {
        let key = created(&client, &fresh_name(), rsa(size)).await.key.unwrap();
        assert_eq!(key.kty, Some(KeyType::RsaHsm));
        assert_eq!(key.n.unwrap().len() * 8, usize::try_from(size).unwrap());
    }
    for curve in [CurveName::P256, CurveName::P256K, CurveName::P384, CurveName::P521] {
        let key = created(&client, &fresh_name(), ec(curve.clone())).await.key.unwrap();
        assert_eq!((key.kty, key.crv), (Some(KeyType::EcHsm), Some(curve)));
    }
    for size in [128, 192, 256] {
        let key = created(&client, &fresh_name(), oct(size)).await.key.unwrap();
        assert_eq!((key.kty, key.k), (Some(KeyType::OctHsm), None));
    }
    let odd = CreateKeyParameters { public_exponent: Some(17), ..rsa(2048) };
    assert_eq!(created(&client, &fresh_name(), odd).await.key.unwrap().e, Some(vec![17]));
}

#[tokio::test]
async fn attributes_and_tags_come_back_and_change() {
    let (client, name) = (client_of("USER"), fresh_name());
    let tags = |value: &str| Some(HashMap::from([("a".to_owned(), value.to_owned())]));
    let parameters = CreateKeyParameters {
        tags: tags("1"),
        key_ops: Some(vec![KeyOperation::Sign]),
        key_attributes: Some(KeyAttributes { enabled: Some(false), ..Default::default() }),
        ..ec(CurveName::P256)
    };
    let made = created(&client, &name, parameters).await;
    let options = KeyClientGetKeyOptions { key_version: Some(version_of(&made)), ..Default::default() };
    for options in [None, Some(options)] {
        let key = client.get_key(&name, options).await.unwrap().into_model().unwrap();
        assert_eq!(version_of(&key), version_of(&made));
        assert_eq!((key.tags, key.attributes.unwrap().enabled), (tags("1"), Some(false)));
        assert_eq!(key.key.unwrap().key_ops, Some(vec!["sign".to_owned()]));
    }
    let change = UpdateKeyPropertiesParameters {
        tags: tags("2"),
        key_attributes: Some(KeyAttributes { enabled: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let changed = client.update_key_properties(&name, change.try_into().unwrap(), None).await.unwrap();
    let changed = changed.into_model().unwrap();
    assert_eq!((changed.tags, changed.attributes.unwrap().enabled), (tags("2"), Some(true)));
}

#[tokio::test]
async fn lists_show_every_key_and_every_version() {
    let (client, name) = (client_of("USER"), fresh_name());
    let mut versions = Vec::new();
    for _ in 0..5 {
        versions.push(version_of(&created(&client, &name, oct(128)).await));
    }
    let options = KeyClientListKeyPropertiesVersionsOptions { maxresults: Some(2), ..Default::default() };
    let listed: Vec<_> =
        client.list_key_properties_versions(&name, Some(options)).unwrap().try_collect().await.unwrap();
    let mut found: Vec<_> = listed.iter().map(|each| each.resource_id().unwrap().version.unwrap()).collect();
    found.sort();
    versions.sort();
    assert_eq!(found, versions);

    let mut names = vec![name];
    for _ in 0..26 {
        names.push(fresh_name());
        created(&client, names.last().unwrap(), oct(128)).await;
    }
    let listed: Vec<_> = client.list_key_properties(None).unwrap().try_collect().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|each| each.resource_id().unwrap().name).collect();
    assert!(names.iter().all(|name| listed.contains(name)));
}

#[tokio::test]
async fn signatures_of_the_pool_are_valid_outside() {
    let client = client_of("USER");
    let sha256 = digest::digest(&digest::SHA256, b"message");
    let name = fresh_name();
    let key = created(&client, &name, rsa(2048)).await;
    let jwk = key.key.clone().unwrap();
    let outside = signature::RsaPublicKeyComponents { n: jwk.n.unwrap(), e: jwk.e.unwrap() };
    for (algorithm, rules) in [
        (SignatureAlgorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (SignatureAlgorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    ] {
        let made = signed(&client, &name, algorithm.clone(), sha256.as_ref()).await;
        outside.verify(rules, b"message", &made).unwrap();
        assert!(verified(&client, &name, &key, algorithm.clone(), sha256.as_ref(), &made).await);
        let other = digest::digest(&digest::SHA256, b"another");
        assert!(!verified(&client, &name, &key, algorithm, other.as_ref(), &made).await);
    }
    for (curve, algorithm, rules, hash) in [
        (CurveName::P256, SignatureAlgorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, &digest::SHA256),
        (CurveName::P256K, SignatureAlgorithm::Es256K, &signature::ECDSA_P256K1_SHA256_FIXED, &digest::SHA256),
        (CurveName::P384, SignatureAlgorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, &digest::SHA384),
        (CurveName::P521, SignatureAlgorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, &digest::SHA512),
    ] {
        let name = fresh_name();
        let key = created(&client, &name, ec(curve)).await;
        let jwk = key.key.clone().unwrap();
        let point = [vec![4], jwk.x.unwrap(), jwk.y.unwrap()].concat();
        let hashed = digest::digest(hash, b"message");
        let made = signed(&client, &name, algorithm.clone(), hashed.as_ref()).await;
        signature::UnparsedPublicKey::new(rules, point).verify(b"message", &made).unwrap();
        assert!(verified(&client, &name, &key, algorithm, hashed.as_ref(), &made).await);
    }
}

async fn signed(client: &KeyClient, name: &str, algorithm: SignatureAlgorithm, digest: &[u8]) -> Vec<u8> {
    let parameters = SignParameters { algorithm: Some(algorithm), value: Some(digest.to_vec()) };
    let answer = client.sign(name, parameters.try_into().unwrap(), None).await.unwrap();
    answer.into_model().unwrap().result.unwrap()
}

async fn verified(
    client: &KeyClient,
    name: &str,
    key: &Key,
    algorithm: SignatureAlgorithm,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    let parameters = VerifyParameters {
        algorithm: Some(algorithm),
        digest: Some(digest.to_vec()),
        signature: Some(signature.to_vec()),
    };
    let answer = client.verify(name, &version_of(key), parameters.try_into().unwrap(), None).await.unwrap();
    answer.into_model().unwrap().value.unwrap()
}

#[tokio::test]
async fn what_is_encrypted_or_wrapped_comes_back() {
    let client = client_of("USER");
    let name = fresh_name();
    let version = version_of(&created(&client, &name, rsa(2048)).await);
    for algorithm in [EncryptionAlgorithm::RsaOaep, EncryptionAlgorithm::RsaOaep256, EncryptionAlgorithm::Rsa1_5] {
        let parameters = operation(algorithm.clone(), b"plaintext");
        let sealed = client.encrypt(&name, parameters.clone().try_into().unwrap(), None).await.unwrap();
        let sealed = operation(algorithm.clone(), &sealed.into_model().unwrap().result.unwrap());
        let opened = client.decrypt(&name, &version, sealed.try_into().unwrap(), None).await.unwrap();
        assert_eq!(opened.into_model().unwrap().result.unwrap(), b"plaintext");
        let wrapped = client.wrap_key(&name, parameters.try_into().unwrap(), None).await.unwrap();
        let wrapped = operation(algorithm, &wrapped.into_model().unwrap().result.unwrap());
        let unwrapped = client.unwrap_key(&name, &version, wrapped.try_into().unwrap(), None).await.unwrap();
        assert_eq!(unwrapped.into_model().unwrap().result.unwrap(), b"plaintext");
    }

    let name = fresh_name();
    let version = version_of(&created(&client, &name, oct(256)).await);
    let parameters = KeyOperationParameters {
        additional_authenticated_data: Some(b"context".to_vec()),
        ..operation(EncryptionAlgorithm::A256Gcm, b"plaintext")
    };
    let sealed = client.encrypt(&name, parameters.clone().try_into().unwrap(), None).await.unwrap();
    let sealed = sealed.into_model().unwrap();
    let parameters = KeyOperationParameters {
        value: sealed.result,
        iv: sealed.iv,
        authentication_tag: sealed.authentication_tag,
        ..parameters
    };
    let opened = client.decrypt(&name, &version, parameters.try_into().unwrap(), None).await.unwrap();
    assert_eq!(opened.into_model().unwrap().result.unwrap(), b"plaintext");

    let parameters = operation(EncryptionAlgorithm::A256Kw, &[7; 32]);
    let wrapped = client.wrap_key(&name, parameters.try_into().unwrap(), None).await.unwrap();
    let wrapped = operation(EncryptionAlgorithm::A256Kw, &wrapped.into_model().unwrap().result.unwrap());
    let unwrapped = client.unwrap_key(&name, &version, wrapped.try_into().unwrap(), None).await.unwrap();
    assert_eq!(unwrapped.into_model().unwrap().result.unwrap(), [7; 32]);
}

#[tokio::test]
async fn an_imported_key_opens_what_was_sealed_outside() {
    let (client, name, secret) = (client_of("USER"), fresh_name(), [9_u8; 32]);
    let key = JsonWebKey {
        kty: Some(KeyType::OctHsm),
        k: Some(secret.to_vec()),
        key_ops: Some(vec!["decrypt".to_owned()]),
        ..Default::default()
    };
    let parameters = ImportKeyParameters { key: Some(key), ..Default::default() };
    let imported = client.import_key(&name, parameters.try_into().unwrap(), None).await.unwrap().into_model().unwrap();

    let outside = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, &secret).unwrap();
    let mut sealed = b"made outside".to_vec();
    let tag = aws_lc_rs::aead::LessSafeKey::new(outside)
        .seal_in_place_separate_tag(
            aws_lc_rs::aead::Nonce::assume_unique_for_key([1; 12]),
            aws_lc_rs::aead::Aad::empty(),
            &mut sealed,
        )
        .unwrap();
    let parameters = KeyOperationParameters {
        iv: Some(vec![1; 12]),
        authentication_tag: Some(tag.as_ref().to_vec()),
        ..operation(EncryptionAlgorithm::A256Gcm, &sealed)
    };
    let opened = client.decrypt(&name, &version_of(&imported), parameters.try_into().unwrap(), None).await.unwrap();
    assert_eq!(opened.into_model().unwrap().result.unwrap(), b"made outside");
}

#[tokio::test]
async fn a_key_rotates_by_its_policy() {
    let (client, name) = (client_of("USER"), fresh_name());
    let first = created(&client, &name, ec(CurveName::P256)).await;
    let policy = KeyRotationPolicy {
        attributes: Some(KeyRotationPolicyAttributes { expiry_time: Some("P90D".to_owned()), ..Default::default() }),
        lifetime_actions: Some(vec![LifetimeAction {
            action: Some(LifetimeActionType { type_prop: Some(KeyRotationPolicyAction::Rotate) }),
            trigger: Some(LifetimeActionTrigger { time_before_expiry: Some("P30D".to_owned()), ..Default::default() }),
        }]),
        ..Default::default()
    };
    let content: RequestContent<KeyRotationPolicy> = policy.try_into().unwrap();
    client.update_key_rotation_policy(&name, content, None).await.unwrap();
    let stored = client.get_key_rotation_policy(&name, None).await.unwrap().into_model().unwrap();
    assert_eq!(stored.attributes.unwrap().expiry_time.as_deref(), Some("P90D"));
    let second = client.rotate_key(&name, None).await.unwrap().into_model().unwrap();
    assert_ne!(version_of(&second), version_of(&first));
    assert!(second.attributes.unwrap().expires.is_some());
}

#[tokio::test]
async fn random_bytes_are_as_many_as_asked() {
    let parameters = GetRandomBytesParameters { count: Some(64) };
    let answer = client_of("USER").get_random_bytes(parameters.try_into().unwrap(), None).await.unwrap();
    assert_eq!(answer.into_model().unwrap().value.unwrap().len(), 64);
}

#[tokio::test]
async fn a_key_is_deleted_recovered_deleted_and_purged() {
    let (user, officer, name) = (client_of("USER"), client_of("OFFICER"), fresh_name());
    let made = created(&user, &name, oct(256)).await;
    let deleted = user.delete_key(&name, None).await.unwrap().into_model().unwrap();
    assert_eq!(deleted.recovery_id.unwrap(), format!("{}/deletedkeys/{name}", required("STRONGROOM_POOL_URL")));
    assert_eq!(user.get_key(&name, None).await.unwrap_err().http_status(), Some(StatusCode::NotFound));
    let again = user.create_key(&name, oct(256).try_into().unwrap(), None).await;
    assert_eq!(again.unwrap_err().http_status(), Some(StatusCode::Conflict));
    let listed: Vec<_> = officer.list_deleted_key_properties(None).unwrap().try_collect().await.unwrap();
    assert!(listed.iter().any(|each| each.resource_id().unwrap().name == name));

    officer.recover_deleted_key(&name, None).await.unwrap();
    let recovered = user.get_key(&name, None).await.unwrap().into_model().unwrap();
    assert_eq!(version_of(&recovered), version_of(&made));

    user.delete_key(&name, None).await.unwrap();
    officer.get_deleted_key(&name, None).await.unwrap();
    officer.purge_deleted_key(&name, None).await.unwrap();
    let gone = officer.get_deleted_key(&name, None).await;
    assert_eq!(gone.unwrap_err().http_status(), Some(StatusCode::NotFound));
}

#[tokio::test]
async fn what_a_role_does_not_allow_is_refused() {
    let name = fresh_name();
    let refused = client_of("NOBODY").get_key(&name, None).await.unwrap_err();
    assert_eq!(refused.http_status(), Some(StatusCode::Forbidden));
    let refused = client_of("AUDITOR").create_key(&name, oct(256).try_into().unwrap(), None).await.unwrap_err();
    assert_eq!(refused.http_status(), Some(StatusCode::Forbidden));
}
