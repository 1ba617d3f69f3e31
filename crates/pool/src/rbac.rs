//! Local RBAC: role definitions and assignments.

use model::Operation;
use model::rbac::{Access, AssignmentFilter, Guid, RoleAssignment, RoleDefinition, Scope};
use store::Path;

use crate::error::{Error, Missing};
use crate::keys::page;
use crate::records::{RoleAssignmentRecord, RoleDefinitionRecord, encode};
use crate::view::{Effect, Quotas};
use crate::writer::{Planned, module_failed};
use crate::{Call, Inner, Pool};

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
    /// [`Error::BuiltInRole`], [`Error::RoleScope`], [`Error::Quota`]; [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleDefinitions_CreateOrUpdate`.
    pub async fn put_role_definition(
        &self,
        call: &Call,
        scope: Scope,
        role: RoleDefinition,
    ) -> Result<RoleDefinition, Error> {
        self.admitted(call, Operation::PutRoleDefinition, scope.clone(), async |permit| {
            if scope != Scope::Root {
                return Err(Error::RoleScope);
            }
            permit
                .commit(move |state, pool| {
                    let definitions = state.access.definitions();
                    let replaced = definitions.get(&role.id);
                    if replaced.is_some_and(|existing| existing.built_in) {
                        return Err(Error::BuiltInRole);
                    }
                    let limit = pool.quotas.role_definitions;
                    if replaced.is_none() && definitions.values().filter(|r| !r.built_in).count() >= limit {
                        return Err(Error::Quota { what: "custom role definitions", limit });
                    }
                    let mut custom = custom_roles(&state.access);
                    custom.retain(|existing| existing.id != role.id);
                    custom.push(role.clone());
                    let path = pool.paths.role_definition(role.id);
                    let value = encode(&RoleDefinitionRecord::new(&role));
                    pool.access_change(path, Some(value), state.sequence + 1, custom, assignments(&state.access))
                        .map(|planned| (planned, role.clone()))
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
            permit
                .commit(move |state, pool| {
                    let role =
                        state.access.definitions().get(&id).cloned().ok_or(Error::NotFound(Missing::RoleDefinition))?;
                    if role.built_in {
                        return Err(Error::BuiltInRole);
                    }
                    let mut custom = custom_roles(&state.access);
                    custom.retain(|existing| existing.id != id);
                    let path = pool.paths.role_definition(id);
                    pool.access_change(path, None, state.sequence + 1, custom, assignments(&state.access))
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

    /// Up to `limit` of the role assignments that a list at `scope` shows, from the first that follows `after`, and whether
    /// there are more.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_ListForScope`.
    pub async fn role_assignments(
        &self,
        call: &Call,
        scope: Scope,
        filter: &AssignmentFilter,
        after: Option<&(Scope, Guid)>,
        limit: usize,
    ) -> Result<(Vec<RoleAssignment>, bool), Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.admitted(call, Operation::ListRoleAssignments, scope.clone(), async |permit| {
            let state = permit.state();
            let from = after.map_or(Unbounded, Excluded);
            let following = state.access.assignments().range((from, Unbounded)).map(|(_, assignment)| assignment);
            Ok(page(following.filter(|a| filter.shows(&scope, a)).cloned(), limit))
        })
        .await
    }

    /// Makes or replaces a role assignment at its scope.
    ///
    /// # Errors
    /// [`Error::UnknownRole`], [`Error::LastAdministrator`] if it replaces the last one, [`Error::Quota`];
    /// [`Error::NotPermitted`].
    ///
    /// Source: local RBAC document, `RoleAssignments_Create`.
    pub async fn put_role_assignment(&self, call: &Call, assignment: RoleAssignment) -> Result<RoleAssignment, Error> {
        self.admitted(call, Operation::PutRoleAssignment, assignment.scope.clone(), async |permit| {
            permit
                .commit(move |state, pool| {
                    if !state.access.definitions().contains_key(&assignment.role) {
                        return Err(Error::UnknownRole);
                    }
                    let mut all = assignments(&state.access);
                    all.retain(|a| !(a.scope == assignment.scope && a.name == assignment.name));
                    check_quota(&all, &assignment.scope, &pool.quotas)?;
                    all.push(assignment.clone());
                    let path = pool.paths.role_assignment(&assignment.scope, assignment.name);
                    let value = encode(&RoleAssignmentRecord::new(&assignment));
                    pool.access_change(path, Some(value), state.sequence + 1, custom_roles(&state.access), all)
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
    pub async fn delete_role_assignment(&self, call: &Call, scope: Scope, name: Guid) -> Result<RoleAssignment, Error> {
        self.admitted(call, Operation::DeleteRoleAssignment, scope.clone(), async |permit| {
            let wanted = (scope, name);
            permit
                .commit(move |state, pool| {
                    let gone = state
                        .access
                        .assignments()
                        .get(&wanted)
                        .cloned()
                        .ok_or(Error::NotFound(Missing::RoleAssignment))?;
                    let mut rest = assignments(&state.access);
                    rest.retain(|a| *a != gone);
                    let path = pool.paths.role_assignment(&wanted.0, wanted.1);
                    pool.access_change(path, None, state.sequence + 1, custom_roles(&state.access), rest)
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
    // Keys need not exist for roles to be assigned at them, so what each may have does not bound them all.
    if others.len() >= quotas.assignments_in_all {
        return Err(Error::Quota { what: "role assignments in all", limit: quotas.assignments_in_all });
    }
    let (what, limit) = match scope {
        Scope::Root | Scope::Keys => ("role assignments at this scope", quotas.assignments),
        Scope::Key(_) => ("role assignments at one key", quotas.assignments_per_key),
    };
    if others.iter().filter(|assignment| assignment.scope == *scope).count() >= limit {
        return Err(Error::Quota { what, limit });
    }
    Ok(())
}
