//! Answers about keys, written from borrowed parts straight into bytes.

use model::rotation::{RotationPolicy, Trigger};
use model::{Attributes, Curve, Days, KeyKind, KeyName, KeyOperations, KeyVersion, MlDsa, Tags, UnixTime};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::base64url::Encoded;
use crate::body::to_json;
use crate::urls::{BaseUrl, Kid};

/// What a list shows of a key or a key version, and a bundle repeats.
#[derive(Clone, Copy, Debug)]
pub struct KeyItemParts<'a> {
    /// The key's name as its creator wrote it.
    pub name: &'a KeyName,
    /// What its owner may change.
    pub attributes: &'a Attributes,
    /// What its owner hangs on it; left out of the answer when empty.
    pub tags: &'a Tags,
    /// Whether it may leave by release.
    pub exportable: bool,
    /// What a deletion leaves.
    pub recovery: Recovery,
    /// What kind of module holds it, by its number.
    pub platform: &'a str,
}

/// What a deletion of a key leaves, by the rules of its pool.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// The pool's retention.
    pub days: Days,
    /// The published name; see [`model::deleted_keys::recovery_level`].
    pub level: &'static str,
}

/// Everything that a bundle shows of a key version.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// The version.
    pub version: KeyVersion,
    /// Type with size, curve or parameter set.
    pub kind: KeyKind,
    /// The public half.
    pub public: PublicParts<'a>,
    /// What the key may do.
    pub operations: KeyOperations,
    /// The rest.
    pub item: KeyItemParts<'a>,
}

/// The public half of a key. Numbers are big-endian.
#[derive(Clone, Copy, Debug)]
pub enum PublicParts<'a> {
    /// An RSA public key.
    Rsa {
        /// Modulus.
        n: &'a [u8],
        /// Public exponent, without leading zeros.
        e: &'a [u8],
    },
    /// A point, both coordinates as long as the field.
    Ec {
        /// First coordinate.
        x: &'a [u8],
        /// Second coordinate.
        y: &'a [u8],
    },
    /// An ML-DSA public key (FIPS 204).
    Akp(&'a [u8]),
    /// A symmetric key has none.
    None,
}

/// When a key was deleted and when it goes for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// The time of the deletion.
    pub deleted: UnixTime,
    /// The end of its retention.
    pub scheduled_purge: UnixTime,
}

/// `{"key","attributes","tags"?}`.
#[must_use]
pub fn key_bundle(base: &BaseUrl, key: &KeyParts<'_>) -> Vec<u8> {
    to_json(&Bundle::new(base, key))
}

/// A bundle with `recoveryId`, `deletedDate` and `scheduledPurgeDate`; `kid` names the latest version.
#[must_use]
pub fn deleted_key_bundle(base: &BaseUrl, key: &KeyParts<'_>, deletion: Deletion) -> Vec<u8> {
    #[derive(Serialize)]
    struct DeletedBundle<'a> {
        #[serde(flatten)]
        bundle: Bundle<'a>,
        #[serde(flatten)]
        deleted: Deleted<'a>,
    }
    to_json(&DeletedBundle { bundle: Bundle::new(base, key), deleted: Deleted::new(base, key.item.name, deletion) })
}

/// A page of keys, `kid` without version. `next` is a link of [`crate::paging`], absent on the last page.
#[must_use]
pub fn key_list<'a>(
    base: &'a BaseUrl,
    items: impl IntoIterator<Item = KeyItemParts<'a>>,
    next: Option<&str>,
) -> Vec<u8> {
    list(items.into_iter().map(|item| Item::new(base, item, None)), next)
}

/// A page of the versions of a key, `kid` with version.
#[must_use]
pub fn key_version_list<'a>(
    base: &'a BaseUrl,
    items: impl IntoIterator<Item = (KeyVersion, KeyItemParts<'a>)>,
    next: Option<&str>,
) -> Vec<u8> {
    list(items.into_iter().map(|(version, item)| Item::new(base, item, Some(version))), next)
}

/// A page of deleted keys, `kid` without version.
#[must_use]
pub fn deleted_key_list<'a>(
    base: &'a BaseUrl,
    items: impl IntoIterator<Item = (KeyItemParts<'a>, Deletion)>,
    next: Option<&str>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct DeletedItem<'a> {
        #[serde(flatten)]
        item: Item<'a>,
        #[serde(flatten)]
        deleted: Deleted<'a>,
    }
    let deleted_items = items.into_iter().map(|(item, deletion)| DeletedItem {
        item: Item::new(base, item, None),
        deleted: Deleted::new(base, item.name, deletion),
    });
    list(deleted_items, next)
}

