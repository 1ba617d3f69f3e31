//! The local RBAC document.

use http::StatusCode;
use model::rbac::{Guid, Scope};
use pool::Outcome;
use wire::paging;
use wire::rbac;
use wire::routes::Call as C;

use super::{Answer, Failure, Request};

/// Both making and replacing are answered so.
const CREATED: Outcome = Outcome { status: 201, code: None };

pub(super) async fn answer(mut request: Request<'_>) -> Result<Answer, Failure> {
    if let C::PutRoleDefinition(..) | C::PutRoleAssignment(..) = request.route.call {
        request.call.success = CREATED;
    }
    let request = &request;
    let (pool, call) = (request.pool, &request.call);
    match request.route.call.clone() {
        C::GetRoleDefinition(scope, id) => {
            Answer::ok(rbac::role_definition(&pool.role_definition(call, scope, id).await?))
        }
        C::ListRoleDefinitions(scope) => {
            Answer::ok(rbac::role_definition_list(&pool.role_definitions(call, scope).await?))
        }
        C::PutRoleDefinition(scope, id) => {
            let role = request.parse(|body| rbac::parse_role_definition(id, body)).await?;
            let role = pool.put_role_definition(call, scope, role).await?;
            Ok(Answer { status: StatusCode::CREATED, body: rbac::role_definition(&role) })
        }
        C::DeleteRoleDefinition(scope, id) => {
            Answer::ok(rbac::role_definition(&pool.delete_role_definition(call, scope, id).await?))
        }
        C::GetRoleAssignment(scope, name) => {
            Answer::ok(rbac::role_assignment(&pool.role_assignment(call, scope, name).await?))
        }
        C::ListRoleAssignments { scope, filter, after } => {
            let limit = paging::ASSIGNMENTS_PER_PAGE;
            let (page, more) = pool.role_assignments(call, scope.clone(), &filter, after.as_ref(), limit).await?;
            let next = page.last().filter(|_| more).map(|last| {
                let last: (Scope, Guid) = (last.scope.clone(), last.name);
                paging::role_assignments_after(&request.base, request.route.api_version, &scope, &filter, &last)
            });
            Answer::ok(rbac::role_assignment_list(&page, next.as_deref()))
        }
        C::PutRoleAssignment(scope, name) => {
            let assignment = request.parse(|body| rbac::parse_role_assignment(scope.clone(), name, body)).await?;
            let assignment = pool.put_role_assignment(call, assignment).await?;
            Ok(Answer { status: StatusCode::CREATED, body: rbac::role_assignment(&assignment) })
        }
        C::DeleteRoleAssignment(scope, name) => {
            Answer::ok(rbac::role_assignment(&pool.delete_role_assignment(call, scope, name).await?))
        }
        _ => Err(request.refuse("the call belongs to another document").await),
    }
}
