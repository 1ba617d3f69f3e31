"""The other side of every cryptographic result: the same arithmetic by a library that the pool does not use."""

import hmac
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from wire import b64u, unb64u

CURVES = {"P-256": ec.SECP256R1, "P-256K": ec.SECP256K1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
EC_ALGORITHMS = {"P-256": "ES256", "P-256K": "ES256K", "P-384": "ES384", "P-521": "ES512"}
FIELD_BYTES = {"P-256": 32, "P-256K": 32, "P-384": 48, "P-521": 66}
ML_DSA = {
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey, 2420),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey, 3309),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey, 4627),
}


def hash_of(algorithm):
    """The hash that the last three digits of a signature algorithm name."""
    return {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm.rstrip("K")[-3:]]


def digest_for(algorithm, message):
    digest = hashes.Hash(hash_of(algorithm))
    digest.update(message)
    return digest.finalize()


def octets(number, length=None):
    return number.to_bytes(length or (number.bit_length() + 7) // 8, "big")


def public_key(jwk):
    """The public key of an answer's JWK, as the outside library's object."""
    if jwk["kty"].startswith("RSA"):
        n, e = (int.from_bytes(unb64u(jwk[part]), "big") for part in ("n", "e"))
        return rsa.RSAPublicNumbers(e, n).public_key()
    if jwk["kty"].startswith("EC"):
        x, y = (int.from_bytes(unb64u(jwk[part]), "big") for part in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, CURVES[jwk["crv"]]()).public_key()
    return ML_DSA[jwk["alg"]][1].from_public_bytes(unb64u(jwk["pub"]))


def rsa_jwk(key):
    """The private JWK of an outside RSA key, every part of it."""
    numbers = key.private_numbers()
    public = numbers.public_numbers
    parts = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
    parts |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    return {"kty": "RSA", **{name: b64u(octets(value)) for name, value in parts.items()}}


def ec_jwk(key, curve):
    """The private JWK of an outside EC key."""
    numbers, size = key.private_numbers(), FIELD_BYTES[curve]
    public = numbers.public_numbers
    parts = {"x": public.x, "y": public.y, "d": numbers.private_value}
    return {"kty": "EC", "crv": curve, **{name: b64u(octets(value, size)) for name, value in parts.items()}}


def ml_dsa_jwk(key, algorithm):
    """The private JWK of an outside ML-DSA key: the seed, as RFC 9964 has it."""
    public = key.public_key().public_bytes_raw()
    return {"kty": "AKP", "alg": algorithm, "pub": b64u(public), "priv": b64u(key.private_bytes_raw())}


def _rsa_signature_padding(algorithm):
    if algorithm.startswith("PS"):
        chosen = hash_of(algorithm)
        return padding.PSS(padding.MGF1(chosen), chosen.digest_size)
    return padding.PKCS1v15()


def is_valid(jwk, algorithm, digest, signature):
    """Whether the outside library accepts the signature over this digest."""
    key = public_key(jwk)
    try:
        if algorithm == "RSNULL":
            return _opened_by_public_key(key, signature) == digest
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, _rsa_signature_padding(algorithm), Prehashed(hash_of(algorithm)))
        else:
            half = FIELD_BYTES[jwk["crv"]]
            if len(signature) != 2 * half:
                return False
            der = encode_dss_signature(*(int.from_bytes(part, "big") for part in (signature[:half], signature[half:])))
            key.verify(der, digest, ec.ECDSA(Prehashed(hash_of(algorithm))))
    except InvalidSignature:
        return False
    return True


def _opened_by_public_key(key, signature):
    """What stands behind PKCS#1 v1.5 signature padding, or None: no digest information is expected or removed."""
    numbers = key.public_numbers()
    size = key.key_size // 8
    if len(signature) != size:
        return None
    block = octets(pow(int.from_bytes(signature, "big"), numbers.e, numbers.n), size)
    if block[:2] != b"\x00\x01":
        return None
    filling, separator, content = block[2:].partition(b"\x00")
    return content if separator and len(filling) >= 8 and set(filling) == {0xFF} else None


def sign(key, algorithm, digest):
    """A signature of an outside private key over a digest, in the interface's form."""
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm == "RSNULL":
            numbers, size = key.private_numbers(), key.key_size // 8
            block = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
            return octets(pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n), size)
        return key.sign(digest, _rsa_signature_padding(algorithm), Prehashed(hash_of(algorithm)))
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hash_of(algorithm)))))
    half = (key.key_size + 7) // 8
    return octets(r, half) + octets(s, half)


