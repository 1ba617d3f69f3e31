"""Key operations through the unmodified Python SDK."""

import datetime

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import (
    ApiVersion,
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from cryptography.hazmat.primitives.asymmetric import ec

import outside
from sdk import IMPORTED, jwk_of, plain

UTC = datetime.timezone.utc


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_an_rsa_key_has_the_size_asked_for(keys, name, size):
    key = keys.create_rsa_key(name, size=size, hardware_protected=True)
    assert key.key_type == "RSA-HSM"
    assert len(key.key.n) * 8 == size
    assert int.from_bytes(key.key.e, "big") == 65537
    assert set(key.key_operations) == {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
    assert key.properties.vault_url == keys.vault_url


def test_an_rsa_key_is_of_2048_bits_and_in_the_pool_when_nothing_is_asked(keys, name):
    key = keys.create_key(name, "RSA")
    assert key.key_type == "RSA-HSM" and len(key.key.n) == 256


@pytest.mark.parametrize("exponent", [3, 17, 65537])
def test_an_rsa_key_has_the_public_exponent_asked_for(keys, name, exponent):
    key = keys.create_rsa_key(name, hardware_protected=True, public_exponent=exponent)
    assert int.from_bytes(key.key.e, "big") == exponent


@pytest.mark.parametrize("curve", list(outside.CURVES))
@pytest.mark.parametrize("hardware", [True, False])
def test_an_ec_key_lies_on_the_curve_asked_for(keys, name, curve, hardware):
    key = keys.create_ec_key(name, curve=curve, hardware_protected=hardware)
    assert key.key_type == "EC-HSM" and key.key.crv == curve
    x, y = (int.from_bytes(part, "big") for part in (key.key.x, key.key.y))
    ec.EllipticCurvePublicNumbers(x, y, outside.CURVES[curve]()).public_key()
    assert set(key.key_operations) == {"sign", "verify"}


def test_an_ec_key_is_on_p256_when_nothing_is_asked(keys, name):
    assert keys.create_key(name, "EC-HSM").key.crv == "P-256"


@pytest.mark.parametrize("size", [128, 192, 256])
def test_an_oct_key_shows_nothing_of_itself(keys, name, size):
    key = keys.create_oct_key(name, size=size, hardware_protected=True)
    assert key.key_type == "oct-HSM" and key.key.k is None
    assert set(key.key_operations) == {"encrypt", "decrypt", "wrapKey", "unwrapKey"}


def test_attributes_operations_and_tags_come_back_as_given(keys, name):
    not_before = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    expires_on = datetime.datetime(2050, 2, 2, 8, 0, tzinfo=UTC)
    made = keys.create_rsa_key(
        name,
        hardware_protected=True,
        key_operations=["sign", "verify"],
        enabled=False,
        tags={"purpose": "unit test", "empty": ""},
        not_before=not_before,
        expires_on=expires_on,
    )
    for key in (made, keys.get_key(name), keys.get_key(name, made.properties.version)):
        assert key.id == made.id and set(key.key_operations) == {"sign", "verify"}
        assert key.properties.enabled is False
        assert key.properties.tags == {"purpose": "unit test", "empty": ""}
        assert key.properties.not_before == not_before and key.properties.expires_on == expires_on
        assert key.properties.exportable is False
        assert key.properties.recovery_level == "Recoverable+Purgeable"
        assert key.properties.recoverable_days == 90
        assert key.properties.created_on == key.properties.updated_on


def test_an_update_changes_what_it_names_and_leaves_the_rest(keys, name):
    made = keys.create_ec_key(name, hardware_protected=True, tags={"a": "1"}, expires_on=datetime.datetime(2050, 1, 1))
    changed = keys.update_key_properties(name, enabled=False)
    assert changed.properties.enabled is False and changed.properties.tags == {"a": "1"}
    assert changed.properties.expires_on == made.properties.expires_on
    changed = keys.update_key_properties(name, made.properties.version, tags={"b": "2"}, key_operations=["sign"])
    assert changed.properties.tags == {"b": "2"} and changed.key_operations == ["sign"]
    assert changed.properties.enabled is False
    assert changed.key.x == made.key.x


def test_a_name_that_is_created_again_gets_a_new_version(keys, name):
    versions = [keys.create_ec_key(name, hardware_protected=True).properties.version for _ in range(3)]
    assert len(set(versions)) == 3
    assert keys.get_key(name).properties.version == versions[-1]
    for version in versions:
        assert len(version) == 32 and set(version) <= set("0123456789abcdef")
        assert keys.get_key(name, version).properties.version == version


def test_lists_show_every_key_and_every_version_with_the_same_attributes(keys, names):
    made = {}
    for _ in range(30):
        key = keys.create_ec_key(names(), hardware_protected=True, tags={"listed": "yes"})
        made[key.name] = key
    listed = {properties.name: properties for properties in keys.list_properties_of_keys() if properties.name in made}
    assert set(listed) == set(made)
    for name, properties in listed.items():
        expected = made[name].properties
        assert properties.tags == {"listed": "yes"} and properties.version is None
        assert (properties.enabled, properties.created_on, properties.updated_on, properties.recovery_level) == (
            expected.enabled,
            expected.created_on,
            expected.updated_on,
            expected.recovery_level,
        )


def test_a_list_of_versions_goes_over_several_pages(keys, name):
    made = {keys.create_oct_key(name, size=128, hardware_protected=True).properties.version for _ in range(7)}
    pages = [list(page) for page in keys.list_properties_of_key_versions(name, max_page_size=3).by_page()]
    listed = [properties.version for page in pages for properties in page]
    assert set(listed) == made and len(listed) == 7
    assert all(len(page) <= 3 for page in pages) and len([page for page in pages if page]) == 3


def test_a_key_is_deleted_recovered_deleted_and_purged(keys, name):
    made = keys.create_ec_key(name, hardware_protected=True, tags={"t": "1"})
    deleted = keys.begin_delete_key(name).result()
    assert deleted.id == made.id and deleted.recovery_id == f"{keys.vault_url}/deletedkeys/{name}"
    assert deleted.scheduled_purge_date - deleted.deleted_date == datetime.timedelta(days=90)
    with pytest.raises(ResourceNotFoundError):
        keys.get_key(name)
    assert keys.get_deleted_key(name).properties.tags == {"t": "1"}
    assert name in {key.name for key in keys.list_deleted_keys()}
    with pytest.raises(ResourceExistsError):
        keys.create_ec_key(name, hardware_protected=True)

    poller = keys.begin_recover_deleted_key(name)
    assert poller.result().id == made.id
    poller.wait()
    assert keys.get_key(name).id == made.id

    keys.begin_delete_key(name).wait()
    keys.purge_deleted_key(name)
    with pytest.raises(ResourceNotFoundError):
        keys.get_deleted_key(name)
    assert keys.create_ec_key(name, hardware_protected=True).id != made.id


def test_a_key_rotates_by_its_policy(keys, name):
    first = keys.create_rsa_key(name, hardware_protected=True, tags={"kept": "yes"}, key_operations=["sign", "verify"])
    action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P2M")
    policy = keys.update_key_rotation_policy(name, KeyRotationPolicy(lifetime_actions=[action], expires_in="P6M"))
    assert policy.id == f"{keys.vault_url}/keys/{name}/rotationpolicy" and policy.expires_in == "P6M"
    fetched = keys.get_key_rotation_policy(name)
    assert fetched.expires_in == "P6M" and fetched.created_on and fetched.updated_on
    assert [(a.action.lower(), a.time_after_create) for a in fetched.lifetime_actions] == [("rotate", "P2M")]

    second = keys.rotate_key(name)
    assert second.properties.version != first.properties.version and second.key.n != first.key.n
    assert second.properties.tags == {"kept": "yes"} and set(second.key_operations) == {"sign", "verify"}
    lasting = second.properties.expires_on - second.properties.created_on
    assert datetime.timedelta(days=181) <= lasting <= datetime.timedelta(days=184)
    assert keys.get_key(name).id == second.id


@pytest.mark.parametrize(
    "action, expires_in",
    [
        ({"time_after_create": "P27D"}, "P90D"),
        ({"time_before_expiry": "P63D"}, "P90D"),
        ({"time_after_create": "P30D"}, "P27D"),
        ({"time_after_create": "thirty days"}, "P90D"),
    ],
)
def test_a_rotation_policy_that_cannot_hold_is_refused(keys, name, action, expires_in):
    keys.create_ec_key(name, hardware_protected=True)
    wanted = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, **action)
    with pytest.raises(HttpResponseError) as refusal:
        keys.update_key_rotation_policy(name, KeyRotationPolicy(lifetime_actions=[wanted], expires_in=expires_in))
    assert refusal.value.status_code == 400


@pytest.mark.parametrize("count", [1, 32, 128])
def test_random_bytes_are_as_many_as_asked(keys, count):
    first, second = keys.get_random_bytes(count), keys.get_random_bytes(count)
    assert len(first) == len(second) == count
    assert count == 1 or first != second


@pytest.mark.parametrize("kind, size", IMPORTED)
def test_an_imported_key_shows_its_public_half_alone(keys, name, kind, size):
    jwk = outside.private_jwk(outside.generate(kind, size), kind, size)
    imported = keys.import_key(name, plain(jwk), hardware_protected=True, tags={"from": "outside"})
    assert imported.key_type == f"{kind}-HSM" and imported.properties.tags == {"from": "outside"}
    shown = jwk_of(imported)
    assert all(shown[part] == jwk[part] for part in ("n", "e", "x", "y") if part in jwk)
    assert all(getattr(imported.key, part) is None for part in ("d", "p", "q", "dp", "dq", "qi"))


@pytest.mark.parametrize("size", ["128", "192", "256"])
def test_an_imported_oct_key_shows_nothing_of_itself(keys, name, size):
    imported = keys.import_key(name, plain(outside.private_jwk(outside.generate("oct", size), "oct", size)))
    assert imported.key_type == "oct-HSM" and imported.key.k is None


@pytest.mark.parametrize("version", [v for v in ApiVersion if v not in (ApiVersion.V2016_10_01, ApiVersion.V7_0, ApiVersion.V7_1)])
def test_every_api_version_of_the_client_is_served(pool, credential, name, version):
    with KeyClient(pool.url, credential, api_version=version) as client:
        made = client.create_rsa_key(name, hardware_protected=True)
        assert client.get_key(name).id == made.id
        client.begin_delete_key(name).wait()
        client.purge_deleted_key(name)


def test_on_bare_localhost_the_client_works_with_its_one_check_off(pool, credential, name):
    address = f"https://localhost:{pool.port}"
    with KeyClient(address, credential, verify_challenge_resource=False) as client:
        made = client.create_ec_key(name, hardware_protected=True)
        assert made.id.startswith(f"{address}/keys/{name}/")


def test_a_caller_without_a_role_learns_nothing_about_what_exists(pool, name):
    from conftest import credential_of

    with KeyClient(pool.url, credential_of(pool, "NOBODY")) as client:
        for call in (client.get_key, client.begin_delete_key, client.rotate_key, client.get_deleted_key):
            with pytest.raises(HttpResponseError) as refusal:
                call(name)
            assert refusal.value.status_code == 403 and refusal.value.error.code == "AccessDenied"


def test_a_wrong_secret_is_refused_by_the_issuer(pool):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential

    wrong = ClientSecretCredential(
        pool.tenant,
        pool.accounts["USER"].client_id,
        "not-the-secret",
        authority=pool.authority,
        disable_instance_discovery=True,
    )
    with KeyClient(pool.url, wrong) as client, pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        client.get_key("anything")


def test_the_tenant_named_adfs_serves_clients_that_cannot_skip_instance_discovery(pool, name, monkeypatch):
    from azure.identity import EnvironmentCredential

    officer = pool.accounts["OFFICER"]
    monkeypatch.setenv("AZURE_TENANT_ID", "adfs")
    monkeypatch.setenv("AZURE_CLIENT_ID", officer.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", officer.client_secret)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", pool.authority)
    with KeyClient(pool.url, EnvironmentCredential()) as client:
        assert client.create_ec_key(name, hardware_protected=True).name == name
