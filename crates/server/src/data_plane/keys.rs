//! The keys document: each call to its method, each result to its answer.

use bytes::Bytes;
use crypto_module::{KeyMaterial, PublicKey, RsaFactors, RsaMaterial, SealedKey};
use http::StatusCode;
use model::KeyRef;
use model::deleted_keys::recovery_level;
use model::rotation::RotationPolicy;
use pool::{
    DecryptRequest, DeletedKeyVersion, EncryptRequest, ImportRequest, KeyChange, KeyVersionState, NewKey, Outcome,
    SignRequest, VerifyRequest,
};
use wire::keys::{
    AttributesChange, CreateKey, Deletion, ImportKey, KeyItemParts, KeyOperationInput, KeyParts, OperationOutput,
    PublicParts, RandomBytesInput, Recovery, ReleasePolicy, RotationPolicyBody, SignInput, ToSign, UpdateKey,
    VerifyInput,
};
use wire::paging;
use wire::routes::Call as C;

use super::{Answer, Failure, Request};

/// Refused until keys can be released; a policy on a key that cannot leave is refused for ever.
const NO_POLICY: &str = "Non-exportable keys must not have release policy";
const NOT_EXPORTABLE: &str = "member attributes.exportable must be false: this pool does not release keys";

/// Answers a call. Cryptography stands here by itself, and the rest, whose future is large, behind a pointer.
pub(super) async fn answer(request: Request<'_>) -> Result<Answer, Failure> {
    match &request.route.call {
        C::Encrypt(key) | C::WrapKey(key) => protect(&request, key).await,
        C::Decrypt(key) | C::UnwrapKey(key) => unprotect(&request, key).await,
        C::Sign(key) => sign(&request, key).await,
        C::Verify(key) => verify(&request, key).await,
        _ => Box::pin(administer(request)).await,
    }
}

/// Answers what is no cryptography with a key.
async fn administer(mut request: Request<'_>) -> Result<Answer, Failure> {
    if let C::PurgeDeletedKey(_) = request.route.call {
        request.call.success = Outcome { status: 204, code: None };
    }
    let request = &request;
    let (pool, call, base) = (request.pool, &request.call, &request.base);
    let version = request.route.api_version;
    let shown = Shown::of(request);
    match &request.route.call {
        C::CreateKey(name) => {
            let CreateKey { kind, public_exponent, operations, attributes, tags, release_policy } =
                request.parse(CreateKey::parse).await?;
            let new = request.new_key(attributes, operations, tags, release_policy.as_ref()).await?;
            let exponent = matches!(kind, model::KeyKind::Rsa(_)).then(|| big_endian(public_exponent.get()));
            let made = pool.create_key(call, name, kind, exponent, new).await?;
            Answer::ok(shown.bundle(&made))
        }
        C::ImportKey(name) => {
            let ImportKey { material, operations, attributes, tags, release_policy } =
                request.parse(ImportKey::parse).await?;
            let new = request.new_key(attributes, operations, tags, release_policy.as_ref()).await?;
            let (Some(kind), Some(material)) = (material.kind(), into_module(material)) else {
                return Err(request.refuse("member key.key_hsm: this pool does not take protected keys").await);
            };
            let made = pool.import_key(call, name, ImportRequest { kind, material, new }).await?;
            Answer::ok(shown.bundle(&made))
        }
        C::RotateKey(name) => Answer::ok(shown.bundle(&pool.rotate(call, name).await?)),
        C::GetKey(key) => Answer::ok(shown.bundle(&pool.key(call, key).await?)),
        C::UpdateKey(key) => {
            let UpdateKey { operations, attributes, tags, release_policy } = request.parse(UpdateKey::parse).await?;
            request.check_release(attributes, release_policy.as_ref()).await?;
            let AttributesChange { enabled, not_before, expires, .. } = attributes;
            let change = KeyChange { operations, enabled, not_before, expires, tags };
            Answer::ok(shown.bundle(&pool.update_key(call, key, change).await?))
        }
        C::DeleteKey(name) => Answer::ok(shown.deleted_bundle(&pool.delete_key(call, name).await?)),
        C::ListKeys(page) => {
            let (keys, more) = pool.keys(call, page.after.as_ref(), page.size.items()).await?;
            let next = keys.last().filter(|_| more).map(|key| paging::keys_after(base, version, page.size, &key.name));
            let items = keys.iter().map(|key| shown.item(key));
            Answer::ok(wire::keys::key_list(base, items, next.as_deref()))
        }
        C::ListKeyVersions(name, page) => {
            let (versions, more) = pool.key_versions(call, name, page.after, page.size.items()).await?;
            let next = versions
                .last()
                .filter(|_| more)
                .map(|last| paging::versions_after(base, version, name, page.size, last.version));
            let items = versions.iter().map(|key| (key.version, shown.item(key)));
            Answer::ok(wire::keys::key_version_list(base, items, next.as_deref()))
        }
        C::ListDeletedKeys(page) => {
            let (deleted, more) = pool.deleted_keys(call, page.after.as_ref(), page.size.items()).await?;
            let next = deleted
                .last()
                .filter(|_| more)
                .map(|last| paging::deleted_keys_after(base, version, page.size, &last.key.name));
            let items = deleted.iter().map(|deleted| (shown.item(&deleted.key), deletion(deleted)));
            Answer::ok(wire::keys::deleted_key_list(base, items, next.as_deref()))
        }
        C::GetDeletedKey(name) => Answer::ok(shown.deleted_bundle(&pool.deleted_key(call, name).await?)),
        C::RecoverDeletedKey(name) => Answer::ok(shown.bundle(&pool.recover_deleted_key(call, name).await?)),
        C::PurgeDeletedKey(name) => {
            pool.purge_deleted_key(call, name).await?;
            Ok(Answer { status: StatusCode::NO_CONTENT, body: Vec::new() })
        }
        C::GetRotationPolicy(name) => {
            let stored = pool.rotation_policy(call, name).await?;
            let none = RotationPolicy::default();
            let (policy, times) = stored.as_ref().map_or((&none, None), |s| (&s.policy, Some((s.created, s.updated))));
            Answer::ok(wire::keys::rotation_policy(base, name, policy, times))
        }
        C::SetRotationPolicy(name) => {
            let body = request.parse(RotationPolicyBody::parse).await?;
            let stored = pool.set_rotation_policy(call, name, body.policy).await?;
            let times = Some((stored.created, stored.updated));
            Answer::ok(wire::keys::rotation_policy(base, name, &stored.policy, times))
        }
        C::GetRandomBytes => {
            let input = request.parse(RandomBytesInput::parse).await?;
            let bytes = pool.random_bytes(call, input.count).await?;
            Answer::ok(wire::keys::random_bytes(&bytes))
        }
        _ => Err(request.refuse("the call belongs to another document").await),
    }
}

