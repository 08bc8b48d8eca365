// Shows a document that the host serves in its demo mode: `/_wharf/read#docs/guide/README.md`.

import { rust } from "/_wharf/code.js";
import { $, el } from "/_wharf/elements.js";
import { markdown, slug } from "/_wharf/markdown.js";
import { ask, has, text } from "/_wharf/source.js";

const FIRST = "docs/README.md";

/** Returns the document of the address, and the heading in it. */
function wanted() {
  const [path, heading] = decodeURIComponent(location.hash.slice(1)).split("#");
  return { path: path || FIRST, heading };
}

/** Returns the address of a link in a document, or nothing if it leads to what the host does not serve. */
function follow(from, target) {
  if (/^https?:/.test(target)) return target;
  const [file, heading] = target.split("#");
  const path = file ? new URL(file, `file:///${from}`).pathname.slice(1) : from;
  return has(path) ? `#${path}${heading ? `#${heading}` : ""}` : undefined;
}

async function show() {
  const { path, heading } = wanted();
  await ask();
  const main = $("text");
  if (!has(path)) {
    main.replaceChildren(el("h1", {}, "Not here"), el("p", {}, `This host does not serve ${path}. `
      + "Documents are served with the setting `demo`, as by `cargo xtask serve`."));
    return;
  }
  try {
    const content = await text(path);
    main.replaceChildren(...(path.endsWith(".rs")
      ? [el("h1", {}, path), el("pre", { className: "code", tabIndex: 0, role: "region", ariaLabel: path }, ...rust(content))]
      : markdown(content, (target) => follow(path, target))));
  } catch (error) {
    main.replaceChildren(el("h1", {}, "Not here"), el("p", {}, `${path} cannot be loaded: ${error.message}`));
  }
  document.title = `${main.querySelector("h1")?.textContent ?? path} · Wharf`;
  const found = heading && [...main.querySelectorAll("h1, h2, h3, h4")].find((node) => slug(node.textContent) === heading);
  if (found) found.scrollIntoView();
  else scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

addEventListener("hashchange", show);
await show();
