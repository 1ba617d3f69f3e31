// The rows of ../algorithms.txt that this SDK can express.
import { readFileSync } from "node:fs";

function lines(name) {
  const text = readFileSync(new URL(name, import.meta.url), "utf8");
  const columns = (line) => line.split(/\s+/).slice(0, 4).map((column) => column.split(","));
  return text.split("\n").filter((line) => line && !line.startsWith("#")).map(columns);
}

const leftOut = lines("inexpressible.txt");
const standsFor = (line, row) => row.every((cell, n) => line[n].includes("*") || line[n].includes(cell));

export const rows = lines("../algorithms.txt")
  .flatMap(([kinds, sizes, operations, algorithms]) =>
    kinds.flatMap((kind) => sizes.flatMap((size) => operations.flatMap((operation) => algorithms.map((algorithm) => [kind, size, operation, algorithm])))),
  )
  .filter((row) => !leftOut.some((line) => standsFor(line, row)))
  .map(([kind, size, operation, algorithm]) => ({ kind, size, operation, algorithm }));

if (rows.length < 70) throw new Error(`only ${rows.length} rows`);
