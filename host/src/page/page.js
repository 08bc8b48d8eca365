// The demo page: a tab for each example plugin that is mounted.

import { connect } from "/_wharf/wharf.js";
import { chat } from "/_wharf/chat.js";
import * as examples from "/_wharf/examples.js";
import { $, el } from "/_wharf/elements.js";

/** Those that know what to do with a channel, by the path that it must be mounted on. */
const EXAMPLES = [
  chat, examples.echo, examples.notifications, examples.presence, examples.game, examples.batched,
  examples.secure, examples.robust,
];

/** What becomes of a panel's connection, for everybody to see. */
class Panel {
  #channel;
  #openedAt = 0;
  #reconnects = 0;
  #facts = Object.fromEntries(["connected for", "reconnects", "last close code"].map((name) => [name, el("dd", {}, "–")]));

  constructor(example, name) {
    this.state = el("p", { className: "state", role: "status" }, "not connected");
    this.stage = el("div", { className: "stage" });
    this.extra = el("div", { className: "extra" });
    const facts = Object.entries(this.#facts).flatMap(([fact, value]) => [el("dt", {}, fact), value]);
    const aside = el("aside", { ariaLabel: "About this channel" },
      this.state, this.extra, el("dl", {}, ...facts),
      el("p", {}, example.about),
      example.tries && el("ul", {}, ...example.tries.map((text) => el("li", {}, text))),
      el("p", { className: "source" }, "Source: ", el("code", {}, `plugins/${name}/src/lib.rs`)));
    this.node = el("section", { className: `panel ${example.id}`, id: `panel-${example.id}`, role: "tabpanel", hidden: true },
      this.stage, aside);
    this.node.setAttribute("aria-labelledby", `tab-${example.id}`);
    setInterval(() => this.#tick(), 1000);
  }

  /** Connects, in place of the connection that there was. */
  connect(path, options) {
    this.#channel?.close();
    const channel = (this.#channel = connect(path, options));
    const current = (handler) => (event) => this.#channel === channel && handler(event);
    this.#show("connecting", "connecting");
    channel.onOpen(current(({ isReconnect }) => {
      if (isReconnect) this.#facts.reconnects.textContent = ++this.#reconnects;
      this.#openedAt = Date.now();
      this.#show("open", "connected");
    }));
    channel.onClose(current(({ code, reason, willReconnect }) => {
      this.#openedAt = 0;
      this.#facts["last close code"].textContent = code;
      if (!willReconnect) this.#show("closed", `closed with ${code}${reason && `: ${reason}`}`);
    }));
    channel.onReconnecting(current(({ code, delay }) =>
      this.#show("connecting", `lost (${code}), trying again in ${Math.ceil(delay / 1000)} s`)));
    return channel;
  }

  #show(state, text) {
    this.state.dataset.state = state;
    this.state.textContent = text;
    this.#tick();
  }

  #tick() {
    const seconds = Math.floor((Date.now() - this.#openedAt) / 1000);
    const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    this.#facts["connected for"].textContent = this.#openedAt ? text : "–";
  }
}

const tabs = new Map();

function addTab(example, name) {
  const panel = new Panel(example, name);
  const tab = el("button", { id: `tab-${example.id}`, role: "tab", type: "button" }, example.title);
  tab.setAttribute("aria-controls", panel.node.id);
  tab.addEventListener("click", () => (location.hash = example.id));
  $("tabs").append(tab);
  $("panels").append(panel.node);
  tabs.set(example.id, { tab, panel, example, isStarted: false });
}

function select() {
  const [wanted, detail] = location.hash.slice(1).split("/", 2);
  const id = tabs.has(wanted) ? wanted : [...tabs.keys()][0];
  for (const [name, entry] of tabs) {
    const isSelected = name === id;
    entry.tab.ariaSelected = String(isSelected);
    entry.tab.tabIndex = isSelected ? 0 : -1;
    entry.panel.node.hidden = !isSelected;
    if (isSelected) entry.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (isSelected && !entry.isStarted) {
      entry.isStarted = true;
      entry.example.start(entry.panel, detail);
    } else if (isSelected) {
      entry.example.again?.(detail);
    }
  }
}

// The arrow keys walk along the tabs.
$("tabs").addEventListener("keydown", (event) => {
  const all = [...$("tabs").children];
  const at = all.indexOf(event.target);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const next = all[(to + all.length) % all.length];
  next.focus();
  next.click();
});

const { channels } = await (await fetch("/_wharf/channels.json")).json();
const others = [];
const known = new Map(EXAMPLES.map((example) => [example.path, example]));
const mounted = new Map();
for (const { name, paths } of channels) {
  const path = paths.find((path) => known.has(path));
  if (path) mounted.set(known.get(path), name);
  else others.push(`${name} (${paths.join(", ")})`);
}
for (const example of EXAMPLES) if (mounted.has(example)) addTab(example, mounted.get(example));
if (others.length > 0) $("others").textContent = `Also mounted: ${others.join(", ")}`;
if (tabs.size > 0) {
  addEventListener("hashchange", select);
  select();
} else {
  $("panels").append(el("p", { className: "empty" },
    "None of the example plugins is mounted. ", el("code", {}, "cargo xtask serve"), " mounts them all; then load this page again."));
}
