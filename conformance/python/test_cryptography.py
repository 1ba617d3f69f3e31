"""Every algorithm through the SDK's cryptography client, each result checked by an independent library."""

import os

import pytest
from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys import JsonWebKey

import outside
from wire import b64u

RSA_ENCRYPTION = ("RSA-OAEP", "RSA-OAEP-256", "RSA1_5")
RSA_SIGNATURE = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@pytest.fixture(scope="module", params=[2048, 3072, 4096])
def rsa_key(request, keys):
    from conftest import fresh_name

    return keys.create_rsa_key(fresh_name(), size=request.param, hardware_protected=True)


def jwk_of(key):
    """The public JWK of an SDK key, for the outside library."""
    parts = {name: getattr(key.key, name, None) for name in ("n", "e", "x", "y")}
    return {"kty": key.key_type, "crv": key.key.crv, **{name: b64u(part) for name, part in parts.items() if part}}


@pytest.mark.parametrize("algorithm", RSA_SIGNATURE)
def test_an_rsa_signature_of_the_pool_is_valid_outside(crypto_of, rsa_key, algorithm):
    digest = outside.digest_for(algorithm, b"message")
    signed = crypto_of(rsa_key).sign(algorithm, digest)
    assert signed.key_id == rsa_key.id and signed.algorithm == algorithm
    assert outside.is_valid(jwk_of(rsa_key), algorithm, digest, signed.signature)
    assert crypto_of(rsa_key).verify(algorithm, digest, signed.signature).is_valid


@pytest.mark.parametrize("algorithm", RSA_ENCRYPTION)
def test_rsa_encryption_by_the_client_is_undone_by_the_pool(crypto_of, rsa_key, algorithm):
    crypto = crypto_of(rsa_key)
    assert crypto.decrypt(algorithm, crypto.encrypt(algorithm, b"plaintext").ciphertext).plaintext == b"plaintext"
    wrapped = crypto.wrap_key(algorithm, b"k" * 32)
    assert crypto.unwrap_key(algorithm, wrapped.encrypted_key).key == b"k" * 32
    outer = outside.rsa_encrypt(jwk_of(rsa_key), algorithm, b"made outside")
    assert crypto.decrypt(algorithm, outer).plaintext == b"made outside"


@pytest.mark.parametrize("curve", list(outside.CURVES))
def test_an_ec_signature_of_the_pool_is_valid_outside(keys, crypto_of, name, curve):
    key = keys.create_ec_key(name, curve=curve, hardware_protected=True)
    algorithm = outside.EC_ALGORITHMS[curve]
    digest = outside.digest_for(algorithm, b"message")
    signature = crypto_of(key).sign(algorithm, digest).signature
    assert len(signature) == 2 * outside.FIELD_BYTES[curve]
    assert outside.is_valid(jwk_of(key), algorithm, digest, signature)
    assert crypto_of(key).verify(algorithm, digest, signature).is_valid


