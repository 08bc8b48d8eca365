// The first screen: the chat is swapped while two visitors talk.

import { rust } from "/_wharf/code.js";
import { $, el, plural } from "/_wharf/elements.js";
import { Picture } from "/_wharf/picture.js";
import { ask, demo, has, text } from "/_wharf/source.js";
import { Stream } from "/_wharf/stream.js";

/** The version that the host refuses. */
const PANICS = "chat@panics";
/** Sources of the versions: the file, and the function that differs. */
const SOURCES = {
  "chat@plain": ["plugins/chat/src/voice.rs", "pub fn spoken"],
  "chat@festive": ["plugins/chat/src/festive.rs", "pub fn spoken"],
  [PANICS]: ["demo/chat-panics/src/lib.rs", "fn on_start"],
};
const MOST_SHOWN = 60;
/** Time for the first message of a generation to arrive after the host has said that it serves. */
const ANSWER_MS = 5_000;
/** Time for which the stream goes on fast after a version was refused. */
const AFTER_REFUSAL_MS = 600;

let stream;
let version = null;
let isBusy = false;
const picture = new Picture($("picture"));

/** Starts once the chat is loaded. Called with the chat as the host lists it, or without. */
export function liveChat(found) {
  if (!found) {
    say("", "The plugin ", el("code", { className: "inline" }, "chat"), " is not loaded on this host, so there is nothing to swap here. "
      + "It begins by itself when the plugin is there.");
    $("live-version").textContent = "not loaded";
    stream?.close();
    stream = undefined;
    return;
  }
  if (!stream) {
    stream = new Stream(heard);
    say("", "Every message is numbered and counted. None may be missing.");
    serves();
  }
}

async function serves() {
  await ask();
  version = demo.channels.find(({ name }) => name === "chat")?.version ?? null;
  const isThere = demo.on && others().length > 0;
  $("acts").hidden = !isThere;
  $("panic").hidden = !demo.versions.includes(PANICS);
  if (!isThere) {
    $("live-hint").replaceChildren("Visitors cannot swap code on this server. Yours can let them: run ", el("code", {}, "cargo xtask serve"),
      " in the repository. Or put another ", el("code", {}, "chat.wasm"), " into the plugin folder, and watch.");
  }
  showVersion();
}

/** Returns the versions that may come next: all that can serve, from the one after the present one. */
function others() {
  const all = demo.versions.filter((name) => name.startsWith("chat@") && name !== PANICS);
  const at = all.indexOf(version);
  return [...all.slice(at + 1), ...all.slice(0, Math.max(at, 0))];
}

const short = (name) => name?.replace("chat@", "") ?? "";

function showVersion() {
  const [next] = others();
  const name = short(version);
  const chip = $("live-version");
  chip.textContent = `${name ? `chat, ${name} · ` : "chat · "}generation ${stream?.generation ?? "–"}`;
  chip.classList.toggle("festive", name === "festive");
  $("swap").textContent = version === "chat@plain" || !next ? "Swap the running code" : `Swap back to ${short(next)}`;
  for (const id of ["swap", "panic"]) $(id).disabled = isBusy || !stream?.isOpen;
  picture.show({ name, generation: stream?.generation, isOpen: stream?.isOpen });
  showCode(version);
}

async function showCode(name) {
  const [path, start] = SOURCES[name] ?? [];
  $("live-code").hidden = !path || !has(path);
  $("screens").classList.toggle("one", $("live-code").hidden);
  if ($("live-code").hidden) return;
  const source = await text(path).catch(() => "");
  if (name !== version) return;
  $("live-file").textContent = path.split("/").at(-1);
  $("live-source").replaceChildren(...rust(excerpt(source, start)));
}

/** Returns the function that begins with these words, with less indentation. */
function excerpt(source, start) {
  const lines = source.split("\n");
  const first = lines.findIndex((line) => line.trimStart().startsWith(start));
  if (first < 0) return source;
  const indent = lines[first].search(/\S/);
  const last = lines.findIndex((line, index) => index > first && line === `${" ".repeat(indent)}}`);
  return lines.slice(first, last + 1).map((line) => line.slice(indent)).join("\n");
}

