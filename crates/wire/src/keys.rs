//! The keys document: request bodies, answers, and answers as a client reads them.

mod answers;
mod reading;
mod requests;

pub(crate) use answers::list;
pub use answers::{
    Deletion, KeyItemParts, KeyParts, OperationOutput, PublicParts, Recovery, deleted_key_bundle, deleted_key_list,
    key_bundle, key_list, key_version_list, operation_result, random_bytes, rotation_policy, verification,
};
pub use reading::{
    DeletedKeyBundle, DeletedKeyItem, Jwk, KeyAttributes, KeyBundle, KeyItem, List, OperationResult, RandomBytes,
    RotationAction, RotationAttributes, RotationPolicyReply, RotationTrigger, RotationType, Verification,
};
pub use requests::{
    AttributesChange, CreateKey, ImportKey, KeyMaterial, KeyOperationInput, PublicExponent, RandomBytesInput,
    ReleasePolicy, RotationPolicyBody, RsaMaterial, RsaPrimes, SignInput, ToSign, UpdateKey, VerifyInput,
};

pub(crate) fn fuzz(bytes: &[u8]) {
    requests::fuzz(bytes);
    reading::fuzz(bytes);
}
