//! Request bodies about keys, parsed into types of `model`.

use std::fmt;

use model::rotation::{ActionKind, LifetimeAction, Period, RotationPolicy, Trigger};
use model::{
    Curve, EncryptionAlgorithm, KeyKind, KeyOperation, KeyOperations, MlDsa, OctSize, RsaSize, SignatureAlgorithm,
    Tags, UnixTime,
};

use crate::base64url::{SecretBytes, padded, without_leading_zeros};
use crate::body::{BodyError, Member, Object};

/// The longest context of an ML-DSA signature (FIPS 204 §5.2).
const MAX_CONTEXT: usize = 255;

/// The body of create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateKey {
    /// Type with size, curve or parameter set; defaults are RSA 2048, P-256, oct 256.
    pub kind: KeyKind,
    /// For an RSA key the public exponent.
    pub public_exponent: PublicExponent,
    /// What the key may do; `None` for the kind's own default. Whether the kind allows it is not checked here.
    pub operations: Option<KeyOperations>,
    /// Attributes that are stated.
    pub attributes: AttributesChange,
    /// The tags, perhaps none.
    pub tags: Tags,
    /// Under which conditions the key may leave.
    pub release_policy: Option<ReleasePolicy>,
}

impl CreateKey {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`], also where a size or curve does not belong to the type.
    ///
    /// Source: keys document, `KeyCreateParameters`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let kty = KeyType::read(&body.required("kty")?)?;
        for (name, owner) in [
            ("crv", &[KeyType::Ec][..]),
            ("key_size", &[KeyType::Rsa, KeyType::Oct]),
            ("public_exponent", &[KeyType::Rsa]),
        ] {
            if let Some(member) = body.optional(name)?.filter(|_| !owner.contains(&kty)) {
                return Err(member.refuse("does not belong to a key of this type"));
            }
        }
        Ok(Self {
            kind: kty.kind(&body)?,
            public_exponent: PublicExponent::read(&body)?,
            operations: operations(&body)?,
            attributes: AttributesChange::read(&body)?,
            tags: tags(&body)?.unwrap_or_default(),
            release_policy: ReleasePolicy::read(&body)?,
        })
    }
}

/// The body of import.
#[derive(Debug)]
pub struct ImportKey {
    /// The key itself.
    pub material: KeyMaterial,
    /// What the key may do; `None` for the kind's own default. Whether the kind allows it is not checked here.
    pub operations: Option<KeyOperations>,
    /// Attributes that are stated.
    pub attributes: AttributesChange,
    /// The tags, perhaps none.
    pub tags: Tags,
    /// Under which conditions the key may leave.
    pub release_policy: Option<ReleasePolicy>,
}

impl ImportKey {
    /// Reads the body. `Hsm` is ignored: every key is one of the pool.
    ///
    /// # Errors
    /// [`BodyError`]; whether the numbers make a key is for the cryptographic module to say.
    ///
    /// Source: keys document, `KeyImportParameters`; RFC 7518 §6.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let member = body.required("key")?;
        let jwk = member.object()?;
        let kty = KeyType::read(&jwk.required("kty")?)?;
        let material = match jwk.optional("key_hsm")? {
            Some(blob) => KeyMaterial::Protected(blob.bytes()?),
            None => match kty {
                KeyType::Rsa => KeyMaterial::Rsa(Box::new(RsaMaterial::read(&jwk)?)),
                KeyType::Ec => KeyMaterial::read_ec(&jwk)?,
                KeyType::Oct => KeyMaterial::read_oct(&jwk)?,
                KeyType::Akp => KeyMaterial::read_akp(&jwk)?,
            },
        };
        Ok(Self {
            material,
            operations: operations(&jwk)?,
            attributes: AttributesChange::read(&body)?,
            tags: tags(&body)?.unwrap_or_default(),
            release_policy: ReleasePolicy::read(&body)?,
        })
    }
}

/// A key that is brought in.
#[derive(Debug)]
pub enum KeyMaterial {
    /// An RSA key pair.
    Rsa(Box<RsaMaterial>),
    /// An elliptic-curve key pair.
    Ec {
        /// The curve.
        curve: Curve,
        /// Big-endian, as long as the field.
        x: Vec<u8>,
        /// Big-endian, as long as the field.
        y: Vec<u8>,
        /// The private scalar, big-endian, as long as the field.
        d: SecretBytes,
    },
    /// A symmetric key, 16 to 64 bytes.
    Oct(SecretBytes),
    /// An ML-DSA key pair.
    Akp {
        /// The parameter set.
        set: MlDsa,
        /// The public key (FIPS 204).
        public: Vec<u8>,
        /// The 32-byte seed, or the expanded private key.
        private: SecretBytes,
    },
    /// A blob of "bring your own key": the key, wrapped for this pool elsewhere (member `key_hsm`).
    Protected(Vec<u8>),
}

impl KeyMaterial {
    /// What the key is, where it can be seen.
    #[must_use]
    pub fn kind(&self) -> Option<KeyKind> {
        match self {
            Self::Rsa(rsa) => Some(KeyKind::Rsa(rsa.size)),
            Self::Ec { curve, .. } => Some(KeyKind::Ec(*curve)),
            Self::Oct(key) => OctSize::from_bytes(key.expose().len()).map(KeyKind::Oct),
            Self::Akp { set, .. } => Some(KeyKind::Akp(*set)),
            Self::Protected(_) => None,
        }
    }

    fn read_ec(jwk: &Object<'_>) -> Result<Self, BodyError> {
        let curve = curve(&jwk.required("crv")?)?;
        let width = curve.field_bytes();
        let too_long =
            |member: &Member<'_>| member.refuse(format_args!("may have at most {width} bytes on this curve"));
        let coordinate = |name| {
            let member = jwk.required(name)?;
            padded(&member.bytes()?, width).ok_or_else(|| too_long(&member))
        };
        let (x, y) = (coordinate("x")?, coordinate("y")?);
        let d = jwk.required("d")?;
        let d = d.secret()?.with_width(width).ok_or_else(|| too_long(&d))?;
        Ok(Self::Ec { curve, x, y, d })
    }

    /// Source: RFC 9881 for the private forms; the members `pub` and `priv` as the JOSE registry names them.
    fn read_akp(jwk: &Object<'_>) -> Result<Self, BodyError> {
        let set = ml_dsa(jwk)?;
        Ok(Self::Akp { set, public: jwk.required("pub")?.bytes()?, private: jwk.required("priv")?.secret()? })
    }

    fn read_oct(jwk: &Object<'_>) -> Result<Self, BodyError> {
        let member = jwk.required("k")?;
        let key = member.secret()?;
        match key.expose().len() {
            // Departure: see docs/departures.
            ..16 => Err(member.refuse("must have 16 bytes at least")),
            16..=64 => Ok(Self::Oct(key)),
            // The live service's words.
            _ => Err(BodyError::new("JSON Web Key: k property of oct key is too large, maximum size is 64")),
        }
    }
}

/// The numbers of an RSA key pair.
#[derive(Debug)]
pub struct RsaMaterial {
    /// Length of the modulus.
    pub size: RsaSize,
    /// Modulus, big-endian, without leading zeros.
    pub n: Vec<u8>,
    /// Public exponent, big-endian, without leading zeros.
    pub e: Vec<u8>,
    /// Private exponent, big-endian, without leading zeros.
    pub d: SecretBytes,
    /// The primes, where they were given.
    pub primes: Option<RsaPrimes>,
}

/// The primes of an RSA key and what follows from them, big-endian, without leading zeros.
#[derive(Debug)]
pub struct RsaPrimes {
    /// First prime.
    pub p: SecretBytes,
    /// Second prime.
    pub q: SecretBytes,
    /// `d mod (p − 1)`.
    pub dp: SecretBytes,
    /// `d mod (q − 1)`.
    pub dq: SecretBytes,
    /// `q⁻¹ mod p`.
    pub qi: SecretBytes,
}

impl RsaMaterial {
    fn read(jwk: &Object<'_>) -> Result<Self, BodyError> {
        let modulus = jwk.required("n")?;
        let n = without_leading_zeros(&modulus.bytes()?).to_vec();
        let top = n.first().map_or(0, |byte| u64::from(byte.leading_zeros()));
        let size = RsaSize::from_bits((n.len() as u64 * 8).saturating_sub(top))
            .ok_or_else(|| modulus.refuse("must be a modulus of 2048, 3072 or 4096 bits"))?;
        let number = |name| {
            let member = jwk.required(name)?;
            let bytes = member.bytes()?;
            match without_leading_zeros(&bytes) {
                [] => Err(member.refuse("must not be zero")),
                number if number.len() > size.bytes() => Err(member.refuse("may not be longer than the modulus")),
                number => Ok(number.to_vec()),
            }
        };
        let secret = |name| {
            let member = jwk.required(name)?;
            let secret = member.secret()?.without_leading_zeros();
            match secret.expose().len() {
                0 => Err(member.refuse("must not be zero")),
                n if n > size.bytes() => Err(member.refuse("may not be longer than the modulus")),
                _ => Ok(secret),
            }
        };
        let mut has_primes = false;
        for name in ["p", "q", "dp", "dq", "qi"] {
            has_primes |= jwk.optional(name)?.is_some();
        }
        let primes = if has_primes {
            let (p, q, dp, dq, qi) = (secret("p")?, secret("q")?, secret("dp")?, secret("dq")?, secret("qi")?);
            Some(RsaPrimes { p, q, dp, dq, qi })
        } else {
            None
        };
        Ok(Self { size, e: number("e")?, d: secret("d")?, n, primes })
    }
}

/// The body of update. What is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateKey {
    /// The whole set that the key may do from now on.
    pub operations: Option<KeyOperations>,
    /// Attributes that change.
    pub attributes: AttributesChange,
    /// All tags from now on.
    pub tags: Option<Tags>,
    /// The release policy from now on.
    pub release_policy: Option<ReleasePolicy>,
}

impl UpdateKey {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`].
    ///
    /// Source: keys document, `KeyUpdateParameters`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        Ok(Self {
            operations: operations(&body)?,
            attributes: AttributesChange::read(&body)?,
            tags: tags(&body)?,
            release_policy: ReleasePolicy::read(&body)?,
        })
    }
}

