"""The published interface, driven at random and once as it should be: no status or body that the document does not have."""

import pathlib
import sys
import uuid
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "python")]

import loopback  # noqa: E402,F401  names under .localhost lead here
import pytest  # noqa: E402
import schemathesis  # noqa: E402
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from schemathesis.specs.openapi.checks import response_schema_conformance  # noqa: E402

from document import merged  # noqa: E402
from pool import running_pool  # noqa: E402
from wire import Wire  # noqa: E402

ROLE = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
CRYPTO_USER = "21dbd100-6940-42c2-9190-5d6cb909625b"
ADMINISTRATOR = "a290e904-7015-4bba-90c8-60543313cdb4"
EXAMPLES = 40


def read_departures(path):
    """What is allowed beyond the document: (status, operation) pairs, operations not served, and pairs of a definition with
    a further value or with a member that may be null."""
    statuses, unserved, pairs = set(), set(), {"value": set(), "null": set()}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith(("value ", "null ")):
            kind, definition, what, _reason = line.split(" ", 3)
            pairs[kind].add((definition, what))
        elif not line.startswith(" "):
            kind, _reason = line.split(" ", 1)
        elif kind == "unserved":
            unserved.add(line.strip())
        else:
            assert (int(kind), line.strip()) not in statuses, f"twice: {kind} {line}"
            statuses.add((int(kind), line.strip()))
    return statuses, unserved, pairs


DEPARTURES, UNSERVED, PAIRS = read_departures(HERE / "departures.txt")
schema = schemathesis.openapi.from_dict(
    merged("https://pool.managedhsm.localhost", sorted(PAIRS["value"]), sorted(PAIRS["null"]))
)
OPERATIONS = {f"{each.ok().method.upper()} {each.ok().path}": each.ok() for each in schema.get_all_operations()}


@pytest.fixture(scope="session")
def pool():
    with running_pool() as running:
        yield running


@pytest.fixture(scope="session")
def caller(pool):
    """An account that may do everything, so that requests get past the roles and into the operations."""
    admin = Wire(pool).as_account("ADMIN")
    for role in (CRYPTO_USER, ADMINISTRATOR):
        properties = {"roleDefinitionId": ROLE + role, "principalId": pool.accounts["OFFICER"].object_id}
        path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        admin.put(path, {"properties": properties}).ok(201)
    return Wire(pool).as_account("OFFICER")


@pytest.fixture(scope="session")
def known(caller):
    """Keys of every type, and a deleted one, for the random requests to meet."""
    keys = {}
    for kind in ("RSA-HSM", "EC-HSM", "oct-HSM"):
        name = kind.lower()
        keys[name] = caller.create(name, kty=kind)["key"]["kid"].rsplit("/", 1)[1]
    caller.create("deleted", kty="oct-HSM")
    caller.delete("/keys/deleted").ok()
    keys["deleted"] = "0" * 32
    return keys


def aimed(case, known):
    """Leads a generated path to something that exists, for three of four generated names."""
    parameters = case.path_parameters or {}
    names = list(known)
    for part in ("key-name", "keyName"):
        if part in parameters:
            choice = sum(str(parameters[part]).encode()) % (len(names) + 1)
            if choice < len(names):
                parameters[part] = names[choice]
                if "key-version" in parameters:
                    parameters["key-version"] = known[names[choice]]
    if "scope" in parameters:
        parameters["scope"] = ("", "keys", "keys/rsa-hsm")[sum(str(parameters["scope"]).encode()) % 3]
    if "setting-name" in parameters and sum(str(parameters["setting-name"]).encode()) % 2:
        parameters["setting-name"] = "AllowKeyManagementOperationsThroughARM"
    return case


def asked(case, pool, caller):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case.call(
            base_url=pool.url,
            headers={"Authorization": f"Bearer {caller.token}"},
            verify=pool.ca_file,
            timeout=30,
        )


def declared(operation):
    return {int(status) for status in OPERATIONS[operation].definition.raw["responses"] if status.isdigit()}


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
def test_every_answer_is_one_that_the_document_has(case, pool, caller, known):
    published = f"{case.operation.method.upper()} {case.operation.path}"
    operation = f"{case.method.upper()} {case.operation.path}"  # the method may be one that the document does not have there
    if operation in ("GET /keys/{key-name}", "PATCH /keys/{key-name}"):
        operation += "/{key-version}"  # without one, the newest is meant
    response = asked(aimed(case, known), pool, caller)
    what = (operation, response.status_code, response.text[:500])
    status = response.status_code
    assert status < 500, what
    if published in UNSERVED:
        assert status in (404, 405), what
    elif operation not in OPERATIONS:
        assert status == 405, what
    elif status not in declared(operation):
        assert (status, operation) in DEPARTURES, what
    if status >= 400:
        error = response.json()["error"]
        assert error["code"] and error["message"], what
    case.validate_response(response, checks=[response_schema_conformance])