async fn sign(request: &Request<'_>, key: &KeyRef) -> Result<Answer, Failure> {
    let SignInput { algorithm, to_sign } = request.parse(SignInput::parse).await?;
    let made = request.pool.sign(&request.call, key, sign_request(algorithm, to_sign)).await?;
    let output = OperationOutput::plain(&made.value);
    let algorithm = made.algorithm.as_str();
    Answer::ok(wire::keys::operation_result(&request.base, &made.name, made.version, algorithm, &output))
}

async fn verify(request: &Request<'_>, key: &KeyRef) -> Result<Answer, Failure> {
    let VerifyInput { algorithm, signed, signature } = request.parse(VerifyInput::parse).await?;
    let verify = VerifyRequest { signed: sign_request(algorithm, signed), signature: signature.into() };
    Answer::ok(wire::keys::verification(request.pool.verify(&request.call, key, verify).await?))
}

async fn protect(request: &Request<'_>, key: &KeyRef) -> Result<Answer, Failure> {
    let KeyOperationInput { algorithm, value, iv, aad, .. } = request.parse(KeyOperationInput::parse).await?;
    let aad: Option<Bytes> = aad.map(Into::into);
    let input = EncryptRequest { algorithm, plaintext: value.into(), iv: iv.map(Into::into), aad: aad.clone() };
    let made = match request.route.call {
        C::WrapKey(_) => request.pool.wrap(&request.call, key, input).await?,
        _ => request.pool.encrypt(&request.call, key, input).await?,
    };
    let output = OperationOutput {
        value: &made.value,
        iv: made.iv.as_deref(),
        tag: made.tag.as_deref(),
        aad: aad.as_deref().filter(|_| algorithm.is_gcm()),
    };
    let algorithm = algorithm.as_str();
    Answer::ok(wire::keys::operation_result(&request.base, &made.name, made.version, algorithm, &output))
}

async fn unprotect(request: &Request<'_>, key: &KeyRef) -> Result<Answer, Failure> {
    let KeyOperationInput { algorithm, value, iv, aad, tag } = request.parse(KeyOperationInput::parse).await?;
    let input = DecryptRequest {
        algorithm,
        ciphertext: value.into(),
        iv: iv.map(Into::into),
        tag: tag.map(Into::into),
        aad: aad.map(Into::into),
    };
    let made = match request.route.call {
        C::UnwrapKey(_) => request.pool.unwrap(&request.call, key, input).await?,
        _ => request.pool.decrypt(&request.call, key, input).await?,
    };
    let output = OperationOutput::plain(made.value.as_bytes());
    let algorithm = algorithm.as_str();
    Answer::ok(wire::keys::operation_result(&request.base, &made.name, made.version, algorithm, &output))
}

