"""A pool with more to do than it has room for says so at once, and when to come back."""

import threading
import uuid

import pytest

from conftest import CRYPTO_USER
from pool import served_pools
from wire import Wire


@pytest.fixture(scope="module")
def small(pool):
    """A pool that makes one RSA key at a time, none ahead of need, and lets one more wait."""
    module = "module = { workers = 1, generation_queue = 1, rsa_stock = 0 }"
    with served_pools({"small": []}, module) as served:
        properties = {"roleDefinitionId": CRYPTO_USER, "principalId": served["small"].accounts["USER"].object_id}
        path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        Wire(served["small"]).as_account("ADMIN").put(path, {"properties": properties}).ok(201)
        yield served["small"]


def test_what_there_is_no_room_for_is_told_when_to_come_back(small):
    user = Wire(small).as_account("USER")
    user.create("oct", kty="oct-HSM")
    answers = []

    def create(number):
        answers.append(Wire(small, user.token).post(f"/keys/rsa-{number}/create", {"kty": "RSA-HSM", "key_size": 4096}))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    user.post("/keys/oct/encrypt", {"alg": "A256GCM", "value": "AAAA"}).ok()
    for thread in threads:
        thread.join()
    turned_away = [answer for answer in answers if answer.status != 200]
    assert 0 < len(turned_away) < len(answers) == 16
    for answer in turned_away:
        assert answer.refused(503, "ServiceUnavailable").headers["retry-after"] == "1"
    assert len(user.get("/keys").ok()["value"]) == 1 + len(answers) - len(turned_away)
    user.create("later", kty="RSA-HSM")
