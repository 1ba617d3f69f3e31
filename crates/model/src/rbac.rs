//! Local RBAC: who may do what at which scope.
//!
//! A principal's rights at a scope are the union, over the assignments to it or its groups at that scope or above, of
//! each role's data actions less that same role's "not" data actions. Nothing denies.
//!
//! Source: local RBAC document; product article on built-in roles.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::{DataAction, KeyName, NameError, PrincipalId};

/// A GUID, as roles and assignments are named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub u128);

impl Guid {
    /// Reads the 36-character form of either case.
    ///
    /// Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let dashes = [8, 13, 18, 23];
        let legal = bytes.len() == 36
            && bytes
                .iter()
                .enumerate()
                .all(|(i, b)| if dashes.contains(&i) { *b == b'-' } else { b.is_ascii_hexdigit() });
        if !legal {
            return None;
        }
        u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Self)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            (n >> 80) & 0xffff,
            (n >> 64) & 0xffff,
            (n >> 48) & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a right holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The whole pool, `/`.
    Root,
    /// All keys, `/keys`.
    Keys,
    /// All versions of one key, `/keys/<name>`.
    Key(KeyName),
}

impl Scope {
    /// Reads a scope as it stands in a path: empty or slashes only, `keys`, `keys/<name>`, slashes around tolerated.
    ///
    /// # Errors
    /// [`NameError::Key`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [] => Ok(Self::Root),
            [keys] if keys.eq_ignore_ascii_case("keys") => Ok(Self::Keys),
            [keys, name] if keys.eq_ignore_ascii_case("keys") => KeyName::parse(name).map(Self::Key),
            _ => Err(NameError::Key),
        }
    }

    /// Whether a right held at this scope holds at `other`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Root, _) | (Self::Keys, Self::Keys | Self::Key(_)) => true,
            (Self::Key(a), Self::Key(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("/"),
            Self::Keys => f.write_str("/keys"),
            Self::Key(name) => write!(f, "/keys/{name}"),
        }
    }
}

/// A set of data actions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct DataActions(u64);

impl DataActions {
    /// The set of the given actions.
    #[must_use]
    pub const fn of(actions: &[DataAction]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < actions.len() {
            bits |= 1 << actions[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub fn contains(self, action: DataAction) -> bool {
        self.0 & 1 << action as u8 != 0
    }

    /// The actions of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The actions of this set that are not in `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The actions, in the order of [`DataAction::ALL`].
    pub fn iter(self) -> impl Iterator<Item = DataAction> {
        DataAction::ALL.iter().copied().filter(move |action| self.contains(*action))
    }

    /// The actions that a text of a role names: one action, or all that begin with what stands before a final `*`.
    /// Compared without case, as clients mix `managedHsm` and `managedHSM`.
    ///
    /// Returns `None` if there is no such action.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let mut found = Self::default();
        for action in DataAction::ALL {
            let name = action.as_str().to_ascii_lowercase();
            let matches = match text.strip_suffix('*') {
                Some(stem) => name.starts_with(stem) && (stem.is_empty() || stem.ends_with('/')),
                None => name == text,
            };
            if matches {
                found = found.union(Self::of(&[*action]));
            }
        }
        (found != Self::default()).then_some(found)
    }
}

impl fmt::Debug for DataActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(DataAction::as_str)).finish()
    }
}

/// One block of a role: what it grants, less what it withholds from that grant. The texts are kept as written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permission {
    /// Control-plane actions; carried, meaningless here.
    pub actions: Vec<String>,
    /// Control-plane actions withheld; carried, meaningless here.
    pub not_actions: Vec<String>,
    /// Data actions granted.
    pub data_actions: Vec<String>,
    /// Data actions withheld from this same grant.
    pub not_data_actions: Vec<String>,
}

/// Why a role or an assignment is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoleError {
    /// A text names no data action.
    #[error("no such data action: {0}")]
    UnknownDataAction(String),
    /// A custom role must be assignable at `/`, and only there.
    #[error("a custom role is assignable at the scope / only")]
    AssignableScopes,
}

/// A named set of rights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleDefinition {
    /// The role's id, which is also its resource name.
    pub id: Guid,
    /// The name people see; a second PUT without one empties it.
    pub role_name: String,
    /// What it is for.
    pub description: String,
    /// Whether it came with the product.
    pub built_in: bool,
    /// What it grants.
    pub permissions: Vec<Permission>,
    effective: DataActions,
}

