"""Bodies that no client sends: each is refused in the one shape, and the next request is served."""

import pytest

from wire import b64u

DEEP = b"[" * 10_000 + b"]" * 10_000
MALFORMED = {
    "nothing": b"",
    "not JSON": b"hello",
    "cut off": b'{"kty":"RSA"',
    "a trailing comma": b'{"kty":"RSA",}',
    "two values": b'{"kty":"RSA"}{"kty":"EC"}',
    "an array": b'["kty"]',
    "a string": b'"RSA"',
    "null": b"null",
    "a number": b"7",
    "not UTF-8": b'{"kty":"\xff\xfe"}',
    "a lone surrogate": b'{"kty":"\\ud800"}',
    "a raw control character": b'{"kty":"R\x00SA"}',
    "UTF-16": '{"kty":"RSA"}'.encode("utf-16"),
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": DEEP,
    "deep in a member that is read": b'{"kty":"oct","tags":' + DEEP + b"}",
    "deep in an element": b'{"kty":"oct","key_ops":[' + DEEP + b"]}",
    "a huge number": b'{"kty":"RSA","key_size":' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"kty":"RSA","key_size":1e999999999}',
    "a negative zero": b'{"kty":"RSA","key_size":-0}',
    "not a number": b'{"kty":"RSA","key_size":NaN}',
    "a duplicate member": b'{"kty":"RSA","kty":"EC"}',
}


@pytest.mark.parametrize("flaw", MALFORMED)
def test_a_malformed_body_is_refused(owner, name, flaw):
    answer = owner.post(f"/keys/{name}/create", MALFORMED[flaw]).refused(400, "BadParameter")
    assert len(answer.body) < 2000
    owner.get(f"/keys/{name}").refused(404)


def test_what_no_operation_reads_may_be_as_deep_as_it_likes(owner, name):
    owner.post(f"/keys/{name}/create", b'{"kty":"oct","of a later version":' + DEEP + b"}").ok()
    owner.get(f"/keys/{name}").ok()


@pytest.mark.parametrize("operation", ["create", "sign", "verify", "encrypt", "decrypt", "wrapkey", "unwrapkey"])
@pytest.mark.parametrize("flaw", ["not JSON", "an array", "deep arrays", "not UTF-8", "null"])
def test_every_operation_refuses_a_malformed_body(owner, name, operation, flaw):
    owner.create(name, kty="RSA-HSM")
    owner.post(f"/keys/{name}/{operation}", MALFORMED[flaw]).refused(400, "BadParameter")


@pytest.mark.parametrize(
    "text",
    ["a", "AAAAA", "A" * 41 + "+/", "A A", "AA\nAA", "AAA==", "====", "*", "é", "A" * 42 + "B", "\u0000"],
    ids=repr,
)
def test_wrong_base64url_is_refused(owner, name, text):
    owner.create(name, kty="EC-HSM")
    owner.post(f"/keys/{name}/sign", {"alg": "ES256", "value": text}).refused(400, "BadParameter")


@pytest.mark.parametrize("value", [None, 7, True, ["AA"], {"a": "b"}])
def test_a_byte_field_of_another_type_is_refused(owner, name, value):
    owner.create(name, kty="EC-HSM")
    owner.post(f"/keys/{name}/sign", {"alg": "ES256", "value": value}).refused(400, "BadParameter")
    owner.post(f"/keys/{name}/sign", {"alg": value, "value": "A" * 43}).refused(400, "BadParameter")


def test_a_body_of_more_than_a_mebibyte_is_refused(owner, name):
    owner.create(name, kty="oct-HSM")
    answer = owner.post(f"/keys/{name}/encrypt", b'{"alg":"A256GCM","value":"' + b"A" * (1 << 20) + b'"}')
    answer.refused(413, "RequestEntityTooLarge")
    assert "1048576" in answer.message
    owner.get(f"/keys/{name}").ok()


def test_a_body_of_almost_a_mebibyte_is_read(owner, name):
    owner.create(name, kty="oct-HSM")
    body = b'{"kty":"oct","ignored":"' + b"A" * ((1 << 20) - 100) + b'"}'
    owner.post(f"/keys/{name}/create", body).ok()


def test_a_length_that_promises_a_terabyte_is_refused_without_waiting_for_it(owner):
    answer = owner.send(
        "POST",
        "/rng?api-version=7.4",
        b"{",
        {"Authorization": f"Bearer {owner.token}", "Content-Length": str(1 << 40)},
    )
    answer.refused(413, "RequestEntityTooLarge")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml", "application/json; charset=utf-8"])
def test_what_the_content_type_says_does_not_matter_as_long_as_the_body_is_json(owner, content_type):
    headers = {"Authorization": f"Bearer {owner.token}"} | ({"Content-Type": content_type} if content_type else {})
    owner.send("POST", "/rng?api-version=7.4", b'{"count":1}', headers).ok()
    owner.send("POST", "/rng?api-version=7.4", b"<count>1</count>", headers).refused(400, "BadParameter")


STRANGE_PATHS = {
    "/keys/%2e%2e/%2e%2e/etc/passwd": 404,
    "/keys/../../etc/passwd": 404,
    "/keys/%00": 400,
    "/keys/%ff": 404,
    "/keys/%": 400,
    "/keys/%zz": 400,
    "/" + "a/" * 2000: 404,
    "/keys/" + "a" * 7000: 404,
    "/keys?" + "a=b&" * 2000: 400,
    "/keys?maxresults=5&maxresults=7": 400,
}


@pytest.mark.parametrize("path", STRANGE_PATHS, ids=lambda path: path[:40])
def test_a_strange_path_is_refused(owner, path):
    owner.get(path).refused(STRANGE_PATHS[path])
    owner.get("/keys").ok()


def test_a_query_item_that_nobody_reads_does_not_matter(owner):
    owner.get("/keys?%ff=%ff").ok()


def test_a_hundred_headers_are_read_and_more_are_refused(owner):
    of_its_own = 3  # Host, Authorization, Content-Length
    owner.get("/keys", headers={f"x-header-{n}": "v" for n in range(100 - of_its_own)}).ok()
    answer = owner.get("/keys", headers={f"x-header-{n}": "v" for n in range(101 - of_its_own)})
    # Before anything of a request is read: no body, and no more of this connection.
    assert (answer.status, answer.body) == (431, b"")
    owner.get("/keys").ok()


def test_failures_of_the_same_kind_look_the_same_from_outside(owner, name):
    """A refusal names the fault and never the key's insides."""
    owner.create(name, kty="oct-HSM")
    body = {"alg": "A256GCM", "value": b64u(bytes(40)), "iv": b64u(bytes(12)), "tag": b64u(bytes(16))}
    message = owner.post(f"/keys/{name}/decrypt", body).refused(400).message
    for word in ("aws", "lc", "panick", "src/", ".rs", "unwrap()"):
        assert f" {word}" not in message.lower()
