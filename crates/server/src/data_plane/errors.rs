//! The one table from what went wrong to status, Azure's code and message.

use http::StatusCode;
use model::Unusable;
use model::settings::Setting;
use pool::{Error, Missing, Outcome};
use wire::errors::codes;
use wire::routes::RouteError;

use crate::edge::Refusal;

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) inner: Option<&'static str>,
    pub(super) message: String,
    /// The value of the `allow` header.
    pub(super) allow: Option<String>,
    /// Seconds after which to try again.
    pub(super) retry_after: Option<u16>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, inner: None, message: message.into(), allow: None, retry_after: None }
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::BAD_PARAMETER, message)
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome { status: self.status.as_u16(), code: Some(self.code) }
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { allow: error.allow(), ..Self::new(status, error.code(), error.to_string()) }
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        let retry_after = (refusal.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { retry_after, ..Self::new(refusal.status(), refusal.code(), refusal.message()) }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (status, code, inner) = class(error);
        let message = match error {
            Error::NotFound(missing) => missing_text(missing),
            other => other.to_string(),
        };
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { inner, retry_after, ..Self::new(status, code, message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// How a pool's error is answered, for its audit record.
pub(super) fn outcome(error: &Error) -> Outcome {
    let (status, code, _) = class(error);
    Outcome { status: status.as_u16(), code: Some(code) }
}

/// Status, code and inner code of every error of a pool.
fn class(error: &Error) -> (StatusCode, &'static str, Option<&'static str>) {
    use StatusCode as S;
    match error {
        Error::NotPermitted { .. } | Error::GroupsUnreadable { .. } => (S::FORBIDDEN, codes::ACCESS_DENIED, None),
        Error::NotFound(Missing::Key(_) | Missing::DeletedKey(_)) => (S::NOT_FOUND, codes::KEY_NOT_FOUND, None),
        Error::NotFound(Missing::RoleDefinition) => (S::NOT_FOUND, "RoleDefinitionNotFound", None),
        Error::NotFound(Missing::RoleAssignment) => (S::NOT_FOUND, "RoleAssignmentNotFound", None),
        Error::NotFound(Missing::Setting) => (S::NOT_FOUND, codes::NOT_FOUND, None),
        Error::Unusable(
            Unusable::Disabled(_) | Unusable::NotYetValid(_) | Unusable::Expired(_) | Unusable::NotAmongOperations(_),
        )
        | Error::PurgeProtected
        | Error::BuiltInRole => (S::FORBIDDEN, codes::FORBIDDEN, None),
        Error::DeletedButRecoverable(_) => {
            (S::CONFLICT, codes::CONFLICT, Some(codes::OBJECT_IS_DELETED_BUT_RECOVERABLE))
        }
        Error::BeingPurged(_) | Error::LastAdministrator | Error::Quota { .. } => (S::CONFLICT, codes::CONFLICT, None),
        Error::UnknownRole
        | Error::RoleScope
        | Error::ValidityOrder
        | Error::KeyOperations
        | Error::Algorithm(_)
        | Error::Input(_)
        | Error::Calendar => (S::BAD_REQUEST, codes::BAD_PARAMETER, None),
        Error::Busy | Error::Contention | Error::Unavailable { .. } => {
            (S::SERVICE_UNAVAILABLE, codes::SERVICE_UNAVAILABLE, None)
        }
        Error::Internal => (S::INTERNAL_SERVER_ERROR, codes::INTERNAL_SERVER_ERROR, None),
    }
}

fn missing_text(missing: &Missing) -> String {
    match missing {
        Missing::Key(name) => format!(
            "A key with (name/id) {name} was not found in this pool. If it was deleted recently, it can be recovered with the \
             right to do so; see the deleted keys."
        ),
        Missing::DeletedKey(name) => format!("Deleted Key not found: {name}"),
        Missing::RoleDefinition => "There is no role definition of this id.".to_owned(),
        Missing::RoleAssignment => "There is no role assignment of this name at this scope.".to_owned(),
        Missing::Setting => {
            let names: Vec<_> = Setting::ALL.iter().map(|setting| setting.name()).collect();
            format!("There is no such setting; the settings are {}.", names.join(", "))
        }
    }
}
