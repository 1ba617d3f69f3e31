//! Algorithms by their published names, and which kind of key each one needs.

use crate::keys::{Curve, KeyKind, MlDsa, OctSize};

/// Why an algorithm cannot be used with a key or an input.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AlgorithmError {
    /// No algorithm of this operation has the name.
    #[error("algorithm is not supported: {0}")]
    Unknown(String),
    /// The key is of another type, size or curve.
    #[error("algorithm {algorithm} cannot be used with a key of type {kind}")]
    KeyKind {
        /// The algorithm asked for.
        algorithm: &'static str,
        /// The key's own kind.
        kind: KeyKind,
    },
}

/// Declares an enum of algorithms together with their published names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the published tables.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The published name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads a published name, exactly as published.
            ///
            /// # Errors
            /// [`AlgorithmError::Unknown`] with at most the first 64 characters of `text`.
            pub fn parse(text: &str) -> Result<Self, AlgorithmError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(AlgorithmError::Unknown(other.chars().take(64).collect())),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// Algorithms of encrypt, decrypt, wrap and unwrap.
    ///
    /// Source: keys document, `JsonWebKeyEncryptionAlgorithm`.
    EncryptionAlgorithm {
        /// RSAES-OAEP with SHA-1 (RFC 8017).
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// RSAES-PKCS1-v1_5.
        Rsa15 = "RSA1_5",
        /// AES-GCM with a 128-bit key.
        A128Gcm = "A128GCM",
        /// AES-GCM with a 192-bit key.
        A192Gcm = "A192GCM",
        /// AES-GCM with a 256-bit key.
        A256Gcm = "A256GCM",
        /// AES Key Wrap (RFC 3394) with a 128-bit key.
        A128Kw = "A128KW",
        /// AES Key Wrap with a 192-bit key.
        A192Kw = "A192KW",
        /// AES Key Wrap with a 256-bit key.
        A256Kw = "A256KW",
        /// AES-CBC with a 128-bit key; short input is filled with zero bytes.
        A128Cbc = "A128CBC",
        /// AES-CBC with a 192-bit key; short input is filled with zero bytes.
        A192Cbc = "A192CBC",
        /// AES-CBC with a 256-bit key; short input is filled with zero bytes.
        A256Cbc = "A256CBC",
        /// AES-CBC with PKCS#7 padding and a 128-bit key.
        A128CbcPad = "A128CBCPAD",
        /// AES-CBC with PKCS#7 padding and a 192-bit key.
        A192CbcPad = "A192CBCPAD",
        /// AES-CBC with PKCS#7 padding and a 256-bit key.
        A256CbcPad = "A256CBCPAD",
        /// AES Key Wrap (RFC 3394) with a key of any size.
        CkmAesKeyWrap = "CKM_AES_KEY_WRAP",
        /// AES Key Wrap with padding (RFC 5649) with a key of any size.
        CkmAesKeyWrapPad = "CKM_AES_KEY_WRAP_PAD",
    }
}

named! {
    /// Algorithms of sign and verify.
    ///
    /// Source: keys document, `JsonWebKeySignatureAlgorithm`.
    SignatureAlgorithm {
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
        /// PKCS#1 v1.5 padding over the given bytes, with no digest information.
        RsNull = "RSNULL",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
        /// ECDSA on P-521.
        Es512 = "ES512",
        /// ECDSA on P-256K.
        Es256K = "ES256K",
        /// HMAC with SHA-256 over the given bytes.
        Hs256 = "HS256",
        /// HMAC with SHA-384 over the given bytes.
        Hs384 = "HS384",
        /// HMAC with SHA-512 over the given bytes.
        Hs512 = "HS512",
        /// ML-DSA-44 (FIPS 204).
        MlDsa44 = "ML-DSA-44",
        /// ML-DSA-65.
        MlDsa65 = "ML-DSA-65",
        /// ML-DSA-87.
        MlDsa87 = "ML-DSA-87",
    }
}

impl EncryptionAlgorithm {
    /// Refuses a key of the wrong type or size.
    ///
    /// # Errors
    /// [`AlgorithmError::KeyKind`].
    pub fn check_key(self, kind: KeyKind) -> Result<(), AlgorithmError> {
        let fits = match kind {
            KeyKind::Rsa(_) => matches!(self, Self::RsaOaep | Self::RsaOaep256 | Self::Rsa15),
            KeyKind::Oct(size) => match self.aes_size() {
                Some(needed) => needed == size,
                None => matches!(self, Self::CkmAesKeyWrap | Self::CkmAesKeyWrapPad) && size.is_aes(),
            },
            KeyKind::Ec(_) | KeyKind::Akp(_) => false,
        };
        if fits { Ok(()) } else { Err(AlgorithmError::KeyKind { algorithm: self.as_str(), kind }) }
    }

    /// Whether this algorithm may wrap and unwrap keys but not encrypt and decrypt data.
    #[must_use]
    pub fn is_wrap_only(self) -> bool {
        matches!(self, Self::A128Kw | Self::A192Kw | Self::A256Kw | Self::CkmAesKeyWrap | Self::CkmAesKeyWrapPad)
    }

