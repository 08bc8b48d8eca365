// A channel: its figures, its loads, its log, and lists of what it has.

import * as acts from "./acts.js";
import { get, of } from "./api.js";
import * as f from "./figures.js";
import { loadList } from "./host.js";
import { channelSeries, newest, onFigures, onLoad } from "./live.js";
import { logView } from "./logs.js";
import { figure, joined, link, state } from "./overview.js";
import { actButton, content, el, empty, facts, pill, problem, section, tile, title } from "./parts.js";
import { table } from "./table.js";

const LOOK_MS = 5_000;
const PAGE = 100;

/** The parts of a channel's page, by their addresses. */
const TABS = [
  ["", "Figures"], ["connections", "Connections"], ["rooms", "Rooms"], ["timers", "Timers"], ["store", "Store"], ["log", "Log"],
];

const many = (number, noun) => `${f.text(f.count(number))} ${noun}${number === 1 ? "" : "s"}`;

export function channel(scope, name, tab = "") {
  const tabs = el("nav", { className: "tabs", ariaLabel: `Parts of ${name}` }, ...TABS.map(([address, label]) => {
    const node = link(label, address ? f.to("channels", name, address) : f.to("channels", name));
    if (address === tab) node.setAttribute("aria-current", "page");
    return node;
  }));
  const badge = el("span", {});
  const rollback = actButton("Roll back", () => {}, true);
  rollback.hidden = true;
  const everybody = actButton("Disconnect all", () => acts.disconnectAll(name, newest()?.channels.get(name)?.connections ?? 0), true);
  const buttons = el("div", { className: "acts" }, actButton("Broadcast", () => acts.broadcast(name)), rollback, everybody);
  const trouble = el("div", {});
  const summary = el("p", { className: "summary" });
  let answer;

  const draw = () => {
    const now = joined(newest(), { channels: answer ? [answer] : [], refused: refusal ? [refusal] : [] }).find((one) => one.name === name);
    if (!now) return;
    const [label, kind] = state(now);
    if (badge.dataset.of !== label) badge.replaceChildren(pill(label, kind));
    badge.dataset.of = label;
  };
  let refusal;
  const look = async () => {
    try {
      const [all, { plugins }] = await Promise.all([get("channels"), get("plugins")]);
      answer = all.channels.find((one) => one.name === name);
      refusal = all.refused.find((one) => one.name === name);
      const previous = plugins.find((one) => one.channel === name)?.previous;
      rollback.hidden = !previous;
      rollback.onclick = () => acts.rollback(name, f.short(previous.sha256), again);
      if (answer && summary.dataset.of !== answer.sha256) {
        summary.replaceChildren(el("span", {}, `generation ${answer.generation}`), el("code", { title: answer.sha256 }, f.short(answer.sha256)),
          ...answer.paths.map((path) => el("code", {}, path)));
        summary.dataset.of = answer.sha256;
      }
      trouble.replaceChildren(...(refusal ? [refused(refusal)] : []),
        ...(answer || refusal ? [] : [problem(new Error(`No channel ${name} is in service.`))]));
      draw();
    } catch (error) {
      trouble.replaceChildren(problem(error));
    }
  };
  const again = scope.repeat(LOOK_MS, look);
  scope.until(onFigures(draw));
  scope.until(onLoad((load) => load.channel === name && again()));
  const views = { "": figuresOf, connections, rooms, timers, store, log };
  const view = (views[tab] ?? figuresOf)(scope, name);
  const label = TABS.find(([address]) => address === tab)?.[1];
  return {
    name: tab ? `${label} of ${name}` : name,
    node: el("div", {}, title(name, [["Channels", "#/"]], badge, buttons), summary, trouble, tabs, view),
  };
}

function refused({ reason, serving, is_tried_again: again }) {
  return el("div", { className: "problem", role: "alert" },
    el("strong", {}, serving === null ? "The plugin's file is refused. " : `A newer file is refused; generation ${serving} serves. `),
    reason, again ? "" : " It is looked at again when it changes.");
}

