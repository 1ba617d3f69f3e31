"""What a key may be used for, and when."""

import time

import pytest

TEXT = "c2VjcmV0"
DIGEST = "A" * 43
KEY_OPS = {each.lower(): each for each in ("encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify")}
UNDONE_BY = {"encrypt": "decrypt", "wrapkey": "unwrapkey", "sign": "verify"}
# How a key of each type is made, and what it is asked to make.
KINDS = {
    "RSA": (
        {"kty": "RSA-HSM"},
        {
            "encrypt": {"alg": "RSA-OAEP-256", "value": TEXT},
            "wrapkey": {"alg": "RSA-OAEP-256", "value": TEXT},
            "sign": {"alg": "RS256", "value": DIGEST},
        },
    ),
    "EC": ({"kty": "EC-HSM"}, {"sign": {"alg": "ES256", "value": DIGEST}}),
    "oct": (
        {"kty": "oct-HSM", "key_size": 256, "key_ops": list(KEY_OPS.values())},
        {
            "encrypt": {"alg": "A256GCM", "value": TEXT},
            "wrapkey": {"alg": "A256KW", "value": DIGEST},
            "sign": {"alg": "HS256", "value": TEXT},
        },
    ),
    "AKP": ({"kty": "AKP", "alg": "ML-DSA-44"}, {"sign": {"value": TEXT}}),
}
CASES = [(kind, operation) for kind, (_, makes) in KINDS.items() for each in makes for operation in (each, UNDONE_BY[each])]


def asked(owner, method, path, body):
    """One request in a version that has every type of key."""
    return owner.call(method, path, body, api_version="2026-07-01-preview")


@pytest.fixture
def key(owner, name, kind):
    """A key, to be restricted by the test, and a right request for each of its operations."""
    creation, makes = KINDS[kind]
    asked(owner, "POST", f"/keys/{name}/create", creation).ok()
    requests = {}
    for operation, body in makes.items():
        made = asked(owner, "POST", f"/keys/{name}/{operation}", body).ok()
        parts = {part: made[part] for part in ("value", "iv", "tag") if part in made}
        digest = {"digest": body["value"]} if operation == "sign" else {}
        alg = {"alg": body["alg"]} if "alg" in body else {}
        requests |= {operation: body, UNDONE_BY[operation]: {**alg, **digest, **parts}}
    return name, requests


@pytest.mark.parametrize("kind, operation", CASES)
def test_an_operation_outside_key_ops_is_forbidden(owner, key, operation):
    name, requests = key
    allowed = [KEY_OPS[each] for each in requests if each != operation]
    asked(owner, "PATCH", f"/keys/{name}", {"key_ops": allowed}).ok()
    for each, body in requests.items():
        answer = asked(owner, "POST", f"/keys/{name}/{each}", body)
        if each == operation:
            answer.refused(403, "Forbidden")
        else:
            answer.ok()


@pytest.mark.parametrize("kind, operation", CASES)
def test_a_disabled_key_does_nothing(owner, key, operation):
    name, requests = key
    asked(owner, "PATCH", f"/keys/{name}", {"attributes": {"enabled": False}}).ok()
    answer = asked(owner, "POST", f"/keys/{name}/{operation}", requests[operation]).refused(403, "Forbidden")
    assert "disabled" in answer.message
    asked(owner, "PATCH", f"/keys/{name}", {"attributes": {"enabled": True}}).ok()
    asked(owner, "POST", f"/keys/{name}/{operation}", requests[operation]).ok()


@pytest.mark.parametrize("kind, operation", CASES)
@pytest.mark.parametrize("outside", ["expired", "not yet valid"])
def test_outside_its_time_a_key_reads_old_data_but_makes_nothing_new(owner, key, operation, outside):
    name, requests = key
    now = int(time.time())
    times = {"exp": now - 3600, "nbf": now - 7200} if outside == "expired" else {"nbf": now + 3600}
    asked(owner, "PATCH", f"/keys/{name}", {"attributes": times}).ok()
    answer = asked(owner, "POST", f"/keys/{name}/{operation}", requests[operation])
    if operation in UNDONE_BY:
        answer.refused(403, "Forbidden")
    else:
        answer.ok()


@pytest.mark.parametrize("kind", ["RSA"])
def test_a_key_for_importing_others_is_refused_for_everything_else(owner, key, kind):
    name, requests = key
    owner.create(name, kty="RSA-HSM", key_ops=["import"])
    for operation, body in requests.items():
        owner.post(f"/keys/{name}/{operation}", body).refused(403, "Forbidden")
    for mixed in (["import", "sign"], ["encrypt", "import"]):
        owner.patch(f"/keys/{name}", {"key_ops": mixed}).refused(400, "BadParameter")
    assert owner.get(f"/keys/{name}").ok()["key"]["key_ops"] == ["import"]


def test_an_expired_and_disabled_key_is_read_updated_listed_and_deleted(owner, name):
    past = int(time.time()) - 86400
    owner.create(name, kty="oct-HSM", attributes={"enabled": False, "exp": past})
    assert owner.get(f"/keys/{name}").ok()["attributes"]["exp"] == past
    owner.patch(f"/keys/{name}", {"tags": {"a": "b"}}).ok()
    assert len(owner.get(f"/keys/{name}/versions").ok()["value"]) == 1
    owner.delete(f"/keys/{name}").ok()


def test_each_version_has_attributes_of_its_own(owner, name):
    first = owner.create(name, kty="EC-HSM")["key"]["kid"].removeprefix(owner.pool.url)
    second = owner.create(name, kty="EC-HSM")["key"]["kid"].removeprefix(owner.pool.url)
    owner.patch(first, {"attributes": {"enabled": False}}).ok()
    body = {"alg": "ES256", "value": "A" * 43}
    owner.post(f"{first}/sign", body).refused(403, "Forbidden")
    owner.post(f"{second}/sign", body).ok()
    owner.post(f"/keys/{name}/sign", body).ok()


def test_old_versions_stay_usable(owner, name):
    first = owner.create(name, kty="RSA-HSM")["key"]["kid"].removeprefix(owner.pool.url)
    body = {"alg": "RSA-OAEP", "value": "c2VjcmV0"}
    encrypted = owner.post(f"{first}/encrypt", body).ok()
    assert encrypted["kid"] == owner.pool.url + first
    owner.create(name, kty="RSA-HSM")
    assert owner.post(f"{first}/decrypt", {**body, "value": encrypted["value"]}).ok()["value"] == "c2VjcmV0"
    owner.post(f"/keys/{name}/decrypt", {**body, "value": encrypted["value"]}).refused(400)


def test_an_update_moves_the_time_of_the_last_change(owner, name):
    created = owner.create(name, kty="oct-HSM")["attributes"]
    time.sleep(1.1)
    updated = owner.patch(f"/keys/{name}", {"tags": {"a": "b"}}).ok()["attributes"]
    assert updated["created"] == created["created"] and updated["updated"] > created["updated"]
