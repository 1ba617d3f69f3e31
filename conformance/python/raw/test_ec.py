"""Elliptic curves in the pool itself, both directions."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import outside
from wire import b64u, unb64u

CURVES = list(outside.CURVES)


@pytest.fixture(scope="module", params=CURVES)
def key(request, owner):
    from conftest import fresh_name

    private = ec.generate_private_key(outside.CURVES[request.param]())
    name = fresh_name()
    jwk = owner.put(f"/keys/{name}", {"key": outside.ec_jwk(private, request.param)}).ok()["key"]
    assert jwk["crv"] == request.param and "d" not in jwk
    return name, jwk, private


def test_signatures_hold_on_both_sides(owner, key):
    name, jwk, private = key
    algorithm = outside.EC_ALGORITHMS[jwk["crv"]]
    for number in range(20):
        digest = outside.digest_for(algorithm, bytes([number]))
        signature = unb64u(owner.post(f"/keys/{name}/sign", {"alg": algorithm, "value": b64u(digest)}).ok()["value"])
        assert len(signature) == 2 * outside.FIELD_BYTES[jwk["crv"]]
        assert outside.is_valid(jwk, algorithm, digest, signature)
        made_outside = outside.sign(private, algorithm, digest)
        body = {"alg": algorithm, "digest": b64u(digest), "value": b64u(made_outside)}
        assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": True}


def test_a_signature_that_is_wrong_in_any_way_is_not_valid(owner, key):
    name, jwk, private = key
    algorithm, half = outside.EC_ALGORITHMS[jwk["crv"]], outside.FIELD_BYTES[jwk["crv"]]
    digest = outside.digest_for(algorithm, b"message")
    good = outside.sign(private, algorithm, digest)
    wrong = [
        good[:-1] + bytes([good[-1] ^ 1]),
        good[half:] + good[:half],
        bytes(2 * half),
        b"\xff" * (2 * half),
        bytes(half) + good[half:],
    ]
    for signature in wrong:
        body = {"alg": algorithm, "digest": b64u(digest), "value": b64u(signature)}
        assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": False}
    der = private.sign(digest, ec.ECDSA(outside.Prehashed(outside.hash_of(algorithm))))
    for signature in (der, good[:-1], good + b"\x00", b""):
        body = {"alg": algorithm, "digest": b64u(digest), "value": b64u(signature)}
        assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": False}


def test_the_algorithm_must_be_the_curves(owner, key):
    name, jwk, _ = key
    for curve, algorithm in outside.EC_ALGORITHMS.items():
        digest = outside.digest_for(algorithm, b"message")
        answer = owner.post(f"/keys/{name}/sign", {"alg": algorithm, "value": b64u(digest)})
        answer.ok() if curve == jwk["crv"] else answer.refused(400, "BadParameter")
        if curve == jwk["crv"]:
            for length in (0, len(digest) - 1, len(digest) + 1):
                body = {"alg": algorithm, "value": b64u(bytes(length))}
                owner.post(f"/keys/{name}/sign", body).refused(400, "BadParameter")


@pytest.mark.parametrize("operation", ["encrypt", "decrypt", "wrapkey", "unwrapkey"])
def test_an_ec_key_does_not_encrypt(owner, key, operation):
    owner.post(f"/keys/{key[0]}/{operation}", {"alg": "RSA-OAEP", "value": "AAAA"}).refused(403, "Forbidden")


def test_the_old_spelling_of_p256k_is_understood(owner, name):
    assert owner.create(name, kty="EC", crv="SECP256K1")["key"]["crv"] == "P-256K"


@pytest.mark.parametrize("curve", CURVES)
def test_an_import_whose_parts_do_not_belong_together_is_refused(owner, name, curve):
    size = outside.FIELD_BYTES[curve]
    jwk, other = (outside.ec_jwk(ec.generate_private_key(outside.CURVES[curve]()), curve) for _ in range(2))
    flawed = [
        {**jwk, "d": other["d"]},
        {**jwk, "x": other["x"]},
        {**jwk, "x": b64u(bytes(size)), "y": b64u(bytes(size))},
        {**jwk, "d": b64u(bytes(size))},
        {**jwk, "d": b64u(b"\xff" * size)},
        {**jwk, "d": b64u(unb64u(jwk["d"]) + bytes(size))},
        {**jwk, "crv": CURVES[(CURVES.index(curve) + 1) % 4]},
        {part: value for part, value in jwk.items() if part != "d"},
        {part: value for part, value in jwk.items() if part != "crv"},
    ]
    for each in flawed:
        owner.put(f"/keys/{name}", {"key": each}).refused(400, "BadParameter")
    owner.get(f"/keys/{name}").refused(404)
