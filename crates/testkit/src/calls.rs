//! Requests as the edge would hand them to a pool.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use model::{Caller, Groups, KeyName, KeyRef, KeyVersion, PrincipalId, UnixTime};
use pool::{Call, Error, Outcome};
use uuid::Uuid;

/// The principal of this id.
#[must_use]
pub fn principal(id: &str) -> PrincipalId {
    PrincipalId::parse(id).unwrap()
}

/// The key of this name.
#[must_use]
pub fn key_name(name: &str) -> KeyName {
    KeyName::parse(name).unwrap()
}

/// A key, and one version of it or the latest.
#[must_use]
pub fn key_ref(name: &str, version: Option<KeyVersion>) -> KeyRef {
    KeyRef { name: key_name(name), version }
}

/// A caller with this object id, in no group.
#[must_use]
pub fn caller(id: &str) -> Caller {
    Caller {
        principal: principal(id),
        tenant: "9a3c7d0e-5f43-4a0b-8c57-2f9d5c2e7b11".into(),
        issuer: "https://login.example.net/".into(),
        application: Some("04b07795-0000-4000-8000-000000000003".into()),
        upn: None,
        groups: Groups::Listed(Vec::new()),
        token_id: Some("token-1".into()),
        issued_at: None,
        expires_at: UnixTime(i64::MAX),
    }
}

/// A request of the principal with this id, in no group.
#[must_use]
pub fn call(id: &str) -> Call {
    call_of(caller(id))
}

/// A request of `caller`, with an id of its own.
#[must_use]
pub fn call_of(caller: Caller) -> Call {
    Call {
        caller: Arc::new(caller),
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        request_id: Uuid::new_v4(),
        correlation: None,
        user_agent: None,
        request: "TEST /".into(),
        received: Instant::now(),
        success: Outcome { status: 200, code: None },
        failure: outcome,
    }
}

/// How the test's edge answers each error: enough to tell kinds of outcome apart in a record.
#[must_use]
pub fn outcome(error: &Error) -> Outcome {
    let (status, code) = match error {
        Error::NotPermitted { .. } => (403, "NotPermitted"),
        Error::GroupsUnreadable { .. } => (403, "GroupsUnreadable"),
        Error::Unusable(_) => (403, "Unusable"),
        Error::NotFound(_) => (404, "NotFound"),
        Error::DeletedButRecoverable(_) | Error::BeingPurged(_) | Error::LastAdministrator | Error::Quota { .. } => {
            (409, "Conflict")
        }
        Error::PurgeProtected | Error::BuiltInRole => (403, "Forbidden"),
        Error::UnknownRole
        | Error::RoleScope
        | Error::ValidityOrder
        | Error::KeyOperations
        | Error::Algorithm(_)
        | Error::Input(_)
        | Error::Calendar => (400, "BadParameter"),
        Error::Busy | Error::Contention | Error::Unavailable { .. } => (503, "Unavailable"),
        Error::Internal => (500, "Internal"),
    };
    Outcome { status, code: Some(code) }
}
