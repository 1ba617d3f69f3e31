// The running pool, as the environment names it, and unmodified clients of it.
import { ClientSecretCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this through conformance/pool.py`);
  return value;
}

export const poolUrl = required("STRONGROOM_POOL_URL");

export function credentialOf(account, secret = required(`STRONGROOM_${account}_CLIENT_SECRET`)) {
  return new ClientSecretCredential(
    required("STRONGROOM_TENANT_ID"),
    required(`STRONGROOM_${account}_CLIENT_ID`),
    secret,
    { authorityHost: required("STRONGROOM_AUTHORITY"), disableInstanceDiscovery: true },
  );
}

export const userCredential = credentialOf("USER");
export const keys = new KeyClient(poolUrl, userCredential);
export const officerKeys = new KeyClient(poolUrl, credentialOf("OFFICER"));
export const cryptoOf = (key) => new CryptographyClient(key, userCredential);

export const objectIdOf = (account) => required(`STRONGROOM_${account}_OBJECT_ID`);

// What an administrator's own request is answered, for what this SDK has no client.
export async function asked(method, path, body) {
  const { token } = await credentialOf("ADMIN").getToken(`https://${new URL(poolUrl).host.split(".").slice(1).join(".")}/.default`);
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const answer = await fetch(`${poolUrl}${path}?api-version=7.6`, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

let count = 0;
export const freshName = () => `js-${process.pid}-${++count}`;
