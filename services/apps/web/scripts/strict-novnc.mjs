// noVNC shows pictures and mouse pointers that come packed as PNG or JPEG through `data:` addresses, which the node's
// content security policy forbids. So it does not ask for such pictures, and draws the pointer itself.

const modules = /@novnc\/novnc\/core\/(rfb|util\/browser)\.js$/;
const unasked = /^\s*encs\.push\(encodings\.(encodingTightPNG|encodingJPEG|pseudoEncodingQualityLevel0 \+ .*)\);$/gm;
const pointer = /target\.style\.cursor = 'url\("data:[^']*';/g;

/** Fails when another version of noVNC does it in another way. */
export function strict(name, code) {
  const [found, count, to] = name === "rfb" ? [unasked, 3, ""] : [pointer, 1, 'target.style.cursor = "none";'];
  if ([...code.matchAll(found)].length !== count) {
    throw new Error(`noVNC's ${name}.js is not as scripts/strict-novnc.mjs knows it`);
  }
  return code.replace(found, to);
}

export function strictNoVnc() {
  return {
    name: "strict-novnc",
    enforce: "pre",
    transform: (code, id) => {
      const name = modules.exec(id)?.[1];
      return name ? { code: strict(name, code), map: null } : null;
    },
  };
}
