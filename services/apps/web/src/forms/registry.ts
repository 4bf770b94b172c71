// The form of a registry as data: what is typed, what is wrong with it, what is sent.

import type { Registry, RegistryInput, SignatureRule } from "../api/types";
import { type Faults, checkName } from "./fields";

export interface RegistryDraft {
  name: string;
  host: string;
  /** One host a line. */
  mirrors: string;
  ca_pem: string;
  username: string;
  /** Goes in and is never shown; nothing typed is no change. */
  password: string;
  plain_http: boolean;
  signatures: RuleDraft[];
}

/** Which images must be signed, and by whom. */
export interface RuleDraft {
  prefix: string;
  require: boolean;
  /** Public keys in PEM, one after another. */
  keys: string;
}

export const emptyRule: RuleDraft = { prefix: "", require: true, keys: "" };

export const newRegistry: RegistryDraft = {
  name: "",
  host: "",
  mirrors: "",
  ca_pem: "",
  username: "",
  password: "",
  plain_http: false,
  signatures: [],
};

export const registryFields = [
  "metadata.name",
  "spec.host",
  "spec.mirrors",
  "spec.ca_pem",
  "spec.username",
  "spec.password",
  "spec.plain_http",
  "spec.signatures",
];

export function draftOf({ metadata, spec }: Registry): RegistryDraft {
  return {
    name: metadata.name,
    host: spec.host,
    mirrors: spec.mirrors.join("\n"),
    ca_pem: spec.ca_pem ?? "",
    username: spec.username ?? "",
    password: "",
    plain_http: spec.plain_http,
    signatures: (spec.signatures ?? []).map((rule) => ({
      ...rule,
      keys: rule.keys.map((key) => key.trim()).join("\n"),
    })),
  };
}

const host = /^[A-Za-z0-9.-]+(:\d{1,5})?$|^\[[0-9a-fA-F:]+\](:\d{1,5})?$/;

const pem = /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g;
const prefix = /^([a-z0-9._-]+(\/[a-z0-9._-]+)*)?$/;

function checkRules(faults: Faults, drafts: RuleDraft[]): SignatureRule[] {
  const rules = drafts.map((draft) => ({
    prefix: draft.prefix.trim(),
    require: draft.require,
    keys: (draft.keys.match(pem) ?? []).map((key) => `${key}\n`),
  }));
  rules.forEach((rule, index) => {
    const at = `spec.signatures[${index}]`;
    const typed = drafts[index]?.keys ?? "";
    if (rules.findIndex((other) => other.prefix === rule.prefix) < index)
      faults[`${at}.prefix`] = "Has a rule already.";
    if (!prefix.test(rule.prefix))
      faults[`${at}.prefix`] = "Give whole parts of a path, such as lab, without the host.";
    // Whatever is no key would be lost without a word.
    if (typed.replace(pem, "").trim()) faults[`${at}.keys`] = "Must be public keys in PEM and nothing else.";
    else if (rule.require && rule.keys.length === 0) faults[`${at}.keys`] = "Nothing could be pulled without a key.";
  });
  return rules;
}

export function checkRegistry(draft: RegistryDraft): { faults: Faults; input: RegistryInput } {
  const faults: Faults = {};
  checkName(faults, "metadata.name", draft.name);
  const address = draft.host.trim();
  const mirrors = draft.mirrors.split(/[\s,]+/).filter(Boolean);
  const username = draft.username.trim();
  const ca_pem = draft.ca_pem.trim();
  if (!host.test(address)) faults["spec.host"] = "Give host and port, such as registry.lab:5000, without https://.";
  const wrong = mirrors.find((mirror) => !host.test(mirror));
  if (wrong) faults["spec.mirrors"] = `${wrong} is no host with or without a port.`;
  if (ca_pem && !ca_pem.includes("-----BEGIN CERTIFICATE-----")) faults["spec.ca_pem"] = "Must be certificates in PEM.";
  if (ca_pem && draft.plain_http) faults["spec.ca_pem"] = "Of no use without TLS.";
  if (draft.password && !username) faults["spec.username"] = "A password needs a user name.";
  const signatures = checkRules(faults, draft.signatures);
  const spec = {
    host: address,
    mirrors,
    plain_http: draft.plain_http,
    // Said even if empty: a change is then one, too.
    ca_pem: ca_pem ? `${ca_pem}\n` : null,
    username: username || null,
    signatures,
    ...(draft.password ? { password: draft.password } : {}),
  };
  return { faults, input: { metadata: { name: draft.name }, spec } };
}
