// The create form of pods as data, and what it has in common with that of virtual machines: what is typed, what is
// wrong with it, what is sent.

import type { HugePageSize, PodInput, RestartPolicy, UserNamespace } from "../api/types";
import { type Faults, type PublishDraft, checkName, checkNumber, checkPublish } from "./fields";

export interface PodDraft {
  name: string;
  image: string;
  memory_mib: string;
  /** In CPUs, such as `0.5`; no limit if empty. */
  cpu: string;
  /** Memory in huge pages of each size, in MiB; none if empty. */
  pages: Record<HugePageSize, string>;
  restart: RestartPolicy;
  /** Whose users those in it are. */
  users: UserNamespace;
  publish: PublishDraft[];
}

export const newPod: PodDraft = {
  name: "",
  image: "",
  memory_mib: "64",
  cpu: "",
  pages: { "2Mi": "", "1Gi": "" },
  restart: "always",
  users: "pod",
  publish: [],
};

/** The sizes of huge pages, in MiB. */
export const pageSizes: [HugePageSize, number][] = [
  ["2Mi", 2],
  ["1Gi", 1024],
];

export function checkImage(faults: Faults, field: string, image: string) {
  if (!image) faults[field] = "Choose an image.";
}

export function checkPod(draft: PodDraft): { faults: Faults; input: PodInput } {
  const faults: Faults = {};
  const at = "spec.containers[0]";
  checkName(faults, "metadata.name", draft.name);
  checkImage(faults, `${at}.image`, draft.image);
  const memory_mib = checkNumber(faults, `${at}.memory_mib`, draft.memory_mib, 4, 1_048_576);
  const cpu = draft.cpu.trim();
  const cpu_limit_m = Math.round(Number(cpu) * 1000);
  if (cpu && !(cpu_limit_m >= 10 && cpu_limit_m <= 1_024_000)) {
    faults[`${at}.cpu_limit_m`] = "Must be 0.01 to 1024 CPUs, or empty for no limit.";
  }
  const huge_pages = checkPages(faults, at, draft.pages);
  const container = {
    name: "main",
    image: draft.image,
    memory_mib,
    ...(cpu ? { cpu_limit_m } : {}),
    ...(huge_pages.length > 0 ? { huge_pages } : {}),
  };
  const spec = {
    containers: [container],
    restart: draft.restart,
    publish: checkPublish(faults, draft.publish),
    ...(draft.users === "host" ? { user_namespace: draft.users } : {}),
  };
  return { faults, input: { metadata: { name: draft.name }, spec } };
}

function checkPages(faults: Faults, at: string, pages: PodDraft["pages"]) {
  return pageSizes.flatMap(([size, page]) => {
    const text = pages[size].trim();
    const mib = Number(text);
    if (!text) return [];
    if (!Number.isInteger(mib) || mib < page || mib > 1_048_576 || mib % page !== 0) {
      faults[`${at}.huge_pages.${size}`] = `Must be a multiple of ${page}, or empty for none.`;
    }
    return [{ size, mib }];
  });
}

const publishField = /^spec\.publish\[(\d+)\]\.(host_port|workload_port)$/;

/** Whether the form of a kind has a place to show what is wrong with a field. */
export function formShows(fields: string[], publishCount: number) {
  return (field: string) => {
    // The list as a whole: a port that another workload or the node itself has.
    if (field === "spec.publish") return publishCount > 0;
    const found = publishField.exec(field);
    return found ? Number(found[1]) < publishCount : fields.includes(field);
  };
}

export const podFields = [
  "metadata.name",
  "spec.containers[0].image",
  "spec.containers[0].memory_mib",
  "spec.containers[0].cpu_limit_m",
  "spec.user_namespace",
];