/// The attributes that a request states. Those that only the service sets are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttributesChange {
    /// Whether the key may be used.
    pub enabled: Option<bool>,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `exp`.
    pub expires: Option<UnixTime>,
    /// Whether the key may leave by release; fixed at creation.
    pub exportable: Option<bool>,
}

impl AttributesChange {
    fn read(body: &Object<'_>) -> Result<Self, BodyError> {
        let Some(attributes) = body.optional("attributes")? else { return Ok(Self::default()) };
        let attributes = attributes.object()?;
        Ok(Self {
            enabled: attributes.optional("enabled")?.map(|member| member.bool()).transpose()?,
            not_before: attributes.optional("nbf")?.map(|member| member.time()).transpose()?,
            expires: attributes.optional("exp")?.map(|member| member.time()).transpose()?,
            exportable: attributes.optional("exportable")?.map(|member| member.bool()).transpose()?,
        })
    }
}

/// The public exponent of an RSA key: odd, 3 to 2³¹ − 1, usually 65537.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicExponent(u32);

impl PublicExponent {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    fn read(body: &Object<'_>) -> Result<Self, BodyError> {
        let Some(member) = body.optional("public_exponent")? else { return Ok(Self(65_537)) };
        let number = member.number(3, i64::from(i32::MAX))?;
        let odd = u32::try_from(number).ok().filter(|number| number % 2 == 1);
        odd.map(Self).ok_or_else(|| member.refuse("must be odd"))
    }
}