let known = null;
let isOpen = false;

function heard(message) {
  $("lost").textContent = stream.lost + stream.doubled;
  $("lost").classList.toggle("bad", stream.lost + stream.doubled > 0);
  $("delivered").textContent = stream.delivered.toLocaleString("en");
  $("breaks").textContent = stream.breaks;
  if (known !== stream.generation || isOpen !== stream.isOpen) {
    if (known !== null && known !== stream.generation) {
      mark("", `generation ${stream.generation} takes over`);
      // Somebody else may have swapped: another visitor, or the author in an editor.
      if (!isBusy) serves();
    }
    [known, isOpen] = [stream.generation, stream.isOpen];
    showVersion();
  }
  if (message) row(message);
}

function row({ user, number, text }) {
  add(el("li", { className: /★/.test(text) ? "festive" : "" },
    el("span", { className: `user ${user === "Bo" ? "bo" : ""}` }, user), el("span", { className: "text" }, unbroken(text)), el("span", { className: "number" }, `${number}`)));
}

/** Keeps a star beside its word. */
const unbroken = (text) => text.replace(/ ?★ ?/g, (star) => star.replaceAll(" ", "\u00a0"));

function mark(kind, text) {
  add(el("li", { className: `mark ${kind}` }, text));
}

function add(item) {
  const list = $("stream");
  list.append(item);
  while (list.childElementCount > MOST_SHOWN) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

function say(kind, ...content) {
  $("live-news").className = `news ${kind}`;
  $("live-news").replaceChildren(...content);
}

/** Asks the host for a version. Returns its answer, with the times that this page has measured. */
async function load(name) {
  const before = { generation: stream.generation, sent: stream.sent };
  stream.hurry(true);
  try {
    const asked = performance.now();
    const answer = await fetch(`/_wharf/demo/${name}`, { method: "POST" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const outcome = await answer.json();
    if (outcome.refused) {
      mark("refused", "a version is refused");
      await pause(AFTER_REFUSAL_MS);
    } else {
      for (const until = performance.now() + ANSWER_MS; stream.generation === before.generation && performance.now() < until;) await pause(4);
    }
    const took = Math.max(1, Math.round(stream.since - asked));
    return { ...outcome, took, isNew: stream.generation !== before.generation, meanwhile: stream.sent - before.sent };
  } finally {
    stream.hurry(false);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function act(name, then) {
  if (isBusy || !stream) return;
  isBusy = true;
  showVersion();
  say("", "Loading …");
  try {
    then(await load(name));
  } catch (error) {
    say("refused", `The host has not swapped: ${error.message}`);
  }
  isBusy = false;
  await serves();
}

$("swap").addEventListener("click", () => act(others()[0], ({ version: name, took, took_ms: host, isNew, meanwhile }) => {
  if (!isNew) return say("", "This version serves already.");
  version = name;
  $("took").textContent = `${took} ms`;
  picture.swap();
  say("swapped", el("strong", {}, `Swapped in ${took} ms.`), ` Of ${plural(meanwhile, "message")} meanwhile, ${stream.lost + stream.doubled} got lost, `
    + `${stream.breaks === 0 ? "and nobody was disconnected" : `connections lost: ${stream.breaks}`}. The host itself took ${host} ms to read the file, `
    + "try the code out, and swap.");
}));

$("panic").addEventListener("click", () => act(PANICS, ({ refused, generation, meanwhile }) => {
  if (!refused) return say("refused", "The host has taken it into service.");
  picture.refuse();
  const [sentence] = refused.split(/ \(| \[/);
  say("refused", "Refused, and never served. The host says:", el("code", { title: refused }, sentence),
    ` Generation ${generation} goes on: ${plural(meanwhile, "message")} since your click, none lost.`);
}));

$("pause").addEventListener("click", () => {
  const isPaused = $("pause").getAttribute("aria-pressed") !== "true";
  $("pause").setAttribute("aria-pressed", String(isPaused));
  $("pause").textContent = isPaused ? "Go on" : "Pause";
  stream?.pause(isPaused);
});
