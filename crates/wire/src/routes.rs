//! The route table: from a request line to the one operation it asks for.

use std::borrow::Cow;
use std::fmt;

use model::rbac::{AssignmentFilter, Guid};
use model::settings::Setting;
use model::{KeyName, KeyRef, KeyVersion, Operation, PrincipalId, Scope};
use percent_encoding::percent_decode_str;

use crate::errors::codes;
use crate::paging::{self, AssignmentPlace, Cursor, Page, PageSize};
use crate::versions::ApiVersion;

/// The longest path that is read, in bytes as sent. The longest legal one has some 300.
pub const MAX_PATH: usize = 2048;
/// The longest query that is read, in bytes as sent.
pub const MAX_QUERY: usize = 4096;

const MAX_SEGMENTS: usize = 12;
const MAX_QUERY_ITEMS: usize = 32;

/// A request line understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// What is asked for, of what.
    pub call: Call,
    /// In which version the client spoke. Answers have one shape for all.
    pub api_version: ApiVersion,
}

impl Route {
    /// The row of the one list.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.call.operation()
    }
}

/// Understands a request line.
///
/// `path` and `query` are as sent, percent-encoding included, without the `?`. `method_override` is the value of
/// whichever of [`METHOD_OVERRIDES`](crate::headers::METHOD_OVERRIDES) the request carries; it counts on a POST only.
///
/// What clients really send is tolerated: empty segments (an absent version, slashes doubled or at the end), percent-encoding
/// anywhere, even in the query's names, any case in the fixed words, unknown query items.
///
/// # Errors
/// [`RouteError`], in this order: unknown path, method, query and api-version, then what the path names.
pub fn parse(
    method: &str,
    path: &str,
    query: Option<&str>,
    method_override: Option<&str>,
) -> Result<Route, RouteError> {
    let path = Path::parse(path)?;
    let (row, found) = path.find(Method::parse(method, method_override)?)?;
    let query = Query::parse(query.unwrap_or_default())?;
    let api_version = match query.api_version.as_deref() {
        None | Some("") => return Err(RouteError::MissingApiVersion),
        Some(text) => ApiVersion::parse(text).ok_or_else(|| RouteError::UnknownApiVersion(bounded(text)))?,
    };
    Ok(Route { call: Call::new(row.operation, &found, &query)?, api_version })
}

