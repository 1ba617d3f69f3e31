//! Key operations through the unmodified Rust SDK, challenge verification on.

use std::collections::HashMap;

use azure_core::http::{RequestContent, StatusCode};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, GetRandomBytesParameters, Key, KeyAttributes, KeyClientGetKeyOptions,
    KeyClientListKeyPropertiesVersionsOptions, KeyOperation, KeyRotationPolicy, KeyRotationPolicyAction,
    KeyRotationPolicyAttributes, KeyType, LifetimeAction, LifetimeActionTrigger, LifetimeActionType,
    UpdateKeyPropertiesParameters,
};
use azure_security_keyvault_keys::{KeyClient, ResourceExt};
use conformance::{client_of, client_on_localhost, fresh_name, required};
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

#[tokio::test]
async fn on_bare_localhost_the_client_works_with_its_one_check_off() {
    let (name, address) = (fresh_name(), required("STRONGROOM_POOL_URL"));
    let (_, port) = address.rsplit_once(':').unwrap();
    let made = created(&client_on_localhost("USER"), &name, ec(CurveName::P256)).await;
    let id = made.key.unwrap().kid.unwrap();
    assert!(id.starts_with(&format!("https://localhost:{port}/keys/{name}/")), "{id}");
}
