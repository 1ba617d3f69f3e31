//! Local RBAC: role definitions and assignments.

use model::rbac::{
    Access, AssignmentFilter, Guid, Permission, RoleAssignment, RoleDefinition, RoleError, Scope,
};
use model::{Operation, PrincipalId};
use store::Path;

use crate::error::{Error, Missing};
use crate::records::{RoleAssignmentRecord, RoleDefinitionRecord, encode};
use crate::view::{Effect, Quotas};
use crate::writer::{Planned, module_failed};
use crate::{Call, Inner, Pool};

/// A custom role to make or replace. What is absent is emptied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRole {
    /// Its id, chosen by the client.
    pub id: Guid,
    /// The name people see.
    pub role_name: String,
    /// What it is for.
    pub description: String,
    /// What it grants.
    pub permissions: Vec<Permission>,
    /// Where it may be assigned; must be `/` alone, or empty for that.
    pub assignable_scopes: Vec<Scope>,
}

/// A role assignment to make or replace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAssignment {
    /// Its name, chosen by the client.
    pub name: Guid,
    /// Who gets the role; it is not looked up.
    pub principal: PrincipalId,
    /// Which role.
    pub role: Guid,
}

impl Pool {
    /// One role definition.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleDefinitions_Get`.
    pub async fn role_definition(&self, call: &Call, scope: Scope, id: Guid) -> Result<RoleDefinition, Error> {
        self.admitted(call, Operation::GetRoleDefinition, scope, async |permit| {
            permit.state().access.definitions().get(&id).cloned().ok_or(Error::NotFound(Missing::RoleDefinition))
        })
        .await
    }

    /// All role definitions, built-in ones included.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleDefinitions_List`.
    pub async fn role_definitions(&self, call: &Call, scope: Scope) -> Result<Vec<RoleDefinition>, Error> {
        self.admitted(call, Operation::ListRoleDefinitions, scope, async |permit| {
            Ok(permit.state().access.definitions().values().cloned().collect())
        })
        .await
    }

    /// Makes or replaces a custom role.
    ///
    /// # Errors
    /// [`Error::BuiltInRole`], [`Error::RoleScope`], [`Error::Role`], [`Error::Quota`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleDefinitions_CreateOrUpdate`.
    pub async fn put_role_definition(&self, call: &Call, scope: Scope, role: NewRole) -> Result<RoleDefinition, Error> {
        self.admitted(call, Operation::PutRoleDefinition, scope.clone(), async |permit| {
            if scope != Scope::Root {
                return Err(Error::RoleScope);
            }
            if role.assignable_scopes.iter().any(|scope| *scope != Scope::Root) {
                return Err(Error::Role(RoleError::AssignableScopes));
            }
            let role = RoleDefinition::custom(role.id, role.role_name, role.description, role.permissions)?;
            let pool = self.clone();
            permit
                .commit(move |state| {
                    let definitions = state.access.definitions();
                    let replaced = definitions.get(&role.id);
                    if replaced.is_some_and(|existing| existing.built_in) {
                        return Err(Error::BuiltInRole);
                    }
                    let limit = pool.0.quotas.role_definitions;
                    if replaced.is_none() && definitions.values().filter(|r| !r.built_in).count() >= limit {
                        return Err(Error::Quota { what: "custom role definitions", limit });
                    }
                    let mut custom = custom_roles(&state.access);
                    custom.retain(|existing| existing.id != role.id);
                    custom.push(role.clone());
                    let path = pool.0.paths.role_definition(role.id);
                    let value = encode(&RoleDefinitionRecord::new(&role));
                    pool.0.access_change(path, Some(value), state.sequence + 1, custom, assignments(&state.access)).map(
                        |planned| (planned, role.clone()),
                    )
                })
                .await
        })
        .await
    }

    /// Deletes a custom role and returns it. Its assignments stay and give nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::BuiltInRole`], [`Error::RoleScope`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleDefinitions_Delete`.
    pub async fn delete_role_definition(&self, call: &Call, scope: Scope, id: Guid) -> Result<RoleDefinition, Error> {
        self.admitted(call, Operation::DeleteRoleDefinition, scope.clone(), async |permit| {
            if scope != Scope::Root {
                return Err(Error::RoleScope);
            }
            let pool = self.clone();
            permit
                .commit(move |state| {
                    let role = state
                        .access
                        .definitions()
                        .get(&id)
                        .cloned()
                        .ok_or(Error::NotFound(Missing::RoleDefinition))?;
                    if role.built_in {
                        return Err(Error::BuiltInRole);
                    }
                    let mut custom = custom_roles(&state.access);
                    custom.retain(|existing| existing.id != id);
                    let path = pool.0.paths.role_definition(id);
                    pool.0
                        .access_change(path, None, state.sequence + 1, custom, assignments(&state.access))
                        .map(|planned| (planned, role))
                })
                .await
        })
        .await
    }

