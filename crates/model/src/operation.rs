//! The one list of everything a caller can ask of a pool, and the rights that permit it.

use crate::KeyName;
use crate::rbac::Scope;

/// Declares an enum of data actions with the published texts, prefix apart.
macro_rules! data_actions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// The right that permits an operation.
        ///
        /// The texts are irregular on purpose: create, delete and purge have no `/action`, three of the security
        /// domain end in `/read`.
        ///
        /// Source: local RBAC document, `DataAction`; product article on built-in roles for rotate. The two on
        /// settings are ours, since none is published.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DataAction { $($(#[$doc])* $variant),+ }

        impl DataAction {
            /// Every data action.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The published name, prefix included.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => concat!("Microsoft.KeyVault/managedHsm", $text)),+ }
            }
        }
    };
}

data_actions! {
    /// Read a key's public part and attributes.
    KeysRead = "/keys/read/action",
    /// Change a key's attributes or rotation policy.
    KeysWrite = "/keys/write/action",
    /// Create a key.
    KeysCreate = "/keys/create",
    /// Delete a key.
    KeysDelete = "/keys/delete",
    /// Import a key.
    KeysImport = "/keys/import/action",
    /// Export a key.
    KeysExport = "/keys/export/action",
    /// Release a key to an attested environment.
    KeysRelease = "/keys/release/action",
    /// Rotate a key.
    KeysRotate = "/keys/rotate/action",
    /// Back up one key.
    KeysBackup = "/keys/backup/action",
    /// Restore one key.
    KeysRestore = "/keys/restore/action",
    /// Encrypt.
    KeysEncrypt = "/keys/encrypt/action",
    /// Decrypt.
    KeysDecrypt = "/keys/decrypt/action",
    /// Wrap.
    KeysWrap = "/keys/wrap/action",
    /// Unwrap.
    KeysUnwrap = "/keys/unwrap/action",
    /// Sign.
    KeysSign = "/keys/sign/action",
    /// Verify.
    KeysVerify = "/keys/verify/action",
    /// Read a deleted key.
    DeletedKeysRead = "/keys/deletedKeys/read/action",
    /// Recover a deleted key.
    DeletedKeysRecover = "/keys/deletedKeys/recover/action",
    /// Purge a deleted key.
    DeletedKeysDelete = "/keys/deletedKeys/delete",
    /// Read role assignments.
    RoleAssignmentsRead = "/roleAssignments/read/action",
    /// Make or replace role assignments.
    RoleAssignmentsWrite = "/roleAssignments/write/action",
    /// Delete role assignments.
    RoleAssignmentsDelete = "/roleAssignments/delete/action",
    /// Read role definitions.
    RoleDefinitionsRead = "/roleDefinitions/read/action",
    /// Make or replace custom role definitions.
    RoleDefinitionsWrite = "/roleDefinitions/write/action",
    /// Delete custom role definitions.
    RoleDefinitionsDelete = "/roleDefinitions/delete/action",
    /// Download the security domain.
    SecurityDomainDownload = "/securitydomain/download/action",
    /// Ask how a download stands.
    SecurityDomainDownloadRead = "/securitydomain/download/read",
    /// Upload a security domain.
    SecurityDomainUpload = "/securitydomain/upload/action",
    /// Ask how an upload stands.
    SecurityDomainUploadRead = "/securitydomain/upload/read",
    /// Read the transfer key.
    SecurityDomainTransferKeyRead = "/securitydomain/transferkey/read",
    /// Start a full backup.
    BackupStart = "/backup/start/action",
    /// Ask how a full backup stands.
    BackupStatus = "/backup/status/action",
    /// Start a restore.
    RestoreStart = "/restore/start/action",
    /// Ask how a restore stands.
    RestoreStatus = "/restore/status/action",
    /// Draw random bytes.
    Rng = "/rng/action",
    /// Read the pool's settings.
    SettingsRead = "/settings/read/action",
    /// Change the pool's settings.
    SettingsWrite = "/settings/write/action",
}

/// At which scope the right to an operation is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScopeRule {
    /// The whole pool, `/`.
    Root,
    /// All keys, `/keys`.
    Keys,
    /// The key named in the request, `/keys/<name>`.
    Key,
    /// The scope written in the request's path.
    Path,
}

