//! The shapes of what a pool stores, key versions apart (their shape is the module's). JSON inside a sealed value; a
//! member this version does not know makes the value unreadable, so that a newer record is never half understood.

use model::rbac::{Guid, Permission, RoleAssignment, RoleDefinition, Scope};
use model::rotation::{ActionKind, LifetimeAction, Period, RotationPolicy, Trigger};
use model::{KeyName, KeyVersion, PrincipalId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::founding::Properties;
use crate::keys;
use crate::rotation::StoredPolicy;
use crate::view::Key;

/// A stored value that is sealed and authentic but says something impossible: written by another version of the
/// program, or by a defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stored record cannot be understood")]
pub(crate) struct Unreadable;

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and finite numbers only")
}

pub(crate) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(|_| Unreadable)
}

/// One key name: everything about a key that is not about one version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRecord {
    /// As its creator wrote it.
    name: String,
    /// The key under which the versions are sealed, itself sealed; lower-case hexadecimal. Empty once a purge has begun.
    #[serde(with = "hexadecimal")]
    pub(crate) sealing_key: Vec<u8>,
    /// Oldest first; hexadecimal as on the wire. Those that are left to remove, once a purge has begun.
    versions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<DeletedRecord>,
    /// Versions are being removed, and cannot be opened any more; the record goes last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    purging: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<RotationRecord>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct DeletedRecord {
    at: i64,
    purge_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<String>,
    actions: Vec<ActionRecord>,
    created: i64,
    updated: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionRecord {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_create: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_expiry: Option<String>,
}

/// When a key was deleted and when it goes for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deletion {
    pub(crate) at: UnixTime,
    pub(crate) purge_at: UnixTime,
}

/// What a [`KeyRecord`] says, in the model's terms.
pub(crate) struct KeyFactsOfName {
    pub(crate) name: KeyName,
    pub(crate) versions: Vec<KeyVersion>,
    pub(crate) going: Vec<KeyVersion>,
    pub(crate) deleted: Option<Deletion>,
    pub(crate) rotation: Option<StoredPolicy>,
}

impl KeyRecord {
    pub(crate) fn new(key: &Key) -> Self {
        let versions = key.versions.iter().map(|(version, _)| version).chain(&key.going);
        Self {
            name: key.name.as_str().to_owned(),
            sealing_key: key.sealing_key.to_vec(),
            versions: versions.map(ToString::to_string).collect(),
            deleted: key.deleted.map(|d| DeletedRecord { at: d.at.0, purge_at: d.purge_at.0 }),
            purging: key.is_going(),
            rotation: key.rotation.as_deref().map(RotationRecord::from_policy),
        }
    }

    pub(crate) fn facts(&self) -> Result<KeyFactsOfName, Unreadable> {
        let versions = self.versions.iter().map(|text| KeyVersion::parse(text).map_err(|_| Unreadable));
        let versions = versions.collect::<Result<_, _>>()?;
        let (versions, going) = if self.purging { (Vec::new(), versions) } else { (versions, Vec::new()) };
        Ok(KeyFactsOfName {
            name: KeyName::parse(&self.name).map_err(|_| Unreadable)?,
            versions,
            going,
            deleted: self.deleted.map(|d| Deletion { at: UnixTime(d.at), purge_at: UnixTime(d.purge_at) }),
            rotation: self.rotation.as_ref().map(RotationRecord::policy).transpose()?,
        })
    }
}

impl RotationRecord {
    fn from_policy(stored: &StoredPolicy) -> Self {
        let actions = stored.policy.actions().iter().map(|action| {
            let (after_create, before_expiry) = match &action.trigger {
                Trigger::AfterCreate(period) => (Some(period.to_string()), None),
                Trigger::BeforeExpiry(period) => (None, Some(period.to_string())),
            };
            ActionRecord { kind: action.kind.as_str().to_owned(), after_create, before_expiry }
        });
        Self {
            expiry: stored.policy.expiry().map(ToString::to_string),
            actions: actions.collect(),
            created: stored.created.0,
            updated: stored.updated.0,
        }
    }

    fn policy(&self) -> Result<StoredPolicy, Unreadable> {
        let period = |text: &Option<String>| text.as_deref().map(Period::parse).transpose().map_err(|_| Unreadable);
        let action = |record: &ActionRecord| {
            Ok(LifetimeAction {
                kind: ActionKind::parse(&record.kind).ok_or(Unreadable)?,
                trigger: Trigger::new(period(&record.after_create)?, period(&record.before_expiry)?)
                    .map_err(|_| Unreadable)?,
            })
        };
        let actions = self.actions.iter().map(action).collect::<Result<_, _>>()?;
        Ok(StoredPolicy {
            policy: RotationPolicy::new(period(&self.expiry)?, actions).map_err(|_| Unreadable)?,
            created: UnixTime(self.created),
            updated: UnixTime(self.updated),
        })
    }
}

