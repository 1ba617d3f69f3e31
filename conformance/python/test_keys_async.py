"""Key operations through the unmodified asynchronous Python SDK."""

import asyncio
import datetime

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from azure.keyvault.keys.aio import KeyClient

import outside
from sdk import IMPORTED, jwk_of, plain


async def test_every_type_of_key_is_created(async_keys, names):
    for size in (2048, 3072, 4096):
        key = await async_keys.create_rsa_key(names(), size=size, hardware_protected=True)
        assert key.key_type == "RSA-HSM" and len(key.key.n) * 8 == size
    for curve in outside.CURVES:
        key = await async_keys.create_ec_key(names(), curve=curve, hardware_protected=True)
        assert key.key_type == "EC-HSM" and key.key.crv == curve
    for size in (128, 192, 256):
        key = await async_keys.create_oct_key(names(), size=size, hardware_protected=True)
        assert key.key_type == "oct-HSM" and key.key.k is None


async def test_attributes_come_back_and_change(async_keys, name):
    expires_on = datetime.datetime(2050, 1, 1, tzinfo=datetime.timezone.utc)
    made = await async_keys.create_rsa_key(
        name, hardware_protected=True, public_exponent=17, tags={"a": "1"}, expires_on=expires_on
    )
    assert int.from_bytes(made.key.e, "big") == 17
    fetched = await async_keys.get_key(name)
    assert fetched.id == made.id and fetched.properties.tags == {"a": "1"}
    changed = await async_keys.update_key_properties(name, enabled=False, tags={"b": "2"}, key_operations=["decrypt"])
    assert changed.properties.enabled is False and changed.properties.tags == {"b": "2"}
    assert changed.properties.expires_on == expires_on and changed.key_operations == ["decrypt"]


async def test_lists_show_every_key_and_every_version(async_keys, names):
    wanted = [names() for _ in range(27)]
    await asyncio.gather(*(async_keys.create_ec_key(each, hardware_protected=True) for each in wanted))
    listed = [properties.name async for properties in async_keys.list_properties_of_keys()]
    assert set(wanted) <= set(listed) and len(listed) == len(set(listed))
    made = {(await async_keys.create_ec_key(wanted[0], hardware_protected=True)).properties.version for _ in range(4)}
    versions = [p.version async for p in async_keys.list_properties_of_key_versions(wanted[0], max_page_size=2)]
    assert made <= set(versions) and len(versions) == 5


async def test_a_key_is_deleted_recovered_deleted_and_purged(async_keys, name):
    made = await async_keys.create_oct_key(name, hardware_protected=True)
    deleted = await async_keys.delete_key(name)
    assert deleted.id == made.id and deleted.recovery_id == f"{async_keys.vault_url}/deletedkeys/{name}"
    with pytest.raises(ResourceNotFoundError):
        await async_keys.get_key(name)
    with pytest.raises(ResourceExistsError):
        await async_keys.create_oct_key(name, hardware_protected=True)
    assert (await async_keys.get_deleted_key(name)).name == name
    assert name in [key.name async for key in async_keys.list_deleted_keys()]
    assert (await async_keys.recover_deleted_key(name)).id == made.id
    await async_keys.delete_key(name)
    await async_keys.purge_deleted_key(name)
    with pytest.raises(ResourceNotFoundError):
        await async_keys.get_deleted_key(name)


async def test_a_key_rotates_by_its_policy(async_keys, name):
    first = await async_keys.create_ec_key(name, hardware_protected=True)
    action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_before_expiry="P30D")
    wanted = KeyRotationPolicy(lifetime_actions=[action], expires_in="P90D")
    policy = await async_keys.update_key_rotation_policy(name, wanted)
    assert policy.lifetime_actions[0].time_before_expiry == "P30D"
    second = await async_keys.rotate_key(name)
    assert second.id != first.id
    assert second.properties.expires_on - second.properties.created_on == datetime.timedelta(days=90)
    assert (await async_keys.get_key_rotation_policy(name)).expires_in == "P90D"


async def test_random_bytes_are_as_many_as_asked(async_keys):
    assert len(await async_keys.get_random_bytes(128)) == 128


@pytest.mark.parametrize("kind, size", IMPORTED)
async def test_an_imported_key_shows_its_public_half_alone(async_keys, name, kind, size):
    jwk = outside.private_jwk(outside.generate(kind, size), kind, size)
    imported = await async_keys.import_key(name, plain(jwk), hardware_protected=True, tags={"from": "outside"})
    assert imported.key_type == f"{kind}-HSM" and imported.properties.tags == {"from": "outside"}
    shown = jwk_of(imported)
    assert all(shown[part] == jwk[part] for part in ("n", "e", "x", "y") if part in jwk)
    assert all(getattr(imported.key, part) is None for part in ("d", "p", "q", "dp", "dq", "qi"))


@pytest.mark.parametrize("size", ["128", "192", "256"])
async def test_an_imported_oct_key_shows_nothing_of_itself(async_keys, name, size):
    imported = await async_keys.import_key(name, plain(outside.private_jwk(outside.generate("oct", size), "oct", size)))
    assert imported.key_type == "oct-HSM" and imported.key.k is None


async def test_many_clients_use_one_key_at_once(async_keys, async_crypto_of, name):
    key = await async_keys.create_rsa_key(name, hardware_protected=True)
    crypto = async_crypto_of(key)
    digests = [outside.digest_for("PS256", bytes([n])) for n in range(64)]
    results = await asyncio.gather(*(crypto.sign("PS256", digest) for digest in digests))
    for digest, result in zip(digests, results):
        assert outside.is_valid(jwk_of(key), "PS256", digest, result.signature)


async def test_on_bare_localhost_the_client_works_with_its_one_check_off(pool, async_credential, name):
    address = f"https://localhost:{pool.port}"
    options = {"connection_verify": pool.ca_file, "verify_challenge_resource": False}
    async with KeyClient(address, async_credential, **options) as client:
        made = await client.create_ec_key(name, hardware_protected=True)
        assert made.id.startswith(f"{address}/keys/{name}/")


async def test_what_the_role_does_not_allow_is_refused(pool, name):
    from azure.identity.aio import ClientSecretCredential
    from conftest import credential_of

    async with credential_of(pool, "AUDITOR", ClientSecretCredential, connection_verify=pool.ca_file) as credential:
        async with KeyClient(pool.url, credential, connection_verify=pool.ca_file) as client:
            with pytest.raises(HttpResponseError) as refusal:
                await client.create_ec_key(name, hardware_protected=True)
    assert refusal.value.status_code == 403 and refusal.value.error.code == "AccessDenied"