function figuresOf(scope, name) {
  const tiles = {
    connections: tile({ label: "Connections", format: f.count, floor: 4, large: true, height: 72 }),
    messages: tile({ label: "Messages", format: f.rate, lines: ["one", "two"], names: ["to clients", "from clients"], floor: 4, large: true, height: 72 }),
    time: tile({ label: "Time of a call", format: f.micros, lines: ["one", "two"], names: ["p99", "p50"], large: true, height: 72 }),
    cpu: tile({ label: "CPU", format: f.percent, floor: 0.05, large: true, height: 72 }),
    memory: tile({ label: "Memory", format: f.bytes, large: true, height: 72 }),
    queued: tile({ label: "Bytes that wait for clients", format: f.bytes, floor: 1024, large: true, height: 72 }),
  };
  const known = facts([
    "rooms", "rooms that keep a state", "users", "timers", "instances", "events", "events a second",
    "bytes in", "bytes out", "guest time", "traps", "missed deadlines", "swaps", "slow consumers closed", "history",
  ]);
  const loads = el("div", {});
  const draw = (now) => {
    const one = now.channels.get(name);
    if (!one) return;
    const line = (field) => channelSeries(name, field);
    tiles.connections.draw([line("connections")], `${many(one.users, "user")}, ${many(one.rooms, "room")}`);
    tiles.messages.draw([line("outRate"), line("inRate")], `${f.text(f.rate(one.inRate))} from clients`, [one.outRate]);
    tiles.time.draw([line("guest_p99_us"), line("guest_p50_us")], `p50 ${f.text(f.micros(one.guest_p50_us))}`, [one.guest_p99_us]);
    tiles.cpu.draw([line("cpuRate")], "of one core");
    tiles.memory.draw([line("memory_bytes")], many(one.instances, "instance"));
    tiles.queued.draw([line("queued_bytes")], one.slow === null ? "" : `${f.text(f.count(one.slow))} slow now`);
    known.set({
      rooms: f.text(f.count(one.rooms)), users: f.text(f.count(one.users)), instances: f.text(f.count(one.instances)),
      events: f.text(f.count(one.events)), "events a second": f.text(f.rate(one.eventsRate)), "bytes in": `${f.text(f.bytes(one.bytes_in))}`,
      "bytes out": f.text(f.bytes(one.bytes_out)), "guest time": f.text(f.micros(one.guest_seconds * 1e6)),
      traps: f.text(f.count(one.traps)), "missed deadlines": f.text(f.count(one.deadlines)), swaps: f.text(f.count(one.swaps)),
      "slow consumers closed": f.text(f.count(one.slow_total)),
    });
  };
  const look = async () => {
    const results = await Promise.allSettled([get(of(name)), get(of(name, "loads"))]);
    const [answer, last] = results.map(({ value }) => value);
    if (answer) {
      known.set({
        timers: answer.timers,
        "rooms that keep a state": answer.kept_rooms, history: f.text(f.bytes(answer.history_bytes)),
      });
    }
    if (last) loads.replaceChildren(loadList(last.loads, "The plugin has served since the host started.", false));
  };
  const again = scope.repeat(LOOK_MS, look);
  scope.until(onFigures(draw));
  scope.until(onLoad((load) => load.channel === name && again()));
  return el("div", {},
    el("div", { className: "tiles large" }, ...Object.values(tiles).map(({ node }) => node)),
    el("div", { className: "halves" },
      section("Since the start", known.node),
      section("Loads", loads, el("h2", { className: "second" }, "Log"), logView(name, scope).node)));
}

