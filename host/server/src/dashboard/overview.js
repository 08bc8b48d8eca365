// The first page: the host's figures, its channels, the last loads, and who is slow.

import { get } from "./api.js";
import { plural } from "./elements.js";
import * as f from "./figures.js";
import { loadList } from "./host.js";
import { channelSeries, history, onFigures, onLoad, series } from "./live.js";
import { chart } from "./chart.js";
import { el, empty, pill, problem, section, sectionWith, tile, title } from "./parts.js";
import { table } from "./table.js";

const LOOK_MS = 5_000;
const LOADS = 6;

/** Returns a column of a figure. */
export function figure(name, of, format, hint) {
  return { title: name, number: true, sort: of, text: (row) => f.text(format(of(row))), hint };
}

export function link(text, href) {
  return el("a", { href }, text);
}

/** Returns the state of a channel's code. */
export function state(channel) {
  if (channel.refusal) return [channel.refusal.serving === null ? "refused" : "new file refused", "bad"];
  if (channel.trapsRate > 0) return ["trapping", "bad"];
  if (channel.slow > 0) return [`${channel.slow} slow`, "wait"];
  return ["serving", "good"];
}

/** The channels with what both answers tell of them. */
export function joined(figures, channels) {
  const known = new Map((channels?.channels ?? []).map((channel) => [channel.name, channel]));
  const refused = new Map((channels?.refused ?? []).map((refusal) => [refusal.name, refusal]));
  const all = [...(figures?.channels.values() ?? [])].map((channel) => ({
    ...known.get(channel.name), ...channel, refusal: refused.get(channel.name),
  }));
  return all;
}

function channelTable() {
  const charts = new Map();
  const spark = (name) => {
    if (!charts.has(name)) charts.set(name, chart({ label: `Events of ${name}, the last minutes`, height: 22 }));
    return charts.get(name);
  };
  const view = table({
    caption: "Channels", key: (channel) => channel.name, sorted: { column: "Channel" },
    whenEmpty: empty("No channel is in service.", "Copy a plugin into the folder ", el("code", {}, "plugins"), " of this host, or run ",
      el("code", {}, "wharf deploy chat.wasm"), ". It serves a moment later."),
    columns: [
      {
        title: "Channel", main: true, sort: (channel) => channel.name, text: (channel) => `${channel.name} ${channel.paths?.join(" ")}`,
        node: ({ name, paths }) => el("span", {}, name === "" ? "all others" : link(name, f.to("channels", name)), el("span", { className: "under" }, paths?.join("  ") ?? "")),
      },
      {
        title: "State", bare: true, sort: (channel) => state(channel)[0], text: (channel) => state(channel).join(" "), node: (channel) => pill(...state(channel)),
      },
      {
        title: "Code", sort: (channel) => channel.generation, text: (channel) => `${channel.generation} ${channel.sha256}`,
        node: ({ generation, sha256 }) => el("span", { className: "code-of" }, el("span", {}, `gen ${generation}`), el("code", { title: sha256 ?? "" }, f.short(sha256).slice(0, 8))),
      },
      figure("Connections", (channel) => channel.connections, f.count),
      figure("Rooms", (channel) => channel.rooms, f.count),
      figure("Users", (channel) => channel.users, f.count),
      {
        title: "Events/s", number: true, wide: true, sort: (channel) => channel.eventsRate, text: (channel) => f.text(f.perSecond(channel.eventsRate)),
        node: (channel) => el("span", { className: "with-spark" }, spark(channel.name).node, el("span", {}, f.text(f.perSecond(channel.eventsRate)))),
        hint: "Calls of the plugin for messages, timers and all else",
      },
      figure("In/s", (channel) => channel.inRate, f.perSecond, "Messages from clients"),
      figure("Out/s", (channel) => channel.outRate, f.perSecond, "Messages to clients"),
      figure("p50", (channel) => channel.guest_p50_us, f.micros, "Half of the calls of the plugin take no longer"),
      figure("p99", (channel) => channel.guest_p99_us, f.micros, "99 of 100 calls of the plugin take no longer"),
      figure("CPU", (channel) => channel.cpuRate, f.percent, "Share of one core that the plugin takes"),
      figure("Memory", (channel) => channel.memory_bytes, f.bytes, "Memory of the plugin's instances"),
      figure("Traps", (channel) => channel.traps, f.count, "Calls that have trapped since the start"),
    ],
  });
  const update = (channels) => {
    view.update(channels);
    for (const { name } of channels) spark(name).draw(channelSeries(name, "eventsRate"));
  };
  return { node: view.node, update };
}