def _rsa_encryption_padding(algorithm):
    if algorithm == "RSA1_5":
        return padding.PKCS1v15()
    chosen = hashes.SHA256() if algorithm == "RSA-OAEP-256" else hashes.SHA1()
    return padding.OAEP(padding.MGF1(chosen), chosen, None)


def rsa_encrypt(jwk, algorithm, plaintext):
    return public_key(jwk).encrypt(plaintext, _rsa_encryption_padding(algorithm))


def rsa_decrypt(key, algorithm, ciphertext):
    return key.decrypt(ciphertext, _rsa_encryption_padding(algorithm))


def aes_cbc_encrypt(key, iv, plaintext):
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(plaintext) + encryptor.finalize()


def aes_cbc_decrypt(key, iv, ciphertext):
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def pkcs7(plaintext):
    padder = PKCS7(128).padder()
    return padder.update(plaintext) + padder.finalize()


def zero_filled(plaintext):
    return plaintext + bytes(-len(plaintext) % 16)


def aes_gcm_encrypt(key, iv, plaintext, aad):
    """The ciphertext and the tag."""
    sealed = AESGCM(key).encrypt(iv, plaintext, aad)
    return sealed[:-16], sealed[-16:]


def aes_gcm_decrypt(key, iv, ciphertext, tag, aad):
    return AESGCM(key).decrypt(iv, ciphertext + tag, aad)


def aes_wrap(key, content, padded):
    return keywrap.aes_key_wrap_with_padding(key, content) if padded else keywrap.aes_key_wrap(key, content)


def aes_unwrap(key, wrapped, padded):
    return keywrap.aes_key_unwrap_with_padding(key, wrapped) if padded else keywrap.aes_key_unwrap(key, wrapped)


def hmac_of(algorithm, key, message):
    return hmac.digest(key, message, "sha" + algorithm[-3:])


def generate(kind, size):
    """A private key made outside: an object of the outside library, or the bytes of an oct key."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, int(size))
    if kind == "EC":
        return ec.generate_private_key(CURVES[size]())
    if kind == "oct":
        return os.urandom(int(size) // 8)
    return ML_DSA[size][0].generate()


def private_jwk(private, kind, size):
    """The JWK to import it with."""
    if kind == "RSA":
        return rsa_jwk(private)
    if kind == "EC":
        return ec_jwk(private, size)
    if kind == "oct":
        return {"kty": "oct-HSM", "k": b64u(private)}
    return ml_dsa_jwk(private, size)


def signing_input(algorithm):
    """What is handed in to be signed: a digest, or the message where the algorithm takes that."""
    return b"message" if algorithm.startswith(("HS", "RSNULL")) else digest_for(algorithm, b"message")


def signature_of(private, algorithm, content):
    """A signature or a MAC made outside."""
    return hmac_of(algorithm, private, content) if algorithm.startswith("HS") else sign(private, algorithm, content)


def holds(private, jwk, algorithm, content, signature):
    """Whether the outside library accepts a signature or a MAC."""
    if algorithm.startswith("HS"):
        return hmac_of(algorithm, private, content) == signature
    return is_valid(jwk, algorithm, content, signature)


def sealed(private, jwk, algorithm, plaintext, context=None):
    """A ciphertext or wrapped key made outside: its value, and iv and tag where there are any."""
    if algorithm.startswith("RSA"):
        return {"value": rsa_encrypt(jwk, algorithm, plaintext)}
    if algorithm.endswith("GCM"):
        iv = os.urandom(12)
        value, tag = aes_gcm_encrypt(private, iv, plaintext, context)
        return {"value": value, "iv": iv, "tag": tag}
    if "CBC" in algorithm:
        iv = os.urandom(16)
        filled = pkcs7(plaintext) if algorithm.endswith("PAD") else zero_filled(plaintext)
        return {"value": aes_cbc_encrypt(private, iv, filled), "iv": iv}
    return {"value": aes_wrap(private, plaintext, padded=algorithm.endswith("PAD"))}


def opened(private, algorithm, value, iv=None, tag=None, context=None):
    """What lies in a ciphertext or wrapped key; CBC's filling included."""
    if algorithm.startswith("RSA"):
        return rsa_decrypt(private, algorithm, value)
    if algorithm.endswith("GCM"):
        return aes_gcm_decrypt(private, iv, value, tag, context)
    if "CBC" in algorithm:
        content = aes_cbc_decrypt(private, iv, value)
        if not algorithm.endswith("PAD"):
            return content
        remover = PKCS7(128).unpadder()
        return remover.update(content) + remover.finalize()
    return aes_unwrap(private, value, padded=algorithm.endswith("PAD"))