/// One operation with everything that the request line says about it. The body, where there is one, is parsed apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// See [`Operation::CreateKey`].
    CreateKey(KeyName),
    /// See [`Operation::ImportKey`].
    ImportKey(KeyName),
    /// See [`Operation::RotateKey`].
    RotateKey(KeyName),
    /// See [`Operation::GetKey`].
    GetKey(KeyRef),
    /// See [`Operation::UpdateKey`].
    UpdateKey(KeyRef),
    /// See [`Operation::DeleteKey`].
    DeleteKey(KeyName),
    /// See [`Operation::ListKeys`].
    ListKeys(Page<KeyName>),
    /// See [`Operation::ListKeyVersions`].
    ListKeyVersions(KeyName, Page<KeyVersion>),
    /// See [`Operation::Encrypt`].
    Encrypt(KeyRef),
    /// See [`Operation::Decrypt`].
    Decrypt(KeyRef),
    /// See [`Operation::WrapKey`].
    WrapKey(KeyRef),
    /// See [`Operation::UnwrapKey`].
    UnwrapKey(KeyRef),
    /// See [`Operation::Sign`].
    Sign(KeyRef),
    /// See [`Operation::Verify`].
    Verify(KeyRef),
    /// See [`Operation::GetRotationPolicy`].
    GetRotationPolicy(KeyName),
    /// See [`Operation::SetRotationPolicy`].
    SetRotationPolicy(KeyName),
    /// See [`Operation::ListDeletedKeys`].
    ListDeletedKeys(Page<KeyName>),
    /// See [`Operation::GetDeletedKey`].
    GetDeletedKey(KeyName),
    /// See [`Operation::RecoverDeletedKey`].
    RecoverDeletedKey(KeyName),
    /// See [`Operation::PurgeDeletedKey`].
    PurgeDeletedKey(KeyName),
    /// See [`Operation::GetRandomBytes`].
    GetRandomBytes,
    /// See [`Operation::GetRoleDefinition`].
    GetRoleDefinition(Scope, Guid),
    /// See [`Operation::ListRoleDefinitions`].
    ListRoleDefinitions(Scope),
    /// See [`Operation::PutRoleDefinition`].
    PutRoleDefinition(Scope, Guid),
    /// See [`Operation::DeleteRoleDefinition`].
    DeleteRoleDefinition(Scope, Guid),
    /// See [`Operation::GetRoleAssignment`].
    GetRoleAssignment(Scope, Guid),
    /// See [`Operation::ListRoleAssignments`]; a page has [`paging::ASSIGNMENTS_PER_PAGE`].
    ListRoleAssignments {
        /// The scope in the path.
        scope: Scope,
        /// Which assignments to show.
        filter: AssignmentFilter,
        /// Begin with the first after this one.
        after: Option<AssignmentPlace>,
    },
    /// See [`Operation::PutRoleAssignment`].
    PutRoleAssignment(Scope, Guid),
    /// See [`Operation::DeleteRoleAssignment`].
    DeleteRoleAssignment(Scope, Guid),
    /// See [`Operation::ListSettings`].
    ListSettings,
    /// See [`Operation::GetSetting`]. `None` if no setting has the name, which is for those to know who may read it.
    GetSetting(Option<Setting>),
    /// See [`Operation::UpdateSetting`]. `None` as above.
    UpdateSetting(Option<Setting>),
}

impl Call {
    fn new(operation: Operation, found: &Found<'_>, query: &Query<'_>) -> Result<Self, RouteError> {
        use Operation as O;
        Ok(match operation {
            O::CreateKey => Self::CreateKey(found.name()?),
            O::ImportKey => Self::ImportKey(found.name()?),
            O::RotateKey => Self::RotateKey(found.name()?),
            O::GetKey => Self::GetKey(found.key()?),
            O::UpdateKey => Self::UpdateKey(found.key()?),
            O::DeleteKey => Self::DeleteKey(found.name()?),
            O::ListKeys => Self::ListKeys(query.page()?),
            O::ListKeyVersions => Self::ListKeyVersions(found.name()?, query.page()?),
            O::Encrypt => Self::Encrypt(found.key()?),
            O::Decrypt => Self::Decrypt(found.key()?),
            O::WrapKey => Self::WrapKey(found.key()?),
            O::UnwrapKey => Self::UnwrapKey(found.key()?),
            O::Sign => Self::Sign(found.key()?),
            O::Verify => Self::Verify(found.key()?),
            O::GetRotationPolicy => Self::GetRotationPolicy(found.name()?),
            O::SetRotationPolicy => Self::SetRotationPolicy(found.name()?),
            O::ListDeletedKeys => Self::ListDeletedKeys(query.page()?),
            O::GetDeletedKey => Self::GetDeletedKey(found.name()?),
            O::RecoverDeletedKey => Self::RecoverDeletedKey(found.name()?),
            O::PurgeDeletedKey => Self::PurgeDeletedKey(found.name()?),
            O::GetRandomBytes => Self::GetRandomBytes,
            O::GetRoleDefinition => Self::GetRoleDefinition(found.scope()?, found.guid()?),
            O::ListRoleDefinitions => {
                query.check_definition_filter()?;
                Self::ListRoleDefinitions(found.scope()?)
            }
            O::PutRoleDefinition => Self::PutRoleDefinition(found.scope()?, found.guid()?),
            O::DeleteRoleDefinition => Self::DeleteRoleDefinition(found.scope()?, found.guid()?),
            O::GetRoleAssignment => Self::GetRoleAssignment(found.scope()?, found.guid()?),
            O::ListRoleAssignments => Self::ListRoleAssignments {
                scope: found.scope()?,
                filter: query.assignment_filter()?,
                after: query.after()?,
            },
            O::PutRoleAssignment => Self::PutRoleAssignment(found.scope()?, found.guid()?),
            O::DeleteRoleAssignment => Self::DeleteRoleAssignment(found.scope()?, found.guid()?),
            O::ListSettings => Self::ListSettings,
            O::GetSetting => Self::GetSetting(Setting::parse(found.setting)),
            O::UpdateSetting => Self::UpdateSetting(Setting::parse(found.setting)),
        })
    }

