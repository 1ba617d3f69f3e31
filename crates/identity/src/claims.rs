//! The claims of a token, and the caller they describe.

use std::fmt;
use std::sync::Arc;

use model::{Caller, Groups, PrincipalId, UnixTime};
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::issuers::{Audience, Issuer};
use crate::token::{is_present, object};
use crate::verify::LEEWAY_SECONDS;
use crate::{TokenError, has_expired};

/// The most groups that are read from one token.
const MAX_GROUPS: usize = 1000;

/// The longest text claim that is kept.
const MAX_TEXT_BYTES: usize = 512;

/// Claims as they were sent. A claim named here may come once only.
#[derive(serde::Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    aud: Option<OneOrMany>,
    exp: Option<Seconds>,
    nbf: Option<Seconds>,
    iat: Option<Seconds>,
    tid: Option<String>,
    oid: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
    upn: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(rename = "_claim_names")]
    elsewhere: Option<Elsewhere>,
    hasgroups: Option<Flag>,
    jti: Option<String>,
    uti: Option<String>,
}

impl Claims {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        object(json).ok_or(TokenError::Malformed("claims"))
    }

    /// The caller, if the claims are for us, now, and from one who may say so.
    pub(crate) fn admitted(self, issuer: &Issuer, audience: &Audience, now: UnixTime) -> Result<Caller, TokenError> {
        let expires_at = self.exp.ok_or(TokenError::Malformed("exp"))?.0;
        if has_expired(expires_at, now) {
            return Err(TokenError::Expired);
        }
        // A token from the future would also outlive a revocation of all tokens issued before now.
        let latest = now.plus_seconds(LEEWAY_SECONDS);
        if [self.nbf, self.iat].into_iter().flatten().any(|Seconds(from)| from > latest) {
            return Err(TokenError::NotYetValid);
        }
        if !self.aud.as_ref().is_some_and(|aud| aud.any(|one| audience.accepts(one))) {
            return Err(TokenError::Audience);
        }
        let tenant = self.tid.as_deref().filter(|tenant| issuer.speaks_for(tenant)).ok_or(TokenError::Tenant)?;
        let principal = self.oid.as_deref().and_then(PrincipalId::parse).ok_or(TokenError::Principal)?;
        Ok(Caller {
            principal,
            tenant: tenant.to_ascii_lowercase().into(),
            issuer: self.iss.as_str().into(),
            application: text(self.appid.as_ref().or(self.azp.as_ref()), "appid")?,
            upn: text(self.upn.as_ref(), "upn")?,
            groups: self.groups()?,
            token_id: text(self.jti.as_ref().or(self.uti.as_ref()), "jti")?,
            issued_at: self.iat.map(|Seconds(at)| at),
            expires_at,
        })
    }

    /// A group whose id no assignment could name is left out: it can allow nothing.
    fn groups(&self) -> Result<Groups, TokenError> {
        let sent = self.groups.as_deref().unwrap_or_default();
        if sent.len() > MAX_GROUPS {
            return Err(TokenError::Malformed("groups"));
        }
        let ids = sent.iter().filter_map(|id| PrincipalId::parse(id)).collect();
        let more = self.elsewhere.as_ref().is_some_and(|names| names.groups)
            || self.hasgroups.as_ref().is_some_and(Flag::is_set);
        Ok(if more { Groups::Overage(ids) } else { Groups::Listed(ids) })
    }
}

/// Texts go to audit records and logs: bounded, and nothing in them that moves a cursor.
fn text(claim: Option<&String>, name: &'static str) -> Result<Option<Arc<str>>, TokenError> {
    match claim {
        Some(text) if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) => {
            Err(TokenError::Malformed(name))
        }
        other => Ok(other.map(|text| text.as_str().into())),
    }
}

/// The sources of claims left out for their size. Only their names matter: the addresses beside them are never
/// followed.
#[derive(serde::Deserialize)]
struct Elsewhere {
    #[serde(default, deserialize_with = "is_present")]
    groups: bool,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn any(&self, accepted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => accepted(one),
            Self::Many(many) => many.iter().any(|one| accepted(one)),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Bool(set) => *set,
            Self::Text(text) => text.eq_ignore_ascii_case("true"),
        }
    }
}

