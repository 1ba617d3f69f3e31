//! Values of the command line, read straight into types of `model`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::rotation::Period;
use model::{Curve, EncryptionAlgorithm, KeyName, KeyOperation, KeyRef, KeyVersion, MlDsa, Scope, SignatureAlgorithm};
use wire::base64url;

use crate::text::parse_time;

/// Bytes written as base64url. `Debug` shows the length alone.
#[derive(Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) i64);

/// A tag, `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(crate) struct Tag(pub(crate) String, pub(crate) String);

pub(crate) fn bytes(text: &str) -> Result<Bytes, base64url::NotBase64Url> {
    base64url::decode(text).map(Bytes)
}

pub(crate) fn time(text: &str) -> Result<Time, String> {
    parse_time(text).map(Time)
}

pub(crate) fn tag(text: &str) -> Result<Tag, String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| Tag(name.to_owned(), value.to_owned())).ok_or_else(|| "a tag is NAME=VALUE".to_owned())
}

pub(crate) fn key_name(text: &str) -> Result<KeyName, model::NameError> {
    KeyName::parse(text)
}

/// `NAME` or `NAME/VERSION`.
pub(crate) fn key_ref(text: &str) -> Result<KeyRef, model::NameError> {
    let (name, version) = text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
    Ok(KeyRef { name: KeyName::parse(name)?, version: version.map(KeyVersion::parse).transpose()? })
}

pub(crate) fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).map_err(|_| "a scope is /, /keys or /keys/NAME".to_owned())
}

/// A duration as it was written, once it is known to be one.
pub(crate) fn period(text: &str) -> Result<String, model::rotation::RotationError> {
    Period::parse(text).map(|_| text.to_owned())
}

pub(crate) fn curve() -> impl TypedValueParser<Value = Curve> {
    named(Curve::ALL.iter().map(|curve| curve.as_str()).collect(), Curve::parse)
}

pub(crate) fn ml_dsa() -> impl TypedValueParser<Value = MlDsa> {
    named(MlDsa::ALL.iter().map(|set| set.as_str()).collect(), MlDsa::parse)
}

pub(crate) fn key_operation() -> impl TypedValueParser<Value = KeyOperation> {
    named(KeyOperation::ALL.iter().map(|operation| operation.as_str()).collect(), KeyOperation::parse)
}

pub(crate) fn encryption() -> impl TypedValueParser<Value = EncryptionAlgorithm> {
    let names = EncryptionAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str());
    named(names.collect(), |text| EncryptionAlgorithm::parse(text).ok())
}

pub(crate) fn signature() -> impl TypedValueParser<Value = SignatureAlgorithm> {
    let names = SignatureAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str());
    named(names.collect(), |text| SignatureAlgorithm::parse(text).ok())
}

/// One of `names`, which `parse` reads; clap lists them in its help and in completions.
fn named<T: Clone + Send + Sync + 'static>(
    names: Vec<&'static str>,
    parse: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(move |text| parse(&text).ok_or("not one of the names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_and_perhaps_a_version() {
        let version = "00ff00000000000000000000000000aa";
        let whole = key_ref(&format!("Orders/{version}")).unwrap();
        assert_eq!((whole.name.as_str(), whole.version.unwrap().to_string().as_str()), ("Orders", version));
        assert_eq!(key_ref("Orders").unwrap().version, None);
        for bad in ["", "/", "a/", "a/b", "a b", "a/../b"] {
            assert!(key_ref(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tag_may_hold_equals_signs_in_its_value() {
        let Tag(name, value) = tag("a=b=c").unwrap();
        assert_eq!((name.as_str(), value.as_str()), ("a", "b=c"));
        assert!(tag("a").is_err() && tag("=b").is_err());
    }

    #[test]
    fn bytes_are_base64url_and_not_shown() {
        assert_eq!(bytes("-_8").unwrap().0, [0xfb, 0xff]);
        assert_eq!(format!("{:?}", bytes("-_8=").unwrap()), "2 bytes");
        assert!(bytes("+/8=").is_err());
    }
}