/// A custom role.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleDefinitionRecord {
    id: String,
    role_name: String,
    description: String,
    permissions: Vec<PermissionRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionRecord {
    actions: Vec<String>,
    not_actions: Vec<String>,
    data_actions: Vec<String>,
    not_data_actions: Vec<String>,
}

impl RoleDefinitionRecord {
    pub(crate) fn new(role: &RoleDefinition) -> Self {
        let permissions = role.permissions.iter().map(|p| PermissionRecord {
            actions: p.actions.clone(),
            not_actions: p.not_actions.clone(),
            data_actions: p.data_actions.clone(),
            not_data_actions: p.not_data_actions.clone(),
        });
        Self {
            id: role.id.to_string(),
            role_name: role.role_name.clone(),
            description: role.description.clone(),
            permissions: permissions.collect(),
        }
    }

    pub(crate) fn role(self) -> Result<RoleDefinition, Unreadable> {
        let permissions = self.permissions.into_iter().map(|p| Permission {
            actions: p.actions,
            not_actions: p.not_actions,
            data_actions: p.data_actions,
            not_data_actions: p.not_data_actions,
        });
        let id = Guid::parse(&self.id).ok_or(Unreadable)?;
        RoleDefinition::custom(id, self.role_name, self.description, permissions.collect()).map_err(|_| Unreadable)
    }
}

/// A role given to a principal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleAssignmentRecord {
    name: String,
    scope: String,
    principal: String,
    role: String,
}

impl RoleAssignmentRecord {
    pub(crate) fn new(assignment: &RoleAssignment) -> Self {
        Self {
            name: assignment.name.to_string(),
            scope: assignment.scope.to_string(),
            principal: assignment.principal.to_string(),
            role: assignment.role.to_string(),
        }
    }

    pub(crate) fn assignment(&self) -> Result<RoleAssignment, Unreadable> {
        Ok(RoleAssignment {
            name: Guid::parse(&self.name).ok_or(Unreadable)?,
            scope: Scope::parse(&self.scope).map_err(|_| Unreadable)?,
            principal: PrincipalId::parse(&self.principal).ok_or(Unreadable)?,
            role: Guid::parse(&self.role).ok_or(Unreadable)?,
        })
    }
}

/// The pool's settings.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsRecord {
    pub(crate) allow_key_management_operations_through_arm: bool,
}

/// What was fixed when the pool was founded.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PropertiesRecord {
    pub(crate) format: u32,
    pub(crate) retention_days: u16,
    pub(crate) purge_protection: bool,
    pub(crate) created: i64,
}

/// The audit record of a change, on its way from the store to the log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxRecord {
    /// The log's size before the commit: the record stands nowhere below.
    pub(crate) since: u64,
    /// The record itself.
    pub(crate) record: audit::Record,
}

/// What the store knows of one node's audit log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogRecord {
    /// The node's name.
    pub(crate) node: String,
    /// How many durable records it had before the node's newest change: it never has fewer.
    pub(crate) size: u64,
}

/// See [`crate::fuzz`]: whatever is understood is written so that it is understood again.
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(record) = decode::<KeyRecord>(bytes)
        && let Ok((key, _)) = keys::from_record(&record)
    {
        let again = encode(&KeyRecord::new(&key));
        assert!(decode::<KeyRecord>(&again).is_ok_and(|again| again.facts().is_ok()));
    }
    if let Ok(role) = decode(bytes).and_then(RoleDefinitionRecord::role) {
        assert_eq!(RoleDefinitionRecord::new(&role).role(), Ok(role));
    }
    if let Ok(assignment) = decode(bytes).and_then(|record: RoleAssignmentRecord| record.assignment()) {
        assert_eq!(RoleAssignmentRecord::new(&assignment).assignment(), Ok(assignment));
    }
    let _ = decode(bytes).and_then(|record| Properties::from_record(&record));
    let _ = decode::<SettingsRecord>(bytes);
    let _ = decode::<OutboxRecord>(bytes);
    let _ = decode::<LogRecord>(bytes);
}

/// Bytes as lower-case hexadecimal text.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: String = bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
            .collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(D::Error::custom("not hexadecimal")),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(D::Error::custom("odd length"));
        }
        pairs.iter().map(|[high, low]| Ok(nibble(*high)? << 4 | nibble(*low)?)).collect()
    }
}
