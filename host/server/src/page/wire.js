// The messages of an example, as they pass over its connections.

import { json, pretty } from "/_wharf/code.js";
import { button, copy, el, log } from "/_wharf/elements.js";

const LONGEST_SHOWN = 2_000;

export class Wire {
  #list;
  #add;
  #lines = [];

  constructor() {
    [this.#list, this.#add] = log("What is sent and received", { className: "log wire", ariaLive: "off" });
    this.#list.dataset.empty = "Nothing yet: every message that is sent or received appears here.";
    const copyAll = button("Copy all", () => copy(this.#lines.join("\n"), copyAll));
    copyAll.className = "quiet";
    this.node = el("div", { className: "tool" }, this.#list, el("div", { className: "tool-foot" },
      el("span", {}, "→ sent, ← received"), copyAll));
  }

  /** Adds a message; `direction` is "sent" or "got", and `name` is that of a further connection. */
  message(direction, name, text) {
    const arrow = direction === "sent" ? "→" : "←";
    const shown = pretty(text.slice(0, LONGEST_SHOWN));
    this.#keep(`${name ? `${name} ` : ""}${arrow} ${text}`);
    const line = shown.text.replace(/(?<=")\n$/, "");
    this.#add(direction, el("span", { className: "arrow", ariaLabel: direction === "sent" ? "sent" : "received" }, arrow),
      el("span", { className: "json" }, name && el("strong", {}, `${name}  `), ...(shown.isJson ? json(line) : [line])));
  }

  /** Adds an event of a connection. */
  note(kind, name, text) {
    this.#keep(`${name ? `${name} ` : ""}${text}`);
    this.#add(kind, el("span", { className: "json" }, name && el("strong", {}, `${name}  `), text));
  }

  #keep(line) {
    this.#lines.push(line);
    if (this.#lines.length > 500) this.#lines.shift();
  }
}
