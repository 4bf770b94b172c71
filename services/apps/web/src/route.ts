// Where the page is, kept in the part of the address behind `#`, so that any file server can deliver it and
// reload, back and bookmarks work.

import { useSyncExternalStore } from "react";

export const places = ["overview", "vms", "pods", "volumes", "images", "registries", "jobs", "alarms"] as const;
export type Place = (typeof places)[number];
export const tabs = ["details", "disks", "revisions", "output", "terminal", "screen"] as const;
export type DetailTab = (typeof tabs)[number];

const withDetails: Place[] = ["vms", "pods", "volumes"];

export interface Route {
  place: Place;
  /** The workload or volume whose details are open. */
  name: string | null;
  tab: DetailTab;
}

export function parseRoute(hash: string): Route {
  const [first, second, third] = hash.replace(/^#\/?/, "").split("/");
  const place = places.find((known) => known === first) ?? "overview";
  let name: string | null = null;
  if (second && withDetails.includes(place)) {
    try {
      name = decodeURIComponent(second);
    } catch {
      name = null;
    }
  }
  const tab = tabs.find((known) => known === third && name) ?? "details";
  return { place, name, tab };
}

export function routeHref(place: Place, name?: string | null, tab: DetailTab = "details"): string {
  if (!name) return `#/${place}`;
  return `#/${place}/${encodeURIComponent(name)}${tab === "details" ? "" : `/${tab}`}`;
}

export function go(place: Place, name?: string | null, tab?: DetailTab) {
  window.location.hash = routeHref(place, name, tab);
}

const subscribe = (changed: () => void) => {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
};

export function useRoute(): Route {
  return parseRoute(useSyncExternalStore(subscribe, () => window.location.hash));
}
