"""Which tokens are believed: those of the pool's own issuer, those of one further trusted issuer, and no others."""

import base64
import json
import socket
import time
import uuid

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pool import running_pool
from wire import Wire, b64u, unb64u

ISSUER = "https://issuer.example/tenant"
CRYPTO_USER = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b"


class Issuer:
    """A token issuer that the second pool trusts: its keys, and tokens made with them."""

    def __init__(self):
        self.keys = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "p256": ec.generate_private_key(ec.SECP256R1()),
            "p384": ec.generate_private_key(ec.SECP384R1()),
        }
        self.stranger = rsa.generate_private_key(65537, 2048)

    def jwks(self):
        public = []
        for kid, key in self.keys.items():
            kind = jwt.algorithms.RSAAlgorithm if kid == "rsa" else jwt.algorithms.ECAlgorithm
            public.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
        return {"keys": public}

    def claims(self, pool, **changes):
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": pool.resource,
            "tid": pool.tenant,
            "oid": str(uuid.uuid4()),
            "azp": str(uuid.uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, claims, algorithm="RS256", kid="rsa", key=None, headers=None):
        return jwt.encode(claims, key or self.keys[kid], algorithm, {"kid": kid, **(headers or {})})


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture(scope="module")
def trusting(issuer, tmp_path_factory):
    """A pool that trusts the further issuer, its keys given in a file."""
    jwks_file = tmp_path_factory.mktemp("issuer") / "jwks.json"
    jwks_file.write_text(json.dumps(issuer.jwks()))
    with running_pool("--issuer", ISSUER, "--jwks-file", str(jwks_file)) as running:
        yield running


@pytest.fixture(scope="module")
def principal(trusting):
    """An object id that may use keys."""
    oid = str(uuid.uuid4())
    path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    body = {"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": oid}}
    Wire(trusting).as_account("ADMIN").put(path, body).ok(201)
    return oid


