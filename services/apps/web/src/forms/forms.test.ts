import { describe, expect, it } from "vitest";
import { Refused } from "../api/problem";
import { checkClaim } from "./claim";
import { refusalToForm } from "./fields";
import { NO_IMAGE, checkVm, newVm, vmFields } from "./vm";
import { checkPod, formShows, newPod, podFields } from "./workload";

const port = (host_port: string, workload_port = "80") => ({ protocol: "tcp" as const, host_port, workload_port });

describe("the form of a virtual machine", () => {
  it("sends numbers", () => {
    const { faults, input } = checkVm({ ...newVm, name: "a", image: "tiny", publish: [port("8081")] });
    expect(faults).toEqual({});
    expect(input.spec).toEqual({
      image: "tiny",
      vcpus: 1,
      memory_mib: 256,
      publish: [{ protocol: "tcp", host_port: 8081, workload_port: 80 }],
    });
  });

  it("may leave the image out for a volume that is there", () => {
    const draft = { ...newVm, name: "a", image: NO_IMAGE, disk_size: "4", firmware: "uefi" as const };
    expect(checkVm(draft, true).faults).toEqual({ "spec.image": "Attach the volume below that it starts from." });
    const { faults, input } = checkVm({ ...draft, disks: [{ volume: "kept", read_only: false }] }, true);
    expect(faults).toEqual({});
    expect(input.spec).toEqual({
      vcpus: 1,
      memory_mib: 256,
      publish: [],
      firmware: "uefi",
      disks: [{ volume: "kept" }],
    });
  });

  it("names every fault at its field", () => {
    const { faults } = checkVm({
      ...newVm,
      name: "-a",
      image: "",
      vcpus: "1.5",
      memory_mib: "31",
      publish: [port("80"), port("80", ""), port("65536")],
    });
    expect(Object.keys(faults).sort()).toEqual([
      "metadata.name",
      "spec.image",
      "spec.memory_mib",
      "spec.publish[1].host_port",
      "spec.publish[1].workload_port",
      "spec.publish[2].host_port",
      "spec.vcpus",
    ]);
  });

  it("allows one number for two protocols", () => {
    const both = [port("53"), { ...port("53"), protocol: "udp" as const }];
    expect(checkVm({ ...newVm, name: "dns", image: "tiny", publish: both }).faults).toEqual({});
  });
});

describe("the form of a container", () => {
  it("leaves the processor limit out if none is given, and counts in thousandths if one is", () => {
    const draft = { ...newPod, name: "a", image: "tiny" };
    expect(checkPod(draft).input.spec.containers[0]).not.toHaveProperty("cpu_limit_m");
    expect(checkPod({ ...draft, cpu: "0.5" }).input.spec.containers[0]?.cpu_limit_m).toBe(500);
    for (const cpu of ["0", "x", "-1", "2000"]) {
      expect(checkPod({ ...draft, cpu }).faults).toHaveProperty(["spec.containers[0].cpu_limit_m"]);
    }
  });

  it("leaves users to the node unless they are to be the node's", () => {
    const draft = { ...newPod, name: "a", image: "tiny" };
    expect(checkPod(draft).input.spec).not.toHaveProperty("user_namespace");
    expect(checkPod({ ...draft, users: "host" }).input.spec.user_namespace).toBe("host");
  });
});

describe("huge pages of a container", () => {
  const draft = { ...newPod, name: "a", image: "tiny" };
  const made = (pages: Partial<typeof newPod.pages>) => checkPod({ ...draft, pages: { ...newPod.pages, ...pages } });

  it("are left out if none are given, and whole pages if some are", () => {
    expect(made({}).input.spec.containers[0]).not.toHaveProperty("huge_pages");
    const both = made({ "2Mi": " 64 ", "1Gi": "1024" });
    expect(both.faults).toEqual({});
    expect(both.input.spec.containers[0]?.huge_pages).toEqual([
      { size: "2Mi", mib: 64 },
      { size: "1Gi", mib: 1024 },
    ]);
    for (const mib of ["0", "3", "x", "-2", "1.5"]) {
      expect(made({ "2Mi": mib }).faults).toHaveProperty(["spec.containers[0].huge_pages.2Mi"]);
    }
    expect(made({ "1Gi": "64" }).faults).toHaveProperty(["spec.containers[0].huge_pages.1Gi"]);
  });
});

describe("a refusal", () => {
  const refusal = (fields: string[]) =>
    new Refused(
      422,
      "Invalid",
      "not valid",
      fields.map((field) => ({ field, message: "must be better" })),
    );

  it("goes to the fields that the form shows, the rest above them", () => {
    const error = refusal([
      "spec.vcpus",
      "spec.publish[0].host_port",
      "spec.publish[3].host_port",
      "spec.network",
      "name",
    ]);
    expect(refusalToForm(error, formShows(vmFields, 1))).toEqual({
      faults: {
        "spec.vcpus": "Must be better.",
        "spec.publish[0].host_port": "Must be better.",
        "metadata.name": "Must be better.",
      },
      general: "spec.publish[3].host_port: must be better; spec.network: must be better",
    });
  });

  it("of the published ports as a whole is shown beside them, if there are any", () => {
    const error = refusal(["spec.publish"]);
    expect(refusalToForm(error, formShows(podFields, 1)).faults).toEqual({ "spec.publish": "Must be better." });
    expect(refusalToForm(error, formShows(podFields, 0)).general).toBe("spec.publish: must be better");
  });

  it("without violations is shown as a whole", () => {
    const error = new Refused(409, "Conflict", "The name `a` is in use.");
    expect(refusalToForm(error, formShows(podFields, 0))).toEqual({ faults: {}, general: "The name `a` is in use." });
  });
});

describe("the claim", () => {
  const good = { code: "ACDE-FHJK-MNPQ", username: "admin", password: "ten or more", again: "ten or more" };

  it("accepts a good one", () => {
    expect(checkClaim(good)).toEqual({});
  });

  it.each([
    [{ code: " " }, "code"],
    [{ username: "Ad min" }, "username"],
    [{ password: "ninechars", again: "ninechars" }, "password"],
    [{ password: "x".repeat(129), again: "x".repeat(129) }, "password"],
    [{ password: "aaaaaaaaaaaa", again: "aaaaaaaaaaaa" }, "password"],
    [{ username: "long-enough", password: "Long-Enough", again: "Long-Enough" }, "password"],
    [{ again: "something else" }, "again"],
  ])("refuses %j at the field %s", (part, field) => {
    expect(Object.keys(checkClaim({ ...good, ...part }))).toEqual([field]);
  });

  it("counts characters as people do", () => {
    const seals = "🦭".repeat(5) + "🐟".repeat(4);
    expect(checkClaim({ ...good, password: seals, again: seals })["password"]).toContain("this has 9");
  });
});