    /// The scope at which its right is needed.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let key = match self {
            Self::GetRoleDefinition(scope, _)
            | Self::ListRoleDefinitions(scope)
            | Self::PutRoleDefinition(scope, _)
            | Self::DeleteRoleDefinition(scope, _)
            | Self::GetRoleAssignment(scope, _)
            | Self::ListRoleAssignments { scope, .. }
            | Self::PutRoleAssignment(scope, _)
            | Self::DeleteRoleAssignment(scope, _) => return scope.clone(),
            Self::CreateKey(name)
            | Self::ImportKey(name)
            | Self::RotateKey(name)
            | Self::DeleteKey(name)
            | Self::ListKeyVersions(name, _)
            | Self::GetRotationPolicy(name)
            | Self::SetRotationPolicy(name)
            | Self::GetDeletedKey(name)
            | Self::RecoverDeletedKey(name)
            | Self::PurgeDeletedKey(name) => Some(name),
            Self::GetKey(key)
            | Self::UpdateKey(key)
            | Self::Encrypt(key)
            | Self::Decrypt(key)
            | Self::WrapKey(key)
            | Self::UnwrapKey(key)
            | Self::Sign(key)
            | Self::Verify(key) => Some(&key.name),
            Self::ListKeys(_)
            | Self::ListDeletedKeys(_)
            | Self::GetRandomBytes
            | Self::ListSettings
            | Self::GetSetting(_)
            | Self::UpdateSetting(_) => None,
        };
        self.operation().scope(key)
    }

    /// The row of the one list.
    #[must_use]
    pub fn operation(&self) -> Operation {
        use Operation as O;
        match self {
            Self::CreateKey(_) => O::CreateKey,
            Self::ImportKey(_) => O::ImportKey,
            Self::RotateKey(_) => O::RotateKey,
            Self::GetKey(_) => O::GetKey,
            Self::UpdateKey(_) => O::UpdateKey,
            Self::DeleteKey(_) => O::DeleteKey,
            Self::ListKeys(_) => O::ListKeys,
            Self::ListKeyVersions(..) => O::ListKeyVersions,
            Self::Encrypt(_) => O::Encrypt,
            Self::Decrypt(_) => O::Decrypt,
            Self::WrapKey(_) => O::WrapKey,
            Self::UnwrapKey(_) => O::UnwrapKey,
            Self::Sign(_) => O::Sign,
            Self::Verify(_) => O::Verify,
            Self::GetRotationPolicy(_) => O::GetRotationPolicy,
            Self::SetRotationPolicy(_) => O::SetRotationPolicy,
            Self::ListDeletedKeys(_) => O::ListDeletedKeys,
            Self::GetDeletedKey(_) => O::GetDeletedKey,
            Self::RecoverDeletedKey(_) => O::RecoverDeletedKey,
            Self::PurgeDeletedKey(_) => O::PurgeDeletedKey,
            Self::GetRandomBytes => O::GetRandomBytes,
            Self::GetRoleDefinition(..) => O::GetRoleDefinition,
            Self::ListRoleDefinitions(_) => O::ListRoleDefinitions,
            Self::PutRoleDefinition(..) => O::PutRoleDefinition,
            Self::DeleteRoleDefinition(..) => O::DeleteRoleDefinition,
            Self::GetRoleAssignment(..) => O::GetRoleAssignment,
            Self::ListRoleAssignments { .. } => O::ListRoleAssignments,
            Self::PutRoleAssignment(..) => O::PutRoleAssignment,
            Self::DeleteRoleAssignment(..) => O::DeleteRoleAssignment,
            Self::ListSettings => O::ListSettings,
            Self::GetSetting(_) => O::GetSetting,
            Self::UpdateSetting(_) => O::UpdateSetting,
        }
    }
}

