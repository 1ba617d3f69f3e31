//! Bytes as the interface writes them: base64url without padding (RFC 4648 §5). Padding is accepted when read.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::display::Base64Display;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text is not base64url: another alphabet, white space, an impossible length, or stray bits at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be base64url (RFC 4648 section 5), with or without padding")]
pub struct NotBase64Url;

/// Reads base64url, padded or not.
///
/// # Errors
/// [`NotBase64Url`]; nothing of the text is in it.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64Url> {
    ENGINE.decode(text).map_err(|_| NotBase64Url)
}

/// Writes base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Bytes on their way into an answer, written as base64url without another copy.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a>(pub(crate) &'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &ENGINE))
    }
}

/// Public bytes that a client reads from an answer.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Decoded(pub Vec<u8>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Decoded;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64url text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decoded, E> {
                decode(text).map(Decoded).map_err(E::custom)
            }
        }
        // serde would put the offending value into its own text.
        deserializer.deserialize_str(Text).map_err(|_| D::Error::custom(NotBase64Url))
    }
}

/// Shows the length alone: an answer may be a plaintext.
impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Private key material on its way from a request to the cryptographic module. Wiped on drop, never shown.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Reads base64url; the text itself stays with its owner.
    pub(crate) fn decode(text: &str) -> Result<Self, NotBase64Url> {
        decode(text).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The same big-endian number on `width` bytes, or `None` if it needs more.
    pub(crate) fn with_width(&self, width: usize) -> Option<Self> {
        padded(&self.0, width).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The same big-endian number in as few bytes as hold it.
    pub(crate) fn without_leading_zeros(mut self) -> Self {
        let zeros = self.0.len() - without_leading_zeros(&self.0).len();
        // What moves down leaves a copy behind, but inside the vector's capacity: that is wiped whole.
        self.0.drain(..zeros);
        self
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A big-endian number on exactly `width` bytes, or `None` if it needs more.
pub(crate) fn padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let significant = without_leading_zeros(number);
    let zeros = width.checked_sub(significant.len())?;
    let mut out = vec![0; width];
    out[zeros..].copy_from_slice(significant);
    Some(out)
}

/// A big-endian number in as few bytes as hold it.
pub(crate) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padding_is_read_and_never_written() {
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        for good in ["-_8", "-_8="] {
            assert_eq!(decode(good), Ok(vec![0xfb, 0xff]), "{good}");
        }
        assert_eq!(decode(""), Ok(vec![]));
    }

    #[test]
    fn other_alphabets_white_space_and_stray_bits_are_refused() {
        for bad in ["+/8", "-_8 ", " -_8", "-_\n8", "A", "-_9", "-_8==", "=", "AAAA=", "ä"] {
            assert_eq!(decode(bad), Err(NotBase64Url), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_widened_and_never_cut() {
        assert_eq!(padded(&[0, 0, 7], 2), Some(vec![0, 7]));
        assert_eq!(padded(&[7], 3), Some(vec![0, 0, 7]));
        assert_eq!(padded(&[1, 0, 0], 2), None);
        assert_eq!(padded(&[], 1), Some(vec![0]));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = SecretBytes::decode("AQID").unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ([1, 2, 3].as_slice(), "[secret]"));
        let read: Decoded = serde_json::from_str("\"AQID\"").unwrap();
        assert_eq!(format!("{read:?}"), "3 bytes");
        let refused = serde_json::from_str::<Decoded>("\"AQI+\"").unwrap_err().to_string();
        assert!(!refused.contains("AQI"), "{refused}");
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes.clone()));
            prop_assert_eq!(serde_json::to_string(&Encoded(&bytes)).unwrap(), format!("\"{}\"", encode(&bytes)));
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = decode(&text);
        }
    }
}