fn sign_request(algorithm: Option<model::SignatureAlgorithm>, to_sign: ToSign) -> SignRequest {
    match to_sign {
        ToSign::Value { value, context } => {
            let context = (!context.is_empty()).then(|| context.into());
            SignRequest { algorithm, input: value.into(), context, external_mu: false }
        }
        ToSign::ExternalMu(mu) => {
            SignRequest { algorithm, input: Bytes::copy_from_slice(&mu), context: None, external_mu: true }
        }
    }
}

impl Request<'_> {
    async fn new_key(
        &self,
        attributes: AttributesChange,
        operations: Option<model::KeyOperations>,
        tags: model::Tags,
        policy: Option<&ReleasePolicy>,
    ) -> Result<NewKey, Failure> {
        self.check_release(attributes, policy).await?;
        let AttributesChange { enabled, not_before, expires, .. } = attributes;
        Ok(NewKey { operations, enabled: enabled.unwrap_or(true), not_before, expires, tags })
    }

    async fn check_release(&self, attributes: AttributesChange, policy: Option<&ReleasePolicy>) -> Result<(), Failure> {
        match (attributes.exportable, policy) {
            (Some(true), _) => Err(self.refuse(NOT_EXPORTABLE).await),
            (_, Some(_)) => Err(self.refuse(NO_POLICY).await),
            _ => Ok(()),
        }
    }
}

/// How this pool's keys are shown to this client.
struct Shown<'a> {
    base: &'a wire::urls::BaseUrl,
    recovery: Recovery,
    platform: &'static str,
}

impl<'a> Shown<'a> {
    fn of(request: &'a Request<'_>) -> Self {
        let properties = request.pool.properties();
        let level = recovery_level(properties.retention, properties.purge_protection);
        let recovery = Recovery { days: properties.retention.days(), level };
        Self { base: &request.base, recovery, platform: request.pool.platform() }
    }

    fn item<'k>(&self, key: &'k KeyVersionState) -> KeyItemParts<'k>
    where
        'a: 'k,
    {
        let facts = key.sealed.facts();
        KeyItemParts {
            name: &key.name,
            attributes: &facts.attributes,
            tags: &facts.tags,
            exportable: key.sealed.exportable(),
            recovery: self.recovery,
            platform: self.platform,
        }
    }

    fn parts<'k>(&self, key: &'k KeyVersionState) -> KeyParts<'k>
    where
        'a: 'k,
    {
        KeyParts {
            version: key.version,
            kind: key.sealed.kind(),
            public: public(&key.sealed),
            operations: key.sealed.facts().operations,
            item: self.item(key),
        }
    }

    fn bundle(&self, key: &KeyVersionState) -> Vec<u8> {
        wire::keys::key_bundle(self.base, &self.parts(key))
    }

    fn deleted_bundle(&self, deleted: &DeletedKeyVersion) -> Vec<u8> {
        wire::keys::deleted_key_bundle(self.base, &self.parts(&deleted.key), deletion(deleted))
    }
}

fn deletion(deleted: &DeletedKeyVersion) -> Deletion {
    Deletion { deleted: deleted.deleted, scheduled_purge: deleted.scheduled_purge }
}

fn public(sealed: &SealedKey) -> PublicParts<'_> {
    match sealed.public() {
        PublicKey::Rsa { n, e } => PublicParts::Rsa { n, e },
        PublicKey::Ec { x, y, .. } => PublicParts::Ec { x, y },
        PublicKey::Akp { public, .. } => PublicParts::Akp(public),
        PublicKey::None => PublicParts::None,
    }
}

/// The material as the module takes it; `None` for a protected blob, which it does not.
fn into_module(material: wire::keys::KeyMaterial) -> Option<KeyMaterial> {
    use wire::keys::KeyMaterial as W;
    Some(match material {
        W::Rsa(rsa) => {
            let factors = rsa.primes.as_ref().map(|primes| RsaFactors {
                p: primes.p.expose().to_vec().into(),
                q: primes.q.expose().to_vec().into(),
                dp: primes.dp.expose().to_vec().into(),
                dq: primes.dq.expose().to_vec().into(),
                qi: primes.qi.expose().to_vec().into(),
            });
            KeyMaterial::Rsa(RsaMaterial {
                n: rsa.n.into(),
                e: rsa.e.into(),
                d: rsa.d.expose().to_vec().into(),
                factors,
            })
        }
        W::Ec { curve, x, y, d } => KeyMaterial::Ec { curve, x: x.into(), y: y.into(), d: d.expose().to_vec().into() },
        W::Oct(key) => KeyMaterial::Oct { k: key.expose().to_vec().into() },
        W::Akp { set, public, private } => {
            KeyMaterial::Akp { set, public: public.into(), private: private.expose().to_vec().into() }
        }
        W::Protected(_) => return None,
    })
}

fn big_endian(number: u32) -> Box<[u8]> {
    number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}