@pytest.fixture
def lure():
    """An address on this machine, where the pool may connect to, that a token names and nobody may ask."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listener.accept()


def asked_with(pool, token):
    wire = Wire(pool, token)
    answer = wire.post("/rng", {"count": 1})
    wire.close()
    return answer


def refused(pool, token):
    answer = asked_with(pool, token)
    assert answer.status == 401, (answer, token)
    assert answer.headers["www-authenticate"].startswith(f'Bearer authorization="{pool.authority}/{pool.tenant}"')
    assert f'resource="{pool.resource}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("algorithm, kid", [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "p256"), ("ES384", "p384")])
def test_every_algorithm_of_a_trusted_issuer_is_believed(issuer, trusting, principal, algorithm, kid):
    token = issuer.token(issuer.claims(trusting, oid=principal), algorithm, kid)
    asked_with(trusting, token).ok()
    asked_with(trusting, token).ok()


def test_a_believed_token_without_a_role_is_denied_and_not_challenged(issuer, trusting):
    asked_with(trusting, issuer.token(issuer.claims(trusting))).refused(403, "AccessDenied")


def test_the_audience_may_end_in_a_slash(issuer, trusting, principal):
    claims = issuer.claims(trusting, oid=principal, aud=trusting.resource + "/")
    asked_with(trusting, issuer.token(claims)).ok()


def test_a_group_gives_its_members_its_rights(issuer, trusting):
    group = str(uuid.uuid4())
    admin = Wire(trusting).as_account("ADMIN")
    path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    admin.put(path, {"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": group}}).ok(201)
    claims = issuer.claims(trusting, groups=[str(uuid.uuid4()), group])
    asked_with(trusting, issuer.token(claims)).ok()
    asked_with(trusting, issuer.token(issuer.claims(trusting, groups=[str(uuid.uuid4())]))).refused(403, "AccessDenied")
    admin.delete(path).ok()
    asked_with(trusting, issuer.token(claims)).refused(403, "AccessDenied")


def test_groups_that_do_not_fit_the_token_are_said_to_be_unreadable(issuer, trusting, principal, lure):
    overage = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": f"{lure}/never-asked"}},
    }
    answer = asked_with(trusting, issuer.token(issuer.claims(trusting, **overage))).refused(403, "AccessDenied")
    assert "group" in answer.message
    asked_with(trusting, issuer.token(issuer.claims(trusting, oid=principal, **overage))).ok()


NOW = time.time()
FLAWED_CLAIMS = {
    "expired": {"exp": int(NOW) - 3600},
    "not yet valid": {"nbf": int(NOW) + 7200, "exp": int(NOW) + 9000},
    "without an expiry": {"exp": None},
    "an expiry that is no number": {"exp": "never"},
    "an endless expiry": {"exp": 1e400},
    "another audience": {"aud": "https://vault.example"},
    "the audience among others of a stranger": {"aud": ["https://vault.example"]},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://issuer.example/other"},
    "an issuer that only begins alike": {"iss": ISSUER + "/more"},
    "no issuer": {"iss": None},
    "another tenant": {"tid": str(uuid.uuid4())},
    "no tenant": {"tid": None},
    "no principal": {"oid": None},
    "a principal that is a list": {"oid": ["a"]},
}


@pytest.mark.parametrize("flaw", FLAWED_CLAIMS)
def test_a_token_with_a_flawed_claim_is_refused(issuer, trusting, principal, flaw):
    claims = issuer.claims(trusting, **{"oid": principal, **FLAWED_CLAIMS[flaw]})
    header = b64u(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "rsa"}).encode())
    body = b64u(json.dumps(claims).replace("Infinity", "1e400").encode())
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    signature = issuer.keys["rsa"].sign(f"{header}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    refused(trusting, f"{header}.{body}.{b64u(signature)}")


def test_a_token_of_a_key_that_the_issuer_does_not_have_is_refused(issuer, trusting, principal, lure):
    claims = issuer.claims(trusting, oid=principal)
    refused(trusting, issuer.token(claims, key=issuer.stranger))
    refused(trusting, issuer.token(claims, kid="unknown", key=issuer.stranger))
    for kid in ("../../../../etc/passwd", f"{lure}/key", "p256", "", "\u0000", "a" * 5000):
        refused(trusting, issuer.token(claims, kid=kid, key=issuer.stranger))


def test_a_header_that_brings_its_own_key_is_not_believed(issuer, trusting, principal, lure):
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(issuer.stranger.public_key()))
    claims = issuer.claims(trusting, oid=principal)
    for headers in ({"jwk": own}, {"jku": f"{lure}/jwks"}, {"x5u": f"{lure}/cert"}, {"crit": ["exp"]}):
        refused(trusting, issuer.token(claims, key=issuer.stranger, headers=headers))


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", ""])
def test_an_unsigned_token_is_refused(issuer, trusting, principal, spelling):
    header = b64u(json.dumps({"alg": spelling, "typ": "JWT", "kid": "rsa"}).encode())
    body = b64u(json.dumps(issuer.claims(trusting, oid=principal)).encode())
    for signature in ("", "AAAA"):
        refused(trusting, f"{header}.{body}.{signature}")


@pytest.mark.parametrize("algorithm, digest", [("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")])
def test_a_public_key_is_no_hmac_secret(issuer, trusting, principal, algorithm, digest):
    import hmac

    public = issuer.keys["rsa"].public_key()
    formats = serialization.PublicFormat
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, formats.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.PEM, formats.PKCS1),
        public.public_bytes(serialization.Encoding.DER, formats.SubjectPublicKeyInfo),
        unb64u(issuer.jwks()["keys"][0]["n"]),
        json.dumps(issuer.jwks()["keys"][0]).encode(),
    ]
    header = b64u(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "rsa"}).encode())
    body = b64u(json.dumps(issuer.claims(trusting, oid=principal)).encode())
    for secret in secrets:
        mac = hmac.digest(secret, f"{header}.{body}".encode(), digest)
        refused(trusting, f"{header}.{body}.{b64u(mac)}")


def test_an_algorithm_of_another_kind_of_key_is_refused(issuer, trusting, principal):
    claims = issuer.claims(trusting, oid=principal)
    refused(trusting, issuer.token(claims, "RS256", "p256", issuer.keys["rsa"]))
    refused(trusting, issuer.token(claims, "ES256", "rsa", issuer.keys["p256"]))
    for algorithm in ("RS384", "RS512", "ES512"):
        key = ec.generate_private_key(ec.SECP521R1()) if algorithm == "ES512" else issuer.stranger
        refused(trusting, issuer.token(claims, algorithm, "rsa", key))


def mangled(token):
    header, body, signature = token.split(".")
    claims = json.loads(unb64u(body))
    other = b64u(json.dumps({**claims, "oid": str(uuid.uuid4())}).encode())
    flipped = unb64u(signature)
    flipped = b64u(bytes([flipped[0] ^ 1]) + flipped[1:])
    standard = base64.b64encode(unb64u(body)).decode()
    yield "truncated by one character", token[:-1]
    yield "truncated by half", token[: len(token) // 2]
    yield "without its signature", f"{header}.{body}"
    yield "with an empty signature", f"{header}.{body}."
    yield "with another body", f"{header}.{other}.{signature}"
    yield "with a touched signature", f"{header}.{body}.{flipped}"
    yield "re-ordered, body first", f"{body}.{header}.{signature}"
    yield "re-ordered, signature first", f"{signature}.{header}.{body}"
    yield "with four parts", f"{token}.{signature}"
    yield "doubled", f"{token}.{token}"
    yield "with padding", f"{header}=.{body}=.{signature}="
    yield "with another body encoding", f"{header}.{standard}==.{signature}"
    yield "very long", f"{header}.{'A' * 30000}.{signature}"
    yield "deeply nested", f"{b64u(b'[' * 5000)}.{body}.{signature}"
    yield "only dots", ".."
    yield "empty", ""


def test_a_token_that_was_mangled_is_refused(issuer, trusting, principal):
    good = issuer.token(issuer.claims(trusting, oid=principal))
    asked_with(trusting, good).ok()
    for how, token in mangled(good):
        answer = asked_with(trusting, token)
        assert answer.status == 401, (how, answer)


def test_a_token_of_the_pools_own_issuer_that_was_mangled_is_refused(user, pool):
    asked_with(pool, user.token).ok()
    for how, token in mangled(user.token):
        answer = asked_with(pool, token)
        assert answer.status == 401, (how, answer)


def test_one_pools_tokens_are_worth_nothing_at_another(user, trusting):
    refused(trusting, user.token)


@pytest.mark.parametrize("good_one", [0, 1])
def test_two_authorization_headers_are_not_believed(issuer, trusting, principal, good_one):
    import http.client

    token = issuer.token(issuer.claims(trusting, oid=principal))
    connection = http.client.HTTPSConnection(trusting.host, trusting.port, context=Wire(trusting).context, timeout=10)
    connection.putrequest("GET", "/keys?api-version=7.4")
    for number in range(2):
        connection.putheader("Authorization", f"Bearer {token if number == good_one else 'nonsense'}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_the_issuer_publishes_what_clients_ask_for(pool, nobody):
    for tenant, path in ((pool.tenant, "/v2.0"), ("adfs", "")):
        document = nobody.call(
            "GET", f"/{tenant}{path}/.well-known/openid-configuration", api_version=None,
            headers={"Host": pool.authority.removeprefix("https://")},
        )
        assert document.status == 200, document
        for member in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
            assert document.json[member].startswith("https://"), member
        assert document.json["token_endpoint"].startswith(f"{pool.authority}/{tenant}/")


@pytest.mark.parametrize(
    "change, status, error",
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": str(uuid.UUID(int=7))}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "https://elsewhere.example"}, 400, "invalid_scope"),
        ({"scope": "openid profile"}, 400, "invalid_scope"),
    ],
    ids=str,
)
def test_the_issuer_refuses_in_the_shape_that_clients_read(pool, nobody, change, status, error):
    from urllib.parse import urlencode

    account = pool.accounts["USER"]
    form = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "scope": f"{pool.resource}/.default",
        **change,
    }
    answer = nobody.send(
        "POST",
        f"/{pool.tenant}/oauth2/v2.0/token?client-request-id={uuid.uuid4()}",
        urlencode(form).encode(),
        {"Content-Type": "application/x-www-form-urlencoded", "Host": pool.authority.removeprefix("https://")},
    )
    assert (answer.status, answer.json["error"]) == (status, error), answer.json
    assert answer.json["error_description"].startswith("AADSTS") and answer.json["error_codes"]
    if error == "invalid_client" and "client_secret" in change:
        assert answer.json["error_codes"] == [7000215]


def test_a_token_of_the_pools_own_issuer_for_another_audience_is_worth_nothing_here(pool, nobody):
    from urllib.parse import urlencode

    account = pool.accounts["USER"]
    for scope in ("https://elsewhere.example/.default", f"{pool.resource}.example/.default", f"{pool.url}/.default"):
        form = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "scope": scope,
        }
        issued = nobody.send(
            "POST",
            f"/{pool.tenant}/oauth2/v2.0/token",
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded", "Host": pool.authority.removeprefix("https://")},
        ).ok()["access_token"]
        assert jwt.decode(issued, options={"verify_signature": False})["aud"] == scope.removesuffix("/.default")
        refused(pool, issued)


def test_a_token_answer_has_every_member_that_some_client_requires(pool, nobody):
    from urllib.parse import urlencode

    account = pool.accounts["USER"]
    form = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "scope": f"{pool.resource}/.default",
        "client_info": "1",
        "claims": '{"access_token":{"xms_cc":{"values":["CP1"]}}}',
    }
    answer = nobody.send(
        "POST",
        f"/{pool.tenant}/oauth2/v2.0/token",
        urlencode(form).encode(),
        {"Content-Type": "application/x-www-form-urlencoded", "Host": pool.authority.removeprefix("https://")},
    ).ok()
    assert answer["token_type"] == "Bearer"
    assert type(answer["expires_in"]) is int and type(answer["ext_expires_in"]) is int and answer["expires_in"] > 300
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["aud"] == pool.resource and claims["oid"] == account.object_id and claims["tid"] == pool.tenant