/// Why a request line is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// No operation has this path.
    #[error("There is no operation at this path.")]
    UnknownPath,
    /// Operations have this path, but none of them this method.
    #[error("This path does not know the method; it knows {}.", allowed(.0))]
    Method(Vec<Method>),
    /// The override header names no method that it may.
    #[error("The method override must be PATCH or DELETE.")]
    MethodOverride,
    /// No api-version.
    #[error("The query item api-version is missing; add ?api-version={}.", ApiVersion::CLIENT)]
    MissingApiVersion,
    /// An api-version that never was.
    #[error("The api-version {0:?} is not known; use {known}.", known = ApiVersion::CLIENT)]
    UnknownApiVersion(String),
    /// Not a legal key name.
    #[error("{}", model::NameError::Key)]
    KeyName,
    /// Where a version stands, something else does; no key has such a version.
    #[error("A key version has 32 hexadecimal digits, so there is no such version.")]
    NoSuchVersion,
    /// Before `/providers`, neither nothing, nor `/keys`, nor `/keys/<name>`.
    #[error("Invalid key identifier: a scope is /, /keys or /keys/<name>.")]
    Scope,
    /// A role definition or assignment not named by a GUID.
    #[error("The name of a role definition or role assignment is a GUID of 36 characters.")]
    RoleName,
    /// A query item that breaks its rule.
    #[error("The query item {name} {rule}.")]
    Query {
        /// The item.
        name: &'static str,
        /// Its rule, as the second half of a sentence.
        rule: &'static str,
    },
    /// The query as a whole.
    #[error("The query is too long.")]
    QueryTooLong,
}

impl RouteError {
    /// The HTTP status that answers it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownPath | Self::NoSuchVersion => 404,
            Self::Method(_) => 405,
            _ => 400,
        }
    }

    /// Azure's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownPath => codes::NOT_FOUND,
            Self::NoSuchVersion => codes::KEY_NOT_FOUND,
            Self::Method(_) => codes::METHOD_NOT_ALLOWED,
            Self::Scope => codes::INVALID_KEY_IDENTIFIER,
            _ => codes::BAD_PARAMETER,
        }
    }

    /// The value of the `allow` header, on a 405.
    #[must_use]
    pub fn allow(&self) -> Option<String> {
        match self {
            Self::Method(methods) => Some(allowed(methods)),
            _ => None,
        }
    }
}

fn allowed(methods: &[Method]) -> String {
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}

/// A foreign text for a message: at most 32 characters.
fn bounded(text: &str) -> String {
    text.chars().take(32).collect()
}

/// The methods that the interface uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Method {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other; no operation has it.
    Other,
}

impl Method {
    fn parse(method: &str, instead: Option<&str>) -> Result<Self, RouteError> {
        let sent = match method {
            "GET" => Self::Get,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        };
        match instead {
            Some(text) if sent == Self::Post => [Self::Patch, Self::Delete]
                .into_iter()
                .find(|method| method.as_str().eq_ignore_ascii_case(text))
                .ok_or(RouteError::MethodOverride),
            _ => Ok(sent),
        }
    }

