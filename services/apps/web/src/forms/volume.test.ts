import { describe, expect, it } from "vitest";
import { registry } from "../test-data";
import { checkRegistry, draftOf, newRegistry } from "./registry";
import { checkVm, keysOf, newInit, newVm, vmFormShows } from "./vm";
import { checkSize, checkVolume, inGib, newVolume } from "./volume";

describe("the form of a volume", () => {
  it("needs a size or something to begin with", () => {
    expect(checkVolume({ ...newVolume, name: "a" }).faults).toEqual({
      "spec.size_mib": "An empty volume needs a size.",
    });
    expect(checkVolume({ ...newVolume, name: "a", size: "0.5" }).input.spec).toEqual({
      pool: "default",
      form: "disk",
      size_mib: 512,
    });
    const from = { ...newVolume, name: "a", beginning: "snapshot" as const };
    expect(checkVolume(from).faults).toHaveProperty(["spec.source.snapshot"]);
    expect(checkVolume({ ...from, snapshot: "s", volume: "data" }).input.spec.source).toEqual({
      snapshot: "s",
      volume: "data",
    });
    expect(checkVolume({ ...newVolume, name: "a", beginning: "image", image: "debian" }).input.spec).toEqual({
      pool: "default",
      form: "disk",
      source: { image: "debian" },
    });
  });

  it("takes sizes in GiB, with a comma too, and gives them back", () => {
    const size = (text: string) => {
      const faults = {};
      return checkSize(faults, "f", text) ?? Object.keys(faults).length;
    };
    expect(["20", "0,5", ".25", "", "0", "-1", "1e3", "x", "65537"].map(size)).toEqual([
      20480, 512, 256, 0, 1, 1, 1, 1, 1,
    ]);
    expect([inGib(2 ** 30), inGib(3 * 2 ** 20)]).toEqual(["1", "0.003"]);
  });
});

describe("the form of a virtual machine, further", () => {
  const draft = { ...newVm, name: "a", image: "debian" };

  it("sends what belongs to a disk only for an image that is one", () => {
    const booted = { ...draft, disk_size: "20", firmware: "uefi" as const, tpm: true };
    expect(checkVm(booted, true).input.spec).toMatchObject({ disk_size_mib: 20480, firmware: "uefi", tpm: true });
    expect(checkVm(booted, false).input.spec).not.toHaveProperty("firmware");
    expect(checkVm({ ...booted, firmware: "bios" }, true).faults).toHaveProperty(["spec.tpm"]);
    // A CD tells no size for the disk that it is installed on.
    expect(checkVm({ ...booted, disk_size: "" }, true).faults).not.toHaveProperty(["spec.disk_size_mib"]);
    expect(checkVm({ ...booted, disk_size: "" }, true, true).faults).toHaveProperty(["spec.disk_size_mib"]);
    expect(checkVm(booted, true, true).input.spec).toMatchObject({ disk_size_mib: 20480 });
  });

  it("has each volume once", () => {
    const disk = (volume: string) => ({ volume, read_only: volume === "b" });
    expect(checkVm({ ...draft, disks: [disk("a"), disk("b")] }).input.spec.disks).toEqual([
      { volume: "a" },
      { volume: "b", read_only: true },
    ]);
    expect(Object.keys(checkVm({ ...draft, disks: [disk("a"), disk("a"), disk("")] }).faults)).toEqual([
      "spec.disks[1].volume",
      "spec.disks[2].volume",
    ]);
  });

  it("tells cloud-init what was typed, and nothing as nothing", () => {
    const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada";
    const init = { ...newInit, ssh_keys: `# of ada\n ${key} \n\n`, user_data: "#cloud-config\n" };
    expect(keysOf(init.ssh_keys)).toEqual([key]);
    expect(checkVm({ ...draft, init }).input.spec.init).toEqual({
      hostname: null,
      metadata: false,
      password: null,
      ssh_keys: [key],
      user_data: "#cloud-config\n",
      network_data: null,
    });
    expect(checkVm({ ...draft, init: { ...newInit, ssh_keys: "ada" } }).faults).toHaveProperty(["spec.init.ssh_keys"]);
  });

  it("shows faults only where it has a field for them", () => {
    const fields = ["spec.tpm", "spec.init.user_data", "spec.init.ssh_keys[3]", "spec.disks[0].volume", "spec.publish"];
    expect(fields.filter(vmFormShows(draft, false))).toEqual([]);
    const full = { ...draft, init: newInit, disks: [{ volume: "a", read_only: false }] };
    expect(fields.filter(vmFormShows(full, true))).toEqual(fields.slice(0, 4));
  });
});

describe("the form of a registry", () => {
  it("refuses what cannot be", () => {
    const wrong = { ...newRegistry, name: "lab", host: "https://x.y", mirrors: "a.b, c/d", ca_pem: "x", password: "p" };
    expect(Object.keys(checkRegistry(wrong).faults).sort()).toEqual([
      "spec.ca_pem",
      "spec.host",
      "spec.mirrors",
      "spec.username",
    ]);
  });

  it("names the password only when one was typed", () => {
    const known = draftOf(registry("lab", { username: "ada", mirrors: ["m.lab", "[fd00::1]:5000"] }));
    expect(known.password).toBe("");
    expect(checkRegistry(known).faults).toEqual({});
    expect(checkRegistry(known).input.spec).toEqual({
      host: "registry.lab:5000",
      mirrors: ["m.lab", "[fd00::1]:5000"],
      plain_http: false,
      ca_pem: null,
      username: "ada",
      signatures: [],
    });
    expect(checkRegistry({ ...known, password: "p" }).input.spec).toHaveProperty("password", "p");
  });
});
