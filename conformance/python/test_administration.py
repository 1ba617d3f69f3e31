"""Roles and settings through the unmodified administration SDK, synchronous and asynchronous."""

import uuid

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.administration import (
    KeyVaultAccessControlClient,
    KeyVaultDataAction,
    KeyVaultPermission,
    KeyVaultRoleScope,
)

BUILT_IN = {
    "a290e904-7015-4bba-90c8-60543313cdb4": "Managed HSM Administrator",
    "515eb02d-2335-4d2d-92f2-b1cbdf9c3778": "Managed HSM Crypto Officer",
    "21dbd100-6940-42c2-9190-5d6cb909625b": "Managed HSM Crypto User",
    "4bd23610-cdcf-4971-bdee-bdc562cc28e4": "Managed HSM Policy Administrator",
    "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3": "Managed HSM Crypto Auditor",
    "33413926-3206-4cdd-b39a-83574fe37a17": "Managed HSM Crypto Service Encryption User",
    "21dbd100-6940-42c2-9190-5d6cb909625c": "Managed HSM Crypto Service Release User",
    "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8": "Managed HSM Backup",
    "6efe6056-5259-49d2-8b3d-d3d73544b20b": "Managed HSM Restore",
}


def test_the_built_in_roles_have_their_published_ids(access):
    listed = {definition.name: definition for definition in access.list_role_definitions(KeyVaultRoleScope.GLOBAL)}
    assert set(BUILT_IN) <= set(listed)
    for guid, role_name in BUILT_IN.items():
        definition = listed[guid]
        assert definition.id == f"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{guid}"
        assert definition.type == "Microsoft.Authorization/roleDefinitions"
        assert definition.role_name.startswith(role_name)
        assert definition.role_type == "AKVBuiltInRole"
        assert access.get_role_definition(KeyVaultRoleScope.GLOBAL, guid).id == definition.id


def test_a_custom_role_is_made_changed_and_removed(access):
    name = uuid.uuid4()
    allowed = [KeyVaultDataAction.CREATE_HSM_KEY, KeyVaultDataAction.READ_HSM_KEY]
    made = access.set_role_definition(
        KeyVaultRoleScope.GLOBAL,
        name=name,
        role_name="keys maker",
        description="makes keys",
        permissions=[KeyVaultPermission(data_actions=allowed)],
    )
    assert made.name == str(name) and made.role_type == "CustomRole" and made.assignable_scopes == ["/"]
    assert set(made.permissions[0].data_actions) == {action.value for action in allowed}

    changed = access.set_role_definition(
        KeyVaultRoleScope.GLOBAL, name=name, permissions=[KeyVaultPermission(data_actions=allowed[:1])]
    )
    assert changed.role_name == "" and len(changed.permissions[0].data_actions) == 1
    assert access.get_role_definition(KeyVaultRoleScope.GLOBAL, name).permissions[0].data_actions == [allowed[0].value]

    access.delete_role_definition(KeyVaultRoleScope.GLOBAL, name)
    with pytest.raises(ResourceNotFoundError):
        access.get_role_definition(KeyVaultRoleScope.GLOBAL, name)
    access.delete_role_definition(KeyVaultRoleScope.GLOBAL, name)


def test_a_built_in_role_can_be_neither_changed_nor_removed(access):
    guid = "21dbd100-6940-42c2-9190-5d6cb909625b"
    with pytest.raises(HttpResponseError) as refusal:
        access.set_role_definition(KeyVaultRoleScope.GLOBAL, name=guid, role_name="mine", permissions=[])
    assert refusal.value.status_code == 403 and refusal.value.error.code == "Forbidden"
    with pytest.raises(HttpResponseError):
        access.delete_role_definition(KeyVaultRoleScope.GLOBAL, guid)
    assert access.get_role_definition(KeyVaultRoleScope.GLOBAL, guid).role_name == "Managed HSM Crypto User"


@pytest.mark.parametrize("scope", ["/", "/keys", "/keys/some-key"])
def test_an_assignment_lives_at_its_scope(access, scope):
    principal, name = str(uuid.uuid4()), uuid.uuid4()
    definition = access.get_role_definition(KeyVaultRoleScope.GLOBAL, "33413926-3206-4cdd-b39a-83574fe37a17")
    made = access.create_role_assignment(scope, definition.id, principal, name=name)
    assert made.name == str(name) and made.type == "Microsoft.Authorization/roleAssignments"
    assert made.properties.scope == scope and made.properties.principal_id == principal
    assert made.properties.role_definition_id == definition.id
    assert made.role_assignment_id == f"{scope.rstrip('/')}/providers/Microsoft.Authorization/roleAssignments/{name}"
    assert access.get_role_assignment(scope, name).role_assignment_id == made.role_assignment_id
    assert str(name) in {each.name for each in access.list_role_assignments(scope)}
    access.delete_role_assignment(scope, name)
    with pytest.raises(ResourceNotFoundError):
        access.get_role_assignment(scope, name)
    access.delete_role_assignment(scope, name)