    /// The method as HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other => "",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row: the operation that a method and a path ask for.
struct Row {
    method: Method,
    path: &'static [Part],
    operation: Operation,
}

/// What stands at one place of a path.
#[derive(Clone, Copy)]
enum Part {
    /// This word, in any case.
    Word(&'static str),
    /// A key name.
    Name,
    /// 32 hexadecimal digits, or nothing at all.
    Version,
    /// The GUID of a role definition or assignment.
    Guid,
    /// The name of a setting.
    Setting,
}

/// The table. A path with a scope begins behind the scope, with `providers`.
const TABLE: &[Row] = {
    use Method::{Delete, Get, Patch, Post, Put};
    use Operation as O;
    use Part::{Guid, Name, Setting, Version, Word};

    const fn row(method: Method, path: &'static [Part], operation: Operation) -> Row {
        Row { method, path, operation }
    }
    const KEYS: Part = Word("keys");
    const DELETED: Part = Word("deletedkeys");
    const PROVIDERS: Part = Word("providers");
    const AUTHORIZATION: Part = Word("Microsoft.Authorization");
    const DEFINITIONS: Part = Word("roleDefinitions");
    const ASSIGNMENTS: Part = Word("roleAssignments");
    const SETTINGS: Part = Word("settings");
    &[
        row(Post, &[KEYS, Name, Version, Word("sign")], O::Sign),
        row(Post, &[KEYS, Name, Version, Word("verify")], O::Verify),
        row(Post, &[KEYS, Name, Version, Word("encrypt")], O::Encrypt),
        row(Post, &[KEYS, Name, Version, Word("decrypt")], O::Decrypt),
        row(Post, &[KEYS, Name, Version, Word("wrapkey")], O::WrapKey),
        row(Post, &[KEYS, Name, Version, Word("unwrapkey")], O::UnwrapKey),
        row(Get, &[KEYS, Name, Version], O::GetKey),
        row(Patch, &[KEYS, Name, Version], O::UpdateKey),
        row(Put, &[KEYS, Name], O::ImportKey),
        row(Delete, &[KEYS, Name], O::DeleteKey),
        row(Post, &[KEYS, Name, Word("create")], O::CreateKey),
        row(Post, &[KEYS, Name, Word("rotate")], O::RotateKey),
        row(Get, &[KEYS, Name, Word("versions")], O::ListKeyVersions),
        row(Get, &[KEYS, Name, Word("rotationpolicy")], O::GetRotationPolicy),
        row(Put, &[KEYS, Name, Word("rotationpolicy")], O::SetRotationPolicy),
        row(Get, &[KEYS], O::ListKeys),
        row(Get, &[DELETED], O::ListDeletedKeys),
        row(Get, &[DELETED, Name], O::GetDeletedKey),
        row(Delete, &[DELETED, Name], O::PurgeDeletedKey),
        row(Post, &[DELETED, Name, Word("recover")], O::RecoverDeletedKey),
        row(Post, &[Word("rng")], O::GetRandomBytes),
        row(Get, &[PROVIDERS, AUTHORIZATION, DEFINITIONS], O::ListRoleDefinitions),
        row(Get, &[PROVIDERS, AUTHORIZATION, DEFINITIONS, Guid], O::GetRoleDefinition),
        row(Put, &[PROVIDERS, AUTHORIZATION, DEFINITIONS, Guid], O::PutRoleDefinition),
        row(Delete, &[PROVIDERS, AUTHORIZATION, DEFINITIONS, Guid], O::DeleteRoleDefinition),
        row(Get, &[PROVIDERS, AUTHORIZATION, ASSIGNMENTS], O::ListRoleAssignments),
        row(Get, &[PROVIDERS, AUTHORIZATION, ASSIGNMENTS, Guid], O::GetRoleAssignment),
        row(Put, &[PROVIDERS, AUTHORIZATION, ASSIGNMENTS, Guid], O::PutRoleAssignment),
        row(Delete, &[PROVIDERS, AUTHORIZATION, ASSIGNMENTS, Guid], O::DeleteRoleAssignment),
        row(Get, &[SETTINGS], O::ListSettings),
        row(Get, &[SETTINGS, Setting], O::GetSetting),
        row(Patch, &[SETTINGS, Setting], O::UpdateSetting),
    ]
};

/// Which texts pass for a version while a path is matched.
#[derive(Clone, Copy)]
enum Versions {
    Legal,
    Any,
}

/// A path taken apart: decoded segments, none of them empty, the scope of a role's path apart.
struct Path<'a> {
    /// Whether the path is one of a role, which alone may have a scope.
    has_scope: bool,
    scope: String,
    segments: Vec<Cow<'a, str>>,
}

impl<'a> Path<'a> {
    fn parse(path: &'a str) -> Result<Self, RouteError> {
        if path.len() > MAX_PATH {
            return Err(RouteError::UnknownPath);
        }
        let mut segments = Vec::with_capacity(4);
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if segments.len() == MAX_SEGMENTS {
                return Err(RouteError::UnknownPath);
            }
            segments.push(percent_decode_str(segment).decode_utf8().map_err(|_| RouteError::UnknownPath)?);
        }
        let provider = segments.windows(2).position(|pair| {
            pair[0].eq_ignore_ascii_case("providers") && pair[1].eq_ignore_ascii_case("Microsoft.Authorization")
        });
        let Some(at) = provider else {
            return Ok(Self { has_scope: false, scope: String::new(), segments });
        };
        // A scope may come as one encoded segment, slashes and all; nothing else may.
        let scope = segments.drain(..at).collect::<Vec<_>>().join("/");
        Ok(Self { has_scope: true, scope, segments })
    }

