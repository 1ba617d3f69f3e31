//! Cryptography with the pool's keys.

use bytes::Bytes;
use crypto_module::{DecryptInput, EncryptInput, Plaintext, SignInput, VerifyInput};
use model::{EncryptionAlgorithm, KeyKind, KeyName, KeyOperation, KeyRef, KeyVersion, Operation, SignatureAlgorithm};

use crate::admission::Permit;
use crate::error::Error;
use crate::keys::from_module;
use crate::{Call, Pool};

/// What to encrypt or wrap.
#[derive(Clone, Debug)]
pub struct EncryptRequest {
    /// How.
    pub algorithm: EncryptionAlgorithm,
    /// Data, or the key to wrap.
    pub plaintext: Bytes,
    /// 16 bytes for CBC; refused for GCM, where the module draws it.
    pub iv: Option<Bytes>,
    /// Additional data for GCM; ignored elsewhere.
    pub aad: Option<Bytes>,
}

/// What to decrypt or unwrap.
#[derive(Clone, Debug)]
pub struct DecryptRequest {
    /// How it was made.
    pub algorithm: EncryptionAlgorithm,
    /// The ciphertext or wrapped key.
    pub ciphertext: Bytes,
    /// 12 bytes for GCM, 16 for CBC.
    pub iv: Option<Bytes>,
    /// 16 bytes for GCM.
    pub tag: Option<Bytes>,
    /// Additional data for GCM; ignored elsewhere.
    pub aad: Option<Bytes>,
}

/// What to sign.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// How; without one, the only algorithm of an ML-DSA key.
    pub algorithm: Option<SignatureAlgorithm>,
    /// The digest; for RSNULL, HMAC and ML-DSA the bytes themselves, or 64 bytes of external mu.
    pub input: Bytes,
    /// A context string of at most 255 bytes, for ML-DSA.
    pub context: Option<Bytes>,
    /// Whether `input` is external mu.
    pub external_mu: bool,
}

/// What to verify.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// What was signed, and how.
    pub signed: SignRequest,
    /// The signature.
    pub signature: Bytes,
}

/// The outcome of encrypt and wrap, with the version that did it.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The key's name as its creator wrote it.
    pub name: KeyName,
    /// The version that was used.
    pub version: KeyVersion,
    /// The ciphertext.
    pub value: Bytes,
    /// The initialisation vector, for GCM and CBC.
    pub iv: Option<Bytes>,
    /// The authentication tag, for GCM.
    pub tag: Option<Bytes>,
}

/// The outcome of decrypt and unwrap.
#[derive(Debug)]
pub struct Decrypted {
    /// The key's name as its creator wrote it.
    pub name: KeyName,
    /// The version that was used.
    pub version: KeyVersion,
    /// The caller's data.
    pub value: Plaintext,
}

/// A signature, with the version that made it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The key's name as its creator wrote it.
    pub name: KeyName,
    /// The version that was used.
    pub version: KeyVersion,
    /// How it was made.
    pub algorithm: SignatureAlgorithm,
    /// The signature; for EC `r ‖ s`, each padded to the field.
    pub value: Bytes,
}