/// Under which conditions a key may leave by release. The policy itself is the client's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleasePolicy {
    /// Media type of `encoded`, where it is stated.
    pub content_type: Option<String>,
    /// The policy.
    pub encoded: Vec<u8>,
    /// Whether the policy can never change again.
    pub immutable: bool,
}

impl ReleasePolicy {
    fn read(body: &Object<'_>) -> Result<Option<Self>, BodyError> {
        let Some(policy) = body.optional("release_policy")? else { return Ok(None) };
        let policy = policy.object()?;
        Ok(Some(Self {
            content_type: policy.optional("contentType")?.map(|member| member.short_text(256)).transpose()?,
            encoded: policy.required("data")?.bytes()?,
            immutable: policy.optional("immutable")?.map(|member| member.bool()).transpose()?.unwrap_or(false),
        }))
    }
}

/// The body of encrypt, decrypt, wrap and unwrap. `Debug` shows lengths alone.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyOperationInput {
    /// The algorithm; whether it fits the key is not checked here.
    pub algorithm: EncryptionAlgorithm,
    /// What to encrypt, decrypt, wrap or unwrap.
    pub value: Vec<u8>,
    /// Initialization vector.
    pub iv: Option<Vec<u8>>,
    /// Additional data of an authenticated algorithm.
    pub aad: Option<Vec<u8>>,
    /// Tag of an authenticated algorithm.
    pub tag: Option<Vec<u8>>,
}

