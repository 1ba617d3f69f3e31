//! Keys: their kinds, what they may be used for, and when.

use std::collections::BTreeMap;
use std::fmt;

use crate::UnixTime;

/// Sizes of RSA keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RsaSize {
    /// 2048-bit modulus.
    Rsa2048,
    /// 3072-bit modulus.
    Rsa3072,
    /// 4096-bit modulus.
    Rsa4096,
}

impl RsaSize {
    /// Every size.
    pub const ALL: &'static [Self] = &[Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// The size with this many bits, if there is one.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|size| u64::from(size.bits()) == bits)
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }

    /// Length of the modulus in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::from(self.bits()) / 8
    }
}

/// Elliptic curves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// secp256k1.
    P256K,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// Every curve.
    pub const ALL: &'static [Self] = &[Self::P256, Self::P256K, Self::P384, Self::P521];

    /// The published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P256K => "P-256K",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Reads a published name; `SECP256K1` is an old spelling of P-256K.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "SECP256K1" {
            return Some(Self::P256K);
        }
        Self::ALL.iter().copied().find(|curve| curve.as_str() == text)
    }

    /// Length in bytes of one coordinate, of the private scalar, and of each half of a signature.
    #[must_use]
    pub fn field_bytes(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// The size of an oct key: 1 to 64 bytes. Generated keys are 16, 24 or 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OctSize(u8);

impl OctSize {
    /// 128 bits.
    pub const AES_128: Self = Self(16);
    /// 192 bits.
    pub const AES_192: Self = Self(24);
    /// 256 bits.
    pub const AES_256: Self = Self(32);

    /// The size of a key of `bytes` bytes, if 1 to 64.
    #[must_use]
    pub fn from_bytes(bytes: usize) -> Option<Self> {
        u8::try_from(bytes).ok().filter(|n| (1..=64).contains(n)).map(Self)
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::from(self.0)
    }

    /// Length in bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        u16::from(self.0) * 8
    }

    /// Whether a key of this size can be an AES key.
    #[must_use]
    pub fn is_aes(self) -> bool {
        matches!(self.0, 16 | 24 | 32)
    }
}

/// Parameter sets of ML-DSA (FIPS 204).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MlDsa {
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl MlDsa {
    /// Every parameter set.
    pub const ALL: &'static [Self] = &[Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// The published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// Reads a published name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|set| set.as_str() == text)
    }
}

/// What a key is: its type with its size, curve or parameter set. Fixed at creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyKind {
    /// An RSA key pair.
    Rsa(RsaSize),
    /// An elliptic-curve key pair.
    Ec(Curve),
    /// A symmetric key.
    Oct(OctSize),
    /// A post-quantum signature key pair.
    Akp(MlDsa),
}

impl KeyKind {
    /// The key type as answers name it.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA-HSM",
            Self::Ec(_) => "EC-HSM",
            Self::Oct(_) => "oct-HSM",
            Self::Akp(_) => "AKP-HSM",
        }
    }

    /// The operations that a key of this kind can ever have.
    #[must_use]
    pub fn possible_operations(self) -> KeyOperations {
        use KeyOperation as O;
        KeyOperations::of(match self {
            Self::Rsa(_) => {
                &[O::Encrypt, O::Decrypt, O::Sign, O::Verify, O::WrapKey, O::UnwrapKey, O::Import, O::Export]
            }
            Self::Ec(_) | Self::Akp(_) => &[O::Sign, O::Verify, O::Export],
            Self::Oct(_) => &[O::Encrypt, O::Decrypt, O::Sign, O::Verify, O::WrapKey, O::UnwrapKey, O::Export],
        })
    }

    /// The operations that a key gets when its creator names none.
    ///
    /// An oct key that is no AES key (an imported HMAC secret) can only sign and verify.
    #[must_use]
    pub fn default_operations(self) -> KeyOperations {
        use KeyOperation as O;
        KeyOperations::of(match self {
            Self::Rsa(_) => &[O::Encrypt, O::Decrypt, O::Sign, O::Verify, O::WrapKey, O::UnwrapKey],
            Self::Oct(size) if size.is_aes() => &[O::Encrypt, O::Decrypt, O::WrapKey, O::UnwrapKey],
            Self::Ec(_) | Self::Akp(_) | Self::Oct(_) => &[O::Sign, O::Verify],
        })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(size) => write!(f, "RSA-HSM {}", size.bits()),
            Self::Ec(curve) => write!(f, "EC-HSM {}", curve.as_str()),
            Self::Oct(size) => write!(f, "oct-HSM {}", size.bits()),
            Self::Akp(set) => write!(f, "AKP-HSM {}", set.as_str()),
        }
    }
}

