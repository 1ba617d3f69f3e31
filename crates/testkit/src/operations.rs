//! Every operation of a pool, made ready for and asked for through its public method.

use model::rbac::{ADMINISTRATOR, AssignmentFilter, CRYPTO_USER, Guid, RoleAssignment, RoleDefinition};
use model::rotation::{Period, RotationPolicy};
use model::settings::Setting;
use model::{EncryptionAlgorithm, KeyKind, KeyRef, OctSize, Operation, Scope, SignatureAlgorithm};
use pool::{Call, DecryptRequest, EncryptRequest, Error, ImportRequest, KeyChange, SignRequest, VerifyRequest};

use crate::calls::{call, key_name, principal};
use crate::pool::{ADMIN, OWNER, TestPool, new_oct, oct_key};

/// The assignment that role operations are about, made at every scope.
const ASSIGNMENT: Guid = Guid(0x100);
/// The custom role that role operations are about.
const ROLE: Guid = Guid(0x200);

/// Brings the pool into a state in which `operation` at `scope` succeeds for whoever may.
pub async fn prepare(pool: &TestPool, operation: Operation, scope: &Scope) {
    let (owner, admin) = (call(OWNER), call(ADMIN));
    if let Scope::Key(name) = scope {
        let deleted = pool.pool().deleted_key(&owner, name).await.is_ok();
        let wanted =
            matches!(operation, Operation::GetDeletedKey | Operation::RecoverDeletedKey | Operation::PurgeDeletedKey);
        if deleted && !wanted {
            pool.pool().recover_deleted_key(&owner, name).await.unwrap();
        }
        if !deleted && pool.pool().key(&owner, &KeyRef { name: name.clone(), version: None }).await.is_err() {
            oct_key(pool, name.as_str()).await;
        }
        if wanted && !deleted {
            pool.pool().delete_key(&owner, name).await.unwrap();
        }
    }
    if let (Operation::RotateKey, Scope::Key(name)) = (operation, scope) {
        pool.pool().set_rotation_policy(&owner, name, rotation_policy()).await.unwrap();
    }
    match operation {
        Operation::GetRoleAssignment | Operation::DeleteRoleAssignment => {
            let assignment = probe_assignment(scope);
            pool.pool().put_role_assignment(&admin, assignment).await.unwrap();
        }
        Operation::DeleteRoleDefinition => {
            pool.pool().put_role_definition(&admin, Scope::Root, probe_role()).await.unwrap();
        }
        _ => {}
    }
}

/// A policy by which versions made by rotation live for 28 days.
#[must_use]
pub fn rotation_policy() -> RotationPolicy {
    RotationPolicy::new(Some(Period::parse("P28D").unwrap()), Vec::new()).unwrap()
}

fn probe_assignment(scope: &Scope) -> RoleAssignment {
    RoleAssignment { name: ASSIGNMENT, scope: scope.clone(), principal: principal("nobody"), role: CRYPTO_USER }
}

fn probe_role() -> RoleDefinition {
    RoleDefinition::custom(ROLE, "probe".into(), String::new(), Vec::new()).unwrap()
}

/// An HMAC over 32 bytes.
#[must_use]
pub fn sign_request() -> SignRequest {
    SignRequest {
        algorithm: Some(SignatureAlgorithm::Hs256),
        input: vec![1; 32].into(),
        context: None,
        external_mu: false,
    }
}

