//! Request bodies: a JSON object taken apart member by member, so that every refusal names its member.
//!
//! Unknown members are skipped without being looked into, so no nesting is ever followed deeper than the known shapes go.

use std::borrow::Cow;
use std::fmt;

use model::{TagError, Tags, UnixTime};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::base64url::{self, SecretBytes};
use crate::errors::codes;

/// The most members that one object may have.
const MAX_MEMBERS: usize = 128;

/// The last second of the year 9999, the latest time that is accepted.
const LATEST: i64 = 253_402_300_799;

/// Why a request body is refused: which member, and what it must be. Never what it was, but for names of algorithms,
/// key operations and data actions.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// Azure's code, always `BadParameter`.
    pub code: &'static str,
    /// What to do.
    pub message: String,
}

impl BodyError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: codes::BAD_PARAMETER, message: message.into() }
    }

    /// A refusal of the member at `path`: "`<path>` `<rule>`".
    pub(crate) fn at(path: &str, rule: impl fmt::Display) -> Self {
        Self::new(format!("The member {path} {rule}."))
    }
}

/// An object of a request body, its members still unread.
pub(crate) struct Object<'a> {
    /// Where it stands: empty for the body itself, otherwise such as `key.`.
    prefix: String,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The whole body.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let Members(members) = serde_json::from_slice(body).map_err(|_| {
            BodyError::new(format!("The body must be one JSON object of at most {MAX_MEMBERS} members."))
        })?;
        Ok(Self { prefix: String::new(), members })
    }

    /// The member `name`, unless it is absent or null.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<Member<'a>>, BodyError> {
        let mut found = self.members.iter().filter(|(written, _)| written == name);
        let Some((_, raw)) = found.next() else { return Ok(None) };
        let path = format!("{}{name}", self.prefix);
        if found.next().is_some() {
            return Err(BodyError::at(&path, "may come once only"));
        }
        Ok((raw.get() != "null").then_some(Member { path, raw }))
    }

    /// The member `name`.
    pub(crate) fn required(&self, name: &str) -> Result<Member<'a>, BodyError> {
        self.optional(name)?.ok_or_else(|| BodyError::at(&format!("{}{name}", self.prefix), "is required"))
    }
}

/// One member of an object: present and not null.
pub(crate) struct Member<'a> {
    path: String,
    raw: &'a RawValue,
}

impl<'a> Member<'a> {
    pub(crate) fn refuse(&self, rule: impl fmt::Display) -> BodyError {
        BodyError::at(&self.path, rule)
    }

    fn read<T: DeserializeOwned>(&self, rule: &str) -> Result<T, BodyError> {
        serde_json::from_str(self.raw.get()).map_err(|_| self.refuse(rule))
    }

    pub(crate) fn object(&self) -> Result<Object<'a>, BodyError> {
        let Members(members) = serde_json::from_str(self.raw.get())
            .map_err(|_| self.refuse(format_args!("must be an object of at most {MAX_MEMBERS} members")))?;
        Ok(Object { prefix: format!("{}.", self.path), members })
    }

    /// The elements, at most `most`.
    pub(crate) fn array(&self, most: usize) -> Result<Vec<Member<'a>>, BodyError> {
        let raw: Vec<&'a RawValue> =
            serde_json::from_str(self.raw.get()).map_err(|_| self.refuse("must be an array"))?;
        if raw.len() > most {
            return Err(self.refuse(format_args!("may have at most {most} elements")));
        }
        Ok(raw.into_iter().enumerate().map(|(i, raw)| Member { path: format!("{}[{i}]", self.path), raw }).collect())
    }

    pub(crate) fn text(&self) -> Result<Cow<'a, str>, BodyError> {
        let raw = self.raw.get();
        match raw.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
            _ => self.read::<String>("must be a text").map(Cow::Owned),
        }
    }

    /// A text of at most `most` characters.
    pub(crate) fn short_text(&self, most: usize) -> Result<String, BodyError> {
        let text = self.text()?;
        if text.chars().count() > most {
            return Err(self.refuse(format_args!("may have at most {most} characters")));
        }
        Ok(text.into_owned())
    }

    pub(crate) fn bool(&self) -> Result<bool, BodyError> {
        self.read("must be true or false")
    }

    /// A whole number of `least` to `most`, written as one: no fraction, no exponent, no quotes.
    pub(crate) fn number(&self, least: i64, most: i64) -> Result<i64, BodyError> {
        let rule = || self.refuse(format_args!("must be a whole number from {least} to {most}"));
        let number: i64 = serde_json::from_str(self.raw.get()).map_err(|_| rule())?;
        if (least..=most).contains(&number) { Ok(number) } else { Err(rule()) }
    }

    pub(crate) fn time(&self) -> Result<UnixTime, BodyError> {
        self.number(0, LATEST).map(UnixTime)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, BodyError> {
        base64url::decode(&self.text()?).map_err(|rule| self.refuse(rule))
    }

    /// Private key material. It must be written without JSON escapes, which base64url never needs: undoing them would
    /// leave a copy behind.
    pub(crate) fn secret(&self) -> Result<SecretBytes, BodyError> {
        match self.text()? {
            Cow::Borrowed(text) => SecretBytes::decode(text).map_err(|rule| self.refuse(rule)),
            Cow::Owned(_) => Err(self.refuse("must be base64url without escapes")),
        }
    }

    pub(crate) fn tags(&self) -> Result<Tags, BodyError> {
        let mut tags = std::collections::BTreeMap::new();
        for (name, raw) in self.object()?.members {
            // The names are the client's own, so the path stops at the map.
            let value = Member { path: self.path.clone(), raw };
            let value = value.text().map_err(|_| self.refuse("must have texts as values"))?.into_owned();
            if tags.insert(name.into_owned(), value).is_some() {
                return Err(self.refuse("may have each tag once only"));
            }
        }
        Tags::new(tags).map_err(|rule: TagError| self.refuse(format_args!("is refused: {rule}")))
    }
}