/** Makes a list that is read in pages, with a field that picks rows by their text. */
function pages(scope, { path, field, view, search, looks, hint, onAnswer }) {
  const trouble = el("div", {});
  const more = el("button", { type: "button", className: "small", hidden: true, onclick: () => turn(true) }, "Show more");
  const told = el("span", { className: "muted", role: "status" });
  let [entries, next, pagesShown] = [[], null, 1];
  const filter = el("input", { type: "search", ariaLabel: search, placeholder: search, oninput: () => show() });
  const show = () => {
    const wanted = filter.value.trim().toLowerCase();
    const found = wanted ? entries.filter((entry) => JSON.stringify(entry).toLowerCase().includes(wanted)) : entries;
    view.update(found);
    more.hidden = next === null;
    told.textContent = wanted ? `${found.length} of ${entries.length} shown` : next === null ? `${entries.length} in all` : `the first ${entries.length}`;
    looks?.(filter.value.trim(), found);
  };
  const read = async () => {
    try {
      const all = [];
      let after = null;
      // Rows that are shown are read again, so that those that are gone vanish.
      for (let page = 0; page < pagesShown; page++) {
        const answer = await get(`${path}?limit=${PAGE}${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);
        if (scope.signal.aborted) return;
        onAnswer?.(answer);
        all.push(...answer[field]);
        after = answer.next;
        if (after === null) break;
      }
      [entries, next] = [all, after];
      trouble.replaceChildren();
      show();
    } catch (error) {
      trouble.replaceChildren(problem(error));
    }
  };
  const again = scope.repeat(LOOK_MS, read);
  const turn = () => { pagesShown += 1; again(); };
  return el("section", { className: "part" },
    el("div", { className: "part-head" }, filter, told), trouble, view.node, more, hint ?? false);
}

function connections(scope, name) {
  const go = el("p", { className: "below" });
  const view = table({
    caption: "Connections", key: (one) => one.id, scroll: true,
    whenEmpty: empty("No connection.", "Clients appear here as soon as the plugin has accepted them."),
    columns: [
      { title: "Connection", main: true, sort: (one) => one.id, text: (one) => one.id, node: (one) => link(one.id, f.to("channels", name, "connections", one.id)) },
      { title: "User", sort: (one) => one.user ?? "", text: (one) => one.user ?? "–", node: (one) => (one.user === null ? "–" : link(one.user, f.to("channels", name, "users", one.user))) },
      { title: "Path", sort: (one) => one.path, text: (one) => one.path },
      { title: "Address", sort: (one) => one.remote_address, text: (one) => one.remote_address },
      { title: "Rooms", sort: (one) => one.rooms.length, text: (one) => one.rooms.slice(0, 3).join(", ") + (one.rooms.length > 3 ? ` and ${one.rooms.length - 3} more` : "") },
      figure("Waiting", (one) => one.queued_bytes, f.bytes, "Bytes that wait to be written to the client"),
    ],
  });
  const looks = (wanted, found) => {
    go.replaceChildren();
    // Somebody on another page of the list.
    if (wanted && found.length === 0) {
      go.append("Not among those shown. Look for ", link(`the connection ${wanted}`, f.to("channels", name, "connections", wanted)), " or ",
        link(`the user ${wanted}`, f.to("channels", name, "users", wanted)), ".");
    }
  };
  return pages(scope, { path: of(name, "connections"), field: "connections", view, search: "Find an id, user, path, address or room", looks, hint: go });
}

function rooms(scope, name) {
  const view = table({
    caption: "Rooms", key: (one) => one.name, scroll: true,
    whenEmpty: empty("No room.", "A room is there while it has members, a state, timers, or messages that it keeps."),
    columns: [
      { title: "Room", main: true, sort: (one) => one.name, text: (one) => one.name, node: (one) => link(one.name, f.to("channels", name, "rooms", one.name)) },
      figure("Members", (one) => one.members, f.count),
      figure("State", (one) => one.state_bytes, f.bytes),
      figure("Events that wait", (one) => one.waiting_events, f.count),
      figure("Timers", (one) => one.timers, f.count),
      figure("Messages kept", (one) => one.history_messages, f.count),
      figure("Their size", (one) => one.history_bytes, f.bytes),
    ],
  });
  return pages(scope, { path: of(name, "rooms"), field: "rooms", view, search: "Find a room" });
}

/** Makes the table of timers. */
export function timerTable(whenEmpty) {
  return table({
    caption: "Timers", key: (one) => one.name, scroll: true, whenEmpty,
    columns: [
      { title: "Timer", main: true, sort: (one) => one.name, text: (one) => one.name },
      { title: "Due", number: true, sort: (one) => one.due_in_ms, text: (one) => (one.is_waiting ? "waits for its turn" : `in ${f.span(one.due_in_ms)}`) },
      { title: "Again", number: true, sort: (one) => one.repeat_ms, text: (one) => (one.repeat_ms === null ? "once" : `every ${f.span(one.repeat_ms)}`) },
      { title: "Payload", text: (one) => JSON.stringify(one.json ?? one.text ?? one.binary ?? "too big"), node: (one) => el("code", {}, JSON.stringify(one.json ?? one.text ?? one.binary ?? "too big").slice(0, 200)) },
    ],
  });
}

function timers(scope, name) {
  const view = timerTable(empty("The channel itself has no timer.", "Timers of rooms and of connections are on their pages."));
  return pages(scope, { path: of(name, "timers"), field: "timers", view, search: "Find a timer" });
}

function store(scope, name) {
  const shown = el("div", {});
  const size = el("p", { className: "muted below" });
  const open = async (key) => {
    try {
      const value = await get(of(name, "store", key));
      shown.replaceChildren(section(key, content(value)));
    } catch (error) {
      shown.replaceChildren(problem(error));
    }
    shown.querySelector("pre, .problem")?.focus();
  };
  const view = table({
    caption: "Keys of the store", key: (one) => one.key, scroll: true,
    whenEmpty: empty("The store is empty.", "A plugin puts values into it that outlive its connections."),
    columns: [
      { title: "Key", main: true, sort: (one) => one.key, text: (one) => one.key, node: (one) => el("button", { type: "button", className: "as-link", onclick: () => open(one.key) }, one.key) },
      figure("Size", (one) => one.bytes, f.bytes),
      figure("Version", (one) => one.version, f.count),
      { title: "Expires", number: true, sort: (one) => one.expires_in_ms, text: (one) => (one.expires_in_ms === null ? "never" : `in ${f.span(one.expires_in_ms)}`) },
    ],
  });
  const list = pages(scope, {
    path: of(name, "store"), field: "entries", view, search: "Find a key", hint: size,
    onAnswer: ({ bytes }) => (size.textContent = `The store has ${f.text(f.bytes(bytes))} in this process. Values may be personal data.`),
  });
  return el("div", {}, list, shown);
}

function log(scope, name) {
  return section("Log", logView(name, scope).node);
}