impl KeyOperationInput {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`].
    ///
    /// Source: keys document, `KeyOperationsParameters`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let algorithm = body.required("alg")?;
        let optional = |name| body.optional(name)?.map(|member| member.bytes()).transpose();
        Ok(Self {
            algorithm: EncryptionAlgorithm::parse(&algorithm.text()?)
                .map_err(|rule| algorithm.refuse(format_args!("is refused: {rule}")))?,
            value: body.required("value")?.bytes()?,
            iv: optional("iv")?,
            aad: optional("aad")?,
            tag: optional("tag")?,
        })
    }
}

impl fmt::Debug for KeyOperationInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
        f.debug_struct("KeyOperationInput")
            .field("algorithm", &self.algorithm)
            .field("value_len", &self.value.len())
            .field("iv_len", &length(&self.iv))
            .field("aad_len", &length(&self.aad))
            .field("tag_len", &length(&self.tag))
            .finish()
    }
}

/// What is signed or was signed. `Debug` shows lengths alone.
#[derive(Clone, PartialEq, Eq)]
pub enum ToSign {
    /// A digest, or the bytes themselves for algorithms without a fixed digest.
    Value {
        /// The bytes.
        value: Vec<u8>,
        /// The context of an ML-DSA signature, at most 255 bytes; empty for every other algorithm.
        context: Vec<u8>,
    },
    /// The message representative µ that the client has computed for ML-DSA itself (FIPS 204 §6.2).
    ExternalMu([u8; 64]),
}

impl ToSign {
    /// `value_name` is the member that holds what is signed: `value` of sign, `digest` of verify.
    fn read(body: &Object<'_>, algorithm: Option<SignatureAlgorithm>, value_name: &str) -> Result<Self, BodyError> {
        let (value, context) = (body.optional(value_name)?, body.optional("context")?);
        let is_ml_dsa = algorithm
            .is_none_or(|algorithm| MlDsa::ALL.iter().any(|set| SignatureAlgorithm::of_ml_dsa(*set) == algorithm));
        let preview = body.optional("external_mu")?;
        if let Some(member) = context.iter().chain(&preview).find(|_| !is_ml_dsa) {
            return Err(member.refuse("belongs to ML-DSA only"));
        }
        if let Some(mu) = preview {
            if let Some(member) = value.iter().chain(&context).next() {
                return Err(member.refuse("cannot come with external_mu"));
            }
            let bytes = mu.bytes()?;
            return bytes.try_into().map(Self::ExternalMu).map_err(|_| mu.refuse("must have 64 bytes"));
        }
        let value = value.map_or_else(|| body.required(value_name), Ok)?.bytes()?;
        let context = match context {
            None => Vec::new(),
            Some(member) => {
                let context = member.bytes()?;
                if context.len() > MAX_CONTEXT {
                    return Err(member.refuse(format_args!("may have at most {MAX_CONTEXT} bytes")));
                }
                context
            }
        };
        Ok(Self::Value { value, context })
    }
}

impl fmt::Debug for ToSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { value, context } => {
                write!(f, "Value {{ value_len: {}, context_len: {} }}", value.len(), context.len())
            }
            Self::ExternalMu(_) => f.write_str("ExternalMu"),
        }
    }
}

/// The body of sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignInput {
    /// The algorithm; `None` where the key itself decides it, which only an ML-DSA key does.
    pub algorithm: Option<SignatureAlgorithm>,
    /// What to sign. The length of a digest is not checked here.
    pub to_sign: ToSign,
}

impl SignInput {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`].
    ///
    /// Source: keys document, `KeySignParameters`; for ML-DSA version 2026-05-01-preview.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let algorithm = signature_algorithm(&body)?;
        Ok(Self { algorithm, to_sign: ToSign::read(&body, algorithm, "value")? })
    }
}

