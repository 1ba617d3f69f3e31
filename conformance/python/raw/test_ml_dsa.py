"""ML-DSA in the shape of the preview: pure, with a context, and over an external mu."""

import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

import outside
from wire import b64u, unb64u

VERSION = "2026-07-01-preview"
SETS = list(outside.ML_DSA)


def external_mu(public, message, context=b""):
    """mu as FIPS 204 algorithm 7 line 6 has it: what the signer may be given in place of the message."""
    tr = hashes.Hash(hashes.SHAKE256(64))
    tr.update(public)
    mu = hashes.Hash(hashes.SHAKE256(64))
    mu.update(tr.finalize() + bytes([0, len(context)]) + context + message)
    return mu.finalize()


@pytest.fixture(scope="module", params=SETS)
def key(request, owner):
    from conftest import fresh_name

    private = outside.ML_DSA[request.param][0].generate()
    name = fresh_name()
    body = {"key": outside.ml_dsa_jwk(private, request.param)}
    jwk = owner.put(f"/keys/{name}", body, api_version=VERSION).ok()["key"]
    assert jwk["kty"] == "AKP-HSM" and jwk["alg"] == request.param and "priv" not in jwk
    return name, jwk, private


def signed(owner, name, **body):
    return unb64u(owner.post(f"/keys/{name}/sign", body, api_version=VERSION).ok()["value"])


def verified(owner, name, **body):
    return owner.post(f"/keys/{name}/verify", body, api_version=VERSION).ok() == {"value": True}


@pytest.mark.parametrize("context", [None, b"", b"context", b"c" * 255])
def test_signatures_hold_on_both_sides(owner, key, context):
    name, jwk, private = key
    message = os.urandom(200)
    given = {} if context is None else {"context": b64u(context)}
    signature = signed(owner, name, value=b64u(message), **given)
    assert len(signature) == outside.ML_DSA[jwk["alg"]][2]
    outside.public_key(jwk).verify(signature, message, context)
    made_outside = private.sign(message, context)
    assert verified(owner, name, digest=b64u(message), value=b64u(made_outside), **given)
    assert not verified(owner, name, digest=b64u(message + b"x"), value=b64u(made_outside), **given)
    assert not verified(owner, name, digest=b64u(message), value=b64u(made_outside), context=b64u(b"another"))


def test_an_external_mu_is_signed_as_the_message_would_be(owner, key):
    name, jwk, _ = key
    mu = external_mu(unb64u(jwk["pub"]), b"message", b"ctx")
    signature = signed(owner, name, external_mu=b64u(mu))
    outside.public_key(jwk).verify(signature, b"message", b"ctx")
    with pytest.raises(InvalidSignature):
        outside.public_key(jwk).verify(signature, b"another message", b"ctx")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"external_mu": b64u(bytes(63))},
        {"external_mu": b64u(bytes(65))},
        {"external_mu": b64u(bytes(64)), "value": "AAAA"},
        {"value": "AAAA", "context": b64u(bytes(256))},
        {"value": "AAAA", "alg": "RS256"},
    ],
)
def test_an_impossible_request_is_refused(owner, key, body):
    owner.post(f"/keys/{key[0]}/sign", body, api_version=VERSION).refused(400)


@pytest.mark.parametrize("algorithm", SETS)
def test_a_generated_key_signs_and_verifies(owner, name, algorithm):
    body = {"kty": "AKP", "alg": algorithm}
    jwk = owner.post(f"/keys/{name}/create", body, api_version=VERSION).ok()["key"]
    assert set(jwk["key_ops"]) == {"sign", "verify"}
    signature = signed(owner, name, value=b64u(b"message"))
    outside.public_key(jwk).verify(signature, b"message", None)
    assert verified(owner, name, digest=b64u(b"message"), value=b64u(signature))


@pytest.mark.parametrize("algorithm", SETS)
def test_an_import_whose_parts_do_not_belong_together_is_refused(owner, name, algorithm):
    jwk, other = (outside.ml_dsa_jwk(outside.ML_DSA[algorithm][0].generate(), algorithm) for _ in range(2))
    flawed = [
        {**jwk, "pub": other["pub"]},
        {**jwk, "priv": b64u(bytes(31))},
        {**jwk, "pub": b64u(bytes(10))},
        {**jwk, "alg": SETS[(SETS.index(algorithm) + 1) % 3]},
        {part: value for part, value in jwk.items() if part != "priv"},
    ]
    for each in flawed:
        owner.put(f"/keys/{name}", {"key": each}, api_version=VERSION).refused(400, "BadParameter")
    owner.get(f"/keys/{name}").refused(404)
