// A headless Chromium with nothing but the page in it, and the checks that hold for every screen.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Wide and narrow: a desk and a telephone. */
export const views = { desktop: { width: 1366, height: 860 }, narrow: { width: 360, height: 740 } };

export class Visitor {
  /** `patience_ms` must suit the slowest node, which is one under emulation. */
  static async open({ url, shots, patience_ms = 30_000, dark = false }) {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      args: flags,
    });
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      viewport: views.desktop,
      colorScheme: dark ? "dark" : "light",
      reducedMotion: "reduce",
    });
    context.setDefaultTimeout(patience_ms);
    const page = await context.newPage();
    const visitor = new Visitor(browser, page, shots);
    await visitor.listen(url);
    await page.goto(url);
    return visitor;
  }

  constructor(browser, page, shots) {
    Object.assign(this, { browser, page, shots, faults: [], requests: [] });
  }

  /** Notes everything that must not happen on any screen: errors, policy violations, requests elsewhere. */
  async listen(url) {
    const { origin } = new URL(url);
    this.page.on("pageerror", (error) => this.faults.push(`script error: ${error.message}`));
    this.page.on("console", (message) => {
      if (/content security policy/i.test(message.text())) this.faults.push(`policy: ${message.text()}`);
    });
    this.page.on("request", (request) => {
      if (!request.url().startsWith(`${origin}/`)) this.faults.push(`request to elsewhere: ${request.url()}`);
    });
  }

  /** Takes pictures at both widths and checks that nothing runs out of the narrow one. */
  async shot(name) {
    if (this.shots) await mkdir(this.shots, { recursive: true });
    for (const [view, size] of Object.entries(views)) {
      await this.page.setViewportSize(size);
      await this.settled();
      const over = await this.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) this.faults.push(`${name}: ${over} px too wide at ${size.width} px`);
      if (this.shots) await this.page.screenshot({ path: join(this.shots, `${name}-${view}.png`) });
    }
    await this.page.setViewportSize(views.desktop);
    await this.settled();
  }

  /** Two frames: what React and the layout had to do is done. */
  settled() {
    return this.page.evaluate(
      () =>
        new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 120)))),
    );
  }

  /** The row of a workload on its list page. */
  row(name) {
    return this.page.locator(`tr[data-name="${name}"]`);
  }

  async waitForState(name, label) {
    await this.row(name).locator(`[data-state="${label}"]`).waitFor();
  }

  async close() {
    await this.browser.close();
  }
}

export function expect(condition, what) {
  if (!condition) throw new Error(`expected: ${what}`);
}
