//! The local RBAC document: bodies of role definitions and role assignments, their answers, and those as a client reads
//! them.

use model::rbac::{Guid, Permission, RoleAssignment, RoleDefinition, RoleError};
use model::{PrincipalId, Scope};
use serde::{Deserialize, Serialize, Serializer};

use crate::body::{BodyError, Member, Object, to_json};
use crate::keys::List;

const MAX_ROLE_NAME: usize = 512;
const MAX_DESCRIPTION: usize = 2048;
const MAX_PERMISSIONS: usize = 32;
const MAX_ACTIONS: usize = 256;
const MAX_ACTION: usize = 256;
/// Bytes of all its texts together: every list of roles holds all of them, and a store takes no value of any size.
const MAX_ROLE_TEXT: usize = 64 * 1024;

/// What stands before the GUID of a role definition's id. No slash before it, unlike an assignment's id: so the live
/// service writes it, and `az` looks for it.
const DEFINITION_ID: &str = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/";

/// Reads the body that makes or replaces the custom role `id`. What it does not say is empty afterwards.
///
/// # Errors
/// [`BodyError`], also for an unknown data action or another assignable scope than `/`.
///
/// Source: local RBAC document, `RoleDefinitionCreateParameters`.
pub fn parse_role_definition(id: Guid, body: &[u8]) -> Result<RoleDefinition, BodyError> {
    let properties = Object::parse(body)?.required("properties")?.object()?;
    let text = |name, most| {
        let member = properties.optional(name)?;
        member.map(|member: Member<'_>| member.short_text(most)).transpose().map(Option::unwrap_or_default)
    };
    if let Some(scopes) = properties.optional("assignableScopes")? {
        for scope in scopes.array(MAX_PERMISSIONS)? {
            if scope.text()? != "/" {
                return Err(scope.refuse(format_args!("is refused: {}", RoleError::AssignableScopes)));
            }
        }
    }
    let mut permissions = Vec::new();
    if let Some(list) = properties.optional("permissions")? {
        for element in list.array(MAX_PERMISSIONS)? {
            permissions.push(permission(&element.object()?)?);
        }
    }
    let (role_name, description) = (text("roleName", MAX_ROLE_NAME)?, text("description", MAX_DESCRIPTION)?);
    let texts = permissions.iter().flat_map(texts_of).chain([&role_name, &description]);
    if texts.map(String::len).sum::<usize>() > MAX_ROLE_TEXT {
        let most = format!("The role definition is refused: its texts may have {MAX_ROLE_TEXT} bytes together.");
        return Err(BodyError::new(most));
    }
    RoleDefinition::custom(id, role_name, description, permissions)
        .map_err(|rule| BodyError::new(format!("The role definition is refused: {rule}.")))
}

fn texts_of(permission: &Permission) -> impl Iterator<Item = &String> {
    let Permission { actions, not_actions, data_actions, not_data_actions } = permission;
    [actions, not_actions, data_actions, not_data_actions].into_iter().flatten()
}

fn permission(object: &Object<'_>) -> Result<Permission, BodyError> {
    let texts = |name| {
        let Some(list) = object.optional(name)? else { return Ok(Vec::new()) };
        list.array(MAX_ACTIONS)?.iter().map(|element| element.short_text(MAX_ACTION)).collect()
    };
    Ok(Permission {
        actions: texts("actions")?,
        not_actions: texts("notActions")?,
        data_actions: texts("dataActions")?,
        not_data_actions: texts("notDataActions")?,
    })
}

/// Reads the body that makes or replaces the assignment `name` at `scope`. Whether the role exists is not checked here.
///
/// # Errors
/// [`BodyError`].
///
/// Source: local RBAC document, `RoleAssignmentCreateParameters`.
pub fn parse_role_assignment(scope: Scope, name: Guid, body: &[u8]) -> Result<RoleAssignment, BodyError> {
    let properties = Object::parse(body)?.required("properties")?.object()?;
    let role = properties.required("roleDefinitionId")?;
    let principal = properties.required("principalId")?;
    Ok(RoleAssignment {
        name,
        scope,
        principal: PrincipalId::parse(&principal.text()?)
            .ok_or_else(|| principal.refuse("must be an object id of 1 to 128 visible ASCII characters"))?,
        role: parse_role_id(&role.text()?).ok_or_else(|| role.refuse(format_args!("must be {DEFINITION_ID}<guid>")))?,
    })
}

/// The role that a role definition's id names. What stands before `roleDefinitions` is not looked at, since clients
/// write it in several ways.
///
/// Returns `None` unless it ends in `roleDefinitions/<guid>`.
#[must_use]
pub fn parse_role_id(id: &str) -> Option<Guid> {
    let (before, guid) = id.rsplit_once('/')?;
    let collection = before.rsplit('/').next()?;
    collection.eq_ignore_ascii_case("roleDefinitions").then(|| Guid::parse(guid)).flatten()
}

/// The id of a role, as answers write it.
#[must_use]
pub fn role_id(role: Guid) -> String {
    format!("{DEFINITION_ID}{role}")
}

/// `{"id","name","type","properties"}` of one role.
#[must_use]
pub fn role_definition(role: &RoleDefinition) -> Vec<u8> {
    to_json(&DefinitionJson::new(role))
}

/// `{"value":[…]}` of roles; they always fit into one page.
#[must_use]
pub fn role_definition_list<'a>(roles: impl IntoIterator<Item = &'a RoleDefinition>) -> Vec<u8> {
    crate::keys::list(roles.into_iter().map(DefinitionJson::new), None)
}

