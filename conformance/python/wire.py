"""Raw HTTP to a pool: requests exactly as written, with nothing that a client library would tidy up."""

import base64
import dataclasses
import http.client
import json
import ssl
import time
import urllib.parse

API_VERSION = "7.6"


def b64u(octets):
    """base64url without padding, as every byte field of the interface has it."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, with header names in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error code, or None if the body is no error."""
        return self.json.get("error", {}).get("code") if self.body else None

    @property
    def inner_code(self):
        return (self.json["error"].get("innererror") or {}).get("code")

    @property
    def message(self):
        return self.json["error"]["message"]

    def ok(self, status=200):
        """This answer's JSON, if its status is the one expected."""
        assert self.status == status, f"{self.status} {self.body[:600]!r}"
        return self.json if self.body else None

    def refused(self, status, code=None):
        """Asserts an error in the one shape, and returns this answer."""
        assert self.status == status, f"{self.status} {self.body[:600]!r}"
        error = self.json["error"]
        assert set(self.json) == {"error"} and set(error) <= {"code", "message", "innererror"}
        assert error["message"]
        if code is not None:
            assert error["code"] == code, error
        return self


class Wire:
    """A connection to one pool that stays open between requests, on behalf of nobody until `as_account` says whom."""

    def __init__(self, pool, token=None):
        self.pool = pool
        self.token = token
        self.context = ssl.create_default_context(cafile=pool.ca_file)
        self._tokens = {}
        self._connection = None

    def as_account(self, name):
        """A connection of its own that sends the account's token."""
        return Wire(self.pool, self.token_of(name))

    def token_of(self, name):
        """A token of the built-in issuer for one of the ready accounts."""
        if name not in self._tokens:
            account = self.pool.accounts[name]
            form = urllib.parse.urlencode(
                {
                    "grant_type": "client_credentials",
                    "client_id": account.client_id,
                    "client_secret": account.client_secret,
                    "scope": f"{self.pool.resource}/.default",
                }
            )
            authority = urllib.parse.urlsplit(self.pool.authority)
            connection = http.client.HTTPSConnection(authority.hostname, authority.port, context=self.context, timeout=30)
            connection.request(
                "POST",
                f"/{self.pool.tenant}/oauth2/v2.0/token",
                form,
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            assert answer.status == 200, body
            self._tokens[name] = json.loads(body)["access_token"]
        return self._tokens[name]

    def send(self, method, target, body=b"", headers=None):
        """One request with this exact target, body and headers, and of its own only a Host and a Content-Length that lack."""
        headers = headers or {}
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    self.pool.host, self.pool.port, context=self.context, timeout=60
                )
            try:
                self._connection.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
                for name, value in headers.items():
                    self._connection.putheader(name, value)
                if "Content-Length" not in headers:
                    self._connection.putheader("Content-Length", str(len(body)))
                self._connection.endheaders(body)
                answer = self._connection.getresponse()
                octets = answer.read()
                break
            except (http.client.HTTPException, OSError) as error:
                self.close()
                # Only a connection that the server closed between two requests is worth another try.
                if attempt == 2 or not isinstance(error, (ConnectionError, ssl.SSLEOFError)):
                    raise
        if answer.getheader("Connection", "").lower() == "close":
            self.close()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, octets)

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method, path, body=None, *, api_version=API_VERSION, headers=None):
        """One request as a client makes it: api-version, token, JSON."""
        target = path
        if api_version is not None:
            target += ("&" if "?" in path else "?") + f"api-version={api_version}"
        all_headers = {}
        if self.token is not None:
            all_headers["Authorization"] = f"Bearer {self.token}"
        octets = b""
        if body is not None:
            octets = body if isinstance(body, bytes) else json.dumps(body).encode()
            all_headers["Content-Type"] = "application/json"
        all_headers.update(headers or {})
        return self.send(method, target, octets, all_headers)

    def get(self, path, **kwargs):
        return self.call("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.call("POST", path, {} if body is None else body, **kwargs)

    def put(self, path, body, **kwargs):
        return self.call("PUT", path, body, **kwargs)

    def patch(self, path, body, **kwargs):
        return self.call("PATCH", path, body, **kwargs)

    def delete(self, path, **kwargs):
        return self.call("DELETE", path, **kwargs)

    def create(self, name, **parameters):
        """Creates a key and returns its bundle."""
        return self.post(f"/keys/{name}/create", parameters).ok()

    def follow(self, link):
        """GETs an absolute link of an answer, unchanged, after checking that it leads back to this pool."""
        parts = urllib.parse.urlsplit(link)
        assert f"{parts.scheme}://{parts.netloc}" == self.pool.url, link
        return self.call("GET", f"{parts.path}?{parts.query}", api_version=None)


def wait_until(condition, seconds=10):
    """Polls until the condition holds; fails the test when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
