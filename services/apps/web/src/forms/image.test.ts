import { describe, expect, it } from "vitest";
import { checkImage, guessed, imageInput, newImage } from "./image";

const sha256 = "Ab".repeat(32);

describe("bringing an image in", () => {
  it("a file's name gives a name and a form", () => {
    expect(guessed("Debian 12.qcow2")).toEqual({ name: "debian-12", format: "qcow2" });
    expect(guessed("app_v1.TAR")).toEqual({ name: "app-v1", format: "oci_archive" });
    expect(guessed("-.bin")).toEqual({ name: "" });
  });

  it("each way needs its own", () => {
    const draft = { ...newImage, name: "d" };
    expect(checkImage(draft, "upload", false)).toEqual({ "spec.source": "Choose a file." });
    expect(checkImage(draft, "upload", true)).toEqual({});
    expect(Object.keys(checkImage({ ...draft, from: "ftp://x/y" }, "url", false))).toEqual([
      "spec.source",
      "spec.sha256",
    ]);
    expect(checkImage({ ...draft, from: "https://x/y.qcow2", sha256 }, "url", false)).toEqual({});
    expect(checkImage({ ...draft, from: "https://x/y", sha256: "ab" }, "url", false)).toHaveProperty("spec.sha256");
    expect(checkImage(draft, "medium", false)).toEqual({ "spec.source": "Choose a file." });
    expect(checkImage({ ...draft, from: "STICK/a.qcow2" }, "medium", false)).toEqual({});
    expect(checkImage({ ...draft, from: "busybox" }, "registry", false)).toHaveProperty("spec.source");
    expect(checkImage({ ...draft, from: "10.0.0.5:5000/app:1" }, "registry", false)).toEqual({});
  });

  it("sends what the way needs and nothing else", () => {
    const draft = { ...newImage, name: "d", sha256, version: " 12 " };
    const common = { architecture: "x86_64", description: "", version: "12" };
    expect(imageInput(draft, "upload", "u1")).toEqual({
      metadata: { name: "d" },
      spec: { ...common, format: "qcow2", source: { upload: "u1" }, sha256: sha256.toLowerCase() },
    });
    expect(imageInput({ ...draft, from: "import/ a.qcow2" }, "medium", "").spec.source).toEqual({
      folder: "import/ a.qcow2",
    });
    expect(imageInput({ ...draft, from: " r/x:1 " }, "registry", "").spec).toEqual({
      ...common,
      format: "oci_archive",
      source: { registry: { reference: "r/x:1" } },
    });
  });
});