impl RoleDefinition {
    /// A custom role.
    ///
    /// # Errors
    /// [`RoleError::UnknownDataAction`], with at most 128 characters of the text.
    pub fn custom(
        id: Guid,
        role_name: String,
        description: String,
        permissions: Vec<Permission>,
    ) -> Result<Self, RoleError> {
        let resolve = |texts: &[String]| {
            texts.iter().try_fold(DataActions::default(), |set, text| {
                DataActions::named(text)
                    .map(|named| set.union(named))
                    .ok_or_else(|| RoleError::UnknownDataAction(text.chars().take(128).collect()))
            })
        };
        let mut effective = DataActions::default();
        for permission in &permissions {
            let granted = resolve(&permission.data_actions)?;
            effective = effective.union(granted.minus(resolve(&permission.not_data_actions)?));
        }
        Ok(Self { id, role_name, description, built_in: false, permissions, effective })
    }

    /// The data actions that an assignment of this role gives.
    #[must_use]
    pub fn effective(&self) -> DataActions {
        self.effective
    }
}

/// A role given to a principal at a scope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleAssignment {
    /// The name its creator chose.
    pub name: Guid,
    /// Where it holds.
    pub scope: Scope,
    /// To whom it is given: a person, group, service principal or managed identity.
    pub principal: PrincipalId,
    /// Which role.
    pub role: Guid,
}

/// The role that may not lose its last assignment at `/`.
pub const ADMINISTRATOR: Guid = Guid(0xa290_e904_7015_4bba_90c8_6054_3313_cdb4);
/// Managed HSM Crypto Officer.
pub const CRYPTO_OFFICER: Guid = Guid(0x515e_b02d_2335_4d2d_92f2_b1cb_df9c_3778);
/// Managed HSM Crypto User.
pub const CRYPTO_USER: Guid = Guid(0x21db_d100_6940_42c2_9190_5d6c_b909_625b);
/// Managed HSM Policy Administrator.
pub const POLICY_ADMINISTRATOR: Guid = Guid(0x4bd2_3610_cdcf_4971_bdee_bdc5_62cc_28e4);
/// Managed HSM Crypto Auditor.
pub const CRYPTO_AUDITOR: Guid = Guid(0x2c18_b078_7c48_4d3a_af88_5a3a_1b3f_82b3);
/// Managed HSM Crypto Service Encryption User.
pub const SERVICE_ENCRYPTION_USER: Guid = Guid(0x3341_3926_3206_4cdd_b39a_8357_4fe3_7a17);
/// Managed HSM Crypto Service Release User.
pub const SERVICE_RELEASE_USER: Guid = Guid(0x21db_d100_6940_42c2_9190_5d6c_b909_625c);
/// Managed HSM Backup.
pub const BACKUP: Guid = Guid(0x7b12_7d3c_77bd_4e3e_bbe0_dbb8_971f_a7f8);
/// Managed HSM Restore.
pub const RESTORE: Guid = Guid(0x6efe_6056_5259_49d2_8b3d_d3d7_3544_b20b);

const ROLE_ACTIONS: &[DataAction] = &[
    DataAction::RoleAssignmentsRead,
    DataAction::RoleAssignmentsWrite,
    DataAction::RoleAssignmentsDelete,
    DataAction::RoleDefinitionsRead,
    DataAction::RoleDefinitionsWrite,
    DataAction::RoleDefinitionsDelete,
];