class Things:
    """What a right request needs to be there before it."""

    def __init__(self, caller):
        self.caller = caller

    def name(self):
        return f"right-{uuid.uuid4().hex}"

    def key(self, kind="RSA-HSM"):
        name = self.name()
        kid = self.caller.create(name, kty=kind)["key"]["kid"]
        return {"key-name": name, "key-version": kid.rsplit("/", 1)[1]}

    def deleted(self):
        key = self.key("oct-HSM")
        self.caller.delete(f"/keys/{key['key-name']}").ok()
        return {"key-name": key["key-name"]}

    def made(self, operation, kind, body):
        """A key, and what it makes of the body."""
        key = self.key(kind)
        return key, self.caller.post(f"/keys/{key['key-name']}/{operation}", body).ok()["value"]

    def policy(self):
        key = self.key("EC-HSM")
        self.caller.put(f"/keys/{key['key-name']}/rotationpolicy", POLICY).ok()
        return {"key-name": key["key-name"]}

    def definition(self):
        path = fresh("roleDefinitionName", "")
        self.caller.put(f"/providers/Microsoft.Authorization/roleDefinitions/{path['roleDefinitionName']}", DEFINITION).ok(201)
        return path

    def assignment(self):
        path = fresh("roleAssignmentName", "keys")
        guid = path["roleAssignmentName"]
        self.caller.put(f"/keys/providers/Microsoft.Authorization/roleAssignments/{guid}", ASSIGNMENT).ok(201)
        return path


def fresh(parameter, scope):
    return {"scope": scope, parameter: str(uuid.uuid4())}


RSA = {"alg": "RSA-OAEP-256", "value": "AAAA"}
EC = {"alg": "ES256", "value": "A" * 43}
POLICY = {
    "lifetimeActions": [{"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Rotate"}}],
    "attributes": {"expiryTime": "P90D"},
}
DEFINITION = {
    "properties": {
        "roleName": "right",
        "type": "CustomRole",
        "assignableScopes": ["/"],
        "permissions": [{"dataActions": ["Microsoft.KeyVault/managedHsm/keys/read/action"]}],
    }
}
ASSIGNMENT = {"properties": {"roleDefinitionId": ROLE + CRYPTO_USER, "principalId": str(uuid.UUID(int=7))}}
DEFINITIONS = "/{scope}/providers/Microsoft.Authorization/roleDefinitions"
ASSIGNMENTS = "/{scope}/providers/Microsoft.Authorization/roleAssignments"
SETTING = {"setting-name": "AllowKeyManagementOperationsThroughARM"}


def undone(things, operation, request):
    key, value = things.made(operation, "RSA-HSM", request)
    return key, {**request, "value": value}


def verified(things):
    key, value = things.made("sign", "EC-HSM", EC)
    return key, {"alg": EC["alg"], "digest": EC["value"], "value": value}


def named(key):
    return {"key-name": key["key-name"]}


