import { describe, expect, it, vi } from "vitest";
import { answer } from "../test-data";
import { api, isUnauthenticated, listAll } from "./client";
import { Refused, Unreachable, explain } from "./problem";

function stubFetch(...answers: (Response | Error)[]) {
  const fetch = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(() => {
    const next = answers.shift();
    return next instanceof Response ? Promise.resolve(next) : Promise.reject(next ?? new Error("no answer left"));
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

const headersOf = (call: [string, RequestInit] | undefined) => call?.[1].headers as Record<string, string>;

describe("requests", () => {
  it("mark writes, and only writes, as coming from the page", async () => {
    const fetch = stubFetch(answer(200, {}), answer(202, {}));
    await api.summary();
    await api.act("vms", "guest", "stop");
    expect(headersOf(fetch.mock.calls[0])).not.toHaveProperty("x-skerry-request");
    expect(headersOf(fetch.mock.calls[1])["x-skerry-request"]).toBe("1");
    expect(fetch.mock.calls[1]?.[0]).toBe("/api/v1/vms/guest/actions/stop");
  });

  it("keep names out of the path's structure", async () => {
    const fetch = stubFetch(answer(202, {}));
    await api.remove("pods", "../users/admin");
    expect(fetch.mock.calls[0]?.[0]).toBe("/api/v1/pods/..%2Fusers%2Fadmin");
  });

  it("read lists to their last page and keep the first revision", async () => {
    const fetch = stubFetch(
      answer(200, { items: [{ n: 1 }], revision: 7, next: "b" }),
      answer(200, { items: [{ n: 2 }], revision: 9, next: null }),
    );
    expect(await listAll("vms")).toEqual({ items: [{ n: 1 }, { n: 2 }], revision: 7 });
    expect(fetch.mock.calls[1]?.[0]).toContain("continue=b");
  });
});

describe("refusals", () => {
  it("carry the violations of a problem document", async () => {
    const violations = [{ field: "spec.vcpus", message: "must be 1 to 64" }];
    stubFetch(answer(422, { title: "Invalid", detail: "not valid", violations: [...violations, { field: 3 }] }));
    const error = await api
      .createVm({ metadata: { name: "a" }, spec: { image: "tiny" } })
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(Refused);
    expect((error as Refused).violations).toEqual(violations);
    expect(explain(error)).toBe("not valid");
  });

  it("are understood without a problem document", async () => {
    stubFetch(new Response("<html>", { status: 502, statusText: "Bad Gateway" }), answer(401, {}));
    const error = await api.summary().catch((caught: unknown) => caught);
    expect(explain(error)).toBe("Bad Gateway (502)");
    expect(isUnauthenticated(error)).toBe(false);
    expect(isUnauthenticated(await api.session().catch((caught: unknown) => caught))).toBe(true);
  });

  it("tell how long to wait", async () => {
    stubFetch(answer(429, { title: "Too many" }, { "retry-after": "30" }));
    const error = await api.login("a", "b").catch((caught: unknown) => caught);
    expect((error as Refused).retryAfter).toBe(30);
  });

  it("differ from no answer, and from half of one", async () => {
    stubFetch(new TypeError("Failed to fetch"), new Response('{"cut', { status: 200 }));
    for (let round = 0; round < 2; round += 1) {
      expect(await api.health().catch((caught: unknown) => caught)).toBeInstanceOf(Unreachable);
    }
  });
});
