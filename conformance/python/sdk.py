"""Keys as the SDK holds them, and as JWKs."""

from azure.keyvault.keys import JsonWebKey

import outside
from wire import b64u, unb64u

# Every kind of key with a public half.
IMPORTED = [*(("RSA", size) for size in ("2048", "3072", "4096")), *(("EC", curve) for curve in outside.CURVES)]


def plain(jwk):
    """A JWK with its byte fields decoded, as the SDK wants it."""
    texts = {"kty", "crv", "kid", "alg"}
    return JsonWebKey(**{name: value if name in texts else unb64u(value) for name, value in jwk.items()})


def jwk_of(key):
    """The public JWK of an SDK key, for the outside library."""
    parts = {name: getattr(key.key, name, None) for name in ("n", "e", "x", "y")}
    return {"kty": key.key_type, "crv": key.key.crv, **{name: b64u(part) for name, part in parts.items() if part}}
