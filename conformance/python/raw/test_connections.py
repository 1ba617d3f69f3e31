"""Bad neighbours on the network: nothing that one connection does may hold up another."""

import os
import resource
import socket
import ssl
import threading
import time

import pytest

from wire import Wire

IDLE_CONNECTIONS = 2000
LIMIT_SECONDS = 2.0


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """Room for the idle connections of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + 500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= wanted


def plain(pool):
    return socket.create_connection(("127.0.0.1", pool.port), timeout=30)


def secure(pool, context):
    return context.wrap_socket(plain(pool), server_hostname=pool.host)


def others_are_served(pool, owner):
    """A fresh connection and a request on it, in good time."""
    started = time.monotonic()
    wire = Wire(pool, owner.token)
    wire.post("/rng", {"count": 8}).ok()
    wire.close()
    assert time.monotonic() - started < LIMIT_SECONDS


def test_idle_connections_hold_nobody_up(pool, owner):
    idle = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            idle.append(plain(pool))
        others_are_served(pool, owner)
        for _ in range(20):
            owner.post("/rng", {"count": 8}).ok()
    finally:
        for connection in idle:
            connection.close()
    others_are_served(pool, owner)


def test_idle_connections_that_finished_their_handshake_hold_nobody_up(pool, owner):
    idle = []
    try:
        for _ in range(300):
            idle.append(secure(pool, owner.context))
        others_are_served(pool, owner)
    finally:
        for connection in idle:
            connection.close()


def test_slow_senders_hold_nobody_up_and_are_cut_off(pool, owner):
    head = f"POST /rng?api-version=7.4 HTTP/1.1\r\nHost: {pool.host}:{pool.port}\r\n".encode()
    slow_head = [secure(pool, owner.context) for _ in range(50)]
    slow_body = [secure(pool, owner.context) for _ in range(50)]
    try:
        for connection in slow_head:
            connection.sendall(head)
        for connection in slow_body:
            connection.sendall(head + f"Authorization: Bearer {owner.token}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        deadline = time.monotonic() + 90
        waiting = slow_head + slow_body
        while waiting and time.monotonic() < deadline:
            others_are_served(pool, owner)
            waiting = [connection for connection in waiting if not drip(connection)]
            time.sleep(1)
        assert not waiting, f"{len(waiting)} slow senders are still connected"
    finally:
        for connection in slow_head + slow_body:
            connection.close()


def drip(connection):
    """Sends one byte more; true when the pool has closed the connection."""
    connection.settimeout(0.001)
    try:
        connection.sendall(b"x")
        return connection.recv(4096) == b""
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def test_a_connection_of_which_the_client_closed_its_half_still_gets_its_answer(pool, owner):
    """Closed as TLS wants it, with its own last word, and then as TCP has it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = owner.context.wrap_bio(incoming, outgoing, server_hostname=pool.host)
    with plain(pool) as connection:

        def step(call):
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        connection.sendall(outgoing.read())
                    received = connection.recv(65536)
                    incoming.write(received) if received else incoming.write_eof()

        step(tls.do_handshake)
        tls.write(f"GET /keys HTTP/1.1\r\nHost: {pool.host}:{pool.port}\r\nConnection: close\r\n\r\n".encode())
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        connection.sendall(outgoing.read())
        connection.shutdown(socket.SHUT_WR)
        received = b""
        with pytest.raises(ssl.SSLZeroReturnError):
            while True:
                received += step(lambda: tls.read(65536))
    assert received.startswith(b"HTTP/1.1 401") and received.endswith(b"OK")
    others_are_served(pool, owner)


def test_connections_that_are_torn_down_in_the_middle_hold_nobody_up(pool, owner):
    request = (
        f"POST /rng?api-version=7.4 HTTP/1.1\r\nHost: {pool.host}:{pool.port}\r\n"
        f"Authorization: Bearer {owner.token}\r\nContent-Length: 11\r\n\r\n"
    ).encode()
    for cut in (0, 1, 20, len(request) - 1, len(request)):
        for _ in range(20):
            connection = secure(pool, owner.context)
            connection.sendall(request[:cut])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()
    others_are_served(pool, owner)