    /// One role assignment, by its name at exactly `scope`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_Get`.
    pub async fn role_assignment(&self, call: &Call, scope: Scope, name: Guid) -> Result<RoleAssignment, Error> {
        self.admitted(call, Operation::GetRoleAssignment, scope.clone(), async |permit| {
            let found = permit.state().access.assignments().get(&(scope, name)).cloned();
            found.ok_or(Error::NotFound(Missing::RoleAssignment))
        })
        .await
    }

    /// The role assignments that a list at `scope` shows.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_ListForScope`.
    pub async fn role_assignments(
        &self,
        call: &Call,
        scope: Scope,
        filter: AssignmentFilter,
    ) -> Result<Vec<RoleAssignment>, Error> {
        self.admitted(call, Operation::ListRoleAssignments, scope.clone(), async |permit| {
            let state = permit.state();
            Ok(state.access.assignments().values().filter(|a| filter.shows(&scope, a)).cloned().collect())
        })
        .await
    }

    /// Makes or replaces a role assignment at `scope`.
    ///
    /// # Errors
    /// [`Error::UnknownRole`], [`Error::LastAdministrator`] if it replaces the last one, [`Error::Quota`];
    /// [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_Create`.
    pub async fn put_role_assignment(
        &self,
        call: &Call,
        scope: Scope,
        new: NewAssignment,
    ) -> Result<RoleAssignment, Error> {
        self.admitted(call, Operation::PutRoleAssignment, scope.clone(), async |permit| {
            let NewAssignment { name, principal, role } = new;
            let assignment = RoleAssignment { name, scope, principal, role };
            let pool = self.clone();
            permit
                .commit(move |state| {
                    if !state.access.definitions().contains_key(&assignment.role) {
                        return Err(Error::UnknownRole);
                    }
                    let mut all = assignments(&state.access);
                    all.retain(|a| !(a.scope == assignment.scope && a.name == assignment.name));
                    check_quota(&all, &assignment.scope, &pool.0.quotas)?;
                    all.push(assignment.clone());
                    let path = pool.0.paths.role_assignment(&assignment.scope, assignment.name);
                    let value = encode(&RoleAssignmentRecord::new(&assignment));
                    pool.0
                        .access_change(path, Some(value), state.sequence + 1, custom_roles(&state.access), all)
                        .map(|planned| (planned, assignment.clone()))
                })
                .await
        })
        .await
    }

    /// Deletes a role assignment and returns it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LastAdministrator`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_Delete`.
    pub async fn delete_role_assignment(
        &self,
        call: &Call,
        scope: Scope,
        name: Guid,
    ) -> Result<RoleAssignment, Error> {
        self.admitted(call, Operation::DeleteRoleAssignment, scope.clone(), async |permit| {
            let (pool, wanted) = (self.clone(), (scope, name));
            permit
                .commit(move |state| {
                    let gone = state
                        .access
                        .assignments()
                        .get(&wanted)
                        .cloned()
                        .ok_or(Error::NotFound(Missing::RoleAssignment))?;
                    let mut rest = assignments(&state.access);
                    rest.retain(|a| *a != gone);
                    let path = pool.0.paths.role_assignment(&wanted.0, wanted.1);
                    pool.0
                        .access_change(path, None, state.sequence + 1, custom_roles(&state.access), rest)
                        .map(|planned| (planned, gone))
                })
                .await
        })
        .await
    }
}

impl Inner {
    /// A change of roles or assignments. Refused if it would leave the pool without an administrator: since every
    /// change is planned on the state that all before it left, two removals cannot both be the last but one.
    fn access_change(
        &self,
        path: Path,
        value: Option<Vec<u8>>,
        sequence: u64,
        custom: Vec<RoleDefinition>,
        assignments: Vec<RoleAssignment>,
    ) -> Result<Planned, Error> {
        let access = Access::new(custom, assignments);
        if access.administrators() == 0 {
            return Err(Error::LastAdministrator);
        }
        let sealed = match value {
            Some(value) => Some(self.module.seal_value(path.as_str(), sequence, &value).map_err(module_failed)?),
            None => None,
        };
        Ok(Planned { writes: vec![(path, sealed)], effects: vec![Effect::Access(access)] })
    }
}

fn custom_roles(access: &Access) -> Vec<RoleDefinition> {
    access.definitions().values().filter(|role| !role.built_in).cloned().collect()
}

fn assignments(access: &Access) -> Vec<RoleAssignment> {
    access.assignments().values().cloned().collect()
}

fn check_quota(others: &[RoleAssignment], scope: &Scope, quotas: &Quotas) -> Result<(), Error> {
    let (what, limit) = match scope {
        Scope::Root | Scope::Keys => ("role assignments at this scope", quotas.assignments),
        Scope::Key(_) => ("role assignments at one key", quotas.assignments_per_key),
    };
    if others.iter().filter(|assignment| assignment.scope == *scope).count() >= limit {
        return Err(Error::Quota { what, limit });
    }
    Ok(())
}
