// End-to-end test against a node. Environment:
//   SKERRY_URL          the page, such as https://localhost:8443/
//   SKERRY_CLAIM_CODE   claims the node first; without it the node must be claimed
//   SKERRY_USER, SKERRY_PASSWORD   the account (default admin, a fixed test password)
//   SKERRY_VM, SKERRY_POD          names of running workloads; either may be absent
//   SKERRY_VOLUME       name of a volume to make and delete
//   SKERRY_UPLOAD       a disk image to bring in, named after the file
//   SKERRY_SHOTS        folder for screenshots; none are taken without it
//   SKERRY_PATIENCE_S   longest wait for anything (default 60)
//   CHROMIUM            the browser (default /usr/bin/chromium)
// Ends with 0 only if every step was seen.

import { Visitor } from "./browser.mjs";
import { registry, revisions, volumes } from "./walk-storage.mjs";
import { claim, details, goTo, overview, signIn, signOut, stopAndStart, upload } from "./walk.mjs";

const { SKERRY_URL: url, SKERRY_CLAIM_CODE: code, SKERRY_VM: vm, SKERRY_POD: pod, SKERRY_SHOTS: shots } = process.env;
if (!url) {
  console.error("SKERRY_URL is not set");
  process.exit(2);
}
const account = {
  code,
  user: process.env.SKERRY_USER ?? "admin",
  password: process.env.SKERRY_PASSWORD ?? "four small grey seals",
};
const patience_ms = Number(process.env.SKERRY_PATIENCE_S ?? 60) * 1000;

async function step(name, work) {
  const begun = Date.now();
  await work();
  console.log(`ok  ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
}

const visitor = await Visitor.open({ url, shots, patience_ms });
try {
  if (code) {
    await step("claim", () => claim(visitor, account));
    await step("sign out", () => signOut(visitor));
  }
  await step("sign in", () => signIn(visitor, account));
  await step("overview", () => overview(visitor, [vm, pod].filter(Boolean)));
  if (vm) {
    await step("virtual machine: stop and start", () => stopAndStart(visitor, "Virtual machines", vm));
    await step("virtual machine: details and serial output", () => details(visitor, vm, "Serial output"));
  }
  if (pod) {
    await step("container: stop and start", () => stopAndStart(visitor, "Containers", pod));
    await step("container: details and log", () => details(visitor, pod, "Log"));
    await step("container: revisions", () => revisions(visitor, pod));
  }
  const volume = process.env.SKERRY_VOLUME;
  if (volume) await step("volume: made, grown, snapshots, deleted", () => volumes(visitor, volume));
  await step("registry: signatures asked for and not, deleted", () => registry(visitor, "walk-registry"));
  const image = process.env.SKERRY_UPLOAD;
  if (image) await step("image: upload", () => upload(visitor, image));
  for (const title of ["Volumes", "Images", "Registries", "Jobs", "Alarms"]) {
    await step(title.toLowerCase(), async () => {
      await goTo(visitor, title);
      await visitor.shot(title.toLowerCase());
    });
  }
  if (visitor.faults.length > 0) throw new Error(visitor.faults.join("\n"));
} catch (error) {
  console.error(`not ok  ${error.message}`);
  console.error(`at ${visitor.page.url()}`);
  if (shots) await visitor.page.screenshot({ path: `${shots}/failure.png` }).catch(() => undefined);
  process.exitCode = 1;
} finally {
  await visitor.close();
}