/// The body of verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyInput {
    /// The algorithm; `None` where the key itself decides it, which only an ML-DSA key does.
    pub algorithm: Option<SignatureAlgorithm>,
    /// What was signed.
    pub signed: ToSign,
    /// The signature.
    pub signature: Vec<u8>,
}

impl VerifyInput {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`].
    ///
    /// Source: keys document, `KeyVerifyParameters`; for ML-DSA the members of sign, since none are published.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let algorithm = signature_algorithm(&body)?;
        Ok(Self {
            algorithm,
            signed: ToSign::read(&body, algorithm, "digest")?,
            signature: body.required("value")?.bytes()?,
        })
    }
}

/// The body that sets a rotation policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotationPolicyBody {
    /// The policy; the empty one removes it.
    pub policy: RotationPolicy,
}

impl RotationPolicyBody {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`], also where the policy breaks a rule of [`RotationPolicy::new`].
    ///
    /// Source: keys document, `KeyRotationPolicy`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let body = Object::parse(body)?;
        let expiry = match body.optional("attributes")? {
            Some(attributes) => period(&attributes.object()?, "expiryTime")?,
            None => None,
        };
        let mut actions = Vec::new();
        if let Some(list) = body.optional("lifetimeActions")? {
            for element in list.array(ACTION_KINDS)? {
                actions.push(lifetime_action(&element.object()?)?);
            }
        }
        let policy = RotationPolicy::new(expiry, actions)
            .map_err(|rule| BodyError::new(format!("The rotation policy is refused: {rule}.")))?;
        Ok(Self { policy })
    }
}

/// One rotate and one notify.
const ACTION_KINDS: usize = 2;

fn lifetime_action(action: &Object<'_>) -> Result<LifetimeAction, BodyError> {
    let trigger_member = action.required("trigger")?;
    let times = trigger_member.object()?;
    let trigger = Trigger::new(period(&times, "timeAfterCreate")?, period(&times, "timeBeforeExpiry")?)
        .map_err(|rule| trigger_member.refuse(format_args!("is refused: {rule}")))?;
    let kind = action.required("action")?.object()?.required("type")?;
    let kind = ActionKind::parse(&kind.text()?).ok_or_else(|| kind.refuse("must be Rotate or Notify"))?;
    Ok(LifetimeAction { trigger, kind })
}

fn period(object: &Object<'_>, name: &str) -> Result<Option<Period>, BodyError> {
    let Some(member) = object.optional(name)? else { return Ok(None) };
    Period::parse(&member.text()?).map(Some).map_err(|rule| member.refuse(format_args!("is refused: {rule}")))
}

/// The body that asks for random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RandomBytesInput {
    /// How many, 1 to 128.
    pub count: usize,
}

