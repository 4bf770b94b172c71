// Names of what documents refer to by id.

import type { LiveState } from "./api/live";
import type { LocalRef } from "./api/types";

/** The name, or the id of what this page does not list. */
export function nameOf(node: Pick<LiveState, "vms" | "pods" | "images">, { id }: LocalRef): string {
  const all = [...node.vms, ...node.pods, ...node.images];
  return all.find(({ metadata }) => metadata.id === id)?.metadata.name ?? id;
}
