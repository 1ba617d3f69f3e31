"""The published interface, driven at random: no 5xx, no status or body that the document does not have."""

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
    """What is allowed beyond the document: (status, operation or *) pairs, and (definition, value) pairs."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    statuses, values = set(), set()
    for kind, rest in lines:
        what = "*" if rest.startswith("* ") else " ".join(rest.split(" ")[:2])
        assert rest.removeprefix(what).strip(), f"no reason given: {kind} {rest}"
        if kind == "value":
            values.add(tuple(what.split(" ")))
        else:
            statuses.add((int(kind), what))
    return statuses, values


DEPARTURES, VALUES = read_departures(HERE / "departures.txt")
schema = schemathesis.openapi.from_dict(merged("https://pool.managedhsm.localhost", sorted(VALUES)))


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        response = aimed(case, known).call(
            base_url=pool.url,
            headers={"Authorization": f"Bearer {caller.token}"},
            verify=pool.ca_file,
            timeout=30,
        )
    operation = f"{case.method} {case.operation.path}"
    declared = {int(status) for status in case.operation.definition.raw["responses"] if status.isdigit()}
    status = response.status_code
    assert status < 500, (operation, status, response.text[:500])
    assert status in declared or {(status, operation), (status, "*")} & DEPARTURES, (operation, status, response.text[:500])
    if status >= 400:
        error = response.json()["error"]
        assert error["code"] and error["message"], (operation, response.text[:500])
    case.validate_response(response, checks=[response_schema_conformance])
