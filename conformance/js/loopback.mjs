// Names under `.localhost` lead to this machine, in this process only: RFC 6761 reserves them for loopback, but not
// every resolver knows. Loaded with `node --import`; every other name goes the usual way.
import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";

const systemLookup = dns.lookup;

dns.lookup = (hostname, options, callback) => {
  if (typeof hostname !== "string" || !hostname.toLowerCase().endsWith(".localhost")) {
    return systemLookup(hostname, options, callback);
  }
  const done = typeof options === "function" ? options : callback;
  const all = typeof options === "object" && options !== null && options.all;
  process.nextTick(() => (all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4)));
};
syncBuiltinESMExports();
