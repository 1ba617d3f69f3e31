"""Rotation policies as they are on the wire, and rotation itself."""

import pytest


def policy(trigger=None, expiry="P90D", kind="Rotate"):
    actions = [] if trigger is None else [{"trigger": trigger, "action": {"type": kind}}]
    return {"lifetimeActions": actions, "attributes": {"expiryTime": expiry} if expiry else {}}


@pytest.fixture
def key(owner, name):
    owner.create(name, kty="EC-HSM")
    return name


def test_a_policy_comes_back_as_it_was_put(owner, key):
    stored = owner.put(f"/keys/{key}/rotationpolicy", policy({"timeAfterCreate": "P1M"}, "P1Y")).ok()
    assert stored["id"] == f"{owner.pool.url}/keys/{key}/rotationpolicy"
    assert stored["attributes"]["expiryTime"] == "P1Y"
    assert {"created", "updated"} <= set(stored["attributes"])
    (action,) = stored["lifetimeActions"]
    assert action["trigger"]["timeAfterCreate"] == "P1M" and action["trigger"].get("timeBeforeExpiry") is None
    assert action["action"]["type"].lower() == "rotate"
    assert owner.get(f"/keys/{key}/rotationpolicy").ok() == stored


@pytest.mark.parametrize("kind", ["Rotate", "rotate", "ROTATE"])
def test_the_kind_of_action_is_read_in_any_case(owner, key, kind):
    owner.put(f"/keys/{key}/rotationpolicy", policy({"timeAfterCreate": "P30D"}, kind=kind)).ok()


@pytest.mark.parametrize(
    "wanted",
    [
        policy({"timeAfterCreate": "P27D"}),
        policy({"timeAfterCreate": "P30D"}, "P27D"),
        policy({"timeBeforeExpiry": "P63D"}, "P90D"),
        policy({"timeBeforeExpiry": "P30D"}, None),
        policy({"timeAfterCreate": "P30D", "timeBeforeExpiry": "P30D"}),
        policy({}),
        policy({"timeAfterCreate": "P30D"}, kind="Explode"),
        policy({"timeAfterCreate": "30 days"}),
        policy({"timeAfterCreate": "-P30D"}),
        policy({"timeAfterCreate": "P"}),
        policy({"timeAfterCreate": "P99999999999999999999Y"}),
        policy({"timeAfterCreate": 30}),
        policy({"timeAfterCreate": "P30D"}, "PT1H"),
        {"lifetimeActions": {}, "attributes": {}},
        {"lifetimeActions": [], "attributes": []},
    ],
    ids=str,
)
def test_a_policy_that_cannot_hold_is_refused_and_not_stored(owner, key, wanted):
    owner.put(f"/keys/{key}/rotationpolicy", policy({"timeAfterCreate": "P45D"})).ok()
    owner.put(f"/keys/{key}/rotationpolicy", wanted).refused(400, "BadParameter")
    stored = owner.get(f"/keys/{key}/rotationpolicy").ok()
    assert stored["lifetimeActions"][0]["trigger"]["timeAfterCreate"] == "P45D"


@pytest.mark.parametrize("expiry, before", [("P56D", "P28D"), ("P90D", "P62D"), ("P1Y10D", "P30D"), ("P2Y", "P3M")])
def test_the_limits_themselves_are_allowed(owner, key, expiry, before):
    owner.put(f"/keys/{key}/rotationpolicy", policy({"timeBeforeExpiry": before}, expiry)).ok()


def test_an_empty_policy_removes_it(owner, key):
    owner.put(f"/keys/{key}/rotationpolicy", policy({"timeAfterCreate": "P30D"})).ok()
    owner.post(f"/keys/{key}/rotate").ok()
    owner.put(f"/keys/{key}/rotationpolicy", {"lifetimeActions": [], "attributes": {}}).ok()
    owner.post(f"/keys/{key}/rotate").refused(400, "BadParameter")


def test_a_new_version_has_the_old_ones_shape_and_the_policys_expiry(owner, name):
    first = owner.create(name, kty="RSA-HSM", key_size=3072, key_ops=["sign", "verify"], tags={"a": "b"})
    owner.put(f"/keys/{name}/rotationpolicy", policy({"timeAfterCreate": "P30D"})).ok()
    second = owner.call("POST", f"/keys/{name}/rotate").ok()
    assert second["key"]["kid"] != first["key"]["kid"] and second["key"]["n"] != first["key"]["n"]
    assert len(second["key"]["n"]) == len(first["key"]["n"]) and second["tags"] == {"a": "b"}
    assert set(second["key"]["key_ops"]) == {"sign", "verify"}
    assert second["attributes"]["exp"] == second["attributes"]["created"] + 90 * 86400


def test_reading_a_policy_is_not_setting_it(auditor, key):
    auditor.get(f"/keys/{key}/rotationpolicy").ok()
    auditor.put(f"/keys/{key}/rotationpolicy", policy({"timeAfterCreate": "P30D"})).refused(403, "AccessDenied")
    auditor.post(f"/keys/{key}/rotate").refused(403, "AccessDenied")
