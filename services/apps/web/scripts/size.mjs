// Fails when the built page outgrows its budget or would break the node's content security policy.

import { readFile, readdir } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const budget_kib = 300;
const dist = new URL("../dist/", import.meta.url);
const kib = (bytes) => (bytes / 1024).toFixed(1);

let plain = 0;
let packed = 0;
let all = 0;
for (const name of await readdir(dist, { recursive: true })) {
  const bytes = await readFile(new URL(name, dist)).catch(() => null);
  if (bytes === null) continue;
  all += bytes.length;
  if (!/\.(js|css)$/.test(name)) continue;
  const small = gzipSync(bytes, { level: 9 }).length;
  plain += bytes.length;
  packed += small;
  console.log(`${name}: ${kib(bytes.length)} KiB, ${kib(small)} KiB packed`);
}
console.log(
  `scripts and styles: ${kib(plain)} KiB, ${kib(packed)} KiB packed (budget ${budget_kib}); all files: ${kib(all)} KiB`,
);

const faults = [];
if (packed > budget_kib * 1024) faults.push(`scripts and styles are larger than ${budget_kib} KiB packed`);
const page = await readFile(new URL("index.html", dist), "utf8");
if (/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/i.test(page))
  faults.push("index.html holds an inline script or style");
if (/(?:src|href)="(?:https?:)?\/\//i.test(page)) faults.push("index.html refers to another host");
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
