// The end-to-end test against the mock, and what only a mock can show: create with refusals, a lost connection
// that comes back, a gap in the watch, an ended session, a dark screen.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Visitor, expect, views } from "./browser.mjs";
import { MockNode } from "./mock.mjs";
import { goTo, onOverview, overview } from "./walk.mjs";

const shots = process.env.SKERRY_SHOTS;
const account = { user: "admin", password: "four small grey seals" };

async function runAgainst(url, env) {
  const script = fileURLToPath(new URL("./run.mjs", import.meta.url));
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, SKERRY_URL: url, ...env },
    stdio: "inherit",
  });
  const code = await new Promise((resolve) => child.on("exit", resolve));
  expect(code === 0, `run.mjs ends with 0, not ${code}`);
}

async function create(visitor) {
  const { page } = visitor;
  await goTo(visitor, "Virtual machines");
  await page.getByRole("button", { name: "Create virtual machine" }).click();
  const dialog = page.getByRole("dialog", { name: "Create virtual machine" });
  await dialog.getByLabel("Name").fill("Web!");
  await dialog.getByRole("button", { name: "Add port" }).click();
  await dialog.getByRole("button", { name: "Create", exact: true }).click();
  await dialog.getByText("Use up to 63 of").waitFor();
  await dialog.getByLabel("Name").fill("router");
  await dialog.getByLabel("Memory in MiB").fill("8192");
  await dialog.getByLabel("Node port").fill("8081");
  await dialog.getByLabel("Workload port").fill("8080");
  await dialog.getByRole("button", { name: "Create", exact: true }).click();
  await dialog.getByText("8081 is already published by `web`.").waitFor();
  await dialog.getByText("The node has 1490 MiB for workloads.").waitFor();
  await visitor.shot("create-refused");
  await dialog.getByLabel("Memory in MiB").fill("512");
  await dialog.getByLabel("Node port").fill("8090");
  await dialog.getByRole("button", { name: "Create", exact: true }).click();
  await visitor.waitForState("router", "Running");
}

async function remove(visitor) {
  const { page } = visitor;
  await page.getByRole("button", { name: "More actions on router" }).click();
  await visitor.shot("row-menu");
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("dialog").waitFor();
  await visitor.shot("delete-dialog");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await visitor.row("router").waitFor({ state: "detached" });
}

async function lostAndBack(visitor, node) {
  const { page } = visitor;
  await node.goAway();
  const banner = page.getByText("Connection to the node lost, retrying.");
  await banner.waitFor();
  await visitor.shot("connection-lost");
  // Changed while nobody could see it: only reading the lists again can show it.
  node.state.act("vms", "guest", "stop");
  await new Promise((resolve) => setTimeout(resolve, 600));
  node.oldest = node.state.revision;
  await node.comeBack();
  await banner.waitFor({ state: "detached" });
  await visitor.waitForState("guest", "Stopped");
  // And the new stream is live.
  node.state.act("vms", "guest", "start");
  await visitor.waitForState("guest", "Running");
}

async function sessionEnds(visitor, node) {
  const { page } = visitor;
  node.sessions.clear();
  await page.getByText("Your session has ended").waitFor();
  await visitor.shot("session-ended");
  await page.locator("#username").fill(account.user);
  await page.locator("#password").fill(account.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { level: 1, name: "Virtual machines" }).waitFor();
}