def test_a_right_works_as_soon_as_it_is_given_and_no_longer_than_it_lasts(pool, access, keys, names):
    from azure.keyvault.keys import KeyClient
    from conftest import credential_of

    mine, other = names(), names()
    for name in (mine, other):
        keys.create_ec_key(name, hardware_protected=True)
    assignment = access.create_role_assignment(
        f"/keys/{mine}",
        "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b",
        pool.accounts["NOBODY"].object_id,
    )
    with KeyClient(pool.url, credential_of(pool, "NOBODY")) as client:
        assert client.get_key(mine).name == mine
        with pytest.raises(HttpResponseError) as refusal:
            client.get_key(other)
        assert refusal.value.status_code == 403
        access.delete_role_assignment(f"/keys/{mine}", assignment.name)
        with pytest.raises(HttpResponseError) as refusal:
            client.get_key(mine)
        assert refusal.value.status_code == 403


def test_the_one_setting_is_read_and_changed(settings):
    name = "AllowKeyManagementOperationsThroughARM"
    listed = {setting.name: setting for setting in settings.list_settings()}
    assert listed[name].getboolean() is False and listed[name].setting_type == "boolean"
    setting = settings.get_setting(name)
    setting.value = True
    assert settings.update_setting(setting).getboolean() is True
    assert settings.get_setting(name).value == "true"
    setting.value = False
    assert settings.update_setting(setting).getboolean() is False


def test_only_an_administrator_changes_roles(pool):
    from conftest import credential_of

    with KeyVaultAccessControlClient(pool.url, credential_of(pool, "AUDITOR")) as client:
        assert list(client.list_role_definitions("/"))
        with pytest.raises(HttpResponseError) as refusal:
            client.set_role_definition("/", permissions=[])
        assert refusal.value.status_code == 403 and refusal.value.error.code == "AccessDenied"


async def test_the_asynchronous_client_makes_changes_and_removes_a_custom_role(async_access):
    listed = {definition.name: definition async for definition in async_access.list_role_definitions("/")}
    assert set(BUILT_IN) <= set(listed)
    name = uuid.uuid4()
    allowed = [KeyVaultDataAction.CREATE_HSM_KEY, KeyVaultDataAction.READ_HSM_KEY]

    async def put(actions):
        permission = KeyVaultPermission(data_actions=actions)
        return await async_access.set_role_definition("/", name=name, role_name="async role", permissions=[permission])

    made = await put(allowed)
    assert made.name == str(name) and made.role_type == "CustomRole"
    await put(allowed[:1])
    fetched = await async_access.get_role_definition("/", name)
    assert fetched.id == made.id and fetched.permissions[0].data_actions == [allowed[0].value]
    await async_access.delete_role_definition("/", name)
    with pytest.raises(ResourceNotFoundError):
        await async_access.get_role_definition("/", name)
    with pytest.raises(HttpResponseError) as refusal:
        await async_access.set_role_definition("/", name=next(iter(BUILT_IN)), role_name="mine", permissions=[])
    assert refusal.value.status_code == 403


@pytest.mark.parametrize("scope", ["/", "/keys", "/keys/some-key"])
async def test_the_asynchronous_client_makes_and_removes_an_assignment(async_access, scope):
    principal, name = str(uuid.uuid4()), uuid.uuid4()
    role = await async_access.get_role_definition("/", "33413926-3206-4cdd-b39a-83574fe37a17")
    made = await async_access.create_role_assignment(scope, role.id, principal, name=name)
    assert made.properties.scope == scope and made.properties.role_definition_id == role.id
    fetched = await async_access.get_role_assignment(scope, name)
    assert fetched.role_assignment_id == made.role_assignment_id and fetched.properties.principal_id == principal
    assert str(name) in {each.name async for each in async_access.list_role_assignments(scope)}
    await async_access.delete_role_assignment(scope, name)
    with pytest.raises(ResourceNotFoundError):
        await async_access.get_role_assignment(scope, name)


async def test_the_asynchronous_client_reads_and_changes_the_setting(async_settings):
    name = "AllowKeyManagementOperationsThroughARM"
    assert name in {setting.name for setting in [each async for each in async_settings.list_settings()]}
    setting = await async_settings.get_setting(name)
    assert setting.getboolean() is False
    setting.value = True
    assert (await async_settings.update_setting(setting)).getboolean() is True
    assert (await async_settings.get_setting(name)).value == "true"
    setting.value = False
    assert (await async_settings.update_setting(setting)).getboolean() is False
