"""Soft delete: a name stays reserved until it is purged, and what was there comes back whole."""

import pytest


@pytest.fixture
def deleted(owner, name):
    owner.create(name, kty="EC-HSM", tags={"version": "1"})
    owner.create(name, kty="EC-HSM", tags={"version": "2"})
    owner.delete(f"/keys/{name}").ok()
    return name


def test_a_deleted_key_is_not_there_for_any_operation(owner, deleted):
    owner.get(f"/keys/{deleted}").refused(404, "KeyNotFound")
    owner.get(f"/keys/{deleted}/versions").refused(404, "KeyNotFound")
    owner.patch(f"/keys/{deleted}", {"tags": {}}).refused(404, "KeyNotFound")
    owner.delete(f"/keys/{deleted}").refused(404, "KeyNotFound")
    owner.post(f"/keys/{deleted}/sign", {"alg": "ES256", "value": "A" * 43}).refused(404, "KeyNotFound")
    assert f"{owner.pool.url}/keys/{deleted}" not in {item["kid"] for item in owner.get("/keys").ok()["value"]}


def test_a_deleted_name_is_reserved(owner, deleted):
    jwk = {"kty": "oct-HSM", "k": "A" * 43}
    for answer in (
        owner.post(f"/keys/{deleted}/create", {"kty": "oct-HSM"}),
        owner.post(f"/keys/{deleted.upper()}/create", {"kty": "oct-HSM"}),
        owner.put(f"/keys/{deleted}", {"key": jwk}),
    ):
        refusal = answer.refused(409, "Conflict")
        assert refusal.inner_code == "ObjectIsDeletedButRecoverable"
        assert "is currently in a deleted but recoverable state" in refusal.message


def test_recovering_brings_every_version_back(owner, deleted):
    recovered = owner.post(f"/deletedkeys/{deleted}/recover").ok()
    assert recovered["tags"] == {"version": "2"} and "recoveryId" not in recovered
    assert owner.get(f"/keys/{deleted}").ok() == recovered
    assert len(owner.get(f"/keys/{deleted}/versions").ok()["value"]) == 2
    owner.post(f"/keys/{deleted}/sign", {"alg": "ES256", "value": "A" * 43}).ok()
    owner.get(f"/deletedkeys/{deleted}").refused(404, "KeyNotFound")
    owner.post(f"/deletedkeys/{deleted}/recover").refused(404, "KeyNotFound")


def test_purging_frees_the_name_for_good(owner, deleted):
    answer = owner.delete(f"/deletedkeys/{deleted}")
    assert answer.status == 204 and answer.body == b""
    owner.get(f"/deletedkeys/{deleted}").refused(404, "KeyNotFound")
    owner.post(f"/deletedkeys/{deleted}/recover").refused(404, "KeyNotFound")
    owner.delete(f"/deletedkeys/{deleted}").refused(404, "KeyNotFound")
    owner.create(deleted, kty="EC-HSM")
    assert len(owner.get(f"/keys/{deleted}/versions").ok()["value"]) == 1


def test_a_live_key_is_neither_recovered_nor_purged(owner, name):
    owner.create(name, kty="oct-HSM")
    owner.post(f"/deletedkeys/{name}/recover").refused(404, "KeyNotFound")
    owner.delete(f"/deletedkeys/{name}").refused(404, "KeyNotFound")
    owner.get(f"/keys/{name}").ok()


def test_a_crypto_user_deletes_but_neither_sees_nor_purges_deleted_keys(user, owner, name):
    user.create(name, kty="oct-HSM")
    user.delete(f"/keys/{name}").ok()
    user.get(f"/deletedkeys/{name}").refused(403, "AccessDenied")
    user.get("/deletedkeys").refused(403, "AccessDenied")
    user.post(f"/deletedkeys/{name}/recover").refused(403, "AccessDenied")
    user.delete(f"/deletedkeys/{name}").refused(403, "AccessDenied")
    owner.delete(f"/deletedkeys/{name}").ok(204)


def test_an_auditor_sees_deleted_keys_and_touches_none(auditor, deleted):
    auditor.get(f"/deletedkeys/{deleted}").ok()
    auditor.get("/deletedkeys?maxresults=1").ok()
    auditor.post(f"/deletedkeys/{deleted}/recover").refused(403, "AccessDenied")
    auditor.delete(f"/deletedkeys/{deleted}").refused(403, "AccessDenied")