    /// Whether this is one of the AES-GCM algorithms.
    #[must_use]
    pub fn is_gcm(self) -> bool {
        matches!(self, Self::A128Gcm | Self::A192Gcm | Self::A256Gcm)
    }

    /// Whether this is one of the AES-CBC algorithms, padded or not.
    #[must_use]
    pub fn is_cbc(self) -> bool {
        matches!(
            self,
            Self::A128Cbc | Self::A192Cbc | Self::A256Cbc | Self::A128CbcPad | Self::A192CbcPad | Self::A256CbcPad
        )
    }

    /// The AES key size that the name states, if it states one.
    #[must_use]
    pub fn aes_size(self) -> Option<OctSize> {
        match self {
            Self::A128Gcm | Self::A128Kw | Self::A128Cbc | Self::A128CbcPad => Some(OctSize::AES_128),
            Self::A192Gcm | Self::A192Kw | Self::A192Cbc | Self::A192CbcPad => Some(OctSize::AES_192),
            Self::A256Gcm | Self::A256Kw | Self::A256Cbc | Self::A256CbcPad => Some(OctSize::AES_256),
            _ => None,
        }
    }
}

impl SignatureAlgorithm {
    /// Refuses a key of the wrong type, size or curve. An HMAC algorithm takes an oct key of any size.
    ///
    /// # Errors
    /// [`AlgorithmError::KeyKind`].
    pub fn check_key(self, kind: KeyKind) -> Result<(), AlgorithmError> {
        let fits = match kind {
            KeyKind::Rsa(_) => matches!(
                self,
                Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::RsNull
            ),
            KeyKind::Ec(Curve::P256) => self == Self::Es256,
            KeyKind::Ec(Curve::P256K) => self == Self::Es256K,
            KeyKind::Ec(Curve::P384) => self == Self::Es384,
            KeyKind::Ec(Curve::P521) => self == Self::Es512,
            KeyKind::Oct(_) => matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512),
            KeyKind::Akp(set) => self == Self::of_ml_dsa(set),
        };
        if fits { Ok(()) } else { Err(AlgorithmError::KeyKind { algorithm: self.as_str(), kind }) }
    }

    /// The length in bytes of the digest that the caller gives, or `None` where the input is not a digest
    /// of fixed length (RSNULL, HMAC, ML-DSA).
    #[must_use]
    pub fn digest_len(self) -> Option<usize> {
        match self {
            Self::Ps256 | Self::Rs256 | Self::Es256 | Self::Es256K => Some(32),
            Self::Ps384 | Self::Rs384 | Self::Es384 => Some(48),
            Self::Ps512 | Self::Rs512 | Self::Es512 => Some(64),
            Self::RsNull | Self::Hs256 | Self::Hs384 | Self::Hs512 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => {
                None
            }
        }
    }

    /// The one algorithm of an ML-DSA key.
    #[must_use]
    pub fn of_ml_dsa(set: MlDsa) -> Self {
        match set {
            MlDsa::MlDsa44 => Self::MlDsa44,
            MlDsa::MlDsa65 => Self::MlDsa65,
            MlDsa::MlDsa87 => Self::MlDsa87,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RsaSize;

    #[test]
    fn every_name_reads_back() {
        for alg in EncryptionAlgorithm::ALL {
            assert_eq!(EncryptionAlgorithm::parse(alg.as_str()), Ok(*alg));
        }
        for alg in SignatureAlgorithm::ALL {
            assert_eq!(SignatureAlgorithm::parse(alg.as_str()), Ok(*alg));
        }
        assert!(EncryptionAlgorithm::parse("rsa-oaep").is_err());
    }

    #[test]
    fn the_number_in_an_aes_name_must_be_the_keys_size() {
        assert!(EncryptionAlgorithm::A256Gcm.check_key(KeyKind::Oct(OctSize::AES_256)).is_ok());
        assert!(EncryptionAlgorithm::A256Gcm.check_key(KeyKind::Oct(OctSize::AES_128)).is_err());
        assert!(EncryptionAlgorithm::CkmAesKeyWrap.check_key(KeyKind::Oct(OctSize::AES_192)).is_ok());
        assert!(EncryptionAlgorithm::CkmAesKeyWrap.check_key(KeyKind::Oct(OctSize::from_bytes(64).unwrap())).is_err());
        assert!(EncryptionAlgorithm::RsaOaep.check_key(KeyKind::Rsa(RsaSize::Rsa2048)).is_ok());
    }

    #[test]
    fn a_signature_algorithm_fits_one_curve() {
        for (alg, curve) in [
            (SignatureAlgorithm::Es256, Curve::P256),
            (SignatureAlgorithm::Es256K, Curve::P256K),
            (SignatureAlgorithm::Es384, Curve::P384),
            (SignatureAlgorithm::Es512, Curve::P521),
        ] {
            for other in Curve::ALL {
                assert_eq!(alg.check_key(KeyKind::Ec(*other)).is_ok(), *other == curve);
            }
        }
    }
}