/// `{"id","name","type","properties"}` of one assignment.
#[must_use]
pub fn role_assignment(assignment: &RoleAssignment) -> Vec<u8> {
    to_json(&AssignmentJson::new(assignment))
}

/// `{"value":[…],"nextLink"?}` of assignments. `next` is a link of [`crate::paging`], absent on the last page.
#[must_use]
pub fn role_assignment_list<'a>(
    assignments: impl IntoIterator<Item = &'a RoleAssignment>,
    next: Option<&str>,
) -> Vec<u8> {
    crate::keys::list(assignments.into_iter().map(AssignmentJson::new), next)
}

#[derive(Serialize)]
struct DefinitionJson<'a> {
    id: String,
    name: String,
    r#type: &'static str,
    properties: DefinitionProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionProperties<'a> {
    role_name: &'a str,
    description: &'a str,
    r#type: &'static str,
    assignable_scopes: [&'static str; 1],
    permissions: Vec<PermissionJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionJson<'a> {
    actions: &'a [String],
    not_actions: &'a [String],
    data_actions: &'a [String],
    not_data_actions: &'a [String],
}

impl<'a> DefinitionJson<'a> {
    fn new(role: &'a RoleDefinition) -> Self {
        let permissions = role.permissions.iter().map(|permission| PermissionJson {
            actions: &permission.actions,
            not_actions: &permission.not_actions,
            data_actions: &permission.data_actions,
            not_data_actions: &permission.not_data_actions,
        });
        Self {
            id: role_id(role.id),
            name: role.id.to_string(),
            r#type: "Microsoft.Authorization/roleDefinitions",
            properties: DefinitionProperties {
                role_name: &role.role_name,
                description: &role.description,
                r#type: if role.built_in { "AKVBuiltInRole" } else { "CustomRole" },
                assignable_scopes: ["/"],
                permissions: permissions.collect(),
            },
        }
    }
}

#[derive(Serialize)]
struct AssignmentJson<'a> {
    id: String,
    name: String,
    r#type: &'static str,
    properties: AssignmentProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignmentProperties<'a> {
    principal_id: &'a str,
    role_definition_id: String,
    #[serde(serialize_with = "scope_text")]
    scope: &'a Scope,
}

impl<'a> AssignmentJson<'a> {
    fn new(assignment: &'a RoleAssignment) -> Self {
        let scope = &assignment.scope;
        let prefix = if *scope == Scope::Root { String::new() } else { scope.to_string() };
        Self {
            id: format!("{prefix}/providers/Microsoft.Authorization/roleAssignments/{}", assignment.name),
            name: assignment.name.to_string(),
            r#type: "Microsoft.Authorization/roleAssignments",
            properties: AssignmentProperties {
                principal_id: assignment.principal.as_str(),
                role_definition_id: role_id(assignment.role),
                scope,
            },
        }
    }
}

fn scope_text<S: Serializer>(scope: &&Scope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(scope)
}