/// One thing that a key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum KeyOperation {
    /// Encrypt data.
    Encrypt = 0,
    /// Decrypt data.
    Decrypt = 1,
    /// Sign a digest.
    Sign = 2,
    /// Verify a signature.
    Verify = 3,
    /// Wrap another key.
    WrapKey = 4,
    /// Unwrap another key.
    UnwrapKey = 5,
    /// Be the key-exchange key of an import; excludes every other operation.
    Import = 6,
    /// Leave the pool by release.
    Export = 7,
}

impl KeyOperation {
    /// Every key operation.
    pub const ALL: &'static [Self] = &[
        Self::Encrypt,
        Self::Decrypt,
        Self::Sign,
        Self::Verify,
        Self::WrapKey,
        Self::UnwrapKey,
        Self::Import,
        Self::Export,
    ];

    /// The published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
            Self::Import => "import",
            Self::Export => "export",
        }
    }

    /// Reads a published name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.as_str() == text)
    }

    /// Whether this operation makes something new under the key, and so is refused outside the key's validity.
    /// Decrypt, unwrap and verify go on, so that old data stays readable.
    #[must_use]
    pub fn needs_validity(self) -> bool {
        matches!(self, Self::Encrypt | Self::Sign | Self::WrapKey | Self::Import)
    }
}

/// A set of key operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeyOperations(u8);

impl KeyOperations {
    /// The set of the given operations.
    #[must_use]
    pub fn of(operations: &[KeyOperation]) -> Self {
        Self(operations.iter().fold(0, |bits, op| bits | 1 << *op as u8))
    }

    /// The set as one byte, bit `n` for the operation with discriminant `n`.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits; every byte is one.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether `operation` is in the set.
    #[must_use]
    pub fn contains(self, operation: KeyOperation) -> bool {
        self.0 & 1 << operation as u8 != 0
    }

    /// Whether all of this set is in `other`.
    #[must_use]
    pub fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The operations, in their fixed order.
    pub fn iter(self) -> impl Iterator<Item = KeyOperation> {
        KeyOperation::ALL.iter().copied().filter(move |op| self.contains(*op))
    }
}

impl fmt::Debug for KeyOperations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The facts of a key version that its owner may change, and when they last were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Whether cryptographic operations are allowed at all.
    pub enabled: bool,
    /// Not before: no new use earlier than this.
    pub not_before: Option<UnixTime>,
    /// Expiry: no new use from this on.
    pub expires: Option<UnixTime>,
    /// When the version was made.
    pub created: UnixTime,
    /// When the version was last changed.
    pub updated: UnixTime,
}

/// Why a key version cannot be used for something now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// `enabled` is false.
    #[error("Operation {} is not allowed on a disabled key.", .0.as_str())]
    Disabled(KeyOperation),
    /// Before `nbf`.
    #[error("Operation {} is not allowed on a key that is not yet valid.", .0.as_str())]
    NotYetValid(KeyOperation),
    /// At or after `exp`.
    #[error("Operation {} is not allowed on an expired key.", .0.as_str())]
    Expired(KeyOperation),
    /// Not among the key's operations.
    #[error("Operation {} is not permitted on this key.", .0.as_str())]
    NotAmongOperations(KeyOperation),
}

