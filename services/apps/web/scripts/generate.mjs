// Writes src/api/schema.d.ts from the committed OpenAPI description of the node's API. The file is not committed:
// build, test and lint write it anew, so it cannot drift.

import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const source = new URL("../../../../config/openapi/skerry-v1.json", import.meta.url);
const target = new URL("../src/api/schema.d.ts", import.meta.url);

const description = JSON.parse(await readFile(source, "utf8"));
const nodes = await openapiTS({ ...description, paths: {} }, { alphabetize: true });
await writeFile(
  target,
  `// Written by \`npm run generate\` from config/openapi/skerry-v1.json. Do not edit.\n\n${astToString(nodes)}`,
);
