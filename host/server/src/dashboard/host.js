// The host and its cluster: hosts, deployed plugins, refused files, loads and the audit log.

import * as acts from "./acts.js";
import { get } from "./api.js";
import { plural } from "./elements.js";
import * as f from "./figures.js";
import { onLoad } from "./live.js";
import { actButton, el, empty, facts, pill, problem, section, title } from "./parts.js";
import { table } from "./table.js";

const LOOK_MS = 5_000;
const ACTS = 50;

const link = (text, href) => el("a", { href }, text);
const time = (ms) => el("time", { dateTime: new Date(ms).toISOString(), title: new Date(ms).toLocaleString() }, f.ago(ms, Date.now()));

/** Makes the list of outcomes of loads, the newest first. */
export function loadList(loads, none, namesChannel = true) {
  if (loads.length === 0) return empty(none);
  return el("ol", { className: "loads" }, ...loads.map((load) => el("li", { className: load.state },
    el("p", { className: "load-line" },
      el("span", { className: "mark", ariaHidden: "true" }),
      namesChannel ? link(load.channel, f.to("channels", load.channel)) : false,
      el("span", {}, load.state === "serving" ? `generation ${load.generation} serves` : load.generation === null ? "refused" : `refused; generation ${load.generation} keeps serving`),
      el("code", { title: load.sha256 ?? "" }, f.short(load.sha256).slice(0, 8)), time(load.time_ms)),
    load.reason ? el("p", { className: "reason" }, load.reason) : false)));
}

/** Shows parts that are read now and again, or the reason why they cannot be. */
function looking(scope, pause, read) {
  const trouble = el("div", {});
  const again = scope.repeat(pause, async () => {
    try {
      await read();
      trouble.replaceChildren();
    } catch (error) {
      trouble.replaceChildren(problem(error));
    }
  });
  return { trouble, again };
}

export function plugins(scope) {
  const refused = el("div", {});
  const loads = el("div", {});
  const keptIn = el("p", { className: "muted below" });
  const deployed = table({
    caption: "Deployed plugins", key: (one) => one.channel, scroll: true,
    whenEmpty: empty("Nothing is deployed.", "Each host serves what its plugin folder has. ", el("code", {}, "wharf deploy chat.wasm"), " sends a plugin to all of them."),
    columns: [
      { title: "Channel", main: true, sort: (one) => one.channel, text: (one) => one.channel, node: (one) => link(one.channel, f.to("channels", one.channel)) },
      { title: "SHA-256", text: (one) => f.short(one.sha256), node: (one) => el("code", { title: one.sha256 }, f.short(one.sha256)) },
      { title: "Size", number: true, sort: (one) => one.bytes, text: (one) => f.text(f.bytes(one.bytes)) },
      { title: "When", sort: (one) => one.time_ms, text: (one) => f.ago(one.time_ms, Date.now()), node: (one) => time(one.time_ms) },
      { title: "By", sort: (one) => one.by, text: (one) => one.by || "–" },
      { title: "Before", text: (one) => f.short(one.previous?.sha256), node: (one) => (one.previous ? el("code", { title: one.previous.sha256 }, f.short(one.previous.sha256)) : "–") },
      {
        title: "Acts", text: (one) => `${one.sha256} ${one.previous?.sha256}`, node: (one) => el("span", { className: "row-acts" },
          one.previous ? actButton("Roll back", () => acts.rollback(one.channel, f.short(one.previous.sha256), () => view.again())) : false,
          actButton("Withdraw", () => acts.withdraw(one.channel, () => view.again()), true)),
      },
    ],
  });
  const view = looking(scope, LOOK_MS, async () => {
    const [list, all, last] = await Promise.all([get("plugins"), get("channels"), get("loads?limit=100")]);
    deployed.update(list.plugins);
    keptIn.textContent = list.kept_in === "memory" ? "The host keeps nothing on disk: what is deployed lasts until it ends." : "";
    const none = empty("No file is refused.", "A plugin that cannot serve is listed here with the reason.");
    refused.replaceChildren(all.refused.length === 0 ? none : el("ul", { className: "loads" }, ...all.refused.map((one) => el("li", { className: "refused" },
      el("p", { className: "load-line" }, el("span", { className: "mark", ariaHidden: "true" }), el("strong", {}, one.name),
        el("span", {}, one.serving === null ? "nothing serves" : `generation ${one.serving} keeps serving`), one.is_tried_again ? pill("tried again", "wait") : false),
      el("p", { className: "reason" }, one.reason)))));
    loads.replaceChildren(loadList(last.loads, "No plugin has been loaded yet."));
  });
  scope.until(onLoad(view.again));
  return {
    name: "Plugins",
    node: el("div", {}, title("Plugins"), view.trouble, section("Deployed", deployed.node, keptIn),
      el("div", { className: "halves" }, section("Refused files", refused), section("Loads", loads))),
  };
}

