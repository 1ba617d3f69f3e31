"""RSA in the pool itself, both directions, each result checked by an independent library."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import outside
from wire import b64u, unb64u

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ENCRYPTIONS = ("RSA-OAEP", "RSA-OAEP-256", "RSA1_5")
OVERHEAD = {"RSA-OAEP": 42, "RSA-OAEP-256": 66, "RSA1_5": 11}


@pytest.fixture(scope="module", params=[2048, 3072, 4096])
def key(request, owner):
    """An outside key of each size, imported: both sides hold the private half."""
    from conftest import fresh_name

    private = rsa.generate_private_key(65537, request.param)
    name = fresh_name()
    jwk = owner.put(f"/keys/{name}", {"key": outside.rsa_jwk(private)}).ok()["key"]
    return name, jwk, private


@pytest.mark.parametrize("algorithm", SIGNATURES)
def test_signatures_hold_on_both_sides(owner, key, algorithm):
    name, jwk, private = key
    digest = outside.digest_for(algorithm, b"message")
    answer = owner.post(f"/keys/{name}/sign", {"alg": algorithm, "value": b64u(digest)}).ok()
    assert answer["kid"] == jwk["kid"] and answer.get("alg", algorithm) == algorithm
    assert outside.is_valid(jwk, algorithm, digest, unb64u(answer["value"]))

    def verified(signature, content=digest):
        body = {"alg": algorithm, "digest": b64u(content), "value": b64u(signature)}
        return owner.post(f"/keys/{name}/verify", body).ok() == {"value": True}

    made_outside = outside.sign(private, algorithm, digest)
    assert verified(made_outside)
    assert not verified(made_outside[:-1] + bytes([made_outside[-1] ^ 1]))
    assert not verified(made_outside, bytes([digest[0] ^ 1]) + digest[1:])


@pytest.mark.parametrize("length", [0, 1, 36, 64])
def test_rsnull_signs_the_given_bytes_and_nothing_more(owner, key, length):
    name, jwk, private = key
    content = os.urandom(length)
    answer = owner.post(f"/keys/{name}/sign", {"alg": "RSNULL", "value": b64u(content)}).ok()
    assert outside.is_valid(jwk, "RSNULL", content, unb64u(answer["value"]))
    made_outside = outside.sign(private, "RSNULL", content)
    body = {"alg": "RSNULL", "digest": b64u(content), "value": b64u(made_outside)}
    assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": True}
    body["digest"] = b64u(content + b"x")
    assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": False}


def test_rsnull_takes_up_to_eleven_bytes_less_than_the_modulus(owner, key):
    name, jwk, private = key
    longest = private.key_size // 8 - 11
    content = os.urandom(longest)
    signature = owner.post(f"/keys/{name}/sign", {"alg": "RSNULL", "value": b64u(content)}).ok()["value"]
    assert outside.is_valid(jwk, "RSNULL", content, unb64u(signature))
    owner.post(f"/keys/{name}/sign", {"alg": "RSNULL", "value": b64u(content + b"x")}).refused(400)


@pytest.mark.parametrize("algorithm", ENCRYPTIONS)
@pytest.mark.parametrize("forward, back", [("encrypt", "decrypt"), ("wrapkey", "unwrapkey")])
def test_encryption_is_undone_on_the_other_side(owner, key, algorithm, forward, back):
    name, jwk, private = key
    for plaintext in (b"x", os.urandom(32), os.urandom(private.key_size // 8 - OVERHEAD[algorithm])):
        answer = owner.post(f"/keys/{name}/{forward}", {"alg": algorithm, "value": b64u(plaintext)}).ok()
        assert outside.rsa_decrypt(private, algorithm, unb64u(answer["value"])) == plaintext
        made_outside = outside.rsa_encrypt(jwk, algorithm, plaintext)
        answer = owner.post(f"/keys/{name}/{back}", {"alg": algorithm, "value": b64u(made_outside)}).ok()
        assert unb64u(answer["value"]) == plaintext and answer["kid"] == jwk["kid"]


@pytest.mark.parametrize("algorithm", ENCRYPTIONS)
def test_one_byte_too_many_is_refused(owner, key, algorithm):
    name, _, private = key
    content = bytes(private.key_size // 8 - OVERHEAD[algorithm] + 1)
    owner.post(f"/keys/{name}/encrypt", {"alg": algorithm, "value": b64u(content)}).refused(400, "BadParameter")


@pytest.mark.parametrize("algorithm", ENCRYPTIONS)
def test_every_ciphertext_that_cannot_be_opened_gets_one_and_the_same_answer(owner, key, algorithm):
    name, jwk, private = key
    good = outside.rsa_encrypt(jwk, algorithm, b"plaintext")
    size = len(good)
    flawed = [
        bytes([good[0] ^ 1]) + good[1:],
        good[:-1] + bytes([good[-1] ^ 1]),
        bytes(size - 1) + b"\x02",
        os.urandom(size),
        outside.rsa_encrypt(jwk, "RSA-OAEP" if algorithm == "RSA1_5" else "RSA1_5", b"plaintext"),
    ]
    answers = [owner.post(f"/keys/{name}/decrypt", {"alg": algorithm, "value": b64u(each)}) for each in flawed]
    messages = {answer.refused(400).message.split(" (Activity")[0] for answer in answers}
    assert len(messages) == 1 and {answer.code for answer in answers} == {answers[0].code}


@pytest.mark.parametrize("length", [0, 1, 255, 257, 4096])
def test_a_ciphertext_of_another_length_is_refused(owner, name, length):
    owner.create(name, kty="RSA-HSM")
    body = {"alg": "RSA-OAEP-256", "value": b64u(bytes(length))}
    owner.post(f"/keys/{name}/decrypt", body).refused(400)


@pytest.mark.parametrize("algorithm", SIGNATURES)
def test_a_digest_of_another_length_is_refused(owner, name, algorithm):
    owner.create(name, kty="RSA-HSM")
    right = len(outside.digest_for(algorithm, b""))
    for length in (0, right - 1, right + 1):
        body = {"alg": algorithm, "value": b64u(bytes(length))}
        owner.post(f"/keys/{name}/sign", body).refused(400, "BadParameter")


def test_an_algorithm_of_another_key_type_is_refused(owner, name):
    owner.create(name, kty="RSA-HSM")
    for operation, algorithm in (("sign", "ES256"), ("sign", "HS256"), ("encrypt", "A256GCM"), ("wrapkey", "A256KW")):
        owner.post(f"/keys/{name}/{operation}", {"alg": algorithm, "value": "A" * 43}).refused(400, "BadParameter")
    for algorithm in ("rs256", "RS1", "", None, 256, "none", "RSA-OAEP-256"):
        owner.post(f"/keys/{name}/sign", {"alg": algorithm, "value": "A" * 43}).refused(400, "BadParameter")


@pytest.mark.parametrize("exponent", [3, 17, 257, 65537])
def test_keys_of_every_exponent_compute_rightly(owner, name, exponent):
    jwk = owner.create(name, kty="RSA-HSM", public_exponent=exponent)["key"]
    assert int.from_bytes(unb64u(jwk["e"]), "big") == exponent
    digest = outside.digest_for("PS256", b"message")
    signature = owner.post(f"/keys/{name}/sign", {"alg": "PS256", "value": b64u(digest)}).ok()["value"]
    assert outside.is_valid(jwk, "PS256", digest, unb64u(signature))
    sealed = outside.rsa_encrypt(jwk, "RSA-OAEP-256", b"text")
    body = {"alg": "RSA-OAEP-256", "value": b64u(sealed)}
    assert unb64u(owner.post(f"/keys/{name}/decrypt", body).ok()["value"]) == b"text"


def test_an_import_takes_numbers_with_leading_zeros(owner, name):
    private = rsa.generate_private_key(65537, 2048)
    jwk = outside.rsa_jwk(private)
    padded = {part: value if part == "kty" else b64u(b"\x00" + unb64u(value)) for part, value in jwk.items()}
    stored = owner.put(f"/keys/{name}", {"key": padded}).ok()["key"]
    assert stored["n"] == jwk["n"] and stored["e"] == jwk["e"]


@pytest.mark.parametrize("flaw", ["n", "e", "d", "p", "q", "dp", "dq", "qi"])
def test_an_import_whose_parts_do_not_belong_together_is_refused(owner, name, flaw):
    jwk, other = (outside.rsa_jwk(rsa.generate_private_key(65537, 2048)) for _ in range(2))
    other["e"] = "Aw"
    owner.put(f"/keys/{name}", {"key": {**jwk, flaw: other[flaw]}}).refused(400, "BadParameter")
    owner.get(f"/keys/{name}").refused(404)


def test_an_import_without_a_private_part_or_too_short_is_refused(owner, name):
    jwk = outside.rsa_jwk(rsa.generate_private_key(65537, 2048))
    owner.put(f"/keys/{name}", {"key": {part: jwk[part] for part in ("kty", "n", "e")}}).refused(400, "BadParameter")
    short = outside.rsa_jwk(rsa.generate_private_key(65537, 1024))
    owner.put(f"/keys/{name}", {"key": short}).refused(400, "BadParameter")
    owner.get(f"/keys/{name}").refused(404)
