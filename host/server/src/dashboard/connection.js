// One connection, and one user with all connections.

import * as acts from "./acts.js";
import { get, of } from "./api.js";
import { timerTable } from "./channel.js";
import * as f from "./figures.js";
import { link } from "./overview.js";
import { actButton, content, el, empty, facts, problem, section, title } from "./parts.js";
import { table } from "./table.js";

const LOOK_MS = 2_000;

/** Returns what is known, or the reason why it is not. */
export async function settled(paths) {
  return Promise.all(paths.map((path) => get(path).then((value) => ({ value }), (error) => ({ error }))));
}

export function connection(scope, channel, id) {
  const known = facts(["path", "user", "address", "labels", "rooms", "bytes that wait"]);
  const session = el("div", {});
  const timers = timerTable(empty("It has no timer."));
  const trouble = el("div", {});
  const buttons = el("div", { className: "acts" },
    actButton("Send", () => acts.send(channel, "connections", id)),
    actButton("Disconnect", () => acts.disconnect(channel, "connections", id, () => again()), true));
  let shown = "";
  const look = async () => {
    const [facts, kept, ticking] = await settled([of(channel, "connections", id), of(channel, "connections", id, "session"), of(channel, "connections", id, "timers")]);
    if (scope.signal.aborted) return;
    buttons.hidden = Boolean(facts.error);
    if (facts.error) {
      const isGone = facts.error.code === "unknown-connection";
      trouble.replaceChildren(isGone ? empty("The connection has ended.", link(`Connections of ${channel}`, f.to("channels", channel, "connections"))) : problem(facts.error));
      return;
    }
    trouble.replaceChildren();
    const one = facts.value;
    const rooms = one.rooms.flatMap((room, index) => [index > 0 ? ", " : "", link(room, f.to("channels", channel, "rooms", room))]);
    known.set({
      user: one.user === null ? "not identified" : link(one.user, f.to("channels", channel, "users", one.user)), path: el("code", {}, one.path),
      address: one.remote_address, rooms: one.rooms.length > 0 ? el("span", {}, ...rooms) : "in none",
      labels: Object.entries(one.labels).map(([name, value]) => `${name}=${value}`).join(", ") || "none", "bytes that wait": f.text(f.bytes(one.queued_bytes)),
    });
    const written = JSON.stringify(kept.value ?? kept.error.message);
    if (written !== shown) session.replaceChildren(...(kept.value ? [el("p", { className: "muted" }, f.text(f.bytes(kept.value.bytes))), content(kept.value)] : [problem(kept.error)]));
    shown = written;
    timers.update(ticking.value?.timers ?? []);
  };
  const again = scope.repeat(LOOK_MS, look);
  return {
    name: `Connection ${id}`,
    node: el("div", {},
      title(el("span", { className: "long" }, id), [["Channels", "#/"], [channel, f.to("channels", channel)], ["Connections", f.to("channels", channel, "connections")]], buttons),
      trouble,
      el("div", { className: "halves" },
        el("div", {}, section("Connection", known.node), section("Timers", timers.node)),
        section("Session", el("p", { className: "muted" }, "The state that the plugin keeps for it. It may be personal data."), session))),
  };
}

export function user(scope, channel, name) {
  const trouble = el("div", {});
  const count = el("p", { className: "muted beside" });
  const view = table({
    caption: "Connections of the user", key: (one) => one, scroll: true, whenEmpty: empty("The user has no connection."),
    columns: [{ title: "Connection", main: true, text: (one) => one, node: (one) => link(one, f.to("channels", channel, "connections", one)) }],
  });
  const buttons = el("div", { className: "acts" },
    actButton("Send", () => acts.send(channel, "users", name)),
    actButton("Disconnect", () => acts.disconnect(channel, "users", name, () => again()), true));
  const again = scope.repeat(LOOK_MS, async () => {
    try {
      const found = await get(`${of(channel, "users", name)}?limit=1000`);
      trouble.replaceChildren();
      view.update(found.connections);
      count.textContent = `online ${found.online} times`;
      if (found.online === 1) count.textContent = "online once";
    } catch (error) {
      view.update([]);
      count.textContent = "";
      trouble.replaceChildren(error.code === "user-offline" ? "" : problem(error));
    }
  });
  return {
    name: `User ${name}`,
    node: el("div", {}, title(el("span", { className: "long" }, name), [["Channels", "#/"], [channel, f.to("channels", channel)], ["Users", f.to("channels", channel, "connections")]], count, buttons),
      trouble, section("Connections", view.node)),
  };
}
