// The other side of every cryptographic result: node:crypto, which is OpenSSL and none of the pool's.
import crypto from "node:crypto";

const curves = { "P-256": "P-256", "P-256K": "secp256k1", "P-384": "P-384", "P-521": "P-521" };
const oaep = { "RSA-OAEP": "sha1", "RSA-OAEP-256": "sha256" };
const message = Buffer.from("message");
const hashOf = (algorithm) => `sha${algorithm.replace("K", "").slice(-3)}`;
const octets = (text) => Uint8Array.from(Buffer.from(text, "base64url"));
const text = (bytes) => Buffer.from(bytes).toString("base64url");

export const context = Buffer.from("context");

// A private key of node:crypto, or the bytes of an oct key.
export function generate(kind, size) {
  if (kind === "oct") return crypto.randomBytes(size / 8);
  if (kind === "RSA") return crypto.generateKeyPairSync("rsa", { modulusLength: Number(size) }).privateKey;
  return crypto.generateKeyPairSync("ec", { namedCurve: curves[size] }).privateKey;
}

// The key as the SDK imports it, its byte fields decoded.
export function privateJwk(key, kind, size) {
  if (kind === "oct") return { kty: "oct-HSM", k: key, keyOps: ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"] };
  const jwk = key.export({ format: "jwk" });
  const parts = Object.entries(jwk).map(([part, value]) => [part, ["kty", "crv"].includes(part) ? value : octets(value)]);
  return { ...Object.fromEntries(parts), ...(kind === "EC" ? { crv: size } : {}) };
}

// The public half that the pool shows.
export function publicKeyOf({ key: { n, e, x, y, crv } }) {
  const jwk = n ? { kty: "RSA", n: text(n), e: text(e) } : { kty: "EC", crv: curves[crv], x: text(x), y: text(y) };
  return crypto.createPublicKey({ key: jwk, format: "jwk" });
}

// What is handed in to be signed: a digest, or the message where the algorithm takes that.
export function signingInput(algorithm) {
  return /^(HS|RSNULL)/.test(algorithm) ? message : crypto.createHash(hashOf(algorithm)).update(message).digest();
}

function signingOptions(algorithm, key) {
  if (algorithm.startsWith("ES")) return { key, dsaEncoding: "ieee-p1363" };
  const { RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST, RSA_PKCS1_PADDING } = crypto.constants;
  return algorithm.startsWith("PS")
    ? { key, padding: RSA_PKCS1_PSS_PADDING, saltLength: RSA_PSS_SALTLEN_DIGEST }
    : { key, padding: RSA_PKCS1_PADDING };
}

// A signature or a MAC over the one message.
export function sign(key, algorithm) {
  if (algorithm.startsWith("HS")) return crypto.createHmac(hashOf(algorithm), key).update(message).digest();
  if (algorithm === "RSNULL") return crypto.privateEncrypt(signingOptions(algorithm, key), message);
  return crypto.sign(hashOf(algorithm), message, signingOptions(algorithm, key));
}

// Whether a signature over the one message is valid.
export function isValid(key, algorithm, signature) {
  if (algorithm === "RSNULL") return crypto.publicDecrypt(signingOptions(algorithm, key), signature).equals(message);
  return crypto.verify(hashOf(algorithm), message, signingOptions(algorithm, key), signature);
}

function rsaOptions(algorithm, key) {
  const { RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING } = crypto.constants;
  return oaep[algorithm] ? { key, padding: RSA_PKCS1_OAEP_PADDING, oaepHash: oaep[algorithm] } : { key, padding: RSA_PKCS1_PADDING };
}

// Name, iv and settings of the cipher for an algorithm of AES.
function cipherOf(algorithm, key, iv) {
  const bits = key.length * 8;
  if (algorithm.endsWith("GCM")) return [`aes-${bits}-gcm`, key, iv ?? crypto.randomBytes(12)];
  if (algorithm.includes("CBC")) return [`aes-${bits}-cbc`, key, iv ?? crypto.randomBytes(16)];
  return algorithm.endsWith("PAD")
    ? [`id-aes${bits}-wrap-pad`, key, Buffer.from("a65959a6", "hex")]
    : [`id-aes${bits}-wrap`, key, Buffer.alloc(8, 0xa6)];
}

// What CBC without padding encrypts, and gives back.
export const zeroFilled = (plaintext) => Buffer.concat([plaintext, Buffer.alloc((16 - (plaintext.length % 16)) % 16)]);

// A ciphertext or wrapped key, with its iv and tag where there are any. `key` is private, public or bytes.
export function seal(key, algorithm, plaintext) {
  if (algorithm.startsWith("RSA")) return { value: crypto.publicEncrypt(rsaOptions(algorithm, key), plaintext) };
  const [name, secret, iv] = cipherOf(algorithm, key);
  const cipher = crypto.createCipheriv(name, secret, iv);
  if (algorithm.endsWith("GCM")) cipher.setAAD(context);
  if (algorithm.endsWith("CBC")) cipher.setAutoPadding(false);
  const value = Buffer.concat([cipher.update(algorithm.endsWith("CBC") ? zeroFilled(plaintext) : plaintext), cipher.final()]);
  if (algorithm.endsWith("GCM")) return { value, iv, tag: cipher.getAuthTag() };
  return algorithm.includes("CBC") ? { value, iv } : { value };
}

// What stands behind PKCS#1 v1.5 encryption padding. By hand, since some versions of Node refuse to.
function withoutPadding(key, value) {
  const block = crypto.privateDecrypt({ key, padding: crypto.constants.RSA_NO_PADDING }, value);
  const end = block.indexOf(0, 2);
  if (block[0] !== 0 || block[1] !== 2 || end < 10) throw new Error("no PKCS#1 v1.5 padding");
  return block.subarray(end + 1);
}

export function open(key, algorithm, { value, iv, tag }) {
  if (algorithm === "RSA1_5") return withoutPadding(key, value);
  if (algorithm.startsWith("RSA")) return crypto.privateDecrypt(rsaOptions(algorithm, key), value);
  const decipher = crypto.createDecipheriv(...cipherOf(algorithm, key, iv));
  if (algorithm.endsWith("GCM")) decipher.setAAD(context).setAuthTag(Buffer.from(tag));
  if (algorithm.endsWith("CBC")) decipher.setAutoPadding(false);
  return Buffer.concat([decipher.update(value), decipher.final()]);
}
