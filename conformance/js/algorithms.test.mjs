// Every algorithm of the JavaScript SDK's cryptography client, in both directions, each result checked with node:crypto.
//
// The tests are the rows of ../algorithms.txt, each walked by two callers: one that reads the key, for whom the SDK encrypts
// and wraps with RSA by itself, and one that may not, for whom the pool computes everything.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { before, test } from "node:test";
import { CryptographyClient } from "@azure/keyvault-keys";
import { rows } from "./algorithms.mjs";
import * as outside from "./outside.mjs";
import { asked, credentialOf, freshName, keys, objectIdOf, userCredential } from "./pool.mjs";

const roles = "/providers/Microsoft.Authorization";
const plaintext = Buffer.from("thirty-two octets, as a key has.");
const readers = { "reads the key": userCredential, "does not read the key": credentialOf("NOBODY") };

let role;
before(async () => {
  const actions = ["encrypt", "decrypt", "wrap", "unwrap", "sign", "verify"];
  const dataActions = actions.map((action) => `Microsoft.KeyVault/managedHsm/keys/${action}/action`);
  const properties = {
    roleName: "use without read, from JavaScript",
    description: "",
    type: "CustomRole",
    assignableScopes: ["/"],
    permissions: [{ actions: [], notActions: [], dataActions, notDataActions: [] }],
  };
  role = (await asked("PUT", `${roles}/roleDefinitions/${randomUUID()}`, { properties })).id;
});

// One key of each type, size and origin, for both callers.
const made = new Map();
function once(place, make) {
  if (!made.has(place)) made.set(place, make().then(shared));
  return made.get(place);
}

async function shared(held) {
  const properties = { roleDefinitionId: role, principalId: objectIdOf("NOBODY") };
  await asked("PUT", `/keys/${held.key.name}${roles}/roleAssignments/${randomUUID()}`, { properties });
  return held;
}

function imported({ kind, size }) {
  return once(`imported ${kind} ${size}`, async () => {
    const secret = outside.generate(kind, size);
    const key = await keys.importKey(freshName(), outside.privateJwk(secret, kind, size), { hardwareProtected: true });
    for (const part of ["d", "p", "q", "dp", "dq", "qi", "k"]) assert.equal(key.key[part], undefined);
    return { secret, key };
  });
}

function created({ kind, size }) {
  return once(`created ${kind} ${size}`, async () => {
    const keyOps = ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"];
    if (kind === "RSA") return { key: await keys.createRsaKey(freshName(), { keySize: Number(size), hsm: true }) };
    if (kind === "EC") return { key: await keys.createEcKey(freshName(), { curve: size, hsm: true }) };
    return { key: await keys.createOctKey(freshName(), { keySize: Number(size), hsm: true, keyOps }) };
  });
}

async function protect(client, { operation, algorithm }, content) {
  if (operation === "wrap") return { value: (await client.wrapKey(algorithm, content)).result };
  const iv = algorithm.includes("CBC") ? { iv: randomBytes(16) } : {};
  const aad = algorithm.endsWith("GCM") ? { additionalAuthenticatedData: outside.context } : {};
  const sealed = await client.encrypt({ algorithm, plaintext: content, ...iv, ...aad });
  return { value: sealed.result, iv: sealed.iv, tag: sealed.authenticationTag };
}

async function unprotect(client, { operation, algorithm }, { value, iv, tag }) {
  if (operation === "wrap") return Buffer.from((await client.unwrapKey(algorithm, value)).result);
  const aad = algorithm.endsWith("GCM") ? { additionalAuthenticatedData: outside.context } : {};
  const parameters = { algorithm, ciphertext: value, ...(iv && { iv }), ...(tag && { authenticationTag: tag }), ...aad };
  return Buffer.from((await client.decrypt(parameters)).result);
}

// A key's 32 octets; and where the algorithm takes it, something that fills no block.
const plaintexts = ({ algorithm }) => (/KW$|^CKM_AES_KEY_WRAP$/.test(algorithm) ? [plaintext] : [plaintext, Buffer.from("fourteen bytes")]);
const filled = ({ algorithm }, content) => (algorithm.endsWith("CBC") ? outside.zeroFilled(content) : content);

function touched(octets) {
  const copy = Buffer.from(octets);
  copy[copy.length - 1] ^= 1;
  return copy;
}

for (const row of rows) {
  const { kind, size, operation, algorithm } = row;
  const title = `${operation} with ${algorithm} and a ${kind} key of ${size}`;

  for (const [reader, credential] of Object.entries(readers)) {
    test(`${title}, of a caller that ${reader}, holds outside`, async () => {
      const { secret, key } = await imported(row);
      const client = new CryptographyClient(key.id, credential);
      if (operation === "sign") {
        const { result, keyID } = await client.sign(algorithm, outside.signingInput(algorithm));
        assert.equal(keyID, key.id);
        if (kind === "oct") assert.deepEqual(Buffer.from(result), outside.sign(secret, algorithm));
        else assert.ok(outside.isValid(outside.publicKeyOf(key), algorithm, result));
        return;
      }
      for (const content of plaintexts(row)) {
        assert.deepEqual(outside.open(secret, algorithm, await protect(client, row, content)), filled(row, content));
      }
    });

    test(`${title}, made outside, holds for a caller that ${reader}`, async () => {
      const { secret, key } = await imported(row);
      const client = new CryptographyClient(key.id, credential);
      if (operation === "sign") {
        const [content, signature] = [outside.signingInput(algorithm), outside.sign(secret, algorithm)];
        assert.equal((await client.verify(algorithm, content, signature)).result, true);
        assert.equal((await client.verify(algorithm, content, touched(signature))).result, false);
        assert.equal((await client.verify(algorithm, touched(content), signature)).result, false);
        return;
      }
      for (const content of plaintexts(row)) {
        const sealed = outside.seal(secret, algorithm, content);
        assert.deepEqual(await unprotect(client, row, sealed), filled(row, content));
        if (!algorithm.includes("CBC")) {
          await assert.rejects(unprotect(client, row, { ...sealed, value: touched(sealed.value) }), { statusCode: 400 });
        }
      }
    });
  }

  test(`${title} of the pool's own works with the outside`, async () => {
    const { key } = await created(row);
    const client = new CryptographyClient(key.id, userCredential);
    if (operation === "sign") {
      const content = outside.signingInput(algorithm);
      const { result } = await client.sign(algorithm, content);
      if (kind === "oct") assert.equal((await client.verify(algorithm, content, result)).result, true);
      else assert.ok(outside.isValid(outside.publicKeyOf(key), algorithm, result));
    } else if (kind === "oct") {
      assert.deepEqual(await unprotect(client, row, await protect(client, row, plaintext)), plaintext);
    } else {
      const sealed = outside.seal(outside.publicKeyOf(key), algorithm, plaintext);
      assert.deepEqual(await unprotect(client, row, sealed), plaintext);
    }
  });
}

test("the client signs and checks whole messages too", async () => {
  const { secret, key } = await imported({ kind: "RSA", size: "2048" });
  const client = new CryptographyClient(key.id, userCredential);
  for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) {
    const { result } = await client.signData(algorithm, Buffer.from("message"));
    assert.ok(outside.isValid(outside.publicKeyOf(key), algorithm, result));
    if (algorithm.startsWith("RS")) {
      assert.equal((await client.verifyData(algorithm, Buffer.from("message"), outside.sign(secret, algorithm))).result, true);
    }
  }
});
