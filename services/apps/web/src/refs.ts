// Names of what documents refer to by id.

import type { LiveState } from "./api/live";
import type { Image, LocalRef } from "./api/types";

/** The name, or the id of what this page does not list. */
export function nameOf(
  node: Pick<LiveState, "vms" | "pods" | "images" | "volumes" | "snapshots">,
  { id }: LocalRef,
): string {
  const all = [...node.vms, ...node.pods, ...node.images, ...node.volumes, ...node.snapshots];
  return all.find(({ metadata }) => metadata.id === id)?.metadata.name ?? id;
}

/** What names a container's image by its content: `name@sha256:…` from a registry, else the digest of its archive. */
export function digestOf({ spec }: Image): string {
  const { source, files } = spec;
  if (typeof source === "object" && "registry" in source && source.registry.resolved) return source.registry.resolved;
  const file = ["index", "manifest", "archive"].flatMap((role) => files.find((each) => each.role === role) ?? [])[0];
  return file ? `sha256:${file.sha256}` : "";
}
