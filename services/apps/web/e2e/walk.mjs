// The way of an operator through the page, on a real node or the mock: claim, sign out, sign in, overview,
// both lists, stop and start.

import { basename } from "node:path";
import { expect } from "./browser.mjs";

export async function claim(visitor, { code, user, password }) {
  const { page } = visitor;
  await page.getByRole("heading", { name: "Set up this node" }).waitFor();
  await visitor.shot("claim");
  await page.getByLabel("Claim code").fill(code);
  await page.getByLabel("User name").fill(user);
  await page.getByLabel("Password", { exact: false }).first().fill("short");
  await page.getByLabel("Password again").fill("other");
  await page.getByRole("button", { name: "Set up" }).click();
  await page.getByText("Must have at least 10 characters").waitFor();
  await page.getByText("The two passwords differ").waitFor();
  await visitor.shot("claim-faults");
  await page.locator("#password").fill(password);
  await page.getByLabel("Password again").fill(password);
  await page.getByRole("button", { name: "Set up" }).click();
  await onOverview(visitor);
}

export async function signOut(visitor) {
  const { page } = visitor;
  await page.getByRole("button", { name: /^Account / }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
}

export async function signIn(visitor, { user, password }) {
  const { page } = visitor;
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await visitor.shot("login");
  await page.locator("#username").fill(user);
  await page.locator("#password").fill("certainly wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("User name or password is wrong").waitFor();
  await page.locator("#password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await onOverview(visitor);
}

export async function onOverview({ page }) {
  await page.getByRole("region", { name: "Workloads" }).waitFor();
}

export async function overview(visitor, names, shot = "overview") {
  const { page } = visitor;
  for (const name of names)
    await page.getByRole("region", { name: "Workloads" }).getByRole("link", { name, exact: true }).waitFor();
  for (const word of ["Uptime", "Node id", "Certificate fingerprint", "Memory"])
    await page.getByText(word).first().waitFor();
  await visitor.shot(shot);
}

export async function goTo({ page }, title) {
  const link = page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: title });
  // The side bar opens and closes by itself some moments after the page has become wider or narrower, so that what
  // was seen may be otherwise by the time of the click.
  for (let tries = 1; ; tries += 1) {
    if (!(await link.isVisible())) await page.getByRole("button", { name: "Navigation" }).click();
    try {
      await link.click({ timeout: 5000 });
      break;
    } catch (error) {
      if (tries === 12) throw error;
    }
  }
  await page.getByRole("heading", { level: 1, name: title }).waitFor();
}

/** Brings in a disk image from this machine. */
export async function upload(visitor, file) {
  const { page } = visitor;
  const name = basename(file).replace(/\.[^.]*$/, "");
  await goTo(visitor, "Images");
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(/^File/).setInputFiles(file);
  await visitor.shot("image-upload");
  await dialog.getByRole("button", { name: "Upload", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  await page.locator("tr", { hasText: name }).locator('[data-state="Available"]').waitFor();
}

/** Sees the workload run, stops it, starts it again. */
export async function stopAndStart(visitor, title, name) {
  const { page } = visitor;
  await goTo(visitor, title);
  await visitor.waitForState(name, "Running");
  await visitor.shot(`${title.toLowerCase().replace(" ", "-")}-running`);
  await page.getByRole("button", { name: `Stop ${name}`, exact: true }).click();
  await visitor.waitForState(name, "Stopped");
  await visitor.shot(`${title.toLowerCase().replace(" ", "-")}-stopped`);
  await page.getByRole("button", { name: `Start ${name}`, exact: true }).click();
  await visitor.waitForState(name, "Running");
}

export async function details(visitor, name, output) {
  const { page } = visitor;
  await visitor.row(name).getByRole("link", { name, exact: true }).click();
  const panel = page
    .getByRole("region", { name: `Details of ${name}` })
    .or(page.locator(`[aria-label="Details of ${name}"]`))
    .first();
  await panel.waitFor();
  await visitor.shot(`details-${name}`);
  await page.getByRole("tab", { name: output }).click();
  const log = page.getByRole("log");
  await log.waitFor();
  await page.waitForFunction(() => (document.querySelector('[role="log"]')?.textContent ?? "").trim().length > 0);
  await visitor.shot(`output-${name}`);
  expect(!(await log.textContent()).includes("\u001b"), "no escape sequences in the output");
  await page.getByRole("button", { name: `Close details of ${name}` }).click();
}
