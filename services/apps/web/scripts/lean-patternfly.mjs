// Leaves out of PatternFly's style sheets what this page does not use: italic faces, the icon font, background
// pictures, tree tables. They would never be seen, but be embedded in the node's image.

const base = /react-core\/dist\/styles\/base\.css$/;
const unused = /react-styles\/css\/components\/Table\/table-tree-view\.css$/;

/** Removes the at-rules and rules, and empties the picture references. */
export function prune(css) {
  return css
    .replace(/@font-face\s*\{[^}]*(?:font-style:\s*italic|pf-v6-pficon)[^}]*\}/g, "")
    .replace(/(?:\.pf-v6-pficon-[a-z0-9-]+:before,?\s*)+\{[^}]*\}/g, "")
    .replace(/url\("\.\/assets\/images\/[^"]+"\)/g, "none");
}

export function leanPatternFly() {
  return {
    name: "lean-patternfly",
    enforce: "pre",
    transform(code, id) {
      if (unused.test(id)) return { code: "", map: null };
      return base.test(id) ? { code: prune(code), map: null } : null;
    },
  };
}