/// A NumericDate: seconds since 1970, a fraction allowed and dropped (RFC 7519 §2).
#[derive(Clone, Copy)]
struct Seconds(UnixTime);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                Ok(Seconds(UnixTime(seconds)))
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                i64::try_from(seconds).map(|seconds| Seconds(UnixTime(seconds))).map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                // Beyond 2^53 a fraction cannot be told from rounding.
                if !(0.0..=9_007_199_254_740_992.0).contains(&seconds) {
                    return Err(E::custom("out of range"));
                }
                Ok(Seconds(UnixTime(seconds as i64)))
            }
        }
        value.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeySet;

    fn admitted(claims: &str) -> Result<Caller, TokenError> {
        let issuer = Issuer::new(["i"], ["T-1"], KeySet::default());
        let json = format!(r#"{{"iss":"i","aud":"a","exp":2000,"tid":"t-1","oid":"O-1"{claims}}}"#);
        Claims::parse(json.as_bytes())?.admitted(&issuer, &Audience::resources(["a"]), UnixTime(1000))
    }

    #[test]
    fn groups_are_listed_unless_the_token_says_there_are_more() {
        let id = |text| PrincipalId::parse(text).unwrap();
        let groups = |claims: &str| admitted(claims).unwrap().groups;
        assert_eq!(groups(""), Groups::Listed(vec![]));
        assert_eq!(groups(r#","groups":["A","b"]"#), Groups::Listed(vec![id("a"), id("b")]));
        let sources =
            r#","_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://evil.example"}}"#;
        assert_eq!(groups(sources), Groups::Overage(vec![]));
        assert_eq!(groups(r#","groups":["a"],"hasgroups":true"#), Groups::Overage(vec![id("a")]));
        assert_eq!(groups(r#","hasgroups":"true""#), Groups::Overage(vec![]));
        assert_eq!(groups(r#","hasgroups":false,"_claim_names":{"other":"src1"}"#), Groups::Listed(vec![]));
    }

    #[test]
    fn more_groups_than_a_thousand_are_refused() {
        let groups = |n: usize| format!(r#","groups":[{}]"#, vec![r#""g""#; n].join(","));
        assert!(admitted(&groups(1000)).is_ok());
        assert_eq!(admitted(&groups(1001)), Err(TokenError::Malformed("groups")));
    }

    #[test]
    fn both_token_versions_name_application_and_token() {
        let caller = admitted(r#","appid":"app","jti":"j","upn":"ann@example.net","iat":900"#).unwrap();
        assert_eq!(caller.application.as_deref(), Some("app"));
        assert_eq!(caller.token_id.as_deref(), Some("j"));
        assert_eq!(caller.upn.as_deref(), Some("ann@example.net"));
        assert_eq!(caller.issued_at, Some(UnixTime(900)));
        let caller = admitted(r#","azp":"app","uti":"u""#).unwrap();
        assert_eq!((caller.application.as_deref(), caller.token_id.as_deref()), (Some("app"), Some("u")));
        assert_eq!((caller.principal.as_str(), caller.tenant.as_ref(), caller.issuer.as_ref()), ("o-1", "t-1", "i"));
    }

    #[test]
    fn a_claim_that_matters_may_come_once_only() {
        for again in [
            r#","oid":"o-2""#,
            r#","iss":"i""#,
            r#","\u0065xp":9999"#,
            r#","aud":"a""#,
            r#","upn":"a","upn":"b""#,
            r#","groups":[],"groups":["g"]"#,
        ] {
            assert_eq!(admitted(again), Err(TokenError::Malformed("claims")), "{again}");
        }
        assert!(admitted(r#","ver":"1.0","ver":"2.0""#).is_ok(), "a claim without meaning here is not looked at");
    }

    #[test]
    fn times_are_numbers_and_texts_are_printable() {
        for bad in
            [r#","nbf":"1""#, r#","nbf":1e300"#, r#","nbf":18446744073709551615"#, r#","iat":true"#, r#","upn":5"#]
        {
            assert_eq!(admitted(bad), Err(TokenError::Malformed("claims")), "{bad}");
        }
        assert!(admitted(r#","nbf":999.75,"iat":null"#).is_ok());
        assert_eq!(admitted(r#","upn":"a\nb""#), Err(TokenError::Malformed("upn")));
        assert_eq!(admitted(&format!(r#","azp":"{}""#, "x".repeat(513))), Err(TokenError::Malformed("appid")));
    }

    #[test]
    fn a_list_in_place_of_the_claims_is_refused() {
        assert!(Claims::parse(br#"["i","a",2000,null,null,"t-1","o-1"]"#).is_err());
        assert!(Claims::parse(b"{\"iss\":\"\xff\"}").is_err());
        assert!(Claims::parse(br#"{"iss":"i"} {}"#).is_err());
        assert!(Claims::parse("[".repeat(10_000).as_bytes()).is_err());
    }
}
