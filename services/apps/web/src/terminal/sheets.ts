// Lets xterm.js work under the node's content security policy (`style-src 'self'`).
//
// It writes its rules into style elements, which the policy forbids. Constructed style sheets are allowed, so what it
// writes is sent there; only elements that xterm.js makes itself are touched. Style attributes are the build's part
// (scripts/strict-xterm.mjs).

/** What of the document makes elements. */
interface Maker {
  createElement: (name: string, options?: ElementCreationOptions) => HTMLElement;
}

/** Runs `open`, in which xterm.js makes its style elements, and turns each into a constructed sheet. */
export function withSheets<T>(open: () => T): T {
  const maker: Maker = document;
  const own = maker.createElement.bind(document);
  // Even an empty style element is a violation, so something takes its place that is never shown.
  maker.createElement = (name, options) => (name === "style" ? asSheet(own("template")) : own(name, options));
  try {
    return open();
  } finally {
    // The method of the prototype shows again.
    delete (maker as Partial<Maker>).createElement;
  }
}

function asSheet(element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (rules: string) => {
      text = rules;
      sheet.replaceSync(rules);
    },
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    remove();
  };
  return element;
}
