// Fails when the built page outgrows its budget or would break the node's content security policy.

import { readFile, readdir } from "node:fs/promises";
import { gzipSync } from "node:zlib";

// What every visitor loads, and what comes only when a terminal or a screen is opened.
const budget_kib = 300;
const later_budget_kib = 160;
const dist = new URL("../dist/", import.meta.url);
const kib = (bytes) => (bytes / 1024).toFixed(1);

const page = await readFile(new URL("index.html", dist), "utf8");
let plain = 0;
let packed = 0;
let later = 0;
let all = 0;
for (const name of await readdir(dist, { recursive: true })) {
  const bytes = await readFile(new URL(name, dist)).catch(() => null);
  if (bytes === null) continue;
  all += bytes.length;
  if (!/\.(js|css)$/.test(name)) continue;
  const small = gzipSync(bytes, { level: 9 }).length;
  plain += bytes.length;
  if (page.includes(name)) packed += small;
  else later += small;
  console.log(`${name}: ${kib(bytes.length)} KiB, ${kib(small)} KiB packed`);
}
console.log(
  `scripts and styles: ${kib(plain)} KiB; packed ${kib(packed)} KiB at first (budget ${budget_kib}), ` +
    `${kib(later)} KiB later (budget ${later_budget_kib}); all files: ${kib(all)} KiB`,
);

const faults = [];
if (packed > budget_kib * 1024) faults.push(`scripts and styles are larger than ${budget_kib} KiB packed`);
if (later > later_budget_kib * 1024) faults.push(`what is loaded later is larger than ${later_budget_kib} KiB packed`);
if (/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/i.test(page))
  faults.push("index.html holds an inline script or style");
if (/(?:src|href)="(?:https?:)?\/\//i.test(page)) faults.push("index.html refers to another host");
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
