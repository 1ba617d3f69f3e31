"""Roles on the wire: scopes, lists, filters, and the assignment that cannot go."""

import uuid

import pytest

ROLES = "/providers/Microsoft.Authorization/roleDefinitions"
ASSIGNMENTS = "/providers/Microsoft.Authorization/roleAssignments"
ADMINISTRATOR = "a290e904-7015-4bba-90c8-60543313cdb4"
CRYPTO_USER = "21dbd100-6940-42c2-9190-5d6cb909625b"


def role_id(guid):
    return f"Microsoft.KeyVault{ROLES}/{guid}"


@pytest.fixture
def assigned(admin):
    """Makes assignments, and removes them when the test is over."""
    made = []

    def assign(scope, principal=None, role=CRYPTO_USER):
        path = f"{scope}{ASSIGNMENTS}/{uuid.uuid4()}"
        properties = {"roleDefinitionId": role_id(role), "principalId": principal or str(uuid.uuid4())}
        answer = admin.put(path, {"properties": properties}).ok(201)
        made.append(path)
        return answer

    yield assign
    for path in made:
        admin.delete(path).ok()


def listed(wire, path):
    found, answer = [], wire.get(path).ok()
    while True:
        found += answer["value"]
        if not answer.get("nextLink"):
            return {each["name"]: each for each in found}
        answer = wire.follow(answer["nextLink"]).ok()


def test_an_assignment_has_the_published_shape(admin, assigned):
    principal = str(uuid.uuid4())
    made = assigned("", principal)
    assert made == {
        "id": f"{ASSIGNMENTS}/{made['name']}",
        "name": made["name"],
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {"principalId": principal, "roleDefinitionId": role_id(CRYPTO_USER), "scope": "/"},
    }
    at_key = assigned("/keys/some-key", principal)
    assert at_key["id"] == f"/keys/some-key{ASSIGNMENTS}/{at_key['name']}"
    assert at_key["properties"]["scope"] == "/keys/some-key"


@pytest.mark.parametrize("prefix", ["", "/", "//", "/%2F", "/%2f/"])
def test_the_root_scope_is_found_however_it_is_written(admin, prefix):
    assert ADMINISTRATOR in {role["name"] for role in admin.get(prefix + ROLES).ok()["value"]}


@pytest.mark.parametrize("prefix", ["/keys/some-key", "//keys//some-key/", "/keys%2Fsome-key", "/%2Fkeys%2Fsome-key"])
def test_a_key_scope_is_found_however_it_is_written(admin, assigned, prefix):
    made = assigned("/keys/some-key")
    assert admin.get(f"{prefix}{ASSIGNMENTS}/{made['name']}").ok() == made


def test_the_list_at_the_root_shows_what_is_at_the_root(admin, assigned):
    at_root, at_keys, at_key = assigned(""), assigned("/keys"), assigned("/keys/some-key")
    at = {name: set(listed(admin, scope + ASSIGNMENTS)) for name, scope in (("/", ""), ("/keys", "/keys"), ("key", "/keys/some-key"))}
    assert at_root["name"] in at["/"]
    assert {at_keys["name"], at_key["name"]}.isdisjoint(at["/"])
    assert at_keys["name"] in at["/keys"] and at_key["name"] in at["key"]


def test_at_scope_shows_what_is_at_or_above(admin, assigned):
    at_root, at_keys, at_key, at_other = (assigned(scope) for scope in ("", "/keys", "/keys/one", "/keys/other"))
    found = set(listed(admin, f"/keys/one{ASSIGNMENTS}?$filter=atScope()"))
    assert {at_root["name"], at_keys["name"], at_key["name"]} <= found and at_other["name"] not in found


@pytest.mark.parametrize("quote", ["'", "%27", ""])
def test_a_principal_is_found_at_above_and_below(admin, assigned, quote):
    principal = str(uuid.uuid4())
    mine = {assigned(scope, principal)["name"] for scope in ("", "/keys", "/keys/one")}
    assigned("")
    path = f"{ASSIGNMENTS}?$filter=principalId%20eq%20{quote}{principal}{quote}"
    assert set(listed(admin, path)) == mine


@pytest.mark.parametrize("text", ["nonsense", "principalId eq", "atScope() or 1 eq 1", "'"])
def test_a_filter_that_is_not_understood_is_refused(admin, text):
    from urllib.parse import quote

    admin.get(f"{ASSIGNMENTS}?$filter={quote(text)}").refused(400)


def test_definitions_take_their_own_filter(admin):
    assert CRYPTO_USER in listed(admin, f"{ROLES}?$filter=atScopeAndBelow()")


def test_no_filter_can_be_combined_with_anything(admin):
    admin.get(f"{ASSIGNMENTS}?$filter=atScope()%20and%20atScope()").refused(400)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"roleDefinitionId": role_id(CRYPTO_USER)},
        {"principalId": str(uuid.uuid4())},
        {"roleDefinitionId": "nonsense", "principalId": str(uuid.uuid4())},
        {"roleDefinitionId": role_id(uuid.UUID(int=1)), "principalId": str(uuid.uuid4())},
        {"roleDefinitionId": role_id(CRYPTO_USER), "principalId": 7},
        {"roleDefinitionId": role_id(CRYPTO_USER), "principalId": ""},
    ],
    ids=str,
)
def test_an_assignment_that_cannot_be_is_refused(admin, properties):
    path = f"{ASSIGNMENTS}/{uuid.uuid4()}"
    admin.put(path, {"properties": properties}).refused(400, "BadParameter")
    admin.get(path).refused(404)