/** The table of connections that have bytes waiting. */
export function slowTable() {
  return table({
    caption: "Slow connections", key: (one) => one.id, sorted: { column: "Waiting", isDown: true }, scroll: true,
    whenEmpty: empty("Nobody is slow.", "Each client takes its messages as fast as they come."),
    columns: [
      { title: "Connection", main: true, text: (one) => one.id, node: (one) => link(one.id, f.to("channels", one.channel, "connections", one.id)) },
      { title: "Channel", text: (one) => one.channel, node: (one) => link(one.channel, f.to("channels", one.channel)) },
      { title: "User", text: (one) => one.user ?? "–" },
      { title: "Address", text: (one) => one.remote_address },
      { ...figure("Waiting", (one) => one.queued_bytes, f.bytes), hint: "Bytes that wait to be written to the client" },
    ],
  });
}

export function overview(scope) {
  const tiles = {
    connections: tile({ label: "Connections", format: f.count, floor: 4 }),
    messages: tile({ label: "Messages to clients", format: f.rate, lines: ["one", "two"], names: ["to clients", "from clients"], floor: 4 }),
    guest: tile({ label: "CPU of plugins", format: f.percent, lines: ["one", "two"], names: ["plugins", "process"], floor: 0.05 }),
    memory: tile({ label: "Memory", format: f.bytes }),
    lag: tile({ label: "Lag", format: f.millis, floor: 2 }),
  };
  const channels = channelTable();
  const loads = el("div", {});
  const slow = slowTable();
  const uptime = el("p", { className: "muted beside" });
  const trouble = el("div", {});
  let answer;

  const draw = () => {
    const now = history.at(-1);
    if (!now) return;
    const host = now.host;
    uptime.textContent = `up ${f.span(host.uptime_ms)} · version ${host.version}`;
    const one = (name, of) => series((entry) => of(entry.host, name));
    tiles.connections.draw([one("", (host) => host.connections)], `of ${f.text(f.count(host.max_connections))} · ${f.text(f.rate(host.acceptedRate))} new`);
    tiles.messages.draw([one("", (host) => host.outRate), one("", (host) => host.inRate)], `${f.text(f.rate(host.inRate))} from clients`, [host.outRate]);
    tiles.guest.draw([one("", (host) => host.guestRate), one("", (host) => host.cpuRate)], `${f.text(f.percent(host.cpuRate))} the process`, [host.guestRate]);
    const ofPlugins = [...now.channels.values()].reduce((sum, channel) => sum + (channel.memory_bytes ?? 0), 0);
    tiles.memory.draw([one("", (host) => host.memory_bytes)], `${f.text(f.bytes(ofPlugins))} of plugins`);
    tiles.lag.draw([one("", (host) => host.lag_ms)], "wait of a task for its turn");
    channels.update(joined(now, answer));
  };
  const look = async () => {
    try {
      const [all, last, slowest] = await Promise.all([get("channels"), get(`loads?limit=${LOADS}`), get("slow?limit=8")]);
      if (scope.signal.aborted) return;
      answer = all;
      loads.replaceChildren(loadList(last.loads, "No plugin has been loaded yet."));
      slow.update(slowest.connections);
      trouble.replaceChildren(...unusable(all));
      draw();
    } catch (error) {
      trouble.replaceChildren(problem(error));
    }
  };
  const again = scope.repeat(LOOK_MS, look);
  scope.until(onFigures(draw));
  scope.until(onLoad(again));
  return {
    name: "Overview",
    node: el("div", {},
      title("Overview", [], uptime), trouble,
      el("div", { className: "tiles" }, ...Object.values(tiles).map(({ node }) => node)),
      el("section", { className: "part" }, channels.node),
      el("div", { className: "halves" },
        sectionWith("Loads", [link("All loads", "#/plugins")], loads),
        sectionWith("Slow connections", [link("All that wait", "#/slow")], slow.node))),
  };
}

/** Tells of the keys for tokens that cannot be read. */
function unusable({ unusable_keys: keys }) {
  return keys.map(({ place, reason, earlier_keys_serve: serves }) => el("p", { className: "problem" },
    `Keys for tokens cannot be read from ${place}: ${reason}. `,
    serves ? "Earlier keys serve." : "Their channels answer tokens with 503."));
}

export function slow(scope) {
  const view = slowTable();
  const trouble = el("div", {});
  const sum = el("p", { className: "muted beside" });
  scope.repeat(2_000, async () => {
    try {
      const { connections } = await get("slow?limit=200");
      view.update(connections);
      sum.textContent = connections.length > 0 ? `${plural(connections.length, "connection")} with bytes that wait` : "";
      trouble.replaceChildren();
    } catch (error) {
      trouble.replaceChildren(problem(error));
    }
  });
  return {
    name: "Slow connections",
    node: el("div", {}, title("Slow connections", [], sum), trouble,
      section("Clients with bytes that wait for them", view.node,
        el("p", { className: "muted below" }, "A client that falls behind by outbound_queue_bytes is closed with code 1013. Look at its network, or send less."))),
  };
}
