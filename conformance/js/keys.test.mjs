// Key operations through the unmodified JavaScript SDK, challenge verification on.
import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyClient } from "@azure/keyvault-keys";
import { credentialOf, freshName, keys, officerKeys, poolUrl } from "./pool.mjs";

const days = 24 * 60 * 60 * 1000;

async function collected(iterator) {
  const items = [];
  for await (const item of iterator) items.push(item);
  return items;
}

for (const keySize of [2048, 3072, 4096]) {
  test(`an RSA key has the ${keySize} bits asked for`, async () => {
    const key = await keys.createRsaKey(freshName(), { keySize, hsm: true });
    assert.equal(key.keyType, "RSA-HSM");
    assert.equal(key.key.n.length * 8, keySize);
    assert.deepEqual(new Set(key.keyOperations), new Set(["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]));
    assert.equal(key.properties.vaultUrl, poolUrl);
  });
}

// The client takes the option and does not send it; the Python, Rust and raw suites ask for other exponents.
for (const publicExponent of [undefined, 3, 17, 65537]) {
  test(`an RSA key of this client has the default public exponent with ${publicExponent} asked for`, async () => {
    const key = await keys.createRsaKey(freshName(), { hsm: true, publicExponent });
    assert.equal(BigInt("0x" + Buffer.from(key.key.e).toString("hex")), 65537n);
  });
}

for (const curve of ["P-256", "P-256K", "P-384", "P-521"]) {
  test(`an EC key lies on ${curve}`, async () => {
    const key = await keys.createEcKey(freshName(), { curve, hsm: true });
    assert.equal(key.keyType, "EC-HSM");
    assert.equal(key.key.crv, curve);
  });
}

for (const keySize of [128, 192, 256]) {
  test(`an oct key of ${keySize} bits shows nothing of itself`, async () => {
    const key = await keys.createOctKey(freshName(), { keySize, hsm: true });
    assert.equal(key.keyType, "oct-HSM");
    assert.equal(key.key.k, undefined);
  });
}

test("attributes, operations and tags come back as given, and change", async () => {
  const name = freshName();
  // Before 2038: the client cuts times to 32 bits and sends later ones as negative numbers.
  const expiresOn = new Date("2037-01-01T00:00:00Z");
  const notBefore = new Date("2020-01-01T00:00:00Z");
  const made = await keys.createKey(name, "EC-HSM", { enabled: false, expiresOn, notBefore, tags: { a: "1" }, keyOps: ["sign"] });
  const fetched = await keys.getKey(name);
  assert.equal(fetched.id, made.id);
  assert.equal(fetched.properties.enabled, false);
  assert.deepEqual(fetched.properties.expiresOn, expiresOn);
  assert.deepEqual(fetched.properties.notBefore, notBefore);
  assert.deepEqual(fetched.properties.tags, { a: "1" });
  assert.deepEqual(fetched.keyOperations, ["sign"]);
  assert.equal(fetched.properties.recoveryLevel, "Recoverable+Purgeable");

  const changed = await keys.updateKeyProperties(name, made.properties.version, { enabled: true, tags: { b: "2" } });
  assert.equal(changed.properties.enabled, true);
  assert.deepEqual(changed.properties.tags, { b: "2" });
  assert.deepEqual(changed.properties.expiresOn, expiresOn);
  assert.deepEqual((await keys.updateKeyProperties(name, { tags: {} })).properties.tags ?? {}, {});
});

test("every version can be read, and lists go over several pages", async () => {
  const name = freshName();
  const made = [];
  for (let n = 0; n < 5; n++) made.push((await keys.createEcKey(name, { hsm: true })).properties.version);
  assert.equal((await keys.getKey(name)).properties.version, made.at(-1));
  assert.equal((await keys.getKey(name, { version: made[0] })).properties.version, made[0]);

  const pages = await collected(keys.listPropertiesOfKeyVersions(name).byPage({ maxPageSize: 2 }));
  assert.ok(pages.every((page) => page.length <= 2));
  assert.deepEqual(new Set(pages.flat().map((each) => each.version)), new Set(made));

  const names = await Promise.all(Array.from({ length: 27 }, () => keys.createEcKey(freshName(), { hsm: true }).then((key) => key.name)));
  const listed = (await collected(keys.listPropertiesOfKeys())).map((each) => each.name);
  for (const each of [...names, name]) assert.ok(listed.includes(each));
  assert.equal(new Set(listed).size, listed.length);
});

test("a key is deleted, recovered, deleted and purged", async () => {
  const name = freshName();
  const made = await keys.createOctKey(name, { hsm: true, tags: { t: "1" } });
  const deleter = await keys.beginDeleteKey(name);
  await deleter.pollUntilDone();
  await assert.rejects(keys.getKey(name), { statusCode: 404, code: "KeyNotFound" });
  await assert.rejects(keys.createOctKey(name, { hsm: true }), { statusCode: 409 });

  const deleted = await officerKeys.getDeletedKey(name);
  assert.equal(deleted.id, made.id);
  assert.equal(deleted.properties.recoveryId, `${poolUrl}/deletedkeys/${name}`);
  assert.equal(deleted.properties.scheduledPurgeDate - deleted.properties.deletedOn, 90 * days);
  assert.ok((await collected(officerKeys.listDeletedKeys())).some((each) => each.name === name));

  await (await officerKeys.beginRecoverDeletedKey(name)).pollUntilDone().catch((error) => {
    // The officer may recover keys but not read them: the poll of the live key is refused, the recovery is done.
    assert.equal(error.statusCode, 403);
  });
  assert.equal((await keys.getKey(name)).id, made.id);

  await (await keys.beginDeleteKey(name)).pollUntilDone();
  await officerKeys.purgeDeletedKey(name);
  await assert.rejects(officerKeys.getDeletedKey(name), { statusCode: 404 });
  assert.notEqual((await keys.createOctKey(name, { hsm: true })).id, made.id);
});

test("a key rotates by its policy", async () => {
  const name = freshName();
  const first = await keys.createRsaKey(name, { hsm: true });
  const policy = await keys.updateKeyRotationPolicy(name, {
    expiresIn: "P90D",
    lifetimeActions: [{ action: "Rotate", timeBeforeExpiry: "P30D" }],
  });
  assert.equal(policy.id, `${poolUrl}/keys/${name}/rotationpolicy`);
  const fetched = await keys.getKeyRotationPolicy(name);
  assert.equal(fetched.expiresIn, "P90D");
  assert.equal(fetched.lifetimeActions[0].timeBeforeExpiry, "P30D");
  const second = await keys.rotateKey(name);
  assert.notEqual(second.id, first.id);
  assert.equal(second.properties.expiresOn - second.properties.createdOn, 90 * days);
  await assert.rejects(
    keys.updateKeyRotationPolicy(name, { expiresIn: "P27D", lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P30D" }] }),
    { statusCode: 400 },
  );
});

test("random bytes are as many as asked", async () => {
  for (const count of [1, 32, 128]) assert.equal((await keys.getRandomBytes(count)).length, count);
});

test("on bare localhost the client works with its one check off", async () => {
  const address = `https://localhost:${new URL(poolUrl).port}`;
  const client = new KeyClient(address, credentialOf("USER"), { disableChallengeResourceVerification: true });
  const key = await client.createEcKey(freshName(), { hsm: true });
  assert.ok(key.id.startsWith(`${address}/keys/${key.name}/`));
});

test("what a role does not allow is refused", async () => {
  const nobody = new KeyClient(poolUrl, credentialOf("NOBODY"));
  await assert.rejects(nobody.getKey("anything"), { statusCode: 403, code: "AccessDenied" });
  const auditor = new KeyClient(poolUrl, credentialOf("AUDITOR"));
  await assert.rejects(auditor.createEcKey(freshName()), { statusCode: 403, code: "AccessDenied" });
  await assert.rejects(officerKeys.createEcKey(freshName()), { statusCode: 403, code: "AccessDenied" });
});

test("a wrong secret is refused by the issuer", async () => {
  const client = new KeyClient(poolUrl, credentialOf("USER", "not-the-secret"));
  await assert.rejects(client.getKey("anything"), { name: "AuthenticationRequiredError", message: /AADSTS7000215|invalid_client/ });
});