@pytest.mark.parametrize("name", ["not-a-guid", "00000000-0000-0000-0000-00000000000g", "{}"])
def test_names_of_assignments_and_roles_are_guids(admin, name):
    properties = {"roleDefinitionId": role_id(CRYPTO_USER), "principalId": str(uuid.uuid4())}
    admin.put(f"{ASSIGNMENTS}/{name}", {"properties": properties}).refused(400)
    admin.put(f"{ROLES}/{name}", {"properties": {"permissions": []}}).refused(400)


def test_a_custom_role_is_made_at_the_root_only(admin):
    permissions = [{"dataActions": ["Microsoft.KeyVault/managedHsm/keys/read/action"]}]
    path = f"/keys{ROLES}/{uuid.uuid4()}"
    admin.put(path, {"properties": {"roleName": "x", "permissions": permissions}}).refused(400)


def test_a_role_with_an_unknown_action_is_refused(admin):
    permissions = [{"dataActions": ["Microsoft.KeyVault/managedHsm/keys/launch/action"]}]
    body = {"properties": {"roleName": "x", "permissions": permissions}}
    admin.put(f"{ROLES}/{uuid.uuid4()}", body).refused(400)


def test_not_data_actions_take_away_within_their_role(pool, admin, roleless, owner, name, assigned):
    guid = str(uuid.uuid4())
    prefix = "Microsoft.KeyVault/managedHsm/keys/"
    permission = {
        "dataActions": [prefix + "read/action", prefix + "sign/action"],
        "notDataActions": [prefix + "sign/action"],
    }
    body = {"properties": {"roleName": "reads only", "permissions": [permission]}}
    admin.put(f"{ROLES}/{guid}", body).ok(201)
    owner.create(name, kty="EC-HSM")
    assigned(f"/keys/{name}", pool.accounts["NOBODY"].object_id, guid)
    roleless.get(f"/keys/{name}").ok()
    roleless.post(f"/keys/{name}/sign", {"alg": "ES256", "value": "A" * 43}).refused(403, "AccessDenied")
    admin.delete(f"{ROLES}/{guid}").ok()
    roleless.get(f"/keys/{name}").refused(403, "AccessDenied")


def test_an_administrator_uses_reads_and_makes_no_key(admin, owner, name):
    owner.create(name, kty="EC-HSM")
    admin.get(f"/keys/{name}").refused(403, "AccessDenied")
    admin.get("/keys").refused(403, "AccessDenied")
    admin.post(f"/keys/{name}/sign", {"alg": "ES256", "value": "A" * 43}).refused(403, "AccessDenied")
    admin.post(f"/keys/{name}-2/create", {"kty": "EC-HSM"}).refused(403, "AccessDenied")


def test_an_auditor_reads_and_does_nothing_else(auditor, owner, name):
    owner.create(name, kty="EC-HSM")
    for path in (f"/keys/{name}", "/keys", f"/keys/{name}/versions", ROLES, ASSIGNMENTS):
        auditor.get(path).ok()
    auditor.post("/rng", {"count": 1}).refused(403, "AccessDenied")
    auditor.delete(f"/keys/{name}").refused(403, "AccessDenied")
    auditor.put(f"{ASSIGNMENTS}/{uuid.uuid4()}", {"properties": {}}).refused(403, "AccessDenied")


def test_nobody_reads_settings_but_administrators(admin, user, auditor, roleless):
    admin.get("/settings").ok()
    for wire in (user, auditor, roleless):
        wire.get("/settings").refused(403, "AccessDenied")
        path = "/settings/AllowKeyManagementOperationsThroughARM"
        wire.patch(path, {"value": "true"}).refused(403, "AccessDenied")


def test_a_caller_without_a_role_gets_access_denied_everywhere(roleless):
    guid = uuid.UUID(int=1)
    calls = [
        ("GET", "/keys"), ("GET", "/keys/k"), ("GET", "/keys/k/versions"), ("PUT", "/keys/k"), ("PATCH", "/keys/k/"),
        ("DELETE", "/keys/k"), ("GET", "/deletedkeys"), ("GET", "/deletedkeys/k"), ("DELETE", "/deletedkeys/k"),
        ("POST", "/deletedkeys/k/recover"), ("POST", "/keys/k/create"), ("POST", "/keys/k/rotate"),
        ("GET", "/keys/k/rotationpolicy"), ("PUT", "/keys/k/rotationpolicy"), ("POST", "/rng"),
        *[("POST", f"/keys/k//{verb}") for verb in ("encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify")],
        *[(method, f"{path}/{guid}") for method in ("GET", "PUT", "DELETE") for path in (ROLES, ASSIGNMENTS)],
        ("GET", ROLES), ("GET", ASSIGNMENTS), ("GET", "/settings"), ("GET", "/settings/s"), ("PATCH", "/settings/s"),
    ]
    for method, path in calls:
        answer = roleless.call(method, path, {} if method in ("PUT", "POST", "PATCH") else None)
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path, answer)


def test_the_last_administrator_cannot_be_removed(pool, admin):
    at_root = listed(admin, ASSIGNMENTS)
    administrators = [each for each in at_root.values() if each["properties"]["roleDefinitionId"] == role_id(ADMINISTRATOR)]
    (last,) = administrators
    path = f"{ASSIGNMENTS}/{last['name']}"
    admin.delete(path).refused(409, "Conflict")
    other = {"properties": {"roleDefinitionId": role_id(CRYPTO_USER), "principalId": str(uuid.uuid4())}}
    admin.put(path, other).refused(409, "Conflict")
    assert admin.get(path).ok() == last
    admin.get("/settings").ok()
