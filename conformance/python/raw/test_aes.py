"""Symmetric keys in the pool itself: GCM, CBC, key wrap and HMAC, both directions."""

import os

import pytest

import outside
from wire import b64u, unb64u

SIZES = (128, 192, 256)
OPS = ["encrypt", "decrypt", "wrapKey", "unwrapKey"]


@pytest.fixture(scope="module", params=SIZES)
def key(request, owner):
    from conftest import fresh_name

    secret, name = os.urandom(request.param // 8), fresh_name()
    owner.put(f"/keys/{name}", {"key": {"kty": "oct-HSM", "k": b64u(secret), "key_ops": OPS}}).ok()
    return name, secret, request.param


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000, 32000])
@pytest.mark.parametrize("aad", [None, b"", b"context", b"c" * 1000])
def test_gcm_is_opened_on_the_other_side(owner, key, length, aad):
    name, secret, bits = key
    plaintext, algorithm = os.urandom(length), f"A{bits}GCM"
    context = {} if aad is None else {"aad": b64u(aad)}
    sealed = owner.post(f"/keys/{name}/encrypt", {"alg": algorithm, "value": b64u(plaintext), **context}).ok()
    ciphertext, iv, tag = (unb64u(sealed[part]) for part in ("value", "iv", "tag"))
    assert (len(ciphertext), len(iv), len(tag)) == (length, 12, 16)
    if aad:
        assert sealed["aad"] == b64u(aad)
    assert outside.aes_gcm_decrypt(secret, iv, ciphertext, tag, aad) == plaintext

    iv = os.urandom(12)
    ciphertext, tag = outside.aes_gcm_encrypt(secret, iv, plaintext, aad)
    body = {"alg": algorithm, "value": b64u(ciphertext), "iv": b64u(iv), "tag": b64u(tag), **context}
    assert unb64u(owner.post(f"/keys/{name}/decrypt", body).ok()["value"]) == plaintext


def test_the_pool_picks_a_new_iv_each_time(owner, key):
    name, _, bits = key
    body = {"alg": f"A{bits}GCM", "value": b64u(b"the same text")}
    ivs = {owner.post(f"/keys/{name}/encrypt", body).ok()["iv"] for _ in range(50)}
    assert len(ivs) == 50


def test_a_caller_does_not_choose_the_iv_of_gcm(owner, key):
    name, _, bits = key
    body = {"alg": f"A{bits}GCM", "value": "AAAA", "iv": b64u(os.urandom(12))}
    owner.post(f"/keys/{name}/encrypt", body).refused(400, "BadParameter")


def test_gcm_that_was_touched_is_not_opened(owner, key):
    name, secret, bits = key
    iv = os.urandom(12)
    ciphertext, tag = outside.aes_gcm_encrypt(secret, iv, b"some plaintext", b"context")
    good = {"alg": f"A{bits}GCM", "value": b64u(ciphertext), "iv": b64u(iv), "tag": b64u(tag), "aad": b64u(b"context")}
    owner.post(f"/keys/{name}/decrypt", good).ok()

    def flipped(octets):
        return b64u(bytes([octets[0] ^ 1]) + octets[1:])

    touched = [
        {**good, "value": flipped(ciphertext)},
        {**good, "tag": flipped(tag)},
        {**good, "iv": flipped(iv)},
        {**good, "aad": flipped(b"context")},
        {part: value for part, value in good.items() if part != "aad"},
    ]
    messages = {owner.post(f"/keys/{name}/decrypt", body).refused(400).message.split(" (Activity")[0] for body in touched}
    assert len(messages) == 1
    malformed = [
        {**good, "tag": b64u(tag[:12])},
        {**good, "tag": ""},
        {**good, "iv": b64u(iv[:8])},
        {**good, "iv": b64u(iv + bytes(4))},
        {part: value for part, value in good.items() if part != "tag"},
        {part: value for part, value in good.items() if part != "iv"},
    ]
    for body in malformed:
        owner.post(f"/keys/{name}/decrypt", body).refused(400)