# For every operation that is served, a request that must succeed: its path parameters, and its body.
RIGHT = {
    "POST /keys/{key-name}/create": lambda t: ({"key-name": t.name()}, {"kty": "EC-HSM", "crv": "P-256"}),
    "POST /keys/{key-name}/rotate": lambda t: (t.policy(), None),
    "PUT /keys/{key-name}": lambda t: ({"key-name": t.name()}, {"key": {"kty": "oct-HSM", "k": "A" * 43}}),
    "DELETE /keys/{key-name}": lambda t: (named(t.key()), None),
    "PATCH /keys/{key-name}/{key-version}": lambda t: (t.key(), {"tags": {"a": "b"}}),
    "GET /keys/{key-name}/{key-version}": lambda t: (t.key(), None),
    "GET /keys/{key-name}/versions": lambda t: (named(t.key()), None),
    "GET /keys": lambda t: ({}, None),
    "POST /keys/{key-name}/{key-version}/encrypt": lambda t: (t.key(), RSA),
    "POST /keys/{key-name}/{key-version}/decrypt": lambda t: undone(t, "encrypt", RSA),
    "POST /keys/{key-name}/{key-version}/sign": lambda t: (t.key("EC-HSM"), EC),
    "POST /keys/{key-name}/{key-version}/verify": verified,
    "POST /keys/{key-name}/{key-version}/wrapkey": lambda t: (t.key(), RSA),
    "POST /keys/{key-name}/{key-version}/unwrapkey": lambda t: undone(t, "wrapkey", RSA),
    "GET /deletedkeys": lambda t: ({}, None),
    "GET /deletedkeys/{key-name}": lambda t: (t.deleted(), None),
    "DELETE /deletedkeys/{key-name}": lambda t: (t.deleted(), None),
    "POST /deletedkeys/{key-name}/recover": lambda t: (t.deleted(), None),
    "GET /keys/{key-name}/rotationpolicy": lambda t: (t.policy(), None),
    "PUT /keys/{key-name}/rotationpolicy": lambda t: (named(t.key()), POLICY),
    "POST /rng": lambda t: ({}, {"count": 8}),
    f"DELETE {DEFINITIONS}/{{roleDefinitionName}}": lambda t: (t.definition(), None),
    f"PUT {DEFINITIONS}/{{roleDefinitionName}}": lambda t: (fresh("roleDefinitionName", ""), DEFINITION),
    f"GET {DEFINITIONS}/{{roleDefinitionName}}": lambda t: (t.definition(), None),
    f"GET {DEFINITIONS}": lambda t: ({"scope": ""}, None),
    f"DELETE {ASSIGNMENTS}/{{roleAssignmentName}}": lambda t: (t.assignment(), None),
    f"PUT {ASSIGNMENTS}/{{roleAssignmentName}}": lambda t: (fresh("roleAssignmentName", "keys"), ASSIGNMENT),
    f"GET {ASSIGNMENTS}/{{roleAssignmentName}}": lambda t: (t.assignment(), None),
    f"GET {ASSIGNMENTS}": lambda t: ({"scope": "keys"}, None),
    "PATCH /settings/{setting-name}": lambda t: (SETTING, {"value": "false"}),
    "GET /settings/{setting-name}": lambda t: (SETTING, None),
    "GET /settings": lambda t: ({}, None),
}


def test_every_operation_of_the_document_is_served_or_listed_as_not_served():
    assert set(OPERATIONS) == RIGHT.keys() | UNSERVED and not RIGHT.keys() & UNSERVED


def right(operation, things):
    path, body = RIGHT[operation](things)
    return {
        "path_parameters": path,
        "query": {"api-version": "7.5"},
        **({} if body is None else {"body": body, "media_type": "application/json"}),
    }


@pytest.mark.parametrize("operation", RIGHT)
def test_every_served_operation_succeeds_as_the_document_says(operation, pool, caller):
    case = OPERATIONS[operation].Case(**right(operation, Things(caller)))
    response = asked(case, pool, caller)
    assert response.status_code in declared(operation), (operation, response.status_code, response.text[:500])
    case.validate_response(response, checks=[response_schema_conformance])


NOWHERE = {
    "key-name": "no-such-key",
    "setting-name": "NoSuchSetting",
    "roleDefinitionName": str(uuid.UUID(int=7)),
    "roleAssignmentName": str(uuid.UUID(int=7)),
}


def wrong(status, operation, things):
    """The right request with the one flaw that has this status."""
    request = right(operation, things)
    path = request["path_parameters"]
    if status == 400:
        request["query"] = {"api-version": "1.0"}
    elif status == 404:
        path |= {parameter: NOWHERE[parameter] for parameter in path.keys() & NOWHERE.keys()}
    elif status == 403 and "roleDefinitionName" in path:
        path["roleDefinitionName"] = CRYPTO_USER
    elif status == 403:
        path |= things.key("oct-HSM" if operation.endswith(("/sign", "/verify")) else "EC-HSM")
    elif status == 409:
        path |= things.deleted()
    return request


@pytest.mark.parametrize("status, operation", sorted(DEPARTURES), ids=str)
def test_every_departure_that_is_listed_is_there(status, operation, pool, caller):
    response = asked(OPERATIONS[operation].Case(**wrong(status, operation, Things(caller))), pool, caller)
    assert response.status_code == status, (operation, response.status_code, response.text[:500])
