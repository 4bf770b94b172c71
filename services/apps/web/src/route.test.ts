import { describe, expect, it } from "vitest";
import { parseRoute, routeHref } from "./route";

describe("routes", () => {
  it("survive being written and read", () => {
    for (const name of ["web", "a b", "ü/%"]) {
      expect(parseRoute(routeHref("pods", name, "output"))).toEqual({ place: "pods", name, tab: "output" });
    }
    expect(parseRoute(routeHref("vms"))).toEqual({ place: "vms", name: null, tab: "details" });
  });

  it("lead to the overview when they lead nowhere", () => {
    for (const odd of ["", "#", "#/nowhere/x", "#/%", "#/vms2"]) expect(parseRoute(odd).place).toBe("overview");
    expect(parseRoute("#/vms/%E0%A4%A")).toEqual({ place: "vms", name: null, tab: "details" });
  });
});