@pytest.mark.parametrize("length", [1, 14, 16, 31, 32, 1000])
def test_cbc_fills_short_input_with_zero_bytes(owner, key, length):
    name, secret, bits = key
    plaintext, iv, algorithm = os.urandom(length), os.urandom(16), f"A{bits}CBC"
    body = {"alg": algorithm, "value": b64u(plaintext), "iv": b64u(iv)}
    sealed = owner.post(f"/keys/{name}/encrypt", body).ok()
    assert sealed["iv"] == b64u(iv)
    ciphertext = outside.aes_cbc_encrypt(secret, iv, outside.zero_filled(plaintext))
    assert unb64u(sealed["value"]) == ciphertext
    answer = owner.post(f"/keys/{name}/decrypt", {**body, "value": b64u(ciphertext)}).ok()
    assert unb64u(answer["value"]) == outside.zero_filled(plaintext)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 1000])
def test_cbcpad_fills_as_pkcs7_says(owner, key, length):
    name, secret, bits = key
    plaintext, iv, algorithm = os.urandom(length), os.urandom(16), f"A{bits}CBCPAD"
    body = {"alg": algorithm, "value": b64u(plaintext), "iv": b64u(iv)}
    ciphertext = outside.aes_cbc_encrypt(secret, iv, outside.pkcs7(plaintext))
    assert unb64u(owner.post(f"/keys/{name}/encrypt", body).ok()["value"]) == ciphertext
    answer = owner.post(f"/keys/{name}/decrypt", {**body, "value": b64u(ciphertext)}).ok()
    assert unb64u(answer["value"]) == plaintext


def test_aad_with_cbc_is_ignored(owner, key):
    name, secret, bits = key
    iv = os.urandom(16)
    body = {"alg": f"A{bits}CBC", "value": b64u(b"0123456789abcdef"), "iv": b64u(iv), "aad": b64u(b"ignored")}
    sealed = unb64u(owner.post(f"/keys/{name}/encrypt", body).ok()["value"])
    assert sealed == outside.aes_cbc_encrypt(secret, iv, b"0123456789abcdef")


def test_cbc_without_a_right_iv_or_whole_blocks_is_refused(owner, key):
    name, secret, bits = key
    for algorithm in (f"A{bits}CBC", f"A{bits}CBCPAD"):
        for iv in ({}, {"iv": ""}, {"iv": b64u(bytes(12))}, {"iv": b64u(bytes(17))}):
            body = {"alg": algorithm, "value": b64u(bytes(16)), **iv}
            owner.post(f"/keys/{name}/encrypt", body).refused(400)
            owner.post(f"/keys/{name}/decrypt", body).refused(400)
        body = {"alg": algorithm, "value": b64u(bytes(15)), "iv": b64u(bytes(16))}
        owner.post(f"/keys/{name}/decrypt", body).refused(400)
    flawed = outside.aes_cbc_encrypt(secret, bytes(16), bytes(16))
    body = {"alg": f"A{bits}CBCPAD", "value": b64u(flawed), "iv": b64u(bytes(16))}
    owner.post(f"/keys/{name}/decrypt", body).refused(400)


@pytest.mark.parametrize("length", [16, 24, 32, 64, 256])
@pytest.mark.parametrize("named_by_size", [True, False])
def test_key_wrap_is_undone_on_the_other_side(owner, key, length, named_by_size):
    name, secret, bits = key
    content = os.urandom(length)
    algorithm = f"A{bits}KW" if named_by_size else "CKM_AES_KEY_WRAP"
    answer = owner.post(f"/keys/{name}/wrapkey", {"alg": algorithm, "value": b64u(content)}).ok()
    assert unb64u(answer["value"]) == outside.aes_wrap(secret, content, padded=False)
    body = {"alg": algorithm, "value": answer["value"]}
    assert unb64u(owner.post(f"/keys/{name}/unwrapkey", body).ok()["value"]) == content


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 20, 257])
def test_padded_key_wrap_is_undone_on_the_other_side(owner, key, length):
    name, secret, _ = key
    content = os.urandom(length)
    body = {"alg": "CKM_AES_KEY_WRAP_PAD", "value": b64u(content)}
    wrapped = unb64u(owner.post(f"/keys/{name}/wrapkey", body).ok()["value"])
    assert wrapped == outside.aes_wrap(secret, content, padded=True)
    assert outside.aes_unwrap(secret, wrapped, padded=True) == content
    body["value"] = b64u(wrapped)
    assert unb64u(owner.post(f"/keys/{name}/unwrapkey", body).ok()["value"]) == content