/// A role, as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RoleDefinitionReply {
    /// The id that an assignment refers to; see [`parse_role_id`].
    pub id: String,
    /// The GUID.
    pub name: String,
    /// The rest.
    pub properties: RoleDefinitionProperties,
}

/// What a role says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleDefinitionProperties {
    /// The name people see.
    #[serde(default)]
    pub role_name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// `AKVBuiltInRole` or `CustomRole`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it can be assigned.
    #[serde(default)]
    pub assignable_scopes: Vec<String>,
    /// What it grants.
    #[serde(default)]
    pub permissions: Vec<PermissionReply>,
}

/// One block of a role.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionReply {
    /// Data actions granted.
    #[serde(default)]
    pub data_actions: Vec<String>,
    /// Data actions withheld from this same grant.
    #[serde(default)]
    pub not_data_actions: Vec<String>,
}

/// An assignment, as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RoleAssignmentReply {
    /// Its address on the pool.
    pub id: String,
    /// The GUID.
    pub name: String,
    /// The rest.
    pub properties: RoleAssignmentProperties,
}

/// What an assignment says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignmentProperties {
    /// To whom.
    pub principal_id: String,
    /// Which role; see [`parse_role_id`].
    pub role_definition_id: String,
    /// Where.
    pub scope: String,
}

pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = parse_role_definition(Guid(0), bytes);
    let _ = parse_role_assignment(Scope::Root, Guid(0), bytes);
    let _ = parse_role_id(&String::from_utf8_lossy(bytes));
    let _ = serde_json::from_slice::<List<RoleDefinitionReply>>(bytes);
    let _ = serde_json::from_slice::<List<RoleAssignmentReply>>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::rbac::{ADMINISTRATOR, CRYPTO_USER, built_in_roles};
    use proptest::prelude::*;

    fn text(json: Vec<u8>) -> String {
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn an_assignment_is_written_as_the_live_service_does() {
        let body = br#"{"properties":{"roleDefinitionId":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b","principalId":"6F1B2C3D-0000-4000-8000-000000000001"}}"#;
        let at = |scope: &str| parse_role_assignment(Scope::parse(scope).unwrap(), Guid(1), body).unwrap();
        assert_eq!(at("/").role, CRYPTO_USER);
        assert_eq!(
            text(role_assignment(&at("/"))),
            concat!(
                r#"{"id":"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001","#,
                r#""name":"00000000-0000-0000-0000-000000000001","type":"Microsoft.Authorization/roleAssignments","#,
                r#""properties":{"principalId":"6f1b2c3d-0000-4000-8000-000000000001","roleDefinitionId":"#,
                r#""Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b","#,
                r#""scope":"/"}}"#
            )
        );
        let of_key = text(role_assignment(&at("keys/Orders")));
        assert!(
            of_key.starts_with(r#"{"id":"/keys/Orders/providers/Microsoft.Authorization/roleAssignments/"#),
            "{of_key}"
        );
        assert!(of_key.ends_with(r#""scope":"/keys/Orders"}}"#), "{of_key}");
        let list = text(role_assignment_list([&at("/")], Some("https://a/next")));
        assert!(
            list.starts_with(r#"{"value":[{"id":"#) && list.ends_with(r#"],"nextLink":"https://a/next"}"#),
            "{list}"
        );
        assert_eq!(text(role_assignment_list([], None)), r#"{"value":[]}"#);
    }

    #[test]
    fn a_custom_role_is_written_as_the_live_service_does() {
        let body = br#"{"properties":{"roleName":"signer","type":"CustomRole","assignableScopes":["/"],"permissions":[{"actions":[],"dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"]}]}}"#;
        let role = parse_role_definition(Guid(7), body).unwrap();
        assert_eq!(
            text(role_definition(&role)),
            concat!(
                r#"{"id":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-000000000007","#,
                r#""name":"00000000-0000-0000-0000-000000000007","type":"Microsoft.Authorization/roleDefinitions","#,
                r#""properties":{"roleName":"signer","description":"","type":"CustomRole","assignableScopes":["/"],"#,
                r#""permissions":[{"actions":[],"notActions":[],"dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"],"#,
                r#""notDataActions":[]}]}}"#
            )
        );
    }

    #[test]
    fn a_second_body_without_a_name_empties_it() {
        let role = parse_role_definition(Guid(7), br#"{"properties":{}}"#).unwrap();
        assert_eq!((role.role_name.as_str(), role.permissions.len()), ("", 0));
    }

    #[test]
    fn built_in_roles_read_back_from_their_list() {
        let roles = built_in_roles();
        let list: List<RoleDefinitionReply> = serde_json::from_slice(&role_definition_list(&roles)).unwrap();
        assert_eq!((list.value.len(), list.next), (9, None));
        assert_eq!(parse_role_id(&list.value[0].id), Some(ADMINISTRATOR));
        for (reply, role) in list.value.iter().zip(&roles) {
            assert_eq!(reply.properties.kind, "AKVBuiltInRole");
            assert_eq!(reply.properties.role_name, role.role_name);
            assert_eq!(reply.properties.permissions[0].data_actions, role.permissions[0].data_actions);
        }
    }

    #[test]
    fn a_role_id_ends_in_its_collection_and_a_guid() {
        let guid = CRYPTO_USER.to_string();
        for good in [role_id(CRYPTO_USER), format!("/{}", role_id(CRYPTO_USER)), format!("roledefinitions/{guid}")] {
            assert_eq!(parse_role_id(&good), Some(CRYPTO_USER), "{good}");
        }
        for bad in [guid.clone(), format!("x/{guid}"), format!("{}/", role_id(CRYPTO_USER)), String::new()] {
            assert_eq!(parse_role_id(&bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_that_break_a_rule_are_refused_by_member() {
        let definition = |body: &str| parse_role_definition(Guid(7), body.as_bytes()).unwrap_err().message;
        for (body, says) in [
            ("{}", "The member properties is required."),
            (r#"{"properties":[]}"#, "The member properties must be an object"),
            (r#"{"properties":{"roleName":1}}"#, "The member properties.roleName must be a text."),
            (r#"{"properties":{"assignableScopes":["/keys"]}}"#, "properties.assignableScopes[0] is refused"),
            (
                r#"{"properties":{"permissions":[{"dataActions":"x"}]}}"#,
                "properties.permissions[0].dataActions must be an array",
            ),
            (r#"{"properties":{"permissions":[{"dataActions":["x"]}]}}"#, "no such data action: x"),
            (r#"{"properties":{"permissions":[{"notDataActions":["y"]}]}}"#, "no such data action: y"),
        ] {
            assert!(definition(body).contains(says), "{body}: {}", definition(body));
        }
        let long = format!(r#"{{"properties":{{"description":"{}"}}}}"#, "x".repeat(2049));
        assert!(definition(&long).contains("properties.description may have at most 2048 characters"));

        let assignment = |body: &str| parse_role_assignment(Scope::Root, Guid(1), body.as_bytes()).unwrap_err().message;
        let role = role_id(CRYPTO_USER);
        for (body, says) in [
            (r#"{"properties":{"principalId":"p"}}"#.to_owned(), "properties.roleDefinitionId is required"),
            (format!(r#"{{"properties":{{"roleDefinitionId":"{role}"}}}}"#), "properties.principalId is required"),
            (
                format!(r#"{{"properties":{{"roleDefinitionId":"{role}","principalId":"a b"}}}}"#),
                "properties.principalId must be",
            ),
            (
                r#"{"properties":{"roleDefinitionId":"x","principalId":"p"}}"#.to_owned(),
                "properties.roleDefinitionId must be",
            ),
        ] {
            assert!(assignment(&body).contains(says), "{body}: {}", assignment(&body));
        }
    }

    proptest! {
        #[test]
        fn assignments_read_back(name: u128, role: u128, key in "[a-zA-Z0-9-]{1,127}", who in "[!-~]{1,128}") {
            let made = RoleAssignment {
                name: Guid(name),
                scope: Scope::parse(&format!("keys/{key}")).unwrap(),
                principal: PrincipalId::parse(&who).unwrap(),
                role: Guid(role),
            };
            let json = role_assignment(&made);
            let reply: RoleAssignmentReply = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(Scope::parse(&reply.properties.scope).unwrap(), made.scope.clone());
            // What a client read, it may send back.
            prop_assert_eq!(parse_role_assignment(made.scope.clone(), made.name, &json).unwrap(), made);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            fuzz(&bytes);
        }
    }
}
