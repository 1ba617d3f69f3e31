// Every algorithm of the JavaScript SDK's cryptography client, each result checked with node:crypto.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { test } from "node:test";
import { CryptographyClient } from "@azure/keyvault-keys";
import { cryptoOf, freshName, keys, userCredential } from "./pool.mjs";

const base64url = (octets) => Buffer.from(octets).toString("base64url");
const message = Buffer.from("message");
const digestOf = (algorithm) => crypto.createHash(`sha${algorithm.replace("K", "").slice(-3)}`).update(message).digest();

const curves = {
  "P-256": ["ES256", "P-256"],
  "P-256K": ["ES256K", "secp256k1"],
  "P-384": ["ES384", "P-384"],
  "P-521": ["ES512", "P-521"],
};
const oaep = { "RSA-OAEP": "sha1", "RSA-OAEP-256": "sha256" };

function publicKeyOf(key) {
  const { n, e, x, y, crv } = key.key;
  const jwk = n
    ? { kty: "RSA", n: base64url(n), e: base64url(e) }
    : { kty: "EC", crv: curves[crv][1], x: base64url(x), y: base64url(y) };
  return crypto.createPublicKey({ key: jwk, format: "jwk" });
}

function paddingOf(algorithm) {
  return algorithm.startsWith("PS")
    ? { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }
    : { padding: crypto.constants.RSA_PKCS1_PADDING };
}

test("RSA signatures of the pool are valid outside", async () => {
  const key = await keys.createRsaKey(freshName(), { hsm: true });
  for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) {
    const { result } = await cryptoOf(key).sign(algorithm, digestOf(algorithm));
    const hash = `sha${algorithm.slice(2)}`;
    assert.ok(crypto.verify(hash, message, { key: publicKeyOf(key), ...paddingOf(algorithm) }, result), algorithm);
    assert.equal((await cryptoOf(key).verify(algorithm, digestOf(algorithm), result)).result, true);
    assert.ok((await cryptoOf(key).signData(algorithm, message)).result.length === 256);
  }
});

test("EC signatures of the pool are valid outside", async () => {
  for (const [curve, [algorithm]] of Object.entries(curves)) {
    const key = await keys.createEcKey(freshName(), { curve, hsm: true });
    const { result } = await cryptoOf(key).sign(algorithm, digestOf(algorithm));
    const hash = `sha${algorithm.replace("K", "").slice(2)}`;
    assert.ok(crypto.verify(hash, message, { key: publicKeyOf(key), dsaEncoding: "ieee-p1363" }, result), algorithm);
    assert.equal((await cryptoOf(key).verify(algorithm, digestOf(algorithm), result)).result, true);
    result[result.length - 1] ^= 1;
    assert.equal((await cryptoOf(key).verify(algorithm, digestOf(algorithm), result)).result, false);
  }
});

test("what is encrypted outside with RSA is decrypted by the pool", async () => {
  const key = await keys.createRsaKey(freshName(), { hsm: true });
  const client = cryptoOf(key);
  for (const algorithm of ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"]) {
    const chosen = oaep[algorithm]
      ? { padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: oaep[algorithm] }
      : { padding: crypto.constants.RSA_PKCS1_PADDING };
    const ciphertext = crypto.publicEncrypt({ key: publicKeyOf(key), ...chosen }, Buffer.from("made outside"));
    assert.equal(Buffer.from((await client.decrypt({ algorithm, ciphertext })).result).toString(), "made outside");
    const sealed = await client.encrypt({ algorithm, plaintext: Buffer.from("by the client") });
    assert.equal(Buffer.from((await client.decrypt({ algorithm, ciphertext: sealed.result })).result).toString(), "by the client");
    const wrapped = await client.wrapKey(algorithm, Buffer.alloc(32, 7));
    assert.deepEqual(Buffer.from((await client.unwrapKey(algorithm, wrapped.result)).result), Buffer.alloc(32, 7));
  }
});

test("what the pool encrypts with AES is decrypted outside, and the reverse", async () => {
  for (const bits of [128, 192, 256]) {
    const secret = crypto.randomBytes(bits / 8);
    const key = await keys.importKey(freshName(), { kty: "oct-HSM", k: secret, keyOps: ["encrypt", "decrypt", "wrapKey", "unwrapKey"] });
    const client = new CryptographyClient(key.id, userCredential);

    const context = Buffer.from("context");
    const sealed = await client.encrypt({ algorithm: `A${bits}GCM`, plaintext: message, additionalAuthenticatedData: context });
    const opener = crypto.createDecipheriv(`aes-${bits}-gcm`, secret, sealed.iv);
    opener.setAAD(context).setAuthTag(Buffer.from(sealed.authenticationTag));
    assert.deepEqual(Buffer.concat([opener.update(sealed.result), opener.final()]), message);
    const opened = await client.decrypt({
      algorithm: `A${bits}GCM`,
      ciphertext: sealed.result,
      iv: sealed.iv,
      authenticationTag: sealed.authenticationTag,
      additionalAuthenticatedData: context,
    });
    assert.deepEqual(Buffer.from(opened.result), message);

    const iv = crypto.randomBytes(16);
    const padded = await client.encrypt({ algorithm: `A${bits}CBCPAD`, plaintext: message, iv });
    const decipher = crypto.createDecipheriv(`aes-${bits}-cbc`, secret, iv);
    assert.deepEqual(Buffer.concat([decipher.update(padded.result), decipher.final()]), message);
    const blocks = await client.encrypt({ algorithm: `A${bits}CBC`, plaintext: Buffer.alloc(32, 1), iv });
    assert.deepEqual(Buffer.from((await client.decrypt({ algorithm: `A${bits}CBC`, ciphertext: blocks.result, iv })).result), Buffer.alloc(32, 1));

    const wrapped = await client.wrapKey(`A${bits}KW`, Buffer.alloc(32, 9));
    const unwrapper = crypto.createDecipheriv(`id-aes${bits}-wrap`, secret, Buffer.alloc(8, 0xa6));
    assert.deepEqual(Buffer.concat([unwrapper.update(wrapped.result), unwrapper.final()]), Buffer.alloc(32, 9));
    assert.deepEqual(Buffer.from((await client.unwrapKey(`A${bits}KW`, wrapped.result)).result), Buffer.alloc(32, 9));
  }
});

test("a ciphertext that was touched is refused", async () => {
  const key = await keys.createOctKey(freshName(), { hsm: true });
  const client = new CryptographyClient(key.id, userCredential);
  const sealed = await client.encrypt({ algorithm: "A256GCM", plaintext: message });
  sealed.result[0] ^= 1;
  await assert.rejects(
    client.decrypt({ algorithm: "A256GCM", ciphertext: sealed.result, iv: sealed.iv, authenticationTag: sealed.authenticationTag }),
    { statusCode: 400 },
  );
});
