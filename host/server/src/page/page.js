// The demo page: the swap at the top, and a tab for each example plugin, loaded or not, and one for
// all others.

import { chat } from "/_wharf/chat.js";
import { rust } from "/_wharf/code.js";
import { $, el } from "/_wharf/elements.js";
import * as examples from "/_wharf/examples.js";
import { game } from "/_wharf/game.js";
import { liveChat } from "/_wharf/live.js";
import { own } from "/_wharf/own.js";
import { Panel } from "/_wharf/panel.js";
import { robust } from "/_wharf/robust.js";
import { secure } from "/_wharf/secure.js";
import { ask, has } from "/_wharf/source.js";

/** The examples, each for the channel that is mounted on its path; the last one for any channel. */
const EXAMPLES = [
  chat, game, examples.presence, examples.notifications, secure, robust, examples.batched, examples.echo, own,
];

/** Documents that the page links to, where the host serves them. */
const READS = [
  ["docs/start.md", "Start", "from nothing to a channel of your own", "Start"],
  ["docs/guide/README.md", "The guide", "rooms, users, timers, tests and more, each with an example", "Guide"],
  ["docs/guarantees.md", "What Wharf promises", "and the test that proves each promise"],
  ["docs/README.md", "All documents", "configuration, security, performance and more", "Documents"],
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

/** True if the visitor has come for an example, and not for the whole page. */
const cameForExample = () => tabs.has(location.hash.slice(1).split("/")[0]);

let selected;

function select() {
  const [wanted, detail] = location.hash.slice(1).split("/", 2);
  const first = [...tabs.values()].find(({ panel }) => panel.isMounted) ?? tabs.values().next().value;
  // Other parts of the page have addresses as well.
  const found = tabs.get(wanted);
  if (!found && selected) return;
  selected = found ?? first;
  for (const { tab, panel } of tabs.values()) {
    const isSelected = tab === selected.tab;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
    if (isSelected) panel.show(found ? detail : undefined);
    else panel.hide();
  }
  const strip = $("tabs").parentElement;
  const { offsetLeft, offsetWidth } = selected.tab;
  strip.scrollLeft = offsetLeft - (strip.clientWidth - offsetWidth) / 2;
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
  liveChat(channels.find(({ paths }) => paths.includes(chat.path)));
}

/** Links to the documents, which the host serves in its demo mode only. */
function addLinks() {
  for (const [path, title, about, inHeader] of READS.filter(([path]) => has(path))) {
    const href = `/_wharf/read#${path}`;
    $("reads").append(el("li", {}, el("a", { href }, title), el("span", {}, ` ${about}`)));
    if (inHeader) $("links").append(el("a", { href, className: inHeader === "Start" ? "" : "wide" }, inHeader));
  }
  const client = el("a", { href: "/_wharf/wharf.js" }, "wharf.js");
  if ($("reads").children.length === 0) $("reads").append(el("li", {}, client, el("span", {}, " the client for browsers, as this host serves it")));
  $("where").textContent = has("README.md") ? "" : "Guide and documents are in the folder docs of the repository.";
}

$("hello").replaceChildren(...rust($("hello").textContent));
EXAMPLES.forEach(addTab);
await Promise.all([look(), ask()]);
addLinks();
addEventListener("hashchange", select);
if (cameForExample()) $("examples").scrollIntoView();
select();
setInterval(() => document.hidden || look(), LOOK_EVERY_MS);