impl Attributes {
    /// Decides whether a key with these attributes and `operations` may be used for `operation` at `now`.
    ///
    /// # Errors
    /// [`Unusable`], naming the first rule that forbids it.
    ///
    /// Source: product article on keys, sections on key operations and date-time controlled operations.
    pub fn check_use(&self, operations: KeyOperations, operation: KeyOperation, now: UnixTime) -> Result<(), Unusable> {
        if !self.enabled {
            return Err(Unusable::Disabled(operation));
        }
        if !operations.contains(operation) {
            return Err(Unusable::NotAmongOperations(operation));
        }
        if operation.needs_validity() {
            if self.not_before.is_some_and(|nbf| now < nbf) {
                return Err(Unusable::NotYetValid(operation));
            }
            if self.expires.is_some_and(|exp| now >= exp) {
                return Err(Unusable::Expired(operation));
            }
        }
        Ok(())
    }
}

/// Why tags are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TagError {
    /// More than 15.
    #[error("a key has at most 15 tags")]
    TooMany,
    /// A name or value longer than 256 characters, or an empty name.
    #[error("a tag's name has 1 to 256 characters and its value at most 256")]
    Length,
}

/// Names and values that the owner hangs on a key: at most 15, each of at most 256 characters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Takes tags that keep to the limits.
    ///
    /// # Errors
    /// [`TagError`] for too many or too long.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self, TagError> {
        if tags.len() > 15 {
            return Err(TagError::TooMany);
        }
        let long = |text: &str| text.chars().count() > 256;
        if tags.iter().any(|(name, value)| name.is_empty() || long(name) || long(value)) {
            return Err(TagError::Length);
        }
        Ok(Self(tags))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags in order of their names.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            enabled: true,
            not_before: Some(UnixTime(100)),
            expires: Some(UnixTime(200)),
            created: UnixTime(0),
            updated: UnixTime(0),
        }
    }

    #[test]
    fn outside_its_validity_a_key_opens_old_things_and_makes_no_new_ones() {
        let all = KeyOperations::of(KeyOperation::ALL);
        for op in KeyOperation::ALL {
            let early = attributes().check_use(all, *op, UnixTime(99));
            let late = attributes().check_use(all, *op, UnixTime(200));
            if op.needs_validity() {
                assert_eq!(early, Err(Unusable::NotYetValid(*op)));
                assert_eq!(late, Err(Unusable::Expired(*op)));
            } else {
                assert_eq!((early, late), (Ok(()), Ok(())));
            }
            assert_eq!(attributes().check_use(all, *op, UnixTime(150)), Ok(()));
        }
    }

    #[test]
    fn a_disabled_key_does_nothing() {
        let off = Attributes { enabled: false, ..attributes() };
        for op in KeyOperation::ALL {
            let all = KeyOperations::of(KeyOperation::ALL);
            assert_eq!(off.check_use(all, *op, UnixTime(150)), Err(Unusable::Disabled(*op)));
        }
    }

    #[test]
    fn a_key_does_only_what_is_among_its_operations() {
        let sign_only = KeyOperations::of(&[KeyOperation::Sign]);
        assert_eq!(attributes().check_use(sign_only, KeyOperation::Sign, UnixTime(150)), Ok(()));
        assert_eq!(
            attributes().check_use(sign_only, KeyOperation::Verify, UnixTime(150)),
            Err(Unusable::NotAmongOperations(KeyOperation::Verify))
        );
    }

    #[test]
    fn tags_keep_to_their_limits() {
        let many = |n: usize| (0..n).map(|i| (format!("t{i}"), String::new())).collect::<BTreeMap<_, _>>();
        assert!(Tags::new(many(15)).is_ok());
        assert_eq!(Tags::new(many(16)), Err(TagError::TooMany));
        assert_eq!(Tags::new([("a".into(), "x".repeat(257))].into()), Err(TagError::Length));
        assert_eq!(Tags::new([(String::new(), String::new())].into()), Err(TagError::Length));
        assert!(Tags::new([("ä".repeat(256), "ö".repeat(256))].into()).is_ok());
    }
}