impl RandomBytesInput {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`].
    ///
    /// Source: keys document, `GetRandomBytesRequest`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let member = Object::parse(body)?.required("count")?;
        let count = usize::try_from(member.number(1, 128)?).map_err(|_| member.refuse("must be from 1 to 128"))?;
        Ok(Self { count })
    }
}

/// A key type, whichever of its two spellings the client used: all keys are in the HSM.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyType {
    Rsa,
    Ec,
    Oct,
    Akp,
}

impl KeyType {
    fn read(member: &Member<'_>) -> Result<Self, BodyError> {
        match member.text()?.as_ref() {
            "RSA" | "RSA-HSM" => Ok(Self::Rsa),
            "EC" | "EC-HSM" => Ok(Self::Ec),
            "oct" | "oct-HSM" => Ok(Self::Oct),
            "AKP" | "AKP-HSM" => Ok(Self::Akp),
            _ => Err(member.refuse("must be RSA-HSM, EC-HSM, oct-HSM or AKP-HSM, or one of them without -HSM")),
        }
    }

    fn kind(self, body: &Object<'_>) -> Result<KeyKind, BodyError> {
        let size = body.optional("key_size")?;
        let bits = |member: &Member<'_>| member.number(0, i64::from(i32::MAX)).map(i64::unsigned_abs);
        match self {
            Self::Rsa => match size {
                None => Ok(KeyKind::Rsa(RsaSize::Rsa2048)),
                Some(member) => RsaSize::from_bits(bits(&member)?)
                    .map(KeyKind::Rsa)
                    .ok_or_else(|| member.refuse("must be 2048, 3072 or 4096 for an RSA key")),
            },
            Self::Oct => match size {
                None => Ok(KeyKind::Oct(OctSize::AES_256)),
                Some(member) => match bits(&member)? {
                    128 => Ok(KeyKind::Oct(OctSize::AES_128)),
                    192 => Ok(KeyKind::Oct(OctSize::AES_192)),
                    256 => Ok(KeyKind::Oct(OctSize::AES_256)),
                    _ => Err(member.refuse("must be 128, 192 or 256 for an oct key")),
                },
            },
            Self::Ec => match body.optional("crv")? {
                None => Ok(KeyKind::Ec(Curve::P256)),
                Some(member) => curve(&member).map(KeyKind::Ec),
            },
            Self::Akp => ml_dsa(body).map(KeyKind::Akp),
        }
    }
}

fn ml_dsa(object: &Object<'_>) -> Result<MlDsa, BodyError> {
    let member = object.required("alg")?;
    MlDsa::parse(&member.text()?).ok_or_else(|| member.refuse("must be ML-DSA-44, ML-DSA-65 or ML-DSA-87"))
}

fn curve(member: &Member<'_>) -> Result<Curve, BodyError> {
    Curve::parse(&member.text()?).ok_or_else(|| member.refuse("must be P-256, P-256K, P-384 or P-521"))
}

fn operations(object: &Object<'_>) -> Result<Option<KeyOperations>, BodyError> {
    let Some(list) = object.optional("key_ops")? else { return Ok(None) };
    let mut operations = Vec::new();
    for element in list.array(32)? {
        let operation = KeyOperation::parse(&element.text()?);
        operations.push(operation.ok_or_else(|| {
            let names: Vec<_> = KeyOperation::ALL.iter().map(|operation| operation.as_str()).collect();
            element.refuse(format_args!("must be one of {}", names.join(", ")))
        })?);
    }
    Ok(Some(KeyOperations::of(&operations)))
}

fn tags(object: &Object<'_>) -> Result<Option<Tags>, BodyError> {
    object.optional("tags")?.map(|member| member.tags()).transpose()
}

fn signature_algorithm(body: &Object<'_>) -> Result<Option<SignatureAlgorithm>, BodyError> {
    let Some(member) = body.optional("alg")? else { return Ok(None) };
    SignatureAlgorithm::parse(&member.text()?)
        .map(Some)
        .map_err(|rule| member.refuse(format_args!("is refused: {rule}")))
}

pub(super) fn fuzz(body: &[u8]) {
    let _ = CreateKey::parse(body);
    let _ = ImportKey::parse(body);
    let _ = UpdateKey::parse(body);
    let _ = KeyOperationInput::parse(body);
    let _ = SignInput::parse(body);
    let _ = VerifyInput::parse(body);
    let _ = RotationPolicyBody::parse(body);
    let _ = RandomBytesInput::parse(body);
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
