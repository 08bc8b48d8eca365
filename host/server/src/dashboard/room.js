// One room: members, presence, state, timers and the messages that it keeps.

import * as acts from "./acts.js";
import { of } from "./api.js";
import { timerTable } from "./channel.js";
import { settled } from "./connection.js";
import * as f from "./figures.js";
import { link } from "./overview.js";
import { actButton, content, el, empty, facts, problem, section, title } from "./parts.js";
import { table } from "./table.js";

const LOOK_MS = 2_000;
const MESSAGES = 30;

export function room(scope, channel, name) {
  const known = facts(["members", "state", "events that wait", "timers", "messages kept"]);
  const trouble = el("div", {});
  const state = el("div", {});
  const messages = el("div", {});
  const timers = timerTable(empty("It has no timer."));
  const members = table({
    caption: "Members", key: (one) => one, scroll: true, whenEmpty: empty("Nobody is in it."),
    columns: [{ title: "Connection", main: true, text: (one) => one, node: (one) => link(one, f.to("channels", channel, "connections", one)) }],
  });
  const present = table({
    caption: "Presence", key: (one) => one.key, scroll: true, whenEmpty: empty("Nobody is present.", "The plugin tracks presence, or it does not."),
    columns: [
      { title: "Who", main: true, sort: (one) => one.key, text: (one) => one.key },
      { title: "Times", number: true, sort: (one) => one.metas.length, text: (one) => String(one.metas.length) },
      { title: "Says", text: (one) => JSON.stringify(one.metas), node: (one) => el("code", {}, JSON.stringify(one.metas.length === 1 ? one.metas[0] : one.metas).slice(0, 300)) },
    ],
  });
  const forget = actButton("Forget the state", () => acts.reset(channel, name, () => again()), true);
  forget.hidden = true;
  const buttons = el("div", { className: "acts" },
    actButton("Broadcast", () => acts.broadcast(channel, name)), actButton("Post an event", () => acts.post(channel, name)),
    forget);
  let shown = ["", ""];
  const change = (index, key, place, make) => {
    if (shown[index] !== key) place.replaceChildren(...make());
    shown[index] = key;
  };
  const look = async () => {
    const path = (...names) => of(channel, "rooms", name, ...names);
    const [facts, here, ticking, said] = await settled([`${path()}?limit=1000`, path("presence"), path("timers"), `${path("history")}?limit=${MESSAGES}`]);
    const [kept] = (facts.value?.state_bytes ?? null) !== null ? await settled([path("state")]) : [undefined];
    if (scope.signal.aborted) return;
    if (facts.error) {
      trouble.replaceChildren(facts.error.code === "unknown-room" ? empty("The room is not there at present.", "It begins with its first member or event. ", link(`Rooms of ${channel}`, f.to("channels", channel, "rooms"))) : problem(facts.error));
    } else {
      trouble.replaceChildren();
      const one = facts.value;
      forget.hidden = one.state_bytes === null;
      known.set({
        members: f.text(f.count(one.members)), state: one.state_bytes === null ? "none" : f.text(f.bytes(one.state_bytes)), "events that wait": one.waiting_events,
        timers: one.timers, "messages kept": `${one.history_messages} (${f.text(f.bytes(one.history_bytes))})`,
      });
    }
    members.update(facts.value?.connections ?? []);
    present.update(here.value?.present ?? []);
    timers.update(ticking.value?.timers ?? []);
    change(0, JSON.stringify(kept?.value ?? kept?.error.message ?? null), state, () => {
      if (kept?.value) return [content(kept.value)];
      return [!kept || kept.error.code === "no-state" ? empty("It has no state.", "Its next event begins without one.") : problem(kept.error)];
    });
    change(1, JSON.stringify(said.value ?? said.error.message), messages, () => {
      if (said.error) return [problem(said.error)];
      if (said.value.messages.length === 0) return [empty("It keeps no messages.", "A plugin that keeps a history lists its last messages here.")];
      return [el("ol", { className: "messages" }, ...[...said.value.messages].reverse().map((message) => el("li", {},
        el("p", { className: "muted" }, `${message.offset} · ${new Date(message.sent_at_ms).toLocaleString()}`), content(message))))];
    });
  };
  const again = scope.repeat(LOOK_MS, look);
  return {
    name: `Room ${name}`,
    node: el("div", {},
      title(el("span", { className: "long" }, name), [["Channels", "#/"], [channel, f.to("channels", channel)], ["Rooms", f.to("channels", channel, "rooms")]], buttons),
      trouble,
      el("div", { className: "halves" },
        el("div", {}, section("Room", known.node), section("Members", members.node), section("Presence", present.node)),
        el("div", {}, section("State", state), section("Timers", timers.node), section("The last messages", messages)))),
  };
}
