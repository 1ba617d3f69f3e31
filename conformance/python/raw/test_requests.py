"""What a request may look like: versions, empty segments, doubled slashes, percent signs, case."""

import pytest

from wire import API_VERSION, unb64u

VERSIONS = (
    "7.0 7.1 7.2 7.3 7.4 7.5 7.6 7.6-preview.1 7.6-preview.2 7.5-preview.1 2025-07-01 2025-06-01-preview 2026-04-01 "
    "2026-01-01-preview 2026-03-01-preview 2026-05-01-preview 2026-07-01-preview"
).split()


@pytest.fixture(scope="module")
def key(owner):
    from conftest import fresh_name

    bundle = owner.create(fresh_name(), kty="EC-HSM")
    return bundle["key"]["kid"].removeprefix(owner.pool.url), bundle


@pytest.mark.parametrize("version", VERSIONS)
def test_every_known_api_version_is_served(owner, key, version):
    path, bundle = key
    assert owner.get(path, api_version=version).ok()["key"]["kid"] == bundle["key"]["kid"]


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=1.0", "?api-version=7.4.1", "?version=7.4"])
def test_a_missing_or_unknown_api_version_is_a_bad_request(owner, key, query):
    answer = owner.get(key[0] + query, api_version=None)
    answer.refused(400)
    assert "api-version" in answer.message.lower()


@pytest.mark.parametrize("spelling", ["api-version", "api%2Dversion", "api%2dversion", "API-Version"])
def test_the_name_of_the_api_version_may_be_percent_encoded(owner, key, spelling):
    owner.get(f"{key[0]}?{spelling}={API_VERSION}", api_version=None).ok()


def test_an_empty_version_segment_means_the_latest(owner, name):
    owner.create(name, kty="EC-HSM")
    latest = owner.create(name, kty="EC-HSM")["key"]["kid"]
    for path in (f"/keys/{name}", f"/keys/{name}/", f"//keys/{name}", f"//keys//{name}//"):
        assert owner.get(path).ok()["key"]["kid"] == latest, path
    for path in (f"/keys/{name}/", f"/keys/{name}"):
        assert owner.patch(path, {"tags": {"path": "x"}}).ok()["key"]["kid"] == latest, path
    digest = "A" * 43
    for path in (f"/keys/{name}/sign", f"/keys/{name}//sign", f"//keys/{name}//sign", f"/keys/{name}///sign/"):
        assert owner.post(path, {"alg": "ES256", "value": digest}).ok()["kid"] == latest, path


@pytest.mark.parametrize("wrap, unwrap", [("wrapkey", "unwrapkey"), ("wrapKey", "unwrapKey"), ("WRAPKEY", "UnWrapKey")])
def test_operations_are_named_in_any_case(owner, name, wrap, unwrap):
    owner.create(name, kty="oct-HSM", key_size=128)
    wrapped = owner.post(f"/keys/{name}/{wrap}", {"alg": "A128KW", "value": "A" * 22}).ok()["value"]
    assert owner.post(f"/Keys/{name}/{unwrap}", {"alg": "A128KW", "value": wrapped}).ok()["value"] == "A" * 22


def test_a_name_finds_its_key_in_any_case_and_keeps_the_first_spelling(owner, name):
    owner.create(name.capitalize(), kty="oct-HSM")
    assert owner.get(f"/keys/{name.upper()}").ok()["key"]["kid"].split("/")[4] == name.capitalize()
    owner.create(name, kty="oct-HSM")
    assert len(owner.get(f"/keys/{name}/versions").ok()["value"]) == 2


@pytest.mark.parametrize("padding", ["", "="])
def test_base64url_is_accepted_with_and_without_padding(owner, name, padding):
    owner.create(name, kty="EC-HSM")
    owner.post(f"/keys/{name}/sign", {"alg": "ES256", "value": "A" * 43 + padding}).ok()


def test_unknown_members_and_query_items_are_ignored(owner, name):
    body = {"kty": "EC-HSM", "no_such_member": {"deep": [1, 2]}, "attributes": {"enabled": True, "colour": "blue"}}
    owner.post(f"/keys/{name}/create?unknown=1&x", body).ok()


def test_a_key_may_be_named_like_a_word_of_the_interface(owner):
    for name in ("restore", "versions", "create", "rotationpolicy"):
        owner.create(name, kty="oct-HSM")
        assert owner.get(f"/keys/{name}").ok()["key"]["kid"].split("/")[4] == name
        owner.delete(f"/keys/{name}").ok()
        owner.delete(f"/deletedkeys/{name}").ok(204)


@pytest.mark.parametrize("bad", ["under_score", "dot.ted", "sp%20ace", "%00", "a" * 128, "sn%C3%B6"])
def test_a_key_with_an_impossible_name_is_refused(owner, bad):
    owner.post(f"/keys/{bad}/create", {"kty": "oct-HSM"}).refused(400)


def test_the_longest_name_is_served(owner):
    name = "L" * 127
    owner.create(name, kty="oct-HSM")
    owner.delete(f"/keys/{name}").ok()
    owner.delete(f"/deletedkeys/{name}").ok(204)


@pytest.mark.parametrize("version", ["0", "f" * 31, "f" * 33, "F" * 32, "g" * 32])
def test_an_impossible_version_is_not_there(owner, key, version):
    path = key[0].rsplit("/", 1)[0]
    owner.get(f"{path}/{version}").refused(404, "KeyNotFound")


def test_an_unknown_path_is_not_found_and_a_wrong_method_is_refused(owner, key):
    owner.get("/no/such/thing").refused(404)
    owner.post(key[0] + "/no-such-operation", {}).refused(404)
    for method, path in (("DELETE", "/rng"), ("GET", key[0] + "/sign"), ("PUT", "/keys")):
        owner.call(method, path).refused(405, "MethodNotAllowed")


@pytest.mark.parametrize("header", ["X-HTTP-METHOD", "X-HTTP-REQUEST"])
def test_a_client_without_patch_and_delete_may_post(owner, name, header):
    owner.create(name, kty="oct-HSM")
    answer = owner.post(f"/keys/{name}", {"tags": {"by": "post"}}, headers={header: "PATCH"})
    assert answer.ok()["tags"] == {"by": "post"}
    owner.post(f"/keys/{name}", headers={header: "DELETE"}).ok()
    owner.get(f"/keys/{name}").refused(404)


def test_the_pool_answers_on_bare_localhost_as_well(pool, owner):
    import http.client

    connection = http.client.HTTPSConnection("localhost", pool.port, context=owner.context, timeout=10)
    connection.request("GET", f"/keys?api-version={API_VERSION}", headers={"Authorization": f"Bearer {owner.token}"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def test_random_bytes_are_asked_for_in_a_body(owner):
    assert len(unb64u(owner.post("/rng", {"count": 128}).ok()["value"])) == 128
    for count in (0, 129, -1, 1.5, "16", None, 2**70):
        owner.post("/rng", {"count": count}).refused(400)
    owner.post("/rng", {}).refused(400)