export function hosts(scope) {
  const engine = el("p", { className: "muted beside" });
  const list = table({
    caption: "Hosts", key: (one) => one.id, whenEmpty: empty("No host has answered."),
    columns: [
      { title: "Host", main: true, sort: (one) => one.name, text: (one) => `${one.name} ${one.id}`, node: (one) => el("span", {}, el("strong", {}, one.name), el("span", { className: "under" }, one.id)) },
      { title: "State", text: (one) => stateOf(one).join(" "), node: (one) => pill(...stateOf(one)) },
      { title: "Version", sort: (one) => one.version, text: (one) => one.version },
      { title: "Up", number: true, sort: (one) => one.started_at, text: (one) => f.span(Date.now() - one.started_at) },
      { title: "Connections", number: true, sort: (one) => one.connections, text: (one) => f.text(f.count(one.connections)) },
      { title: "Heard", number: true, sort: (one) => one.silent_for_ms, text: (one) => (one.silent_for_ms === null ? "this host" : `${f.span(one.silent_for_ms)} ago`) },
      { title: "Engine", text: (one) => one.failure ?? one.engine ?? "–" },
    ],
  });
  const plugins = table({
    caption: "Plugins on each host", key: (one) => `${one.channel} ${one.host}`, sorted: { column: "Channel" }, scroll: true, whenEmpty: empty("No host runs a plugin."),
    columns: [
      { title: "Channel", main: true, sort: (one) => one.channel, text: (one) => one.channel, node: (one) => link(one.channel, f.to("channels", one.channel)) },
      { title: "Host", sort: (one) => one.host, text: (one) => one.host },
      { title: "Generation", number: true, sort: (one) => one.generation, text: (one) => String(one.generation ?? "–") },
      { title: "SHA-256", text: (one) => f.short(one.sha256), node: (one) => el("code", { title: one.sha256 ?? "" }, f.short(one.sha256)) },
      { title: "From", sort: (one) => one.source, text: (one) => one.source },
      { title: "State", sort: (one) => one.state, text: (one) => `${one.state} ${one.reason}`, node: (one) => el("span", {}, pill(one.state, one.reason ? "bad" : "good"), one.reason ? el("span", { className: "under" }, one.reason) : false) },
    ],
  });
  const machine = facts(["processors", "load", "memory free", "disk free", "threads", "open files", "process"]);
  const part = (free, total) => `${f.text(f.bytes(free))} of ${f.text(f.bytes(total))}`;
  const view = looking(scope, LOOK_MS, async () => {
    const [found, here] = await Promise.all([get("nodes"), get("machine")]);
    machine.set({
      processors: here.processors, load: here.load?.map((load) => load.toFixed(2)).join("  "), process: here.process.id, threads: here.process.threads,
      "memory free": here.memory && part(here.memory.available_bytes, here.memory.total_bytes),
      "disk free": here.data ? part(here.data.free_bytes, here.data.total_bytes) : "no data folder",
      "open files": `${f.text(f.count(here.process.open_files))} of ${f.text(f.count(here.process.max_files))}`,
    });
    list.update(found.nodes);
    plugins.update(found.nodes.flatMap((node) => (node.plugins ?? []).map((plugin) => ({ ...plugin, host: node.name }))));
    engine.textContent = found.engine === null ? "a single host" : `${plural(found.nodes.length, "host")} through ${found.engine}`;
  });
  return {
    name: "Hosts",
    node: el("div", {}, title("Hosts", [], engine), view.trouble, section("Hosts of the cluster", list.node,
      el("p", { className: "muted below" }, "Each host has a dashboard of its own, on its own operator's address: figures, logs and loads are those of one host.")),
    section("The machine of this host", machine.node), section("What each of them runs", plugins.node)),
  };
}

function stateOf(node) {
  if (node.plugins === null) return ["does not answer", "bad"];
  if (node.failure) return ["cut off", "bad"];
  return node.plugins.some((plugin) => plugin.reason) ? ["a plugin is refused", "wait"] : ["serving", "good"];
}

export function audit(scope) {
  let pages = 1;
  const more = el("button", { type: "button", className: "small", hidden: true, onclick: () => { pages += 1; view.again(); } }, "Show older");
  const list = table({
    caption: "Acts", key: (one) => String(one.id), scroll: true,
    whenEmpty: empty("Nobody has acted yet.", "Each act with the token, and each request without it, leaves a record here."),
    columns: [
      { title: "When", main: true, text: (one) => one.time, node: (one) => el("time", { dateTime: one.time, title: one.time }, new Date(one.time_ms).toLocaleString()) },
      { title: "Act", text: (one) => one.action ?? `${one.method} ${one.path}` },
      { title: "Channel", text: (one) => one.channel ?? "–" },
      { title: "About", text: (one) => one.subject ?? "–" },
      { title: "From", text: (one) => one.remote },
      { title: "Outcome", text: (one) => `${one.status} ${one.code} ${one.times}`, node: (one) => el("span", {}, pill(one.code ?? "done", one.status !== null && one.status < 400 ? "good" : "bad"), one.times > 1 ? ` ${one.times} times` : "") },
      { title: "Took", number: true, text: (one) => f.text(f.micros(one.duration_us)) },
    ],
  });
  const view = looking(scope, LOOK_MS, async () => {
    const all = [];
    let next = null;
    for (let page = 0; page < pages; page++) {
      const answer = await get(`audit?limit=${ACTS}${next === null ? "" : `&before=${next}`}`);
      all.push(...answer.acts);
      next = answer.next;
      if (next === null) break;
    }
    list.update(all);
    more.hidden = next === null;
  });
  return {
    name: "Audit log",
    node: el("div", {}, title("Audit log"), view.trouble, section("The last acts", list.node, more)),
  };
}
