//! The one shape of every error answer, and Azure's codes.

use std::fmt::Write as _;

use model::rbac::Guid;
use serde::{Deserialize, Serialize};

use crate::body::to_json;

/// Codes of error answers, spelt as the live service spells them where that is known.
///
/// Source: recorded answers; product articles on error codes. Those marked "ours" have no published value.
pub mod codes {
    /// 400: something in the request breaks a rule.
    pub const BAD_PARAMETER: &str = "BadParameter";
    /// 400: a scope that names no key. The spelling is the service's.
    pub const INVALID_KEY_IDENTIFIER: &str = "Invalidkeyidentifier";
    /// 401; the live service sends no body, so no client sees it.
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// 403: the caller lacks the right.
    pub const ACCESS_DENIED: &str = "AccessDenied";
    /// 403: the key may not be used so: disabled, outside its validity, not among its operations, purge protection.
    pub const FORBIDDEN: &str = "Forbidden";
    /// Inner code of a 403: the client's address is not allowed.
    pub const FORBIDDEN_BY_FIREWALL: &str = "ForbiddenByFirewall";
    /// 404: no such key, version or deleted key.
    pub const KEY_NOT_FOUND: &str = "KeyNotFound";
    /// 404: no such path, role or setting. Ours.
    pub const NOT_FOUND: &str = "NotFound";
    /// 405. Ours.
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    /// 409: something else stands in the way.
    pub const CONFLICT: &str = "Conflict";
    /// Inner code of a 409: the name belongs to a deleted key.
    pub const OBJECT_IS_DELETED_BUT_RECOVERABLE: &str = "ObjectIsDeletedButRecoverable";
    /// Inner code of a 409: the name belongs to a key that is coming back.
    pub const OBJECT_IS_BEING_RECOVERED: &str = "ObjectIsBeingRecovered";
    /// 413. Ours.
    pub const REQUEST_TOO_LARGE: &str = "RequestEntityTooLarge";
    /// 429: too much at once.
    pub const THROTTLED: &str = "Throttled";
    /// 500.
    pub const INTERNAL_SERVER_ERROR: &str = "InternalServerError";
    /// 503: not now.
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
}

/// An error answer, before it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorBody<'a> {
    /// One of [`codes`].
    pub code: &'a str,
    /// What is wrong and what to do about it, for the client; no secret in it.
    pub message: &'a str,
    /// A finer code, where there is one.
    pub inner: Option<&'a str>,
}

impl ErrorBody<'_> {
    /// `{"error":{"code","message":"<message> (Activity ID: <guid>)","innererror"?}}`; the activity is the request's id.
    #[must_use]
    pub fn to_json(&self, activity: Guid) -> Vec<u8> {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Middle<'a>,
        }
        #[derive(Serialize)]
        struct Middle<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            innererror: Option<Inner<'a>>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
        }
        let mut message = self.message.to_owned();
        // Writing to a string cannot fail.
        let _ = write!(message, " (Activity ID: {activity})");
        to_json(&Outer {
            error: Middle { code: self.code, message: &message, innererror: self.inner.map(|code| Inner { code }) },
        })
    }
}

/// An error answer, as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ErrorReply {
    /// The code, one of [`codes`] or one that is newer.
    pub code: String,
    /// The message, Activity ID included.
    pub message: String,
    /// The finer error.
    #[serde(default, rename = "innererror")]
    pub inner: Option<InnerError>,
}

/// What lies inside an [`ErrorReply`].
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct InnerError {
    /// The finer code.
    pub code: Option<String>,
}

impl ErrorReply {
    /// Reads an error answer.
    ///
    /// Returns `None` if it has another shape, as answers of something in between do.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Outer {
            error: ErrorReply,
        }
        serde_json::from_slice(json).ok().map(|outer: Outer| outer.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACTIVITY: Guid = Guid(0x2c18_b078_7c48_4d3a_af88_5a3a_1b3f_82b3);

    #[test]
    fn an_error_is_written_as_the_live_service_does() {
        let body = ErrorBody {
            code: codes::ACCESS_DENIED,
            message: "Not authorized to access Microsoft.KeyVault/managedHsm/rng/action on /",
            inner: None,
        };
        assert_eq!(
            String::from_utf8(body.to_json(ACTIVITY)).unwrap(),
            concat!(
                r#"{"error":{"code":"AccessDenied","message":"Not authorized to access "#,
                r#"Microsoft.KeyVault/managedHsm/rng/action on / (Activity ID: 2c18b078-7c48-4d3a-af88-5a3a1b3f82b3)"}}"#
            )
        );
        let inner = ErrorBody { code: "Conflict", message: "m", inner: Some(codes::OBJECT_IS_BEING_RECOVERED) };
        let text = String::from_utf8(inner.to_json(ACTIVITY)).unwrap();
        assert!(text.ends_with(r#","innererror":{"code":"ObjectIsBeingRecovered"}}}"#), "{text}");
    }

    #[test]
    fn an_answer_of_another_shape_is_no_error_reply() {
        for bad in ["", "OK", "{}", r#"{"error":"x"}"#, r#"{"error":{"code":1,"message":""}}"#] {
            assert_eq!(ErrorReply::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn errors_read_back(code: String, message: String, inner: Option<String>, activity: u128) {
            let body = ErrorBody { code: &code, message: &message, inner: inner.as_deref() };
            let read = ErrorReply::parse(&body.to_json(Guid(activity))).unwrap();
            prop_assert_eq!(read.inner.and_then(|inner| inner.code), inner);
            prop_assert_eq!(read.message, format!("{message} (Activity ID: {})", Guid(activity)));
            prop_assert_eq!(read.code, code);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = ErrorReply::parse(&bytes);
        }
    }
}
