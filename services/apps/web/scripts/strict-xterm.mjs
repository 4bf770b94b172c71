// xterm.js writes some colours into `style` attributes, which the node's content security policy forbids. The same text
// through the CSS object model is allowed.

const module = /@xterm\/xterm\/lib\/xterm\.mjs$/;
const written = /(\w+)\.setAttribute\("style",(`[^`]*`)\)/g;

/** Fails when another version of xterm.js writes them in another way. */
export function strict(code) {
  const changed = code.replace(written, "$1.style.cssText=$2");
  if (changed === code || /setAttribute\("style"/.test(changed)) {
    throw new Error("xterm.js sets style attributes in a way that scripts/strict-xterm.mjs does not know");
  }
  return changed;
}

export function strictXterm() {
  return {
    name: "strict-xterm",
    enforce: "pre",
    transform: (code, id) => (module.test(id) ? { code: strict(code), map: null } : null),
  };
}
