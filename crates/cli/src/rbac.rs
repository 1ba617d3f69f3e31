//! `strongroom role`: local RBAC from the command line.

use clap::{Args, Subcommand};
use model::rbac::Guid;
use model::{PrincipalId, Scope};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::rbac::{RoleAssignmentReply, RoleDefinitionReply, parse_role_id, role_id};

use crate::connection::{Answer, Connection};
use crate::error::Error;
use crate::keys::show;
use crate::surroundings::Surroundings;
use crate::text::Table;
use crate::values;

/// Everything that can be done with roles.
#[derive(Subcommand, Debug)]
pub enum RoleCommand {
    /// What roles there are
    #[command(subcommand)]
    Definition(DefinitionCommand),
    /// Who has which role where
    #[command(subcommand)]
    Assignment(AssignmentCommand),
}

/// Role definitions.
#[derive(Subcommand, Debug)]
pub enum DefinitionCommand {
    /// List the roles
    List,
    /// Show what a role grants
    Show(RoleArg),
    /// Make a custom role
    Create(CreateDefinition),
    /// Delete a custom role; assignments of it lose their meaning
    Delete(RoleArg),
}

/// Role assignments.
#[derive(Subcommand, Debug)]
pub enum AssignmentCommand {
    /// List assignments: those made exactly at the scope, or all of one principal
    List(ListAssignments),
    /// Show one assignment
    Show(AssignmentArg),
    /// Give a role to a principal
    Create(CreateAssignment),
    /// Take an assignment away
    Delete(AssignmentArg),
}

/// A role.
#[derive(Args, Debug)]
pub struct RoleArg {
    /// Name of the role, such as "Managed HSM Crypto User", or its id
    role: String,
}

/// A custom role.
#[derive(Args, Debug)]
pub struct CreateDefinition {
    /// Name of the role
    name: String,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// Data action that it grants, such as Microsoft.KeyVault/managedHsm/keys/sign/action; may be repeated
    #[arg(long = "data-action", value_name = "ACTION", required = true)]
    data_actions: Vec<String>,
    /// Data action that it withholds from what it grants; may be repeated
    #[arg(long = "not-data-action", value_name = "ACTION")]
    not_data_actions: Vec<String>,
    /// Id of the role; a new one if left out, otherwise a role with this id is replaced
    #[arg(long, value_name = "GUID", value_parser = guid)]
    id: Option<Guid>,
}

/// Where.
#[derive(Args, Debug)]
struct ScopeArg {
    /// Where: / (the pool), /keys (all keys) or /keys/NAME
    #[arg(long, value_parser = values::scope, default_value = "/")]
    scope: Scope,
}

/// Which assignments to list.
#[derive(Args, Debug)]
pub struct ListAssignments {
    #[command(flatten)]
    at: ScopeArg,
    /// Object id: all of its assignments at, above and below the scope
    #[arg(long, value_name = "OBJECT-ID", value_parser = principal)]
    principal: Option<PrincipalId>,
}

/// A new assignment.
#[derive(Args, Debug)]
pub struct CreateAssignment {
    /// Name of the role, or its id
    #[arg(long)]
    role: String,
    /// Object id of the person, group or service principal
    #[arg(long, value_name = "OBJECT-ID", value_parser = principal)]
    principal: PrincipalId,
    #[command(flatten)]
    at: ScopeArg,
    /// Name of the assignment; a new one if left out
    #[arg(long, value_name = "GUID", value_parser = guid)]
    name: Option<Guid>,
}

/// An assignment that is there.
#[derive(Args, Debug)]
pub struct AssignmentArg {
    /// Name of the assignment
    #[arg(value_name = "GUID", value_parser = guid)]
    name: Guid,
    #[command(flatten)]
    at: ScopeArg,
}

/// Does what `command` says.
pub(crate) async fn run(
    command: RoleCommand,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    match command {
        RoleCommand::Definition(command) => match command {
            DefinitionCommand::List => list_definitions(connection, around).await,
            DefinitionCommand::Show(RoleArg { role }) => show_definition(&role, connection, around).await,
            DefinitionCommand::Create(args) => create_definition(args, connection, around).await,
            DefinitionCommand::Delete(RoleArg { role }) => {
                let role = find_role(&role, connection).await?;
                let gone = connection.call(Method::DELETE, &definition_path(role), None).await?;
                show(&gone.json, &definition_facts(&gone.meaning), connection.format(), around)
            }
        },
        RoleCommand::Assignment(command) => match command {
            AssignmentCommand::List(args) => list_assignments(&args, connection, around).await,
            AssignmentCommand::Show(args) => {
                let path = assignment_path(&args.at.scope, args.name);
                let found: Answer<RoleAssignmentReply> = connection.call(Method::GET, &path, None).await?;
                show(&found.json, &assignment_facts(&found.meaning), connection.format(), around)
            }
            AssignmentCommand::Create(args) => create_assignment(&args, connection, around).await,
            AssignmentCommand::Delete(args) => {
                let path = assignment_path(&args.at.scope, args.name);
                let gone: Answer<RoleAssignmentReply> = connection.call(Method::DELETE, &path, None).await?;
                show(&gone.json, &assignment_facts(&gone.meaning), connection.format(), around)
            }
        },
    }
}

async fn list_definitions(connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let roles = definitions(connection).await?;
    let row = |role: &RoleDefinitionReply| {
        let kind = if role.properties.kind == "CustomRole" { "custom" } else { "built in" };
        vec![role.properties.role_name.clone(), kind.to_owned(), role.name.clone()]
    };
    let table = Table::list(&["ROLE", "KIND", "ID"], roles.meaning.iter().map(row).collect());
    show(&roles.json, &table, connection.format(), around)
}