async function byKeyboard(visitor) {
  const { page } = visitor;
  await page.goto(page.url().replace(/#.*/, "#/pods"));
  await visitor.row("web").waitFor();
  await visitor.row("web").getByRole("link", { name: "web" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("tab", { name: "Details" }).waitFor();
  const inside = await page.evaluate(() => document.activeElement?.textContent ?? "");
  expect(inside.startsWith("web"), `the focus is in the details, not on "${inside}"`);
  await page.keyboard.press("Escape");
  await page.getByRole("tab", { name: "Details" }).waitFor({ state: "detached" });
}

/** The rows of the terminal, as a person sees them. */
async function seen(page, text) {
  await page.locator(".xterm-rows").getByText(text).first().waitFor();
}

async function terminals(visitor) {
  const { page } = visitor;
  await page.goto(page.url().replace(/#.*/, "#/pods/web/terminal"));
  await page.getByLabel("Program").fill("/bin/sh -l");
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await seen(page, "/bin/sh -l");
  await page.keyboard.type("hello");
  await page.keyboard.press("Enter");
  await seen(page, "you said hello");
  const colour = await page
    .locator(".xterm-rows span", { hasText: "you said hello" })
    .first()
    .evaluate((element) => getComputedStyle(element).color);
  expect(colour === "rgb(90, 200, 120)", `the text has its colour, not ${colour}`);
  await visitor.shot("terminal");
  // Escape is the program's; the panel stays.
  await page.keyboard.press("Escape");
  await page.getByRole("tab", { name: "Terminal" }).waitFor();
  await page.keyboard.type("exit");
  await page.keyboard.press("Enter");
  await page.getByText("The program has ended with code 3.").waitFor();
  await page.goto(page.url().replace(/#.*/, "#/vms/guest/terminal"));
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await seen(page, "serial line");
  await visitor.shot("console");
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("Disconnected.").waitFor();
  await page.goto(page.url().replace(/#.*/, "#/vms"));
}

/** The colour in the middle of the screen, as it is drawn. */
const middle = (page) =>
  page.locator(".sk-screen canvas").evaluate((canvas) => {
    const point = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
    return [...point].join(" ");
  });

async function screens(visitor) {
  const { page } = visitor;
  await page.goto(page.url().replace(/#.*/, "#/vms/guest/screen"));
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  const shows = async (colour) => {
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await middle(page).catch(() => "")) === colour) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(false, `the screen shows ${colour}, not ${await middle(page)}`);
  };
  await shows("32 32 160 255");
  // A key of the guest's, also Escape, which closes the panel elsewhere.
  await page.keyboard.press("Escape");
  await shows("255 32 160 255");
  await page.getByRole("button", { name: "Send Ctrl+Alt+Del" }).click();
  await shows("255 255 160 255");
  await visitor.shot("screen");
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("Disconnected.").waitFor();
  await page.goto(page.url().replace(/#.*/, "#/vms"));
}

async function narrowNavigation(visitor) {
  const { page } = visitor;
  await page.setViewportSize(views.narrow);
  await page.reload();
  await page.getByRole("button", { name: "Navigation" }).click();
  await visitor.settled();
  if (shots) await page.screenshot({ path: `${shots}/navigation-narrow.png` });
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Overview" }).click();
  await onOverview(visitor);
  await page.setViewportSize(views.desktop);
}

const node = new MockNode();
const url = await node.listen();
const tiny = { publish: [{ protocol: "tcp", host_port: 8081, workload_port: 8080 }] };
node.state.create("pods", {
  metadata: { name: "web" },
  spec: { containers: [{ name: "main", image: "tiny" }], ...tiny },
});
node.state.create("vms", {
  metadata: { name: "guest" },
  spec: { image: "tiny-vm", publish: [{ protocol: "tcp", host_port: 8082, workload_port: 8080 }] },
});
try {
  await runAgainst(url, {
    SKERRY_CLAIM_CODE: node.state.code,
    SKERRY_VM: "guest",
    SKERRY_POD: "web",
    SKERRY_VOLUME: "walk",
    SKERRY_PATIENCE_S: "15",
  });
  node.state.users.set(account.user, account.password);
  const visitor = await Visitor.open({ url: `${url}/#/vms`, shots, patience_ms: 15_000, dark: false });
  const steps = { create, remove, lostAndBack, sessionEnds, byKeyboard, terminals, screens, narrowNavigation };
  try {
    await visitor.page.locator("#username").fill(account.user);
    await visitor.page.locator("#password").fill(account.password);
    await visitor.page.getByRole("button", { name: "Sign in" }).click();
    for (const [name, step] of Object.entries(steps)) {
      await step(visitor, node);
      console.log(`ok  ${name}`);
    }
    await visitor.page.emulateMedia({ colorScheme: "dark" });
    await visitor.page.goto(`${url}/#/overview`);
    await overview(visitor, ["guest", "web"], "overview-dark");
    expect(visitor.faults.length === 0, `no faults, but:\n${visitor.faults.join("\n")}`);
    console.log("ok  dark");
  } catch (error) {
    if (shots) await visitor.page.screenshot({ path: `${shots}/failure.png` }).catch(() => undefined);
    throw error;
  } finally {
    await visitor.close();
  }
} catch (error) {
  console.error(`not ok  ${error.stack}`);
  process.exitCode = 1;
} finally {
  await node.goAway();
}
