"""What clients see of a pool's retention and purge protection, which are fixed when it is founded."""

import datetime
import os
import uuid

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyClient

from conftest import CRYPTO_USER, credential_of
from pool import served_pools
from wire import Wire

CRYPTO_OFFICER = CRYPTO_USER.replace("21dbd100-6940-42c2-9190-5d6cb909625b", "515eb02d-2335-4d2d-92f2-b1cbdf9c3778")
# Name to retention in days, protection, and the level that keys show.
POOLS = {
    "short-protected": (7, True, "CustomizedRecoverable"),
    "long-protected": (90, True, "Recoverable"),
    "short": (7, False, "CustomizedRecoverable+Purgeable"),
    "middle": (89, False, "CustomizedRecoverable+Purgeable"),
    "long": (90, False, "Recoverable+Purgeable"),
}


@pytest.fixture(scope="module")
def pools():
    settings = {
        name: [f"retention_days = {days}", f"purge_protection = {str(protected).lower()}"]
        for name, (days, protected, _) in POOLS.items()
    }
    before = {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")}
    with served_pools(settings) as served:
        for pool in served.values():
            os.environ.update(dict.fromkeys(before, pool.ca_file))
            admin = Wire(pool).as_account("ADMIN")
            for role in (CRYPTO_OFFICER, CRYPTO_USER):
                properties = {"roleDefinitionId": role, "principalId": pool.accounts["OFFICER"].object_id}
                path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
                admin.put(path, {"properties": properties}).ok(201)
        yield served
    os.environ.update({name: value for name, value in before.items() if value is not None})


@pytest.mark.parametrize("kind", POOLS)
def test_every_answer_says_how_long_a_key_can_be_recovered(pools, kind):
    days, _, level = POOLS[kind]
    owner = Wire(pools[kind]).as_account("OFFICER")
    live = owner.create("seen", kty="EC-HSM")["attributes"]
    assert (live["recoverableDays"], live["recoveryLevel"]) == (days, level)
    [listed] = owner.get("/keys").ok()["value"]
    assert listed["attributes"] == live
    [version] = owner.get("/keys/seen/versions").ok()["value"]
    assert version["attributes"] == live
    deleted = owner.delete("/keys/seen").ok()
    assert deleted["scheduledPurgeDate"] - deleted["deletedDate"] == days * 86400
    assert deleted["attributes"] == live
    [listed] = owner.get("/deletedkeys").ok()["value"]
    assert listed["scheduledPurgeDate"] == deleted["scheduledPurgeDate"] and listed["attributes"] == live


@pytest.mark.parametrize("kind", [kind for kind, (_, protected, _) in POOLS.items() if protected])
def test_purge_is_refused_while_purge_protection_is_on(pools, kind):
    owner = Wire(pools[kind]).as_account("OFFICER")
    made = owner.create("kept", kty="oct-HSM")
    owner.delete("/keys/kept").ok()
    answer = owner.delete("/deletedkeys/kept").refused(403, "Forbidden")
    assert "purge protection" in answer.message
    owner.get("/deletedkeys/kept").ok()
    owner.post("/keys/kept/create", {"kty": "oct-HSM"}).refused(409, "Conflict")
    owner.post("/deletedkeys/kept/recover").ok()
    assert owner.get("/keys/kept").ok()["key"]["kid"] == made["key"]["kid"]


@pytest.mark.parametrize("kind", POOLS)
def test_the_sdk_sees_retention_and_protection(pools, kind):
    days, protected, level = POOLS[kind]
    with KeyClient(pools[kind].url, credential_of(pools[kind], "OFFICER")) as client:
        made = client.create_ec_key("by-the-sdk", hardware_protected=True)
        assert (made.properties.recoverable_days, made.properties.recovery_level) == (days, level)
        deleted = client.begin_delete_key("by-the-sdk").result()
        assert deleted.scheduled_purge_date - deleted.deleted_date == datetime.timedelta(days=days)
        if protected:
            with pytest.raises(HttpResponseError) as refusal:
                client.purge_deleted_key("by-the-sdk")
            assert refusal.value.status_code == 403 and refusal.value.error.code == "Forbidden"
            assert client.get_deleted_key("by-the-sdk").id == made.id
            with pytest.raises(ResourceExistsError):
                client.create_ec_key("by-the-sdk", hardware_protected=True)
        else:
            client.purge_deleted_key("by-the-sdk")
            with pytest.raises(ResourceNotFoundError):
                client.get_deleted_key("by-the-sdk")