/// The roles that come with the product, in the order in which they are listed.
#[must_use]
pub fn built_in_roles() -> Vec<RoleDefinition> {
    use DataAction as A;
    let table: [(Guid, &str, &[DataAction], bool); 9] = [
        (
            ADMINISTRATOR,
            "Managed HSM Administrator",
            &[
                A::SecurityDomainDownload,
                A::SecurityDomainDownloadRead,
                A::SecurityDomainUpload,
                A::SecurityDomainUploadRead,
                A::SecurityDomainTransferKeyRead,
                A::BackupStart,
                A::BackupStatus,
                A::RestoreStart,
                A::RestoreStatus,
                A::SettingsRead,
                A::SettingsWrite,
            ],
            true,
        ),
        (
            CRYPTO_OFFICER,
            "Managed HSM Crypto Officer",
            &[A::DeletedKeysRead, A::DeletedKeysDelete, A::DeletedKeysRecover, A::KeysExport],
            true,
        ),
        (
            CRYPTO_USER,
            "Managed HSM Crypto User",
            &[
                A::RoleDefinitionsRead,
                A::RoleAssignmentsRead,
                A::KeysRead,
                A::KeysWrite,
                A::KeysCreate,
                A::KeysDelete,
                A::KeysImport,
                A::KeysRelease,
                A::KeysRotate,
                A::KeysBackup,
                A::KeysRestore,
                A::KeysEncrypt,
                A::KeysDecrypt,
                A::KeysWrap,
                A::KeysUnwrap,
                A::KeysSign,
                A::KeysVerify,
                A::Rng,
            ],
            false,
        ),
        (POLICY_ADMINISTRATOR, "Managed HSM Policy Administrator", &[], true),
        (
            CRYPTO_AUDITOR,
            "Managed HSM Crypto Auditor",
            &[A::RoleAssignmentsRead, A::RoleDefinitionsRead, A::KeysRead, A::DeletedKeysRead],
            false,
        ),
        (
            SERVICE_ENCRYPTION_USER,
            "Managed HSM Crypto Service Encryption User",
            &[A::KeysRead, A::KeysWrap, A::KeysUnwrap],
            false,
        ),
        (SERVICE_RELEASE_USER, "Managed HSM Crypto Service Release User", &[A::KeysRelease], false),
        (BACKUP, "Managed HSM Backup", &[A::BackupStart, A::BackupStatus, A::KeysBackup], false),
        (RESTORE, "Managed HSM Restore", &[A::RestoreStart, A::RestoreStatus, A::KeysRestore], false),
    ];
    table
        .into_iter()
        .map(|(id, role_name, actions, manages_roles)| {
            let mut effective = DataActions::of(actions);
            if manages_roles {
                effective = effective.union(DataActions::of(ROLE_ACTIONS));
            }
            let data_actions = effective.iter().map(|action| action.as_str().to_owned()).collect();
            RoleDefinition {
                id,
                role_name: role_name.to_owned(),
                description: String::new(),
                built_in: true,
                permissions: vec![Permission { data_actions, ..Permission::default() }],
                effective,
            }
        })
        .collect()
}

/// All roles and assignments of one pool, ready to answer questions. Cheap to clone, never changed in place.
#[derive(Clone, Debug)]
pub struct Access {
    definitions: Arc<BTreeMap<Guid, RoleDefinition>>,
    assignments: Arc<BTreeMap<(Scope, Guid), RoleAssignment>>,
    by_principal: Arc<HashMap<PrincipalId, Vec<(Scope, DataActions)>>>,
}

impl Access {
    /// The built-in roles together with `custom` ones and the given assignments. An assignment of a role that does
    /// not exist is kept and gives nothing.
    #[must_use]
    pub fn new(
        custom: impl IntoIterator<Item = RoleDefinition>,
        assignments: impl IntoIterator<Item = RoleAssignment>,
    ) -> Self {
        let definitions: BTreeMap<_, _> =
            custom.into_iter().chain(built_in_roles()).map(|role| (role.id, role)).collect();
        let assignments: BTreeMap<_, _> = assignments
            .into_iter()
            .map(|assignment| ((assignment.scope.clone(), assignment.name), assignment))
            .collect();
        let mut by_principal: HashMap<PrincipalId, Vec<(Scope, DataActions)>> = HashMap::new();
        for assignment in assignments.values() {
            if let Some(role) = definitions.get(&assignment.role) {
                by_principal
                    .entry(assignment.principal.clone())
                    .or_default()
                    .push((assignment.scope.clone(), role.effective()));
            }
        }
        Self {
            definitions: Arc::new(definitions),
            assignments: Arc::new(assignments),
            by_principal: Arc::new(by_principal),
        }
    }

    /// Whether any of `principals` holds `action` at `scope` or above.
    #[must_use]
    pub fn permits<'a>(
        &self,
        principals: impl IntoIterator<Item = &'a PrincipalId>,
        action: DataAction,
        scope: &Scope,
    ) -> bool {
        principals
            .into_iter()
            .filter_map(|principal| self.by_principal.get(principal))
            .flatten()
            .any(|(held_at, actions)| actions.contains(action) && held_at.contains(scope))
    }

    /// All roles, built-in ones included, by id.
    #[must_use]
    pub fn definitions(&self) -> &BTreeMap<Guid, RoleDefinition> {
        &self.definitions
    }

    /// All assignments, by scope and name.
    #[must_use]
    pub fn assignments(&self) -> &BTreeMap<(Scope, Guid), RoleAssignment> {
        &self.assignments
    }

    /// How many assignments of the Administrator role stand at `/`.
    #[must_use]
    pub fn administrators(&self) -> usize {
        self.assignments.values().filter(|a| a.role == ADMINISTRATOR && a.scope == Scope::Root).count()
    }
}

/// Which assignments a list shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AssignmentFilter {
    /// No filter: those made exactly at the scope.
    Exactly,
    /// `atScope()`: those at the scope or above.
    AtScope,
    /// `principalId eq`: those at, above or below the scope for one principal.
    Principal(PrincipalId),
}