async fn show_definition(role: &str, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let role = find_role(role, connection).await?;
    let role = connection.call(Method::GET, &definition_path(role), None).await?;
    show(&role.json, &definition_facts(&role.meaning), connection.format(), around)
}

async fn create_definition(
    args: CreateDefinition,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let id = args.id.unwrap_or_else(random_guid);
    let body = json!({ "properties": {
        "roleName": args.name,
        "description": args.description,
        "type": "CustomRole",
        "assignableScopes": ["/"],
        "permissions": [{
            "actions": [],
            "notActions": [],
            "dataActions": args.data_actions,
            "notDataActions": args.not_data_actions,
        }],
    }});
    let role = connection.call(Method::PUT, &definition_path(id), Some(&body)).await?;
    show(&role.json, &definition_facts(&role.meaning), connection.format(), around)
}

async fn list_assignments(
    args: &ListAssignments,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let filter = args.principal.as_ref().map(|principal| format!("principalId eq '{principal}'"));
    let query: Vec<(&str, &str)> = filter.iter().map(|filter| ("$filter", filter.as_str())).collect();
    let path = format!("{}/roleAssignments", provider(&args.at.scope));
    let assignments: Answer<Vec<RoleAssignmentReply>> = connection.list(&path, &query).await?;
    let roles = definitions(connection).await?.meaning;
    let row = |assignment: &RoleAssignmentReply| {
        let properties = &assignment.properties;
        let id = parse_role_id(&properties.role_definition_id);
        let role = roles.iter().find(|role| parse_role_id(&role.id) == id);
        let role = role.map_or(&properties.role_definition_id, |role| &role.properties.role_name);
        vec![role.clone(), properties.principal_id.clone(), properties.scope.clone(), assignment.name.clone()]
    };
    let table = Table::list(&["ROLE", "PRINCIPAL", "SCOPE", "NAME"], assignments.meaning.iter().map(row).collect());
    show(&assignments.json, &table, connection.format(), around)
}

async fn create_assignment(
    args: &CreateAssignment,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let role = find_role(&args.role, connection).await?;
    let body: Value =
        json!({ "properties": { "roleDefinitionId": role_id(role), "principalId": args.principal.as_str() } });
    let path = assignment_path(&args.at.scope, args.name.unwrap_or_else(random_guid));
    let made = connection.call(Method::PUT, &path, Some(&body)).await?;
    show(&made.json, &assignment_facts(&made.meaning), connection.format(), around)
}

async fn definitions(connection: &mut Connection) -> Result<Answer<Vec<RoleDefinitionReply>>, Error> {
    connection.list(&format!("{}/roleDefinitions", provider(&Scope::Root)), &[]).await
}

/// The role with this id, or the only one with this name, compared without case.
async fn find_role(named: &str, connection: &mut Connection) -> Result<Guid, Error> {
    if let Some(id) = Guid::parse(named).or_else(|| parse_role_id(named)) {
        return Ok(id);
    }
    let roles = definitions(connection).await?.meaning;
    let mut matching = roles
        .iter()
        .filter(|role| role.properties.role_name.eq_ignore_ascii_case(named))
        .filter_map(|role| parse_role_id(&role.id));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Error::Input(format!("no role is named {named:?}; see strongroom role definition list"))),
        (Some(_), Some(_)) => Err(Error::Input(format!("several roles are named {named:?}; give the id of one"))),
    }
}

fn definition_facts(role: &RoleDefinitionReply) -> Table {
    let properties = &role.properties;
    let texts = |name, texts: &[String]| texts.iter().map(|text| (name, Some(text.clone()))).collect::<Vec<_>>();
    let permissions = properties.permissions.iter().flat_map(|permission| {
        let mut facts = texts("Grants", &permission.data_actions);
        facts.extend(texts("Withholds", &permission.not_data_actions));
        facts
    });
    let head = [
        ("Role", Some(properties.role_name.clone())),
        ("Description", Some(properties.description.clone()).filter(|text| !text.is_empty())),
        ("Kind", Some(properties.kind.clone())),
        ("Id", Some(role.name.clone())),
    ];
    Table::facts(head.into_iter().chain(permissions))
}

fn assignment_facts(assignment: &RoleAssignmentReply) -> Table {
    let properties = &assignment.properties;
    Table::facts([
        ("Name", Some(assignment.name.clone())),
        ("Principal", Some(properties.principal_id.clone())),
        ("Role", Some(properties.role_definition_id.clone())),
        ("Scope", Some(properties.scope.clone())),
    ])
}

fn provider(scope: &Scope) -> String {
    let prefix = if *scope == Scope::Root { String::new() } else { scope.to_string() };
    format!("{prefix}/providers/Microsoft.Authorization")
}

fn definition_path(role: Guid) -> String {
    format!("{}/roleDefinitions/{role}", provider(&Scope::Root))
}

fn assignment_path(scope: &Scope, name: Guid) -> String {
    format!("{}/roleAssignments/{name}", provider(scope))
}

fn random_guid() -> Guid {
    Guid(Uuid::new_v4().as_u128())
}

fn guid(text: &str) -> Result<Guid, &'static str> {
    Guid::parse(text).ok_or("a GUID has 36 characters")
}

fn principal(text: &str) -> Result<PrincipalId, &'static str> {
    // An apostrophe would end the text in a filter.
    PrincipalId::parse(text)
        .filter(|_| !text.contains('\''))
        .ok_or("an object id has 1 to 128 visible ASCII characters")
}
