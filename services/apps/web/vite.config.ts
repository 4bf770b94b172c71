import { defineConfig } from "vitest/config";
import react from "@vitejs/plugin-react";
import { leanPatternFly } from "./scripts/lean-patternfly.mjs";
import { strictNoVnc } from "./scripts/strict-novnc.mjs";
import { strictXterm } from "./scripts/strict-xterm.mjs";

// Where `npm run dev` finds a node. Its certificate is its own, so it is not checked here.
const node = process.env.SKERRY_NODE ?? "https://localhost:8443";

export default defineConfig({
  plugins: [react(), leanPatternFly(), strictNoVnc(), strictXterm()],
  build: {
    target: "es2022",
    // Nothing may become a data: URI: the node's content security policy is `default-src 'self'`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    chunkSizeWarningLimit: 900,
  },
  server: { proxy: { "/api": { target: node, secure: false, changeOrigin: true } } },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["./src/test-setup.ts"],
    css: false,
    // A whole screen is drawn and typed into; beside other work that takes longer than the usual five seconds.
    testTimeout: 30_000,
    // PatternFly's modules import style sheets, which only Vite can load.
    server: { deps: { inline: [/@patternfly/] } },
  },
});
