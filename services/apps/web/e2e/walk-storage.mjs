// The way of an operator through volumes with their snapshots, and through the revisions of a pod, on a real node or
// the mock. What is made here is deleted here.

import { goTo } from "./walk.mjs";

async function ask(visitor, action, fields = {}) {
  const dialog = visitor.page.getByRole("dialog");
  await dialog.waitFor();
  for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label).fill(value);
  await dialog.getByRole("button", { name: action, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

/** From the menu of a row, or of whatever has one. */
async function choose({ page }, name, action) {
  await page
    .getByRole("button", { name: `More actions on ${name}`, exact: true })
    .first()
    .click();
  await page.getByRole("menuitem", { name: action, exact: true }).click();
}

/** Makes a volume, grows it, takes a snapshot, makes another volume of that, goes back to it, and deletes all. */
export async function volumes(visitor, name) {
  const { page } = visitor;
  const [copy, before] = [`${name}-copy`, `${name}-before`];
  const ready = (snapshot) => page.locator(`li[data-name="${snapshot}"] [data-state="Ready"]`).first().waitFor();
  await goTo(visitor, "Volumes");
  await page.getByRole("region", { name: "Pool default" }).getByText("Promised to volumes").waitFor();
  await page.getByRole("button", { name: "Create volume" }).click();
  await page.getByRole("dialog").waitFor();
  await visitor.shot("volume-create");
  await ask(visitor, "Create", { Name: name, "Size in GiB": "0.125" });
  await visitor.waitForState(name, "Available");
  await choose(visitor, name, "Grow");
  await ask(visitor, "Grow", { "New size": "0.25" });
  await visitor.row(name).getByText("256 MiB").waitFor();

  await visitor.row(name).getByRole("link", { name, exact: true }).click();
  await page.getByRole("button", { name: "Take snapshot", exact: true }).click();
  await ask(visitor, "Take snapshot", { Name: before, Description: "as it was" });
  await ready(before);
  await choose(visitor, `snapshot ${before}`, "New volume from it");
  await ask(visitor, "Create", { Name: copy });
  await visitor.waitForState(copy, "Available");
  await choose(visitor, `snapshot ${before}`, "Revert to it");
  await ask(visitor, "Revert");
  const safety = `before-${before}-1`;
  await ready(safety);
  await ready(before);
  await visitor.shot("volume-snapshots");

  for (const snapshot of [safety, before]) {
    await choose(visitor, `snapshot ${snapshot}`, "Delete");
    await ask(visitor, "Delete");
    await page.locator(`li[data-name="${snapshot}"]`).waitFor({ state: "detached" });
  }
  await page.getByRole("button", { name: `Close details of ${name}` }).click();
  for (const volume of [copy, name]) {
    await choose(visitor, volume, "Delete");
    await ask(visitor, "Delete");
    await visitor.row(volume).waitFor({ state: "detached" });
  }
}

const key =
  "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";

/** Adds a registry whose images must be signed, lifts that again, and deletes it. */
export async function registry(visitor, name) {
  const { page } = visitor;
  const row = page.locator(`tr[data-name="${name}"]`);
  const required = row.getByText("lab: required (1 key)");
  await goTo(visitor, "Registries");
  await page.getByRole("button", { name: "Add registry" }).click();
  await page.getByRole("button", { name: "Add rule" }).click();
  await page.locator("#create-name").fill(name);
  await ask(visitor, "Add", { Host: "registry.invalid:5000", Path: "lab", "Public keys": key });
  await required.waitFor();
  await choose(visitor, name, "Change");
  await page.getByRole("button", { name: "Remove rule 1" }).click();
  await ask(visitor, "Change");
  await required.waitFor({ state: "detached" });
  await choose(visitor, name, "Delete");
  await ask(visitor, "Delete");
  await row.waitFor({ state: "detached" });
}

/** Somebody else changes a pod's containers; the page sees it, and goes back. */
export async function revisions(visitor, name) {
  const { page } = visitor;
  await goTo(visitor, "Containers");
  await visitor.waitForState(name, "Running");
  const number = await page.evaluate(changeElsewhere, name);
  const row = (revision) => page.locator(`tr[data-revision="${revision}"]`);
  const inUse = (revision) => row(revision).locator('[data-state="In use"]').waitFor();
  await visitor.row(name).getByRole("link", { name, exact: true }).click();
  await page.getByRole("tab", { name: "Revisions" }).click();
  await inUse(number + 1);
  await row(number + 1)
    .locator('[data-state="Good"]')
    .waitFor();
  await page.getByRole("button", { name: `Go back to revision ${number}` }).click();
  await ask(visitor, "Go back");
  await inUse(number + 2);
  await row(number + 2)
    .locator('[data-state="Good"]')
    .waitFor();
  await visitor.shot("revisions");
  const hold = page.getByLabel("Hold changes of its containers back");
  const held = page.getByText("What runs stays, whatever is changed");
  // The switch itself is out of sight; people press its label.
  await page.locator("label", { has: hold }).click();
  await held.waitFor();
  await page.locator("label", { has: hold }).click();
  await held.waitFor({ state: "detached" });
  await page.getByRole("button", { name: `Close details of ${name}` }).click();
  await visitor.waitForState(name, "Running");
}

/** Runs in the page: gives every container one more variable. The number of the revision before. */
async function changeElsewhere(name) {
  const path = `/api/v1/pods/${name}`;
  const pod = await (await fetch(path)).json();
  const containers = pod.spec.containers.map((each) => ({
    ...each,
    env: [...(each.env ?? []), { name: "WALK", value: String(Date.now()) }],
  }));
  const answer = await fetch(path, {
    method: "PATCH",
    headers: { "content-type": "application/merge-patch+json", "x-skerry-request": "1" },
    body: JSON.stringify({ spec: { containers } }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return pod.status.revision;
}
