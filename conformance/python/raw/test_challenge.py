"""The challenge: what every client meets first, before anything else about its request matters."""

import re

import pytest

METHODS = {
    "GET": "/keys/some-key/",
    "POST": "/keys/some-key/create",
    "PUT": "/keys/some-key",
    "PATCH": "/keys/some-key/",
    "DELETE": "/keys/some-key",
}


def expected(pool):
    return f'Bearer authorization="{pool.authority}/{pool.tenant}", resource="{pool.resource}"'


@pytest.mark.parametrize("method", METHODS)
def test_the_first_request_gets_the_challenge_exactly(pool, nobody, method):
    answer = nobody.call(method, METHODS[method])
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == expected(pool)
    assert answer.body == (b"OK" if method == "GET" else b"")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "method, target",
    [
        ("POST", "/keys/some-key/create"),
        ("POST", "/keys/some-key/create?api-version=1.2.3"),
        ("GET", "/no/such/path/at/all?api-version=7.4"),
        ("PUT", "/keys/not_a_name!?api-version=7.4"),
        ("POST", "/keys/some-key/no-such-operation?api-version=7.4"),
        ("DELETE", "/rng?api-version=7.4"),
        ("POST", "/rng"),
        ("PATCH", "/settings/none"),
        ("GET", "/keys/" + "a" * 300),
    ],
)
def test_nothing_is_validated_before_the_caller_is_known(pool, nobody, method, target):
    answer = nobody.send(method, target)
    assert answer.status == 401 and answer.headers["www-authenticate"] == expected(pool)


def test_a_malformed_body_is_not_looked_at_before_the_caller_is_known(nobody):
    answer = nobody.post("/keys/some-key/create", b'{"kty":')
    assert answer.status == 401 and answer.body == b""


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer not.a.token", "Basic dXNlcjpwYXNz", "bearer", "Bearer a b"])
def test_a_useless_authorization_header_gets_the_same_challenge(pool, nobody, value):
    answer = nobody.get("/keys", headers={"Authorization": value})
    assert answer.status == 401 and answer.headers["www-authenticate"].startswith(expected(pool))


def test_the_challenge_keeps_the_grammar_that_all_clients_parse(nobody):
    challenge = nobody.get("/keys").headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    for item in challenge.removeprefix("Bearer ").split(", "):
        assert re.fullmatch(r'[a-z]+="[^"=, ]+"', item), item
    authority = re.search(r'authorization="https://[^/"]+/([^/"]+)"', challenge)
    assert re.fullmatch(r"[0-9A-Za-z.-]+", authority[1])


def test_a_connection_lives_on_after_a_challenge(nobody):
    nobody.get("/keys")
    connection = nobody._connection
    assert connection is not None
    nobody.post("/rng", {"count": 1})
    assert nobody._connection is connection


def test_the_scheme_of_the_token_may_be_written_in_any_case(user):
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = user.post("/rng", {"count": 1}, headers={"Authorization": f"{scheme} {user.token}"})
        answer.ok()