    /// The row for `method`, and what the path says at its open places.
    fn find(&self, method: Method) -> Result<(&'static Row, Found<'_>), RouteError> {
        let rows = |versions| TABLE.iter().filter_map(move |row| Some((row, self.matched(row, versions)?)));
        if let Some(hit) = rows(Versions::Legal).find(|(row, _)| row.method == method) {
            return Ok(hit);
        }
        let mut methods: Vec<Method> = rows(Versions::Legal).map(|(row, _)| row.method).collect();
        if !methods.is_empty() {
            methods.sort_unstable();
            return Err(RouteError::Method(methods));
        }
        let mut loosely = rows(Versions::Any);
        Err(if loosely.any(|(row, _)| row.method == method) {
            RouteError::NoSuchVersion
        } else {
            RouteError::UnknownPath
        })
    }

    fn matched(&self, row: &'static Row, versions: Versions) -> Option<Found<'_>> {
        // A version may be absent; then the row is one longer than the path.
        let has_version = self.segments.len() == row.path.len();
        let parts = || row.path.iter().filter(|part| has_version || !matches!(part, Part::Version));
        let is_role = matches!(row.path.first(), Some(Part::Word("providers")));
        // The fixed words first: they tell most rows apart at no cost.
        let mut words = parts().zip(&self.segments);
        let alike = words.all(|(part, segment)| match part {
            Part::Word(word) => segment.eq_ignore_ascii_case(word),
            _ => true,
        });
        if !alike || is_role != self.has_scope || parts().count() != self.segments.len() {
            return None;
        }
        let mut found = Found { scope: &self.scope, ..Found::default() };
        for (part, segment) in parts().zip(&self.segments) {
            match part {
                Part::Version => match (KeyVersion::parse(segment), versions) {
                    (Ok(version), _) => found.version = Some(version),
                    (Err(_), Versions::Any) => {}
                    (Err(_), Versions::Legal) => return None,
                },
                Part::Word(_) => {}
                Part::Name => found.name = segment,
                Part::Guid => found.guid = segment,
                Part::Setting => found.setting = segment,
            }
        }
        Some(found)
    }
}

/// What a path says at the open places of its row. Places that the row does not have are empty and legal nowhere.
#[derive(Default)]
struct Found<'a> {
    scope: &'a str,
    name: &'a str,
    version: Option<KeyVersion>,
    guid: &'a str,
    setting: &'a str,
}

impl Found<'_> {
    fn name(&self) -> Result<KeyName, RouteError> {
        KeyName::parse(self.name).map_err(|_| RouteError::KeyName)
    }

    fn key(&self) -> Result<KeyRef, RouteError> {
        Ok(KeyRef { name: self.name()?, version: self.version })
    }

    fn scope(&self) -> Result<Scope, RouteError> {
        Scope::parse(self.scope).map_err(|_| RouteError::Scope)
    }

    fn guid(&self) -> Result<Guid, RouteError> {
        Guid::parse(self.guid).ok_or(RouteError::RoleName)
    }
}