def test_a_client_that_hangs_up_does_not_tear_a_change_in_half(pool, owner, names):
    """Creates are sent and abandoned at once: each key is there whole, or not at all."""
    wanted = [names() for _ in range(30)]
    for name in wanted:
        connection = secure(pool, owner.context)
        body = b'{"kty":"RSA-HSM","tags":{"a":"b"}}'
        connection.sendall(
            f"POST /keys/{name}/create?api-version=7.4 HTTP/1.1\r\nHost: {pool.host}:{pool.port}\r\n"
            f"Authorization: Bearer {owner.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        connection.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [name for name in wanted if owner.get(f"/keys/{name}").status == 200]
        if len(found) == len(wanted):
            break
        time.sleep(0.5)
    for name in wanted:
        answer = owner.get(f"/keys/{name}")
        if answer.status != 404:
            assert answer.ok()["tags"] == {"a": "b"}
            owner.post(f"/keys/{name}/sign", {"alg": "RS256", "value": "A" * 43}).ok()


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\x80\x2e\x01\x03\x01", b""],
    ids=["plain HTTP", "noise", "a huge handshake", "SSL 2", "nothing"],
)
def test_what_is_not_tls_is_closed(pool, owner, garbage):
    connection = plain(pool)
    try:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        while connection.recv(4096):
            pass
    except OSError as error:
        # It may have been closed before all of this was sent, in more than one way; it must not stay open.
        assert not isinstance(error, TimeoutError)
    finally:
        connection.close()
    others_are_served(pool, owner)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_of_tls_are_spoken(pool, owner, version):
    context = ssl.create_default_context(cafile=pool.ca_file)
    context.minimum_version = context.maximum_version = version
    with secure(pool, context) as connection:
        assert connection.version() == version.name.replace("_", ".")


def test_old_versions_of_tls_are_not(pool):
    context = ssl.create_default_context(cafile=pool.ca_file)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure(pool, context)


@pytest.mark.parametrize(
    "status, request_text",
    [
        (400, "POST /rng HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        (400, "POST /rng HTTP/1.1\r\nHost: {host}\r\n{token}Transfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        (401, "POST /rng HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        (400, "GET /keys HTTP/9.9\r\nHost: {host}\r\n\r\n"),
        (400, "GET /keys HTTP/1.1\r\n\r\n"),
        (400, "GET /keys HTTP/1.1\r\nHost: {host}\r\nHost: other.example\r\n\r\n"),
        (400, "GET  /keys HTTP/1.1\r\nHost: {host}\r\n bad: folding\r\n\r\n"),
        (431, "GET /keys HTTP/1.1\r\nHost: {host}\r\nx: " + "y" * 60_000 + "\r\n\r\n"),
    ],
    ids=["two lengths", "bad chunk", "bad chunk of a stranger", "HTTP 9.9", "no host", "two hosts", "folding", "huge header"],
)
def test_a_request_that_can_be_read_two_ways_is_not_served(pool, owner, status, request_text):
    with secure(pool, owner.context) as connection:
        connection.settimeout(15)
        known = request_text.replace("{token}", f"Authorization: Bearer {owner.token}\r\n")
        connection.sendall(known.replace("{host}", f"{pool.host}:{pool.port}").encode())
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
    others_are_served(pool, owner)


def test_another_host_name_is_not_served(pool, owner):
    owner.call("GET", "/keys", headers={"Host": f"other.example:{pool.port}"}).refused(404, "HostNotFound")


def test_many_clients_at_once_all_get_their_answers(pool, owner):
    failures = []

    def work():
        wire = Wire(pool, owner.token)
        try:
            for _ in range(10):
                wire.post("/rng", {"count": 8}).ok()
        except Exception as failure:  # noqa: BLE001  the thread's failure is the test's
            failures.append(failure)
        wire.close()

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