/// Declares the list: variant, audit name, data action, scope rule, whether it changes state.
macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident $audit:literal $action:ident $scope:ident $changes:literal;)+) => {
        /// One row of the one list. Routes, access checks, audit names and coverage tests derive from it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Operation { $($(#[$doc])* $variant),+ }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in audit records. Published names where there are any; those on roles, settings and random
            /// bytes are ours.
            #[must_use]
            pub fn audit_name(self) -> &'static str {
                match self { $(Self::$variant => $audit),+ }
            }

            /// The right that permits it.
            #[must_use]
            pub fn data_action(self) -> DataAction {
                match self { $(Self::$variant => DataAction::$action),+ }
            }

            /// Where that right must be held.
            #[must_use]
            pub fn scope_rule(self) -> ScopeRule {
                match self { $(Self::$variant => ScopeRule::$scope),+ }
            }

            /// The scope at which that right is needed, where a request names `key` or none. That of a role operation stands
            /// in its path; it is `/` here.
            #[must_use]
            pub fn scope(self, key: Option<&KeyName>) -> Scope {
                match (self.scope_rule(), key) {
                    (ScopeRule::Key, Some(name)) => Scope::Key(name.clone()),
                    (ScopeRule::Keys, _) => Scope::Keys,
                    _ => Scope::Root,
                }
            }

            /// Whether it commits to the store.
            #[must_use]
            pub fn changes_state(self) -> bool {
                match self { $(Self::$variant => $changes),+ }
            }
        }
    };
}

operations! {
    /// Create a key, or a new version of one.
    CreateKey "KeyCreate" KeysCreate Key true;
    /// Import a key, or a new version of one.
    ImportKey "KeyImport" KeysImport Key true;
    /// Make a new version by the key's rotation policy.
    RotateKey "KeyRotate" KeysRotate Key true;
    /// Read a key's public part and attributes.
    GetKey "KeyGet" KeysRead Key false;
    /// Change attributes, operations or tags of a version.
    UpdateKey "KeyUpdate" KeysWrite Key true;
    /// Delete a key with all its versions, recoverably.
    DeleteKey "KeyDelete" KeysDelete Key true;
    /// List keys.
    ListKeys "KeyList" KeysRead Keys false;
    /// List the versions of a key.
    ListKeyVersions "KeyListVersions" KeysRead Key false;
    /// Encrypt data.
    Encrypt "KeyEncrypt" KeysEncrypt Key false;
    /// Decrypt data.
    Decrypt "KeyDecrypt" KeysDecrypt Key false;
    /// Wrap a key.
    WrapKey "KeyWrap" KeysWrap Key false;
    /// Unwrap a key.
    UnwrapKey "KeyUnwrap" KeysUnwrap Key false;
    /// Sign a digest.
    Sign "KeySign" KeysSign Key false;
    /// Verify a signature.
    Verify "KeyVerify" KeysVerify Key false;
    /// Read a key's rotation policy.
    GetRotationPolicy "KeyRotationPolicyGet" KeysRead Key false;
    /// Set a key's rotation policy.
    SetRotationPolicy "KeyRotationPolicySet" KeysWrite Key true;
    /// List deleted keys.
    ListDeletedKeys "KeyListDeleted" DeletedKeysRead Keys false;
    /// Read a deleted key.
    GetDeletedKey "KeyGetDeleted" DeletedKeysRead Key false;
    /// Recover a deleted key.
    RecoverDeletedKey "KeyRecover" DeletedKeysRecover Key true;
    /// Purge a deleted key for ever.
    PurgeDeletedKey "KeyPurge" DeletedKeysDelete Key true;
    /// Draw random bytes.
    GetRandomBytes "RandomBytesGet" Rng Root false;
    /// Read one role definition.
    GetRoleDefinition "RoleDefinitionGet" RoleDefinitionsRead Path false;
    /// List role definitions.
    ListRoleDefinitions "RoleDefinitionList" RoleDefinitionsRead Path false;
    /// Make or replace a custom role definition.
    PutRoleDefinition "RoleDefinitionCreate" RoleDefinitionsWrite Path true;
    /// Delete a custom role definition.
    DeleteRoleDefinition "RoleDefinitionDelete" RoleDefinitionsDelete Path true;
    /// Read one role assignment.
    GetRoleAssignment "RoleAssignmentGet" RoleAssignmentsRead Path false;
    /// List role assignments.
    ListRoleAssignments "RoleAssignmentList" RoleAssignmentsRead Path false;
    /// Make or replace a role assignment.
    PutRoleAssignment "RoleAssignmentCreate" RoleAssignmentsWrite Path true;
    /// Delete a role assignment.
    DeleteRoleAssignment "RoleAssignmentDelete" RoleAssignmentsDelete Path true;
    /// List the pool's settings.
    ListSettings "SettingList" SettingsRead Root false;
    /// Read one setting.
    GetSetting "SettingGet" SettingsRead Root false;
    /// Change one setting.
    UpdateSetting "SettingUpdate" SettingsWrite Root true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn audit_names_and_data_actions_are_unique() {
        let audit: BTreeSet<_> = Operation::ALL.iter().map(|op| op.audit_name()).collect();
        assert_eq!(audit.len(), Operation::ALL.len());
        let actions: BTreeSet<_> = DataAction::ALL.iter().map(|a| a.as_str()).collect();
        assert_eq!(actions.len(), DataAction::ALL.len());
        assert!(DataAction::ALL.len() <= 64, "rbac::DataActions is one 64-bit word");
    }
}
