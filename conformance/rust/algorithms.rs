//! Every algorithm through the unmodified Rust SDK, in both directions, each result checked by an independent library.
//!
//! The rows are those of `../algorithms.txt`. This SDK computes nothing itself: the pool does all of it.

mod outside;

use std::collections::HashMap;

use azure_security_keyvault_keys::models::{
    CreateKeyParameters, EncryptionAlgorithm, ImportKeyParameters, JsonWebKey, Key, KeyOperation,
    KeyOperationParameters, KeyOperationResult, KeyType, SignParameters, SignatureAlgorithm, VerifyParameters,
};
use azure_security_keyvault_keys::{KeyClient, ResourceExt};
use conformance::{client_of, fresh_name};
use outside::{CONTEXT, KEYS, Sealed, random};

const PLAINTEXT: &[u8] = b"thirty-two octets, as a key has.";

/// One thing the pool computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    kind: &'static str,
    size: &'static str,
    operation: &'static str,
    algorithm: &'static str,
}

/// Every row that this SDK can express.
fn rows() -> Vec<Row> {
    let left_out: Vec<Vec<Vec<&str>>> = columns(include_str!("inexpressible.txt"));
    let mut rows = Vec::new();
    for line in columns(include_str!("../algorithms.txt")) {
        for &kind in &line[0] {
            for &size in &line[1] {
                for &operation in &line[2] {
                    rows.extend(line[3].iter().map(|&algorithm| Row { kind, size, operation, algorithm }));
                }
            }
        }
    }
    let all = rows.len();
    rows.retain(|row| {
        let cells = [row.kind, row.size, row.operation, row.algorithm];
        let stands_for = |line: &Vec<Vec<&str>>| {
            cells.iter().zip(line).all(|(cell, choices)| choices.contains(&"*") || choices.contains(cell))
        };
        !left_out.iter().any(stands_for)
    });
    assert!(rows.len() >= 70 && rows.len() < all, "{} of {all} rows", rows.len());
    rows
}

fn columns(text: &'static str) -> Vec<Vec<Vec<&'static str>>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().take(4).map(|cell| cell.split(',').collect()).collect()).collect()
}

/// A key of a client, by name, version and public half.
struct Held {
    name: String,
    version: String,
    jwk: JsonWebKey,
}

impl Held {
    fn new(name: String, key: Key) -> Self {
        Self { version: key.resource_id().unwrap().version.unwrap(), jwk: key.key.unwrap(), name }
    }

    /// Imports the key made outside.
    async fn imported(client: &KeyClient, row: Row) -> Self {
        let name = fresh_name();
        let parameters = ImportKeyParameters { key: Some(KEYS[&(row.kind, row.size)].jwk()), ..Default::default() };
        let key = client.import_key(&name, parameters.try_into().unwrap(), None).await.unwrap();
        let held = Self::new(name, key.into_model().unwrap());
        assert_eq!((&held.jwk.d, &held.jwk.p, &held.jwk.k), (&None, &None, &None), "{row:?}");
        held
    }

    /// Has the pool make a key.
    async fn created(client: &KeyClient, row: Row) -> Self {
        let name = fresh_name();
        let size = row.size.parse().ok();
        let parameters = match row.kind {
            "RSA" => CreateKeyParameters { kty: Some(KeyType::RsaHsm), key_size: size, ..Default::default() },
            "EC" => CreateKeyParameters {
                kty: Some(KeyType::EcHsm),
                curve: Some(row.size.parse().unwrap()),
                ..Default::default()
            },
            _ => CreateKeyParameters {
                kty: Some(KeyType::OctHsm),
                key_size: size,
                key_ops: Some(vec![
                    KeyOperation::Encrypt,
                    KeyOperation::Decrypt,
                    KeyOperation::WrapKey,
                    KeyOperation::UnwrapKey,
                    KeyOperation::Sign,
                    KeyOperation::Verify,
                ]),
                ..Default::default()
            },
        };
        let key = client.create_key(&name, parameters.try_into().unwrap(), None).await.unwrap();
        Self::new(name, key.into_model().unwrap())
    }

    async fn sign(&self, client: &KeyClient, algorithm: &str, content: &[u8]) -> Vec<u8> {
        let algorithm: SignatureAlgorithm = algorithm.parse().unwrap();
        let parameters = SignParameters { algorithm: Some(algorithm), value: Some(content.to_vec()) };
        let answer = client.sign(&self.name, parameters.try_into().unwrap(), None).await.unwrap();
        answer.into_model().unwrap().result.unwrap()
    }

    async fn verify(&self, client: &KeyClient, algorithm: &str, content: &[u8], signature: &[u8]) -> bool {
        let parameters = VerifyParameters {
            algorithm: Some(algorithm.parse().unwrap()),
            digest: Some(content.to_vec()),
            signature: Some(signature.to_vec()),
        };
        let answer = client.verify(&self.name, &self.version, parameters.try_into().unwrap(), None).await.unwrap();
        answer.into_model().unwrap().value.unwrap()
    }