/// The members of an object in the order in which they were written, names unescaped, values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The JSON text of an answer.
pub(crate) fn to_json(answer: &impl Serialize) -> Vec<u8> {
    // Fails only for maps whose keys are no texts and for writers that fail; answers have neither.
    serde_json::to_vec(answer).expect("an answer is made of texts, numbers, lists and maps of texts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal<T>(result: Result<T, BodyError>) -> String {
        result.err().unwrap().message
    }

    #[test]
    fn only_one_object_is_a_body() {
        for bad in ["", " ", "null", "[]", "1", "\"x\"", "{", "{}{}", "{\"a\":}", "{'a':1}", "{\"a\":1,}", "\u{feff}{}"]
        {
            assert!(Object::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        let many = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"m{i}\":0")).collect::<Vec<_>>().join(","));
        assert!(Object::parse(many(128).as_bytes()).is_ok());
        assert!(Object::parse(many(129).as_bytes()).is_err());
    }

    #[test]
    fn null_is_absent_and_twice_is_refused_and_the_unknown_is_skipped() {
        let deep = "[".repeat(50_000) + &"]".repeat(50_000);
        let body = format!("{{\"none\":null,\"twice\":1,\"tw\\u0069ce\":2,\"else\":{deep}}}");
        let object = Object::parse(body.as_bytes()).unwrap();
        assert!(object.optional("none").unwrap().is_none());
        assert!(object.optional("absent").unwrap().is_none());
        assert_eq!(refusal(object.required("none")), "The member none is required.");
        assert_eq!(refusal(object.optional("twice")), "The member twice may come once only.");
    }

    #[test]
    fn a_refusal_names_the_member_and_not_its_value() {
        let body = Object::parse(br#"{"outer":{"inner":[{"d":"s3cret!"}]}}"#).unwrap();
        let inner = body.required("outer").unwrap().object().unwrap().required("inner").unwrap();
        let element = inner.array(1).unwrap().remove(0).object().unwrap();
        let message = refusal(element.required("d").unwrap().secret());
        assert_eq!(
            message,
            "The member outer.inner[0].d must be base64url (RFC 4648 section 5), with or without padding."
        );
        assert_eq!(refusal(inner.array(0).map(|_| ())), "The member outer.inner may have at most 0 elements.");
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        for (text, number) in [("0", Some(0)), ("9", Some(9)), ("-0", None), ("10", None), ("-1", None)] {
            let body = format!("{{\"n\":{text}}}");
            assert_eq!(
                Object::parse(body.as_bytes()).unwrap().required("n").unwrap().number(0, 9).ok(),
                number,
                "{text}"
            );
        }
        for bad in ["1.0", "1e0", "\"1\"", "true", "[1]", "99999999999999999999"] {
            let body = format!("{{\"n\":{bad}}}");
            assert!(Object::parse(body.as_bytes()).unwrap().required("n").unwrap().time().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_written_without_escapes() {
        let read = |text: &str| {
            let body = format!("{{\"d\":{text}}}");
            Object::parse(body.as_bytes()).unwrap().required("d").unwrap().secret().map(|s| s.expose().to_vec()).ok()
        };
        assert_eq!(read(r#""AQID""#), Some(vec![1, 2, 3]));
        assert_eq!(read(r#""\u0041QID""#), None);
        assert_eq!(read("1"), None);
    }

    #[test]
    fn tags_are_texts_each_once() {
        let read = |text: &str| {
            let body = format!("{{\"tags\":{text}}}");
            Object::parse(body.as_bytes()).unwrap().required("tags").unwrap().tags()
        };
        assert_eq!(read(r#"{"a":"1","b":""}"#).unwrap().as_map().len(), 2);
        for bad in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":"1","a":"2"}"#, r#"{"":""}"#, "[]", r#""x""#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text: String, name: String) {
            let body = serde_json::to_vec(&std::collections::BTreeMap::from([(&name, &text)])).unwrap();
            let object = Object::parse(&body).unwrap();
            prop_assert_eq!(object.required(&name).unwrap().text().unwrap(), text);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Object::parse(&bytes).map(|object| object.members.len());
        }
    }
}
