// The first-run form: who becomes the first administrator.

import { type Faults, checkName, hint, nameRule } from "./fields";

export interface ClaimDraft {
  code: string;
  username: string;
  password: string;
  again: string;
}

export const shortest = 10;
export const longest = 128;
export const usernameRule = hint(nameRule);
export const passwordRule = `${shortest} to ${longest} characters of any kind; a few words make a good one.`;

export function checkClaim({ code, username, password, again }: ClaimDraft): Faults {
  const faults: Faults = {};
  if (!code.trim()) faults["code"] = "Type the code that the node's console shows.";
  checkName(faults, "username", username.trim());
  const length = Array.from(password).length;
  if (length < shortest) faults["password"] = `Must have at least ${shortest} characters; this has ${length}.`;
  else if (length > longest) faults["password"] = `Must have at most ${longest} characters.`;
  else if (password.toLowerCase() === username.trim().toLowerCase()) faults["password"] = "Must not be the user name.";
  else if (new Set(password).size === 1) faults["password"] = "Must not be one character repeated.";
  if (again !== password) faults["again"] = "The two passwords differ.";
  return faults;
}
