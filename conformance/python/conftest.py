"""One pool for the whole run, and clients of it that know only its address, its CA file and their own secrets."""

import itertools
import os
import uuid

import loopback  # noqa: F401  names under .localhost lead here
import pytest
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.keyvault.administration import KeyVaultAccessControlClient, KeyVaultSettingsClient
from azure.keyvault.administration.aio import KeyVaultAccessControlClient as AsyncAccessControlClient
from azure.keyvault.administration.aio import KeyVaultSettingsClient as AsyncSettingsClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.aio import KeyClient as AsyncKeyClient
from azure.keyvault.keys.crypto import CryptographyClient
from azure.keyvault.keys.crypto.aio import CryptographyClient as AsyncCryptographyClient

from pool import running_pool
from wire import Wire

CRYPTO_USER = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b"


@pytest.fixture(scope="session")
def pool():
    """The pool. The account OFFICER gets the role of Crypto User as well, so that one caller can walk a key's whole life."""
    with running_pool() as running:
        os.environ["REQUESTS_CA_BUNDLE"] = running.ca_file
        os.environ["SSL_CERT_FILE"] = running.ca_file
        admin = Wire(running).as_account("ADMIN")
        properties = {"roleDefinitionId": CRYPTO_USER, "principalId": running.accounts["OFFICER"].object_id}
        path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        admin.put(path, {"properties": properties}).ok(201)
        yield running


@pytest.fixture(autouse=True)
def log_of_the_pool(request, pool):
    """What the pool logged during a test, shown when the test fails."""
    before = pool.log_file.stat().st_size
    yield
    report = getattr(request.node, "report_of_call", None)
    if report is not None and report.failed:
        with pool.log_file.open("rb") as log:
            log.seek(before)
            print("--- log of the pool ---\n" + log.read(20000).decode(errors="replace"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report_of_call = outcome.get_result()


_numbers = itertools.count(1)


@pytest.fixture
def name(request):
    """A key name that nothing else in this run uses."""
    return fresh_name()


@pytest.fixture
def names():
    """Makes key names that nothing else in this run uses."""
    return fresh_name


def fresh_name():
    return f"key-{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session")
def nobody(pool):
    """Raw HTTP without a token."""
    return Wire(pool)


@pytest.fixture(scope="session")
def admin(pool):
    """Raw HTTP as Managed HSM Administrator."""
    return Wire(pool).as_account("ADMIN")


@pytest.fixture(scope="session")
def user(pool):
    """Raw HTTP as Crypto User."""
    return Wire(pool).as_account("USER")


@pytest.fixture(scope="session")
def auditor(pool):
    """Raw HTTP as Crypto Auditor."""
    return Wire(pool).as_account("AUDITOR")


@pytest.fixture(scope="session")
def owner(pool):
    """Raw HTTP as the account that is Crypto Officer and Crypto User."""
    return Wire(pool).as_account("OFFICER")


@pytest.fixture(scope="session")
def roleless(pool):
    """Raw HTTP as an account without any role."""
    return Wire(pool).as_account("NOBODY")


def credential_of(pool, account, kind=ClientSecretCredential, **options):
    """The unmodified credential of azure-identity against the pool's own authority."""
    chosen = pool.accounts[account]
    return kind(
        pool.tenant,
        chosen.client_id,
        chosen.client_secret,
        authority=pool.authority,
        disable_instance_discovery=True,
        **options,
    )


@pytest.fixture(scope="session")
def credential(pool):
    return credential_of(pool, "OFFICER")


@pytest.fixture(scope="session")
def keys(pool, credential):
    """The synchronous key client, challenge verification on."""
    return KeyClient(pool.url, credential)


@pytest.fixture(scope="session")
def crypto_of(credential):
    """Makes a cryptography client for a key or a key id."""
    return lambda key: CryptographyClient(key, credential)


@pytest.fixture
async def async_credential(pool):
    async with credential_of(pool, "OFFICER", AsyncClientSecretCredential, connection_verify=pool.ca_file) as made:
        yield made


@pytest.fixture
async def async_keys(pool, async_credential):
    async with AsyncKeyClient(pool.url, async_credential, connection_verify=pool.ca_file) as client:
        yield client


@pytest.fixture
async def async_crypto_of(pool, async_credential):
    made = []

    def crypto(key):
        made.append(AsyncCryptographyClient(key, async_credential, connection_verify=pool.ca_file))
        return made[-1]

    yield crypto
    for client in made:
        await client.close()


@pytest.fixture(scope="session")
def access(pool):
    return KeyVaultAccessControlClient(pool.url, credential_of(pool, "ADMIN"))


@pytest.fixture(scope="session")
def settings(pool):
    return KeyVaultSettingsClient(pool.url, credential_of(pool, "ADMIN"))


@pytest.fixture
async def async_admin_credential(pool):
    async with credential_of(pool, "ADMIN", AsyncClientSecretCredential, connection_verify=pool.ca_file) as made:
        yield made


@pytest.fixture
async def async_access(pool, async_admin_credential):
    async with AsyncAccessControlClient(pool.url, async_admin_credential, connection_verify=pool.ca_file) as client:
        yield client


@pytest.fixture
async def async_settings(pool, async_admin_credential):
    async with AsyncSettingsClient(pool.url, async_admin_credential, connection_verify=pool.ca_file) as client:
        yield client