/// What an operation of a key on a client's bytes gives.
#[derive(Clone, Copy)]
pub struct OperationOutput<'a> {
    /// Ciphertext, plaintext, wrapped or unwrapped key, or signature.
    pub value: &'a [u8],
    /// The initialization vector that was used.
    pub iv: Option<&'a [u8]>,
    /// The tag of an authenticated algorithm.
    pub tag: Option<&'a [u8]>,
    /// The additional data that was authenticated.
    pub aad: Option<&'a [u8]>,
}

impl<'a> OperationOutput<'a> {
    /// A result that is bytes and nothing else, as most are.
    #[must_use]
    pub fn plain(value: &'a [u8]) -> Self {
        Self { value, iv: None, tag: None, aad: None }
    }
}

/// `{"kid","value","alg","iv"?,"tag"?,"aad"?}`, of encrypt, decrypt, wrap, unwrap and sign.
#[must_use]
pub fn operation_result(
    base: &BaseUrl,
    name: &KeyName,
    version: KeyVersion,
    algorithm: &str,
    output: &OperationOutput<'_>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct OperationResult<'a> {
        kid: Kid<'a>,
        value: Encoded<'a>,
        alg: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        iv: Option<Encoded<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<Encoded<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aad: Option<Encoded<'a>>,
    }
    to_json(&OperationResult {
        kid: Kid { base, name, version: Some(version) },
        value: Encoded(output.value),
        alg: algorithm,
        iv: output.iv.map(Encoded),
        tag: output.tag.map(Encoded),
        aad: output.aad.map(Encoded),
    })
}

/// `{"value":true}` or `{"value":false}`, of verify.
#[must_use]
pub fn verification(valid: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Verification {
        value: bool,
    }
    to_json(&Verification { value: valid })
}

/// `{"value":"<base64url>"}`.
#[must_use]
pub fn random_bytes(bytes: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    struct RandomBytes<'a> {
        value: Encoded<'a>,
    }
    to_json(&RandomBytes { value: Encoded(bytes) })
}

/// `{"id","lifetimeActions","attributes"}`. `times` are when the policy was made and last changed; `None` for a key that
/// never had one.
#[must_use]
pub fn rotation_policy(
    base: &BaseUrl,
    name: &KeyName,
    policy: &RotationPolicy,
    times: Option<(UnixTime, UnixTime)>,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Policy {
        id: String,
        lifetime_actions: Vec<Action>,
        attributes: PolicyAttributes,
    }
    #[derive(Serialize)]
    struct Action {
        trigger: TriggerTimes,
        action: ActionType,
    }
    /// The time that is not set is written as null, as the live service does.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TriggerTimes {
        time_after_create: Option<String>,
        time_before_expiry: Option<String>,
    }
    #[derive(Serialize)]
    struct ActionType {
        r#type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct PolicyAttributes {
        #[serde(skip_serializing_if = "Option::is_none")]
        expiry_time: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        updated: Option<i64>,
    }
    let actions = policy.actions().iter().map(|action| Action {
        trigger: match &action.trigger {
            Trigger::AfterCreate(period) => {
                TriggerTimes { time_after_create: Some(period.to_string()), time_before_expiry: None }
            }
            Trigger::BeforeExpiry(period) => {
                TriggerTimes { time_after_create: None, time_before_expiry: Some(period.to_string()) }
            }
        },
        action: ActionType { r#type: action.kind.as_str() },
    });
    to_json(&Policy {
        id: format!("{}/rotationpolicy", Kid { base, name, version: None }),
        lifetime_actions: actions.collect(),
        attributes: PolicyAttributes {
            expiry_time: policy.expiry().map(ToString::to_string),
            created: times.map(|(created, _)| created.0),
            updated: times.map(|(_, updated)| updated.0),
        },
    })
}

/// `{"value":[…],"nextLink"?}`.
pub(crate) fn list<T: Serialize>(items: impl Iterator<Item = T>, next: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct List<'a, T> {
        value: Vec<T>,
        #[serde(rename = "nextLink", skip_serializing_if = "Option::is_none")]
        next: Option<&'a str>,
    }
    to_json(&List { value: items.collect(), next })
}