@pytest.fixture
def aes_key(keys, names):
    """Imports an AES key whose bytes the test knows; the client asks the pool for everything it does with GCM and CBC."""

    def imported(bits):
        secret = os.urandom(bits // 8)
        ops = ["encrypt", "decrypt", "wrapKey", "unwrapKey"]
        return secret, keys.import_key(names(), JsonWebKey(kty="oct-HSM", k=secret, key_ops=ops))

    return imported


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_of_the_pool_is_opened_outside_and_the_reverse(crypto_of, aes_key, bits):
    secret, key = aes_key(bits)
    crypto, algorithm = crypto_of(key), f"A{bits}GCM"
    sealed = crypto.encrypt(algorithm, b"some plaintext", additional_authenticated_data=b"context")
    assert len(sealed.iv) == 12 and len(sealed.tag) == 16
    opened = outside.aes_gcm_decrypt(secret, sealed.iv, sealed.ciphertext, sealed.tag, b"context")
    assert opened == b"some plaintext"
    iv = os.urandom(12)
    ciphertext, tag = outside.aes_gcm_encrypt(secret, iv, b"made outside", b"context")
    result = crypto.decrypt(
        algorithm, ciphertext, iv=iv, authentication_tag=tag, additional_authenticated_data=b"context"
    )
    assert result.plaintext == b"made outside"
    with pytest.raises(HttpResponseError) as refusal:
        crypto.decrypt(algorithm, ciphertext, iv=iv, authentication_tag=tag, additional_authenticated_data=b"other")
    assert refusal.value.status_code == 400


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_cbc_of_the_pool_is_opened_outside_and_the_reverse(crypto_of, aes_key, bits):
    secret, key = aes_key(bits)
    crypto, iv, algorithm = crypto_of(key), os.urandom(16), f"A{bits}CBC"
    sealed = crypto.encrypt(algorithm, b"fourteen bytes", iv=iv)
    assert outside.aes_cbc_decrypt(secret, iv, sealed.ciphertext) == outside.zero_filled(b"fourteen bytes")
    ciphertext = outside.aes_cbc_encrypt(secret, iv, b"0123456789abcdef")
    assert crypto.decrypt(algorithm, ciphertext, iv=iv).plaintext == b"0123456789abcdef"


async def test_the_asynchronous_client_gets_the_same_results(async_keys, async_crypto_of, names):
    key = await async_keys.create_rsa_key(names(), hardware_protected=True)
    crypto = async_crypto_of(key)
    for algorithm in RSA_SIGNATURE:
        digest = outside.digest_for(algorithm, b"message")
        signature = (await crypto.sign(algorithm, digest)).signature
        assert outside.is_valid(jwk_of(key), algorithm, digest, signature)
        assert (await crypto.verify(algorithm, digest, signature)).is_valid
    for algorithm in RSA_ENCRYPTION:
        sealed = (await crypto.encrypt(algorithm, b"plaintext")).ciphertext
        assert (await crypto.decrypt(algorithm, sealed)).plaintext == b"plaintext"
        wrapped = (await crypto.wrap_key(algorithm, b"k" * 16)).encrypted_key
        assert (await crypto.unwrap_key(algorithm, wrapped)).key == b"k" * 16
    for curve, algorithm in outside.EC_ALGORITHMS.items():
        key = await async_keys.create_ec_key(names(), curve=curve, hardware_protected=True)
        digest = outside.digest_for(algorithm, b"message")
        signature = (await async_crypto_of(key).sign(algorithm, digest)).signature
        assert outside.is_valid(jwk_of(key), algorithm, digest, signature)
    for bits in (128, 192, 256):
        secret = os.urandom(bits // 8)
        ops = ["encrypt", "decrypt"]
        key = await async_keys.import_key(names(), JsonWebKey(kty="oct-HSM", k=secret, key_ops=ops))
        sealed = await async_crypto_of(key).encrypt(f"A{bits}GCM", b"plaintext")
        assert outside.aes_gcm_decrypt(secret, sealed.iv, sealed.ciphertext, sealed.tag, None) == b"plaintext"


def test_a_client_that_may_not_read_the_key_has_the_pool_do_everything(pool, admin, owner, names):
    """Given a caller with a role that uses keys but cannot read them, the client asks the pool for each operation."""
    import uuid

    from azure.keyvault.keys.crypto import CryptographyClient
    from conftest import credential_of

    prefix = "Microsoft.KeyVault/managedHsm/keys/"
    actions = [f"{prefix}{verb}/action" for verb in ("encrypt", "decrypt", "wrap", "unwrap", "sign", "verify")]
    role, assignment = uuid.uuid4(), uuid.uuid4()
    definition = {
        "roleName": f"use without read {role}",
        "description": "",
        "type": "CustomRole",
        "assignableScopes": ["/"],
        "permissions": [{"actions": [], "notActions": [], "dataActions": actions, "notDataActions": []}],
    }
    roles = "/providers/Microsoft.Authorization/roleDefinitions"
    role_id = admin.put(f"{roles}/{role}", {"properties": definition}).ok(201)["id"]
    rsa_bundle = owner.create(names(), kty="RSA-HSM")
    oct_bundle = owner.create(names(), kty="oct-HSM", key_size=256)
    scopes = ["/keys/" + bundle["key"]["kid"].split("/")[4] for bundle in (rsa_bundle, oct_bundle)]
    paths = [f"{scope}/providers/Microsoft.Authorization/roleAssignments/{assignment}" for scope in scopes]
    principal = pool.accounts["NOBODY"].object_id
    for path in paths:
        admin.put(path, {"properties": {"roleDefinitionId": role_id, "principalId": principal}}).ok(201)
    try:
        credential = credential_of(pool, "NOBODY")
        crypto = CryptographyClient(rsa_bundle["key"]["kid"], credential)
        for algorithm in RSA_ENCRYPTION:
            assert crypto.decrypt(algorithm, crypto.encrypt(algorithm, b"text").ciphertext).plaintext == b"text"
        for algorithm in RSA_SIGNATURE:
            digest = outside.digest_for(algorithm, b"message")
            signature = crypto.sign(algorithm, digest).signature
            assert crypto.verify(algorithm, digest, signature).is_valid
            assert not crypto.verify(algorithm, digest, signature[:-1] + bytes([signature[-1] ^ 1])).is_valid
        crypto = CryptographyClient(oct_bundle["key"]["kid"], credential)
        for algorithm in ("A256KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
            wrapped = crypto.wrap_key(algorithm, b"k" * 32).encrypted_key
            assert crypto.unwrap_key(algorithm, wrapped).key == b"k" * 32
        iv = os.urandom(16)
        sealed = crypto.encrypt("A256CBCPAD", b"any length at all", iv=iv).ciphertext
        assert crypto.decrypt("A256CBCPAD", sealed, iv=iv).plaintext == b"any length at all"
    finally:
        for path in paths:
            admin.delete(path).ok()
        admin.delete(f"{roles}/{role}").ok()
