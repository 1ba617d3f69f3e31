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

let count = 0;
export const freshName = () => `js-${process.pid}-${++count}`;
