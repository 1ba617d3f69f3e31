"""Headers and shapes of answers, as the service sends them."""

import re
import time
import uuid

import pytest

FIXED = {
    "cache-control": "no-cache",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "content-security-policy": "default-src 'self'",
    "content-type": "application/json; charset=utf-8",
}


@pytest.fixture(scope="module")
def answers(owner, nobody):
    from conftest import fresh_name

    name = fresh_name()
    made = {
        "create": owner.post(f"/keys/{name}/create", {"kty": "oct-HSM"}),
        "get": owner.get(f"/keys/{name}"),
        "list": owner.get("/keys"),
        "error": owner.get("/keys/no-such-key"),
        "delete": owner.delete(f"/keys/{name}"),
        "purge": owner.delete(f"/deletedkeys/{name}"),
        "challenge to GET": nobody.get("/keys"),
        "challenge to POST": nobody.post("/rng", {"count": 1}),
    }
    return made


@pytest.mark.parametrize("header", FIXED)
def test_every_answer_carries_the_fixed_headers(answers, header):
    for what, answer in answers.items():
        assert answer.headers.get(header) == FIXED[header], what


def test_every_answer_tells_how_long_it_took(answers):
    for what, answer in answers.items():
        assert re.fullmatch(r"\d+", answer.headers["x-ms-server-latency"]), what


def test_answers_to_get_name_the_build(answers):
    for what in ("get", "list", "error", "challenge to GET"):
        assert answers[what].headers["x-ms-build-version"], what


def test_authenticated_answers_name_region_and_network(answers):
    for what in ("create", "get", "list", "error", "delete", "purge"):
        assert answers[what].headers["x-ms-keyvault-region"], what
        network = answers[what].headers["x-ms-keyvault-network-info"]
        assert re.fullmatch(r"conn_type=Ipv4;addr=127\.0\.0\.1;act_addr_fam=Ipv4;", network), network
    for what in ("challenge to GET", "challenge to POST"):
        assert "x-ms-keyvault-region" not in answers[what].headers


def test_every_answer_has_an_id_of_its_own(answers):
    ids = [str(uuid.UUID(answer.headers["x-ms-request-id"])) for answer in answers.values()]
    assert len(set(ids)) == len(answers)


def test_an_error_ends_with_the_id_of_its_request(answers):
    request_id = answers["error"].headers["x-ms-request-id"]
    assert answers["error"].message.endswith(f"(Activity ID: {request_id})")


def test_what_the_edge_refuses_by_itself_looks_the_same(owner):
    answer = owner.post("/rng", b"x" * (1 << 20 | 1)).refused(413, "RequestEntityTooLarge")
    assert all(answer.headers[header] == FIXED[header] for header in FIXED)
    assert answer.message.endswith(f"(Activity ID: {answer.headers['x-ms-request-id']})")


def test_the_clients_request_id_is_echoed(owner):
    mine = str(uuid.uuid4())
    answer = owner.get("/keys", headers={"x-ms-client-request-id": mine, "x-ms-return-client-request-id": "true"})
    assert answer.headers["x-ms-client-request-id"] == mine


@pytest.mark.parametrize("evil", ["a" * 5000, "semi;colon", "\x80\xff"])
def test_a_strange_request_id_does_no_harm(owner, evil):
    owner.get("/keys", headers={"x-ms-client-request-id": evil.encode("latin-1")})
    owner.get("/keys").ok()


def test_a_key_bundle_has_the_published_members_and_no_private_ones(owner, name):
    before = int(time.time())
    bundle = owner.create(name, kty="RSA")
    assert set(bundle) == {"key", "attributes"}
    assert set(bundle["key"]) == {"kid", "kty", "key_ops", "n", "e"}
    assert re.fullmatch(re.escape(owner.pool.url) + f"/keys/{name}/[0-9a-f]{{32}}", bundle["key"]["kid"])
    assert bundle["key"]["e"] == "AQAB" and len(bundle["key"]["n"]) == 342
    attributes = bundle["attributes"]
    times = {"created", "updated"}
    assert set(attributes) == {"enabled", "recoverableDays", "recoveryLevel", "exportable", "hsmPlatform"} | times
    assert attributes["enabled"] is True and attributes["exportable"] is False
    assert attributes["hsmPlatform"] == "software"
    assert attributes["recoverableDays"] == 90 and attributes["recoveryLevel"] == "Recoverable+Purgeable"
    assert type(attributes["created"]) is int and before - 1 <= attributes["created"] <= time.time() + 1
    assert owner.get(f"/keys/{name}").ok() == bundle


def test_other_types_show_exactly_their_public_parts(owner, names):
    assert set(owner.create(names(), kty="oct")["key"]) == {"kid", "kty", "key_ops"}
    assert set(owner.create(names(), kty="EC", crv="P-521")["key"]) == {"kid", "kty", "key_ops", "crv", "x", "y"}
    akp = owner.post(f"/keys/{names()}/create", {"kty": "AKP", "alg": "ML-DSA-44"}, api_version="2026-05-01-preview").ok()
    assert set(akp["key"]) == {"kid", "kty", "key_ops", "alg", "pub"}
    assert akp["key"]["kty"] == "AKP-HSM" and akp["key"]["alg"] == "ML-DSA-44"


def test_a_deleted_bundle_says_how_long_it_can_be_recovered(owner, name):
    owner.create(name, kty="oct-HSM", tags={"a": "b"})
    live = owner.get(f"/keys/{name}").ok()
    deleted = owner.delete(f"/keys/{name}").ok()
    assert deleted == {
        **live,
        "recoveryId": f"{owner.pool.url}/deletedkeys/{name}",
        "deletedDate": deleted["deletedDate"],
        "scheduledPurgeDate": deleted["deletedDate"] + 90 * 86400,
    }
    assert owner.get(f"/deletedkeys/{name}").ok() == deleted
    listed = [item for item in all_pages(owner, "/deletedkeys") if item["recoveryId"] == deleted["recoveryId"]]
    assert len(listed) == 1
    assert listed[0]["kid"] == f"{owner.pool.url}/keys/{name}" and listed[0]["tags"] == {"a": "b"}
    assert listed[0]["scheduledPurgeDate"] == deleted["scheduledPurgeDate"]
    assert listed[0]["attributes"] == live["attributes"]


def test_a_method_that_a_path_does_not_know_is_refused_with_those_it_knows(owner):
    for method in ("HEAD", "OPTIONS", "TRACE", "BREW", "DELETE"):
        answer = owner.call(method, "/keys")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
        assert answer.body == b"" if method == "HEAD" else answer.code == "MethodNotAllowed"
    owner.get("/keys").ok()


def all_pages(wire, path):
    answer = wire.get(path).ok()
    while True:
        yield from answer["value"]
        if not answer.get("nextLink"):
            return
        answer = wire.follow(answer["nextLink"]).ok()