    /// Encrypts or wraps.
    async fn protect(&self, client: &KeyClient, row: Row, plaintext: &[u8]) -> Sealed {
        let parameters = KeyOperationParameters {
            iv: row.algorithm.contains("CBC").then(|| random(16)),
            ..parameters(row, plaintext.to_vec())
        };
        let content = parameters.try_into().unwrap();
        let answer = match row.operation {
            "wrap" => client.wrap_key(&self.name, content, None).await,
            _ => client.encrypt(&self.name, content, None).await,
        };
        let KeyOperationResult { result, iv, authentication_tag, .. } = answer.unwrap().into_model().unwrap();
        Sealed { value: result.unwrap(), iv, tag: authentication_tag }
    }

    /// Decrypts or unwraps.
    async fn unprotect(&self, client: &KeyClient, row: Row, sealed: &Sealed) -> azure_core::Result<Vec<u8>> {
        let parameters = KeyOperationParameters {
            iv: sealed.iv.clone(),
            authentication_tag: sealed.tag.clone(),
            ..parameters(row, sealed.value.clone())
        };
        let content = parameters.try_into()?;
        let answer = match row.operation {
            "wrap" => client.unwrap_key(&self.name, &self.version, content, None).await?,
            _ => client.decrypt(&self.name, &self.version, content, None).await?,
        };
        Ok(answer.into_model()?.result.unwrap())
    }
}

fn parameters(row: Row, value: Vec<u8>) -> KeyOperationParameters {
    let algorithm: EncryptionAlgorithm = row.algorithm.parse().unwrap();
    KeyOperationParameters {
        algorithm: Some(algorithm),
        value: Some(value),
        additional_authenticated_data: row.algorithm.ends_with("GCM").then(|| CONTEXT.to_vec()),
        ..Default::default()
    }
}

/// A key's 32 octets; and where the algorithm takes it, something that fills no block.
fn plaintexts(row: Row) -> &'static [&'static [u8]] {
    let whole_words_only = row.algorithm.ends_with("KW") || row.algorithm == "CKM_AES_KEY_WRAP";
    if whole_words_only { &[PLAINTEXT] } else { &[PLAINTEXT, b"fourteen bytes"] }
}

/// What is given back: CBC without padding keeps the zero bytes that it was filled with.
fn filled(row: Row, plaintext: &[u8]) -> Vec<u8> {
    if row.algorithm.ends_with("CBC") { outside::zero_filled(plaintext) } else { plaintext.to_vec() }
}

fn touched(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    *octets.last_mut().unwrap() ^= 1;
    octets
}

#[tokio::test]
async fn what_is_made_through_the_sdk_holds_outside_and_the_reverse() {
    let (client, mut held) = (client_of("USER"), HashMap::new());
    for row in rows() {
        let place = (row.kind, row.size);
        if !held.contains_key(&place) {
            held.insert(place, Held::imported(&client, row).await);
        }
        let (private, key) = (&KEYS[&place], &held[&place]);
        if row.operation == "sign" {
            let content = outside::signing_input(row.algorithm);
            let made = key.sign(&client, row.algorithm, &content).await;
            match row.kind {
                "oct" => assert!(private.is_mac(row.algorithm, &content, &made), "{row:?}"),
                _ => assert!(outside::is_valid(&key.jwk, row.algorithm, &content, &made), "{row:?}"),
            }
            let made = private.sign(row.algorithm, &content);
            assert!(key.verify(&client, row.algorithm, &content, &made).await, "{row:?}");
            assert!(!key.verify(&client, row.algorithm, &content, &touched(&made)).await, "{row:?}");
            assert!(!key.verify(&client, row.algorithm, &touched(&content), &made).await, "{row:?}");
            continue;
        }
        for plaintext in plaintexts(row) {
            let made = key.protect(&client, row, plaintext).await;
            assert_eq!(private.open(row.algorithm, &made), filled(row, plaintext), "{row:?}");
            let made = private.seal(row.algorithm, plaintext);
            assert_eq!(key.unprotect(&client, row, &made).await.unwrap(), filled(row, plaintext), "{row:?}");
            if !row.algorithm.contains("CBC") {
                let touched = Sealed { value: touched(&made.value), ..made };
                let refused = key.unprotect(&client, row, &touched).await.unwrap_err();
                assert_eq!(refused.http_status(), Some(azure_core::http::StatusCode::BadRequest), "{row:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_of_the_pools_own_works_with_the_outside() {
    let (client, mut held) = (client_of("USER"), HashMap::new());
    for row in rows() {
        let place = (row.kind, row.size);
        if !held.contains_key(&place) {
            held.insert(place, Held::created(&client, row).await);
        }
        let key = &held[&place];
        match (row.kind, row.operation) {
            ("oct", "sign") => {
                let made = key.sign(&client, row.algorithm, b"message").await;
                assert!(key.verify(&client, row.algorithm, b"message", &made).await, "{row:?}");
            }
            (_, "sign") => {
                let content = outside::signing_input(row.algorithm);
                let made = key.sign(&client, row.algorithm, &content).await;
                assert!(outside::is_valid(&key.jwk, row.algorithm, &content, &made), "{row:?}");
            }
            ("oct", _) => {
                let made = key.protect(&client, row, PLAINTEXT).await;
                assert_eq!(key.unprotect(&client, row, &made).await.unwrap(), PLAINTEXT, "{row:?}");
            }
            _ => {
                let made = outside::seal_to(&key.jwk, row.algorithm, PLAINTEXT);
                assert_eq!(key.unprotect(&client, row, &made).await.unwrap(), PLAINTEXT, "{row:?}");
            }
        }
    }
}
