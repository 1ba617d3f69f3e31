//! What is recorded about one request.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The most bytes that one record takes as JSON.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;

/// What stands at the end of a text that was too long.
const CUT: &str = "…[cut]";

/// How long a text may be, in bytes, in a record that would otherwise be too long. Each byte can become six in JSON,
/// and there are seventeen texts.
const CUT_AT: usize = 256;

/// Who did what, on which key version, from where, with which outcome.
///
/// Stored as one compact JSON object; absent values are left out. Unknown members are ignored when it is read, so that
/// an older reader understands a newer log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Unique among all records of all nodes.
    #[serde(with = "uuid_text")]
    pub id: u128,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// The pool that was asked.
    pub pool: Arc<str>,
    /// The node that answers.
    pub node: Arc<str>,
    /// What was asked, `KeySign` for example.
    pub operation: Cow<'static, str>,
    /// The right that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_action: Option<Cow<'static, str>>,
    /// Who asked; absent if nobody could be authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// The address it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Header `x-ms-client-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Arc<str>>,
    /// The id of this request, which its answer carries too.
    #[serde(default, with = "uuid_text::optional", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u128>,
    /// Method and path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// Header `user-agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Arc<str>>,
    /// Where the right was needed; `/keys/<name>` names the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Arc<str>>,
    /// The version of that key.
    #[serde(default, with = "version_text", skip_serializing_if = "Option::is_none")]
    pub key_version: Option<u128>,
    /// The algorithm that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Cow<'static, str>>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The error code of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// Why it failed, for the auditor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// The sequence number of the pool's head after the change that this record belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
    /// How many requests this record stands for, if it stands for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// The principal behind a request, as its token describes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Caller {
    /// Claim `oid`.
    pub principal: Arc<str>,
    /// Claim `tid`.
    pub tenant: Arc<str>,
    /// Claim `appid` or `azp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Arc<str>>,
    /// Claim `upn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upn: Option<Arc<str>>,
    /// Claim `jti` or `uti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<Arc<str>>,
    /// Claim `iss`.
    pub issuer: Arc<str>,
}

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There are more than [`MAX_RECORD_BYTES`] of them.
    #[error("a record of {bytes} bytes is too long")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// They are not the JSON of a record.
    #[error("not a record")]
    Malformed {
        /// What was found.
        source: serde_json::Error,
    },
}

impl Record {
    /// Reads a record from its JSON.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] before anything is parsed, [`RecordError::Malformed`] for anything but a record.
    pub fn parse(json: &[u8]) -> Result<Self, RecordError> {
        if json.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong { bytes: json.len() });
        }
        serde_json::from_slice(json).map_err(|source| RecordError::Malformed { source })
    }

    /// Hands the record's JSON to `use_it`: at most [`MAX_RECORD_BYTES`], from a buffer that each thread uses again.
    pub(crate) fn with_json<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            self.write(buffer);
            if buffer.len() > MAX_RECORD_BYTES {
                self.cut().write(buffer);
            }
            use_it(buffer)
        })
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        serde_json::to_writer(buffer, self)
            .expect("texts, numbers and addresses have a JSON form, and memory takes it");
    }

    /// This record with every long text cut.
    fn cut(&self) -> Self {
        let caller = self.caller.as_ref().map(|caller| Caller {
            principal: cut_text(&caller.principal),
            tenant: cut_text(&caller.tenant),
            application: caller.application.as_ref().map(cut_text),
            upn: caller.upn.as_ref().map(cut_text),
            token_id: caller.token_id.as_ref().map(cut_text),
            issuer: cut_text(&caller.issuer),
        });
        Self {
            pool: cut_text(&self.pool),
            node: cut_text(&self.node),
            operation: cut_cow(&self.operation),
            data_action: self.data_action.as_deref().map(cut_cow),
            caller,
            correlation: self.correlation.as_ref().map(cut_text),
            request: self.request.as_ref().map(cut_text),
            user_agent: self.user_agent.as_ref().map(cut_text),
            scope: self.scope.as_ref().map(cut_text),
            algorithm: self.algorithm.as_deref().map(cut_cow),
            code: self.code.as_deref().map(cut_cow),
            reason: self.reason.as_ref().map(cut_text),
            ..self.clone()
        }
    }
}

