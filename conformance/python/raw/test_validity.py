"""What a key may be used for, and when."""

import time

import pytest

OPERATIONS = {
    "encrypt": lambda made: {"alg": "RSA-OAEP-256", "value": "c2VjcmV0"},
    "decrypt": lambda made: {"alg": "RSA-OAEP-256", "value": made["encrypted"]},
    "wrapkey": lambda made: {"alg": "RSA-OAEP-256", "value": "c2VjcmV0"},
    "unwrapkey": lambda made: {"alg": "RSA-OAEP-256", "value": made["encrypted"]},
    "sign": lambda made: {"alg": "RS256", "value": "A" * 43},
    "verify": lambda made: {"alg": "RS256", "digest": "A" * 43, "value": made["signature"]},
}
NAMES = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}
MAKING = {"encrypt", "wrapkey", "sign"}


@pytest.fixture
def key(owner, name):
    """A key with something encrypted and something signed under it, to be restricted by the test."""
    owner.create(name, kty="RSA-HSM")
    encrypted = owner.post(f"/keys/{name}/encrypt", {"alg": "RSA-OAEP-256", "value": "c2VjcmV0"}).ok()["value"]
    signature = owner.post(f"/keys/{name}/sign", {"alg": "RS256", "value": "A" * 43}).ok()["value"]
    return name, {"encrypted": encrypted, "signature": signature}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_outside_key_ops_is_forbidden(owner, key, operation):
    name, made = key
    allowed = [NAMES.get(each, each) for each in OPERATIONS if each != operation]
    owner.patch(f"/keys/{name}", {"key_ops": allowed}).ok()
    for each, body in OPERATIONS.items():
        answer = owner.post(f"/keys/{name}/{each}", body(made))
        if each == operation:
            answer.refused(403, "Forbidden")
        else:
            answer.ok()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_disabled_key_does_nothing(owner, key, operation):
    name, made = key
    owner.patch(f"/keys/{name}", {"attributes": {"enabled": False}}).ok()
    answer = owner.post(f"/keys/{name}/{operation}", OPERATIONS[operation](made)).refused(403, "Forbidden")
    assert "disabled" in answer.message
    owner.patch(f"/keys/{name}", {"attributes": {"enabled": True}}).ok()
    owner.post(f"/keys/{name}/{operation}", OPERATIONS[operation](made)).ok()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("outside", ["expired", "not yet valid"])
def test_outside_its_time_a_key_reads_old_data_but_makes_nothing_new(owner, key, operation, outside):
    name, made = key
    now = int(time.time())
    times = {"exp": now - 3600, "nbf": now - 7200} if outside == "expired" else {"nbf": now + 3600}
    owner.patch(f"/keys/{name}", {"attributes": times}).ok()
    answer = owner.post(f"/keys/{name}/{operation}", OPERATIONS[operation](made))
    if operation in MAKING:
        answer.refused(403, "Forbidden")
    else:
        answer.ok()


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
