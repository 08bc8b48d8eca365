// The demo page: a tab for each example plugin, loaded or not, and one for all others.

import { chat } from "/_wharf/chat.js";
import { $, el } from "/_wharf/elements.js";
import * as examples from "/_wharf/examples.js";
import { own } from "/_wharf/own.js";
import { Panel } from "/_wharf/panel.js";

/** The examples, each for the channel that is mounted on its path; the last one for any channel. */
const EXAMPLES = [
  chat, examples.echo, examples.notifications, examples.presence, examples.game, examples.batched,
  examples.secure, examples.robust, own,
];

const LOOK_EVERY_MS = 2_000;
/** Delay of a look after an answer, so that it shows the generation that gave the answer. */
const LOOK_AFTER_MS = 200;
/** Shortest time between two looks, however much a channel says. */
const LOOK_PAUSE_MS = 1_000;

const tabs = new Map();
own.isKnown = ({ paths }) => EXAMPLES.some(({ path }) => paths.includes(path));
let isLooking = false;
let lookedAt = -Infinity;
let soon;

/** Looks after an answer: soon, but not for each of many. */
function lookSoon() {
  const delay = Math.max(LOOK_AFTER_MS, lookedAt + LOOK_PAUSE_MS - performance.now());
  soon ??= setTimeout(look, delay);
}

function addTab(example) {
  const panel = new Panel(example, lookSoon);
  const tab = el("button", { id: `tab-${example.id}`, role: "tab", type: "button" }, example.title);
  tab.setAttribute("aria-controls", panel.node.id);
  tab.addEventListener("click", () => (location.hash = example.id));
  $("tabs").append(tab);
  $("panels").append(panel.node);
  tabs.set(example.id, { tab, panel, example });
}

function select() {
  const [wanted, detail] = location.hash.slice(1).split("/", 2);
  const first = [...tabs.values()].find(({ panel }) => panel.isMounted) ?? tabs.values().next().value;
  const selected = tabs.get(wanted) ?? first;
  for (const { tab, panel } of tabs.values()) {
    const isSelected = tab === selected.tab;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
    if (isSelected) panel.show(detail);
    else panel.hide();
  }
}

// The arrow keys move along the tabs.
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

/** Asks the host which channels are loaded. If it does not answer, the panels' connections show it. */
async function look() {
  clearTimeout(soon);
  soon = undefined;
  if (isLooking) return;
  isLooking = true;
  lookedAt = performance.now();
  let channels;
  try {
    ({ channels } = await (await fetch("/_wharf/channels.json")).json());
  } catch { /* See above. */ }
  isLooking = false;
  // A proxy may answer with JSON of its own.
  if (!Array.isArray(channels) || !channels.every((channel) => Array.isArray(channel?.paths))) return;
  for (const { tab, panel, example } of tabs.values()) {
    const found = example.find ? example.find(channels) : channels.find(({ paths }) => paths.includes(example.path));
    tab.classList.toggle("missing", !found);
    tab.title = found ? "" : "not loaded";
    panel.mounted(found);
  }
}

EXAMPLES.forEach(addTab);
await look();
addEventListener("hashchange", select);
select();
setInterval(() => document.hidden || look(), LOOK_EVERY_MS);