@pytest.mark.parametrize("padded", [True, False])
def test_a_wrapped_key_that_was_touched_or_cannot_be_is_refused(owner, key, padded):
    name, secret, bits = key
    algorithm = "CKM_AES_KEY_WRAP_PAD" if padded else f"A{bits}KW"
    wrapped = outside.aes_wrap(secret, bytes(32), padded)
    wrong_integrity = outside.aes_wrap(secret, bytes(32), not padded)
    flipped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    for value in (flipped, wrong_integrity, wrapped[:-8], wrapped[:-1], wrapped + bytes(8), b"", bytes(8), bytes(16)):
        owner.post(f"/keys/{name}/unwrapkey", {"alg": algorithm, "value": b64u(value)}).refused(400)
    if not padded:
        for length in (0, 8, 15, 17):
            owner.post(f"/keys/{name}/wrapkey", {"alg": algorithm, "value": b64u(bytes(length))}).refused(400)


def test_the_number_in_an_algorithm_must_be_the_keys_size(owner, key):
    name, _, bits = key
    for other in SIZES:
        for operation, algorithm in (("encrypt", f"A{other}GCM"), ("wrapkey", f"A{other}KW")):
            answer = owner.post(f"/keys/{name}/{operation}", {"alg": algorithm, "value": b64u(bytes(16))})
            answer.ok() if other == bits else answer.refused(400, "BadParameter")


def test_wrapping_algorithms_do_not_encrypt(owner, key):
    name, _, bits = key
    for algorithm in (f"A{bits}KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
        owner.post(f"/keys/{name}/encrypt", {"alg": algorithm, "value": b64u(bytes(16))}).refused(400)


def test_a_generated_key_opens_what_it_sealed(owner, name):
    owner.create(name, kty="oct-HSM", key_size=192)
    sealed = owner.post(f"/keys/{name}/encrypt", {"alg": "A192GCM", "value": b64u(b"text")}).ok()
    body = {"alg": "A192GCM", **{part: sealed[part] for part in ("value", "iv", "tag")}}
    assert unb64u(owner.post(f"/keys/{name}/decrypt", body).ok()["value"]) == b"text"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("length", [16, 32, 48, 64])
def test_a_mac_is_the_same_on_both_sides(owner, name, algorithm, length):
    secret, message = os.urandom(length), os.urandom(100)
    jwk = {"kty": "oct-HSM", "k": b64u(secret), "key_ops": ["sign", "verify"]}
    owner.put(f"/keys/{name}", {"key": jwk}).ok()
    expected = outside.hmac_of(algorithm, secret, message)
    answer = owner.post(f"/keys/{name}/sign", {"alg": algorithm, "value": b64u(message)}).ok()
    assert unb64u(answer["value"]) == expected
    body = {"alg": algorithm, "digest": b64u(message), "value": b64u(expected)}
    assert owner.post(f"/keys/{name}/verify", body).ok() == {"value": True}
    for wrong in (expected[:-1] + bytes([expected[-1] ^ 1]), expected[:-1], expected + b"\x00", b""):
        assert owner.post(f"/keys/{name}/verify", {**body, "value": b64u(wrong)}).ok() == {"value": False}


@pytest.mark.parametrize("length", [0, 65, 128])
def test_an_oct_key_of_an_impossible_length_is_refused(owner, name, length):
    jwk = {"kty": "oct-HSM", "k": b64u(bytes(length))}
    answer = owner.put(f"/keys/{name}", {"key": jwk}).refused(400, "BadParameter")
    if length > 64:
        assert answer.message.startswith("JSON Web Key: k property of oct key is too large, maximum size is 64")
