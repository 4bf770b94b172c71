// A node for tests of whole screens: it answers as a real one would, and notes what it was asked.

import type { Role } from "./api/types";
import { alarm, answer, image, pod, vm } from "./test-data";

/** A stream of changes in which nothing happens. */
export class Source extends EventTarget {
  onopen = null;
  onerror = null;
  onmessage = null;
  close() {}
}

export class ScriptedNode {
  claimed = true;
  role: Role | null = null;
  away = false;
  vms = [vm("guest")];
  asked: { route: string; body: unknown }[] = [];
  replies = new Map<string, () => Response>();

  fetch = (url: string, init: RequestInit) => {
    if (this.away) return Promise.reject(new TypeError("Failed to fetch"));
    const path = url.replace("/api/v1", "").replace(/\?.*/, "");
    const route = `${init.method ?? "GET"} ${path}`;
    this.asked.push({ route, body: typeof init.body === "string" ? JSON.parse(init.body) : undefined });
    return Promise.resolve(this.replies.get(route)?.() ?? this.usual(route));
  };

  usual(route: string): Response {
    const enter = (status: number) => {
      this.role = "admin";
      this.claimed = true;
      return answer(status, { token: "t", username: "admin", role: "admin" });
    };
    if (route === "GET /health") return answer(200, { claimed: this.claimed, hostname: "node-1", ready: true });
    if (route === "POST /claim") return enter(201);
    if (route === "POST /login") return enter(200);
    if (this.role === null) return answer(401, { title: "Unauthenticated" });
    const lists: Record<string, unknown[]> = {
      "GET /vms": this.vms,
      "GET /pods": [pod("web", { state: "failed", reason: "The image is damaged." })],
      "GET /images": [
        image("tiny", "kernel_initrd"),
        image("broken", "kernel_initrd", "quarantined"),
        image("oci", "oci_archive"),
      ],
      "GET /alarms": [
        alarm("warm", "warning"),
        alarm("gone", "critical", "2026-01-03T00:00:00Z"),
        alarm("hot", "critical"),
      ],
    };
    if (route === "GET /session") return answer(200, { username: "admin", role: this.role });
    if (route === "GET /summary") return answer(200, summary);
    const read = route.startsWith("GET ");
    return read ? answer(200, { items: lists[route] ?? [], revision: 5 }) : answer(202, {});
  }

  count = (route: string) => this.asked.filter((each) => each.route === route).length;
}

const summary = {
  node_id: "0b6d1a52",
  hostname: "node-1",
  version: "0.1.0",
  build: "b",
  board: "",
  claimed: true,
  urls: [],
  fingerprint: "",
  addresses: [],
  uptime_s: 61,
  memory: { total: 2 ** 30, available: 2 ** 29 },
  load1: 0.1,
  cpus: 2,
  accelerator: "emulation",
  workloads: { vms: 1, vms_running: 1, pods: 1, pods_running: 0 },
  alarms: { critical: 1, major: 0, minor: 0, warning: 1 },
  store_healthy: true,
  ready: true,
};