fn cut_text(text: &Arc<str>) -> Arc<str> {
    shortened(text).map_or_else(|| text.clone(), Into::into)
}

fn cut_cow(text: &str) -> Cow<'static, str> {
    Cow::Owned(shortened(text).unwrap_or_else(|| text.to_owned()))
}

fn shortened(text: &str) -> Option<String> {
    (text.len() > CUT_AT).then(|| {
        let kept = &text[..text.floor_char_boundary(CUT_AT)];
        format!("{kept}{CUT}")
    })
}

/// An id as the usual 36 characters.
mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Uuid::from_u128(*id).hyphenated().encode_lower(&mut [0; 36]))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(|id| id.as_u128()).map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use super::{Deserializer, Serializer};

        #[expect(clippy::ref_option, reason = "serde decides the signature")]
        pub(in super::super) fn serialize<S: Serializer>(id: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
            match id {
                Some(id) => super::serialize(id, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<u128>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

/// A key version as 32 hexadecimal digits.
mod version_text {
    use serde::{Deserializer, Serializer};
    use uuid::Uuid;

    #[expect(clippy::ref_option, reason = "serde decides the signature")]
    pub(super) fn serialize<S: Serializer>(version: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        match version {
            Some(version) => serializer.serialize_str(Uuid::from_u128(*version).simple().encode_lower(&mut [0; 32])),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        super::uuid_text::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = crate::testing::record(7);
        record.with_json(|json| assert_eq!(Record::parse(json).unwrap(), record));
    }

    #[test]
    fn absent_values_are_left_out() {
        let record = Record {
            data_action: None,
            caller: None,
            source: None,
            correlation: None,
            request_id: None,
            request: None,
            user_agent: None,
            scope: None,
            key_version: None,
            algorithm: None,
            code: None,
            reason: None,
            duration_us: None,
            ..crate::testing::record(1)
        };
        let json = record.with_json(|json| String::from_utf8(json.to_vec()).unwrap());
        let id = "00000000-0000-0000-0000-000000000001";
        assert_eq!(
            json,
            format!(
                r#"{{"id":"{id}","time":1700000000001,"pool":"contoso","node":"a","operation":"KeySign","status":200}}"#
            )
        );
        assert_eq!(Record::parse(json.as_bytes()).unwrap(), record);
    }

    #[test]
    fn unknown_members_are_ignored() {
        let record = crate::testing::record(3);
        let mut json = record.with_json(|json| String::from_utf8(json.to_vec()).unwrap());
        json.insert_str(1, r#""colour":{"deep":[1,2]},"#);
        assert_eq!(Record::parse(json.as_bytes()).unwrap(), record);
    }

    #[test]
    fn the_longest_texts_are_cut_and_marked_and_the_record_still_fits() {
        let long: Arc<str> = "\u{1}".repeat(40_000).into();
        let cow = || Some(Cow::Owned(long.to_string()));
        let record = Record {
            pool: long.clone(),
            node: long.clone(),
            operation: Cow::Owned(long.to_string()),
            data_action: cow(),
            caller: Some(Caller {
                principal: long.clone(),
                tenant: long.clone(),
                application: Some(long.clone()),
                upn: Some(long.clone()),
                token_id: Some(long.clone()),
                issuer: long.clone(),
            }),
            correlation: Some(long.clone()),
            request: Some(long.clone()),
            user_agent: Some(long.clone()),
            scope: Some(long.clone()),
            algorithm: cow(),
            code: cow(),
            reason: Some(long.clone()),
            change: Some(u64::MAX),
            count: Some(u64::MAX),
            ..crate::testing::record(u64::MAX)
        };
        record.with_json(|json| {
            assert!(json.len() <= MAX_RECORD_BYTES, "{}", json.len());
            let read = Record::parse(json).unwrap();
            assert!(read.reason.unwrap().ends_with(CUT));
            assert_eq!(read.id, record.id);
        });
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened(&"é".repeat(200)).unwrap(), format!("{}{CUT}", "é".repeat(128)));
        assert_eq!(shortened(&format!("a{}", "é".repeat(200))).unwrap(), format!("a{}{CUT}", "é".repeat(127)));
        assert_eq!(shortened(&"a".repeat(CUT_AT)), None);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Record::parse(&bytes);
        }
    }
}
