//! Answers about keys as a client reads them. Unknown members are ignored; what a newer service adds does no harm.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base64url::Decoded;

/// A key version: answer of create, import, rotate, get, update and recover.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct KeyBundle {
    /// The public key.
    pub key: Jwk,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A deleted key: answer of delete and of reading a deleted key.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedKeyBundle {
    /// The public key of its latest version.
    pub key: Jwk,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Where it is recovered from.
    pub recovery_id: Option<String>,
    /// When it was deleted, Unix seconds.
    pub deleted_date: Option<i64>,
    /// When it is purged by itself, Unix seconds.
    pub scheduled_purge_date: Option<i64>,
}

/// A public JSON Web Key. Which members there are depends on `kty`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Jwk {
    /// The identifier; see [`KeyUrl`](crate::urls::KeyUrl).
    pub kid: String,
    /// `RSA-HSM`, `EC-HSM`, `oct-HSM` or `AKP-HSM`.
    pub kty: String,
    /// What the key may do.
    #[serde(default)]
    pub key_ops: Vec<String>,
    /// RSA modulus.
    pub n: Option<Decoded>,
    /// RSA public exponent.
    pub e: Option<Decoded>,
    /// Elliptic curve.
    pub crv: Option<String>,
    /// First coordinate.
    pub x: Option<Decoded>,
    /// Second coordinate.
    pub y: Option<Decoded>,
    /// ML-DSA parameter set.
    pub alg: Option<String>,
    /// ML-DSA public key.
    #[serde(rename = "pub")]
    pub public: Option<Decoded>,
}

/// The attributes of a key version. Times are Unix seconds.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAttributes {
    /// Whether it may be used.
    pub enabled: bool,
    /// No new use earlier than this.
    pub nbf: Option<i64>,
    /// No new use from this on.
    pub exp: Option<i64>,
    /// When it was made.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
    /// Whether it may leave by release.
    #[serde(default)]
    pub exportable: bool,
    /// The pool's retention in days.
    pub recoverable_days: Option<u16>,
    /// What a deletion leaves.
    pub recovery_level: Option<String>,
    /// What kind of module holds it.
    pub hsm_platform: Option<String>,
}

/// One entry of a list of keys or key versions.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct KeyItem {
    /// The identifier, with version in a list of versions.
    pub kid: String,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// One entry of a list of deleted keys.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedKeyItem {
    /// The identifier, without version.
    pub kid: String,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Where it is recovered from.
    pub recovery_id: Option<String>,
    /// When it was deleted, Unix seconds.
    pub deleted_date: Option<i64>,
    /// When it is purged by itself, Unix seconds.
    pub scheduled_purge_date: Option<i64>,
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct List<T> {
    /// The entries.
    pub value: Vec<T>,
    /// Where the next page is; `None` on the last.
    #[serde(rename = "nextLink")]
    pub next: Option<String>,
}

/// Answer of encrypt, decrypt, wrap, unwrap and sign. `Debug` shows lengths alone.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct OperationResult {
    /// The key version that was used.
    pub kid: String,
    /// What came out.
    pub value: Decoded,
    /// The algorithm.
    pub alg: Option<String>,
    /// The initialization vector that was used.
    pub iv: Option<Decoded>,
    /// The tag of an authenticated algorithm.
    pub tag: Option<Decoded>,
    /// The additional data that was authenticated.
    pub aad: Option<Decoded>,
}

/// Answer of verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Verification {
    /// Whether the signature is good.
    pub value: bool,
}

/// Answer of the random-bytes call.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RandomBytes {
    /// The bytes.
    pub value: Decoded,
}

/// A key's rotation policy.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationPolicyReply {
    /// Its address.
    pub id: String,
    /// What happens by itself.
    #[serde(default)]
    pub lifetime_actions: Vec<RotationAction>,
    /// The rest.
    pub attributes: RotationAttributes,
}

/// One thing that a policy makes happen.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RotationAction {
    /// When.
    pub trigger: RotationTrigger,
    /// What.
    pub action: RotationType,
}

/// When; one of the two is set. Durations are ISO 8601.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationTrigger {
    /// This long after the version was made.
    pub time_after_create: Option<String>,
    /// This long before it expires.
    pub time_before_expiry: Option<String>,
}

/// What.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RotationType {
    /// `Rotate` or `Notify`, in any case.
    #[serde(rename = "type")]
    pub kind: String,
}

/// How long new versions live, and when the policy was made and changed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationAttributes {
    /// ISO 8601.
    pub expiry_time: Option<String>,
    /// Unix seconds.
    pub created: Option<i64>,
    /// Unix seconds.
    pub updated: Option<i64>,
}

pub(super) fn fuzz(json: &[u8]) {
    fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) {
        let _ = serde_json::from_slice::<T>(json);
    }
    read::<KeyBundle>(json);
    read::<DeletedKeyBundle>(json);
    read::<List<KeyItem>>(json);
    read::<List<DeletedKeyItem>>(json);
    read::<OperationResult>(json);
    read::<Verification>(json);
    read::<RandomBytes>(json);
    read::<RotationPolicyReply>(json);
}