#[derive(Serialize)]
struct Bundle<'a> {
    key: Jwk<'a>,
    attributes: AttributesJson<'a>,
    #[serde(skip_serializing_if = "Tags::is_empty", serialize_with = "tags")]
    tags: &'a Tags,
}

impl<'a> Bundle<'a> {
    fn new(base: &'a BaseUrl, key: &'a KeyParts<'a>) -> Self {
        Self { key: Jwk::new(base, key), attributes: AttributesJson::new(&key.item), tags: key.item.tags }
    }
}

/// The public JSON Web Key. It has no member that could hold a private part.
#[derive(Serialize)]
struct Jwk<'a> {
    kid: Kid<'a>,
    kty: &'static str,
    #[serde(serialize_with = "operations")]
    key_ops: KeyOperations,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<Encoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<Encoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<Encoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<Encoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#pub: Option<Encoded<'a>>,
}

impl<'a> Jwk<'a> {
    fn new(base: &'a BaseUrl, key: &'a KeyParts<'a>) -> Self {
        let (mut n, mut e, mut x, mut y, mut r#pub) = (None, None, None, None, None);
        match key.public {
            PublicParts::Rsa { n: modulus, e: exponent } => (n, e) = (Some(Encoded(modulus)), Some(Encoded(exponent))),
            PublicParts::Ec { x: first, y: second } => (x, y) = (Some(Encoded(first)), Some(Encoded(second))),
            PublicParts::Akp(bytes) => r#pub = Some(Encoded(bytes)),
            PublicParts::None => {}
        }
        let (mut crv, mut alg) = (None, None);
        match key.kind {
            KeyKind::Ec(curve) => crv = Some(Curve::as_str(curve)),
            KeyKind::Akp(set) => alg = Some(MlDsa::as_str(set)),
            KeyKind::Rsa(_) | KeyKind::Oct(_) => {}
        }
        let kid = Kid { base, name: key.item.name, version: Some(key.version) };
        Self { kid, kty: key.kind.type_name(), key_ops: key.operations, n, e, crv, x, y, alg, r#pub }
    }
}

#[derive(Serialize)]
struct Item<'a> {
    kid: Kid<'a>,
    attributes: AttributesJson<'a>,
    #[serde(skip_serializing_if = "Tags::is_empty", serialize_with = "tags")]
    tags: &'a Tags,
}

impl<'a> Item<'a> {
    fn new(base: &'a BaseUrl, item: KeyItemParts<'a>, version: Option<KeyVersion>) -> Self {
        Self { kid: Kid { base, name: item.name, version }, attributes: AttributesJson::new(&item), tags: item.tags }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttributesJson<'a> {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    created: i64,
    updated: i64,
    exportable: bool,
    recoverable_days: u16,
    recovery_level: &'static str,
    hsm_platform: &'a str,
}

impl<'a> AttributesJson<'a> {
    fn new(item: &KeyItemParts<'a>) -> Self {
        let attributes = item.attributes;
        Self {
            enabled: attributes.enabled,
            nbf: attributes.not_before.map(|time| time.0),
            exp: attributes.expires.map(|time| time.0),
            created: attributes.created.0,
            updated: attributes.updated.0,
            exportable: item.exportable,
            recoverable_days: item.recovery.days.0,
            recovery_level: item.recovery.level,
            hsm_platform: item.platform,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    recovery_id: RecoveryId<'a>,
    deleted_date: i64,
    scheduled_purge_date: i64,
}

impl<'a> Deleted<'a> {
    fn new(base: &'a BaseUrl, name: &'a KeyName, deletion: Deletion) -> Self {
        Self {
            recovery_id: RecoveryId { base, name },
            deleted_date: deletion.deleted.0,
            scheduled_purge_date: deletion.scheduled_purge.0,
        }
    }
}

struct RecoveryId<'a> {
    base: &'a BaseUrl,
    name: &'a KeyName,
}

impl Serialize for RecoveryId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/deletedkeys/{}", self.base, self.name))
    }
}

fn tags<S: Serializer>(tags: &&Tags, serializer: S) -> Result<S::Ok, S::Error> {
    tags.as_map().serialize(serializer)
}

fn operations<S: Serializer>(operations: &KeyOperations, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    for operation in operations.iter() {
        list.serialize_element(operation.as_str())?;
    }
    list.end()
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