impl AssignmentFilter {
    /// Whether a list at `scope` with this filter shows `assignment`.
    #[must_use]
    pub fn shows(&self, scope: &Scope, assignment: &RoleAssignment) -> bool {
        match self {
            Self::Exactly => assignment.scope == *scope,
            Self::AtScope => assignment.scope.contains(scope),
            Self::Principal(principal) => {
                assignment.principal == *principal
                    && (assignment.scope.contains(scope) || scope.contains(&assignment.scope))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(text: &str) -> PrincipalId {
        PrincipalId::parse(text).unwrap()
    }

    fn assignment(name: u128, scope: Scope, who: &str, role: Guid) -> RoleAssignment {
        RoleAssignment { name: Guid(name), scope, principal: principal(who), role }
    }

    #[test]
    fn a_guid_reads_back_as_written() {
        let text = "a290e904-7015-4bba-90c8-60543313cdb4";
        assert_eq!(Guid::parse(text), Some(ADMINISTRATOR));
        assert_eq!(ADMINISTRATOR.to_string(), text);
        assert_eq!(Guid::parse("a290e90470154bba90c860543313cdb4"), None);
        assert_eq!(Guid::parse("a290e904-7015-4bba-90c8-60543313cdbg"), None);
    }

    #[test]
    fn a_right_at_one_key_holds_for_that_key_alone() {
        let a = Scope::parse("/keys/A").unwrap();
        let access = Access::new([], [assignment(1, a, "u", CRYPTO_USER)]);
        let u = principal("u");
        assert!(access.permits([&u], DataAction::KeysSign, &Scope::parse("keys/a").unwrap()));
        assert!(!access.permits([&u], DataAction::KeysSign, &Scope::parse("keys/b").unwrap()));
        assert!(!access.permits([&u], DataAction::KeysRead, &Scope::Keys));
        assert!(!access.permits([&principal("v")], DataAction::KeysSign, &Scope::parse("keys/a").unwrap()));
    }

    #[test]
    fn what_a_role_withholds_is_withheld_from_its_own_grant_only() {
        let block = |grant: &str, withhold: &[&str]| Permission {
            data_actions: vec![grant.into()],
            not_data_actions: withhold.iter().map(|s| (*s).to_owned()).collect(),
            ..Permission::default()
        };
        let role = RoleDefinition::custom(
            Guid(7),
            "r".into(),
            String::new(),
            vec![block("Microsoft.KeyVault/managedHSM/keys/*", &["microsoft.keyvault/managedhsm/keys/sign/action"])],
        )
        .unwrap();
        let access = Access::new([role], [assignment(1, Scope::Keys, "u", Guid(7))]);
        let (u, key) = (principal("u"), Scope::parse("keys/k").unwrap());
        assert!(access.permits([&u], DataAction::KeysEncrypt, &key));
        assert!(!access.permits([&u], DataAction::KeysSign, &key));
        assert!(!access.permits([&u], DataAction::RoleAssignmentsRead, &key));
        let both = Access::new(
            access.definitions().values().filter(|r| !r.built_in).cloned(),
            [assignment(1, Scope::Keys, "u", Guid(7)), assignment(2, Scope::Keys, "u", CRYPTO_USER)],
        );
        assert!(both.permits([&u], DataAction::KeysSign, &key));
    }

    #[test]
    fn a_role_of_unknown_actions_is_refused() {
        for text in ["", "keys/sign", "Microsoft.KeyVault/managedHsm/keys/sig*", "Microsoft.KeyVault/vaults/*"] {
            let block = Permission { data_actions: vec![text.into()], ..Permission::default() };
            let made = RoleDefinition::custom(Guid(1), String::new(), String::new(), vec![block]);
            assert!(matches!(made, Err(RoleError::UnknownDataAction(_))), "{text:?}");
        }
    }

    #[test]
    fn an_assignment_whose_role_is_gone_gives_nothing() {
        let access = Access::new([], [assignment(1, Scope::Root, "u", Guid(99))]);
        assert!(DataAction::ALL.iter().all(|a| !access.permits([&principal("u")], *a, &Scope::Root)));
    }

    #[test]
    fn filters_show_what_they_say() {
        let key = Scope::parse("keys/k").unwrap();
        let at_key = assignment(1, key.clone(), "u", CRYPTO_USER);
        let at_root = assignment(2, Scope::Root, "v", CRYPTO_USER);
        assert!(!AssignmentFilter::Exactly.shows(&Scope::Root, &at_key));
        assert!(AssignmentFilter::AtScope.shows(&key, &at_root));
        assert!(!AssignmentFilter::AtScope.shows(&Scope::Root, &at_key));
        let of_u = AssignmentFilter::Principal(principal("U"));
        assert!(of_u.shows(&Scope::Root, &at_key) && !of_u.shows(&Scope::Root, &at_root));
    }
}
