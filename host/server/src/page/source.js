// The texts that the host serves beside the page in its demo mode: sources and documents.

import { rust } from "/_wharf/code.js";
import { button, copy, el } from "/_wharf/elements.js";

const loaded = new Map();

/** The answer of the host about its demo mode; asked again by `ask`. */
export let demo = { on: false, versions: [], texts: [], channels: [] };

export async function ask() {
  try {
    const answer = await (await fetch("/_wharf/demo.json")).json();
    // A proxy may answer with JSON of its own.
    if (Array.isArray(answer?.texts) && Array.isArray(answer.versions) && Array.isArray(answer.channels)) demo = answer;
  } catch { /* The host is away, which the connections show. */ }
  return demo;
}

export const has = (path) => demo.texts.includes(path);

/** Returns a text, which is asked for once. */
export function text(path) {
  if (!loaded.has(path)) {
    const asked = fetch(`/_wharf/texts/${path}`).then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(answer.statusText))));
    loaded.set(path, asked);
    asked.catch(() => loaded.delete(path));
  }
  return loaded.get(path);
}

/** Returns the source of a plugin without its tests. */
function withoutTests(source) {
  return source.split(/\n#\[cfg\(test\)\]/)[0].trimEnd();
}

/** The source of a plugin, which is loaded when it is shown for the first time. */
export class Source {
  #path = "";
  #shown = "";
  #code = el("pre", { className: "code", tabIndex: 0, role: "region", ariaLabel: "Source" });
  #name = el("span");

  constructor() {
    const copyAll = button("Copy", () => copy(this.#code.textContent, copyAll));
    copyAll.className = "quiet";
    this.node = el("div", { className: "tool" }, this.#code, el("div", { className: "tool-foot" }, this.#name, copyAll));
  }

  /** Names the plugin. */
  of(plugin) {
    this.#path = `plugins/${plugin}/src/lib.rs`;
  }

  async show() {
    const path = this.#path;
    if (!path || path === this.#shown) return;
    this.#shown = path;
    this.#name.textContent = path;
    if (!has(path)) {
      this.#code.replaceChildren(el("s", {}, `// This host serves no sources;\n// cargo xtask serve does. This one is\n// ${path}\n// in the repository.`));
      this.#shown = "";
      return;
    }
    try {
      this.#code.replaceChildren(...rust(withoutTests(await text(path))));
    } catch (error) {
      this.#code.textContent = `It cannot be loaded: ${error.message}`;
      this.#shown = "";
    }
  }
}
