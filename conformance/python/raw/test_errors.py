"""Refusals: the status, the code and the shape that clients depend on."""

import pytest


def test_a_key_that_is_not_there_is_not_found(owner):
    owner.get("/keys/no-such-key").refused(404, "KeyNotFound")
    owner.get("/keys/no-such-key/" + "0" * 32).refused(404, "KeyNotFound")
    owner.patch("/keys/no-such-key", {"tags": {}}).refused(404, "KeyNotFound")
    owner.delete("/keys/no-such-key").refused(404, "KeyNotFound")
    owner.post("/keys/no-such-key/rotate").refused(404, "KeyNotFound")
    owner.post("/keys/no-such-key/sign", {"alg": "RS256", "value": "A" * 43}).refused(404, "KeyNotFound")
    owner.get("/keys/no-such-key/rotationpolicy").refused(404, "KeyNotFound")


def test_a_deleted_key_that_is_not_there_is_not_found(owner):
    answer = owner.get("/deletedkeys/no-such-key").refused(404, "KeyNotFound")
    assert answer.message.startswith("Deleted Key not found: no-such-key")
    owner.post("/deletedkeys/no-such-key/recover").refused(404, "KeyNotFound")
    owner.delete("/deletedkeys/no-such-key").refused(404, "KeyNotFound")


def test_a_version_that_is_not_there_is_not_found(owner, name):
    owner.create(name, kty="oct-HSM")
    owner.get(f"/keys/{name}/{'0' * 32}").refused(404, "KeyNotFound")


def test_a_denial_says_what_is_missing_and_where(roleless):
    answer = roleless.get("/keys/some-key").refused(403, "AccessDenied")
    assert answer.message.startswith("Not authorized to access Microsoft.KeyVault/managedHsm/keys/read/action on /keys/some-key")


def test_a_denial_is_the_same_whether_or_not_the_key_exists(roleless, owner, name):
    def denial(path):
        answer = roleless.get(path).refused(403, "AccessDenied")
        return answer.message.split(" (Activity")[0].replace(path, "PATH")

    absent = denial(f"/keys/{name}")
    owner.create(name, kty="oct-HSM")
    assert denial(f"/keys/{name}") == absent


def test_a_caller_without_the_right_learns_nothing_from_the_body(roleless):
    roleless.post("/keys/some-key/create", {"kty": "no such type"}).refused(403, "AccessDenied")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kty": None},
        {"kty": 7},
        {"kty": "DSA"},
        {"kty": "rsa"},
        {"kty": "RSA", "key_size": 1024},
        {"kty": "RSA", "key_size": 2049},
        {"kty": "RSA", "key_size": "2048"},
        {"kty": "RSA", "key_size": -2048},
        {"kty": "RSA", "key_size": 2048.5},
        {"kty": "RSA", "key_size": 2**64},
        {"kty": "RSA", "public_exponent": 1},
        {"kty": "RSA", "public_exponent": 4},
        {"kty": "RSA", "public_exponent": -3},
        {"kty": "EC", "crv": "P-224"},
        {"kty": "EC", "crv": 256},
        {"kty": "oct", "key_size": 64},
        {"kty": "oct", "key_size": 512},
        {"kty": "AKP"},
        {"kty": "AKP", "alg": "ML-DSA-45"},
        {"kty": "RSA", "key_ops": ["sing"]},
        {"kty": "RSA", "key_ops": "sign"},
        {"kty": "RSA", "key_ops": ["import", "sign"]},
        {"kty": "EC", "key_ops": ["encrypt"]},
        {"kty": "EC", "attributes": {"enabled": "yes"}},
        {"kty": "EC", "attributes": {"exp": "tomorrow"}},
        {"kty": "EC", "attributes": {"nbf": 2000000000, "exp": 1900000000}},
        {"kty": "EC", "attributes": {"exp": 2**63}},
        {"kty": "EC", "attributes": []},
        {"kty": "EC", "tags": {"n": 1}},
        {"kty": "EC", "tags": ["n"]},
        {"kty": "EC", "tags": {str(n): "" for n in range(16)}},
        {"kty": "EC", "tags": {"n" * 257: ""}},
        {"kty": "EC", "tags": {"n": "v" * 257}},
        {"kty": "EC", "attributes": {"exportable": True}},
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_key_that_cannot_be_is_refused_and_not_made(owner, name, body):
    owner.post(f"/keys/{name}/create", body).refused(400, "BadParameter")
    owner.get(f"/keys/{name}").refused(404)


def test_a_release_policy_on_a_key_that_cannot_leave_is_refused(owner, name):
    policy = {"contentType": "application/json; charset=utf-8", "data": "e30"}
    answer = owner.post(f"/keys/{name}/create", {"kty": "RSA", "release_policy": policy}).refused(400, "BadParameter")
    assert answer.message.startswith("Non-exportable keys must not have release policy")


def test_a_rotation_without_a_policy_is_refused(owner, name):
    owner.create(name, kty="EC-HSM")
    owner.post(f"/keys/{name}/rotate").refused(400, "BadParameter")
    assert len(owner.get(f"/keys/{name}/versions").ok()["value"]) == 1


def test_a_setting_that_is_not_there_is_not_found(admin):
    admin.get("/settings/NoSuchSetting").refused(404, "NotFound")
    admin.patch("/settings/NoSuchSetting", {"value": "true"}).refused(404, "NotFound")


def test_a_setting_is_a_text_in_every_answer_and_text_or_boolean_in_a_request(admin):
    path = "/settings/AllowKeyManagementOperationsThroughARM"
    for value, stored in (("true", "true"), (False, "false"), (True, "true"), ("FALSE", "false")):
        assert admin.patch(path, {"value": value}).ok()["value"] == stored
    for value in ("yes", "", None, 1, ["true"]):
        admin.patch(path, {"value": value}).refused(400, "BadParameter")
    assert admin.get(path).ok()["value"] == "false"