/// The query items that mean something, decoded.
#[derive(Default)]
struct Query<'a> {
    api_version: Option<Cow<'a, str>>,
    max_results: Option<Cow<'a, str>>,
    skip_token: Option<Cow<'a, str>>,
    filter: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Result<Self, RouteError> {
        if query.len() > MAX_QUERY {
            return Err(RouteError::QueryTooLong);
        }
        let mut known = Self::default();
        for (count, item) in query.split('&').filter(|item| !item.is_empty()).enumerate() {
            if count == MAX_QUERY_ITEMS {
                return Err(RouteError::QueryTooLong);
            }
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let Ok(name) = percent_decode_str(name).decode_utf8() else { continue };
            let (place, name) = match name.to_ascii_lowercase().as_str() {
                "api-version" => (&mut known.api_version, "api-version"),
                "maxresults" => (&mut known.max_results, "maxresults"),
                "$skiptoken" => (&mut known.skip_token, "$skiptoken"),
                "$filter" => (&mut known.filter, "$filter"),
                _ => continue,
            };
            let value = decode_value(value).ok_or(RouteError::Query { name, rule: "must be UTF-8" })?;
            if place.replace(value).is_some() {
                return Err(RouteError::Query { name, rule: "may come once only" });
            }
        }
        Ok(known)
    }

    fn page<T: Cursor>(&self) -> Result<Page<T>, RouteError> {
        let size = match self.max_results.as_deref() {
            None => PageSize::LARGEST,
            Some(text) => PageSize::parse(text)
                .ok_or(RouteError::Query { name: "maxresults", rule: "must be a whole number from 1 to 25" })?,
        };
        Ok(Page { size, after: self.after()? })
    }

    fn after<T: Cursor>(&self) -> Result<Option<T>, RouteError> {
        let rule = "must be taken from a nextLink as it is";
        let read = |token: &str| paging::read_token(token).ok_or(RouteError::Query { name: "$skiptoken", rule });
        self.skip_token.as_deref().map(read).transpose()
    }

    fn assignment_filter(&self) -> Result<AssignmentFilter, RouteError> {
        let rule = "must be atScope() or principalId eq '<object id>'";
        match self.filter.as_deref().map(str::trim) {
            None | Some("") => Ok(AssignmentFilter::Exactly),
            Some(text) if text.eq_ignore_ascii_case("atScope()") => Ok(AssignmentFilter::AtScope),
            Some(text) => principal_filter(text)
                .map(AssignmentFilter::Principal)
                .ok_or(RouteError::Query { name: "$filter", rule }),
        }
    }

    /// Role definitions stand at `/` alone, so the one filter that there is changes nothing.
    fn check_definition_filter(&self) -> Result<(), RouteError> {
        match self.filter.as_deref().map(str::trim) {
            None | Some("") => Ok(()),
            Some(text) if text.eq_ignore_ascii_case("atScopeAndBelow()") => Ok(()),
            Some(_) => Err(RouteError::Query { name: "$filter", rule: "must be atScopeAndBelow()" }),
        }
    }
}

/// `principalId eq <id>`, the id in single quotes or bare.
fn principal_filter(text: &str) -> Option<PrincipalId> {
    let mut words = text.split_ascii_whitespace();
    let legal = words.next()?.eq_ignore_ascii_case("principalId") && words.next()?.eq_ignore_ascii_case("eq");
    let id = words.next().filter(|_| legal)?;
    let id = id.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')).unwrap_or(id);
    PrincipalId::parse(id).filter(|_| words.next().is_none() && !id.contains('\''))
}

/// Decodes a query value; some clients write a space as `+`.
fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    if value.contains('+') {
        let spaced = value.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode_str(value).decode_utf8().ok()
}

#[cfg(test)]
mod tests;