/// Asks for `operation` at `scope` through the pool's public method. Custom roles live at `/`: to be told so elsewhere
/// counts as success.
///
/// # Errors
/// What the method answers.
pub async fn ask(pool: &TestPool, call: &Call, operation: Operation, scope: &Scope) -> Result<(), Error> {
    let pool = pool.pool();
    let name = match scope {
        Scope::Key(name) => name.clone(),
        Scope::Root | Scope::Keys => key_name("unused"),
    };
    let key = KeyRef { name: name.clone(), version: None };
    let kind = KeyKind::Oct(OctSize::AES_256);
    let encrypt = |algorithm| EncryptRequest { algorithm, plaintext: vec![2; 16].into(), iv: None, aad: None };
    match operation {
        Operation::CreateKey => pool.create_key(call, &name, kind, None, new_oct()).await.map(drop),
        Operation::ImportKey => {
            let material = crypto_module::KeyMaterial::Oct { k: vec![3; 32].into() };
            pool.import_key(call, &name, ImportRequest { kind, material, new: new_oct() }).await.map(drop)
        }
        Operation::RotateKey => pool.rotate(call, &name).await.map(drop),
        Operation::GetKey => pool.key(call, &key).await.map(drop),
        Operation::UpdateKey => {
            let change = KeyChange { enabled: Some(true), ..KeyChange::default() };
            pool.update_key(call, &key, change).await.map(drop)
        }
        Operation::DeleteKey => pool.delete_key(call, &name).await.map(drop),
        Operation::ListKeys => pool.keys(call, None, 10).await.map(drop),
        Operation::ListKeyVersions => pool.key_versions(call, &name, None, 10).await.map(drop),
        Operation::Encrypt => pool.encrypt(call, &key, encrypt(EncryptionAlgorithm::A256Gcm)).await.map(drop),
        Operation::WrapKey => pool.wrap(call, &key, encrypt(EncryptionAlgorithm::A256Kw)).await.map(drop),
        // What decrypts and unwraps was made by the owner, who may.
        Operation::Decrypt => {
            let owner = crate::calls::call(OWNER);
            let made = pool.encrypt(&owner, &key, encrypt(EncryptionAlgorithm::A256Gcm)).await;
            let (value, iv, tag) = made.map_or_else(
                |_| (vec![0; 16].into(), Some(vec![0; 12].into()), Some(vec![0; 16].into())),
                |made| (made.value, made.iv, made.tag),
            );
            let algorithm = EncryptionAlgorithm::A256Gcm;
            let request = DecryptRequest { algorithm, ciphertext: value, iv, tag, aad: None };
            pool.decrypt(call, &key, request).await.map(drop)
        }
        Operation::UnwrapKey => {
            let owner = crate::calls::call(OWNER);
            let made = pool.wrap(&owner, &key, encrypt(EncryptionAlgorithm::A256Kw)).await;
            let ciphertext = made.map_or_else(|_| vec![0; 24].into(), |made| made.value);
            let algorithm = EncryptionAlgorithm::A256Kw;
            let request = DecryptRequest { algorithm, ciphertext, iv: None, tag: None, aad: None };
            pool.unwrap(call, &key, request).await.map(drop)
        }
        Operation::Sign => pool.sign(call, &key, sign_request()).await.map(drop),
        Operation::Verify => {
            let request = VerifyRequest { signed: sign_request(), signature: vec![0; 32].into() };
            pool.verify(call, &key, request).await.map(drop)
        }
        Operation::GetRotationPolicy => pool.rotation_policy(call, &name).await.map(drop),
        Operation::SetRotationPolicy => {
            pool.set_rotation_policy(call, &name, RotationPolicy::default()).await.map(drop)
        }
        Operation::ListDeletedKeys => pool.deleted_keys(call, None, 10).await.map(drop),
        Operation::GetDeletedKey => pool.deleted_key(call, &name).await.map(drop),
        Operation::RecoverDeletedKey => pool.recover_deleted_key(call, &name).await.map(drop),
        Operation::PurgeDeletedKey => pool.purge_deleted_key(call, &name).await,
        Operation::GetRandomBytes => pool.random_bytes(call, 16).await.map(drop),
        Operation::GetRoleDefinition => pool.role_definition(call, scope.clone(), ADMINISTRATOR).await.map(drop),
        Operation::ListRoleDefinitions => pool.role_definitions(call, scope.clone()).await.map(drop),
        // Custom roles live at `/`; who may make one elsewhere is told so.
        Operation::PutRoleDefinition => {
            elsewhere(scope, pool.put_role_definition(call, scope.clone(), probe_role()).await.map(drop))
        }
        Operation::DeleteRoleDefinition => {
            elsewhere(scope, pool.delete_role_definition(call, scope.clone(), ROLE).await.map(drop))
        }
        Operation::GetRoleAssignment => pool.role_assignment(call, scope.clone(), ASSIGNMENT).await.map(drop),
        Operation::ListRoleAssignments => {
            pool.role_assignments(call, scope.clone(), &AssignmentFilter::AtScope, None, 10).await.map(drop)
        }
        Operation::PutRoleAssignment => pool.put_role_assignment(call, probe_assignment(scope)).await.map(drop),
        Operation::DeleteRoleAssignment => pool.delete_role_assignment(call, scope.clone(), ASSIGNMENT).await.map(drop),
        Operation::ListSettings | Operation::GetSetting => pool.settings(call, operation).await.map(drop),
        Operation::UpdateSetting => {
            let setting = Setting::AllowKeyManagementOperationsThroughArm;
            pool.update_setting(call, setting, false).await.map(drop)
        }
    }
}

fn elsewhere(scope: &Scope, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::RoleScope) if *scope != Scope::Root => Ok(()),
        other => other,
    }
}
