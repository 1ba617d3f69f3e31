"""Lists: absolute links, continued by name, and nothing lost while keys come and go."""

import pytest


@pytest.fixture
def twelve(owner, names):
    made = [names() for _ in range(12)]
    for name in made:
        owner.create(name, kty="oct-HSM")
    yield made
    for name in made:
        owner.delete(f"/keys/{name}")


def pages(wire, path):
    answer = wire.get(path).ok()
    yield answer
    while answer.get("nextLink"):
        assert f"api-version=" in answer["nextLink"]
        answer = wire.follow(answer["nextLink"]).ok()
        yield answer


def test_a_page_holds_at_most_as_many_as_asked(owner, twelve):
    for size in (1, 5, 25):
        answers = list(pages(owner, f"/keys?maxresults={size}"))
        assert all(len(answer["value"]) <= size for answer in answers)
        kids = [item["kid"] for answer in answers for item in answer["value"]]
        assert len(kids) == len(set(kids))
        assert {f"{owner.pool.url}/keys/{name}" for name in twelve} <= set(kids)


def test_a_page_holds_25_when_nothing_is_asked(owner, names):
    made = [names() for _ in range(26)]
    for name in made:
        owner.create(name, kty="oct-HSM")
    first = owner.get("/keys").ok()
    assert len(first["value"]) == 25 and first["nextLink"]
    for name in made:
        owner.delete(f"/keys/{name}")


@pytest.mark.parametrize("size", ["0", "26", "-1", "ten", "1.5", "99999999999999999999", ""])
def test_an_impossible_page_size_is_refused(owner, size):
    owner.get(f"/keys?maxresults={size}").refused(400, "BadParameter")


def test_a_list_goes_on_when_the_key_it_stopped_at_is_gone(owner, twelve):
    listed, link = set(), "/keys?maxresults=3"
    answer = owner.get(link).ok()
    while True:
        listed |= {item["kid"].rsplit("/", 1)[1] for item in answer["value"]}
        if not answer.get("nextLink"):
            break
        for item in answer["value"][-1:]:
            owner.delete("/keys/" + item["kid"].rsplit("/", 1)[1])
        answer = owner.follow(answer["nextLink"]).ok()
    assert set(twelve) <= listed


def test_versions_are_listed_with_their_versions_and_attributes(owner, name):
    made = {}
    for number in range(5):
        bundle = owner.create(name, kty="oct-HSM", tags={"number": str(number)})
        made[bundle["key"]["kid"]] = bundle
    items = [item for page in pages(owner, f"/keys/{name}/versions?maxresults=2") for item in page["value"]]
    assert {item["kid"] for item in items} == set(made)
    for item in items:
        assert item["attributes"] == made[item["kid"]]["attributes"]
        assert item["tags"] == made[item["kid"]]["tags"]


def test_tags_are_left_out_where_there_are_none(owner, name):
    owner.create(name, kty="oct-HSM")
    assert "tags" not in owner.get(f"/keys/{name}").ok()
    assert "tags" not in owner.get(f"/keys/{name}/versions").ok()["value"][0]
    owner.patch(f"/keys/{name}", {"tags": {"a": "b"}}).ok()
    assert "tags" not in owner.patch(f"/keys/{name}", {"tags": {}}).ok()


@pytest.mark.parametrize("token", ["", "garbage", "%00", "../../..", "A" * 3000])
def test_a_made_up_continuation_is_refused(owner, token):
    owner.get(f"/keys?$skiptoken={token}&maxresults=1").refused(400, "BadParameter")
    owner.get(f"/keys?%24skiptoken={token}&maxresults=1").refused(400, "BadParameter")


def test_versions_of_a_key_that_is_not_there_are_not_found(owner):
    owner.get("/keys/no-such-key/versions").refused(404, "KeyNotFound")