impl Pool {
    /// Signs with the private part of `key`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unusable`], [`Error::Algorithm`], [`Error::Input`], [`Error::Busy`];
    /// [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `sign`.
    pub async fn sign(&self, call: &Call, key: &KeyRef, request: SignRequest) -> Result<Signature, Error> {
        let operation = Operation::Sign;
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            let algorithm = signature_algorithm(permit, key, request.algorithm)?;
            let (name, version, sealed) = permit.usable_version(key, KeyOperation::Sign, algorithm.as_str())?;
            let SignRequest { input: digest_or_message, context, external_mu, .. } = request;
            let input = SignInput { algorithm, digest_or_message, context, external_mu };
            let value = permit.module().sign(&sealed, input).await.map_err(from_module)?;
            Ok(Signature { name, version, algorithm, value: value.into() })
        })
        .await
    }

    /// Whether a signature was made by `key` over what is given.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    ///
    /// Source: keys document, operation `verify`.
    pub async fn verify(&self, call: &Call, key: &KeyRef, request: VerifyRequest) -> Result<bool, Error> {
        let operation = Operation::Verify;
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            let algorithm = signature_algorithm(permit, key, request.signed.algorithm)?;
            let (_, _, sealed) = permit.usable_version(key, KeyOperation::Verify, algorithm.as_str())?;
            let SignRequest { input: digest_or_message, context, external_mu, .. } = request.signed;
            let signature = request.signature;
            let input = VerifyInput { algorithm, digest_or_message, signature, context, external_mu };
            permit.module().verify(&sealed, input).await.map_err(from_module)
        })
        .await
    }

    /// Encrypts data.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    ///
    /// Source: keys document, operation `encrypt`.
    pub async fn encrypt(&self, call: &Call, key: &KeyRef, request: EncryptRequest) -> Result<Encrypted, Error> {
        self.protect(call, Operation::Encrypt, KeyOperation::Encrypt, key, request).await
    }

    /// Wraps a key.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    ///
    /// Source: keys document, operation `wrapKey`.
    pub async fn wrap(&self, call: &Call, key: &KeyRef, request: EncryptRequest) -> Result<Encrypted, Error> {
        self.protect(call, Operation::WrapKey, KeyOperation::WrapKey, key, request).await
    }

    /// Decrypts data.
    ///
    /// # Errors
    /// As [`sign`](Self::sign); every reason for which a ciphertext does not open is the same [`Error::Input`].
    ///
    /// Source: keys document, operation `decrypt`.
    pub async fn decrypt(&self, call: &Call, key: &KeyRef, request: DecryptRequest) -> Result<Decrypted, Error> {
        self.unprotect(call, Operation::Decrypt, KeyOperation::Decrypt, key, request).await
    }

    /// Unwraps a key.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    ///
    /// Source: keys document, operation `unwrapKey`.
    pub async fn unwrap(&self, call: &Call, key: &KeyRef, request: DecryptRequest) -> Result<Decrypted, Error> {
        self.unprotect(call, Operation::UnwrapKey, KeyOperation::UnwrapKey, key, request).await
    }

    /// `count` random bytes, 1 to 128.
    ///
    /// # Errors
    /// [`Error::Input`] for another count; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getRandomBytes`.
    pub async fn random_bytes(&self, call: &Call, count: usize) -> Result<Vec<u8>, Error> {
        let operation = Operation::GetRandomBytes;
        self.admitted(call, operation, operation.scope(None), async |permit| {
            permit.module().random(count).map_err(from_module)
        })
        .await
    }

    async fn protect(
        &self,
        call: &Call,
        operation: Operation,
        key_operation: KeyOperation,
        key: &KeyRef,
        request: EncryptRequest,
    ) -> Result<Encrypted, Error> {
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            let EncryptRequest { algorithm, plaintext, iv, aad } = request;
            check_purpose(algorithm, key_operation)?;
            let (name, version, sealed) = permit.usable_version(key, key_operation, algorithm.as_str())?;
            let input = EncryptInput { algorithm, plaintext, iv, aad };
            let made = permit.module().encrypt(&sealed, input).await.map_err(from_module)?;
            Ok(Encrypted {
                name,
                version,
                value: made.value.into(),
                iv: made.iv.map(Into::into),
                tag: made.tag.map(Into::into),
            })
        })
        .await
    }

    async fn unprotect(
        &self,
        call: &Call,
        operation: Operation,
        key_operation: KeyOperation,
        key: &KeyRef,
        request: DecryptRequest,
    ) -> Result<Decrypted, Error> {
        self.admitted(call, operation, operation.scope(Some(&key.name)), async |permit| {
            let DecryptRequest { algorithm, ciphertext, iv, tag, aad } = request;
            check_purpose(algorithm, key_operation)?;
            let (name, version, sealed) = permit.usable_version(key, key_operation, algorithm.as_str())?;
            let input = DecryptInput { algorithm, ciphertext, iv, tag, aad };
            let value = permit.module().decrypt(&sealed, input).await.map_err(from_module)?;
            Ok(Decrypted { name, version, value })
        })
        .await
    }
}

/// Key wrap algorithms are for keys, not for data.
fn check_purpose(algorithm: EncryptionAlgorithm, operation: KeyOperation) -> Result<(), Error> {
    if algorithm.is_wrap_only() && matches!(operation, KeyOperation::Encrypt | KeyOperation::Decrypt) {
        return Err(Error::Input(format!("algorithm {algorithm} wraps keys; it does not encrypt data")));
    }
    Ok(())
}

/// The algorithm asked for; without one, the only one that an ML-DSA key has.
fn signature_algorithm(
    permit: &Permit<'_>,
    key: &KeyRef,
    asked: Option<SignatureAlgorithm>,
) -> Result<SignatureAlgorithm, Error> {
    if let Some(algorithm) = asked {
        return Ok(algorithm);
    }
    let kind = permit.state().live(&key.name)?.version(key.version)?.1.kind();
    match kind {
        KeyKind::Akp(set) => Ok(SignatureAlgorithm::of_ml_dsa(set)),
        _ => Err(Error::Input("member alg is missing".to_owned())),
    }
}
