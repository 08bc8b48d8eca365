// The last lines of a channel's log, and those that follow.

import { keepStream, of } from "./api.js";
import { log } from "./elements.js";
import { el } from "./parts.js";

const LEVELS = ["error", "warn", "info", "debug", "trace"];
/** Members of a line that are shown in places of their own, or not at all. */
const KNOWN = new Set(["timestamp", "level", "message", "channel", "target", "fields"]);

function fieldsOf(line) {
  const own = Object.entries(line).filter(([name]) => !KNOWN.has(name));
  const all = [...own, ...Object.entries(line.fields ?? {})].filter(([, value]) => value !== null);
  return all.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
}

/** Makes the view of a channel's log. */
export function logView(channel, scope) {
  const [list, add] = log(`Log of ${channel}`, { className: "log lines", ariaLive: "off" });
  list.dataset.empty = "No line yet. Lines of the plugin and lines about it appear here as they are written.";
  const state = el("span", { className: "muted", role: "status" });
  const level = el("select", { onchange: () => begin() },
    ...LEVELS.map((name) => el("option", { value: name, selected: name === "info" }, name === "error" ? "error" : `${name} and worse`)));
  let running = new AbortController();
  let seen = "";

  const put = (line) => {
    const time = new Date(line.timestamp);
    const written = Number.isNaN(time.getTime()) ? "" : `${time.toLocaleTimeString("en-GB")}.${String(time.getMilliseconds()).padStart(3, "0")}`;
    add(line.level.toLowerCase(), el("time", { dateTime: line.timestamp, title: line.timestamp }, written), " ",
      el("b", { className: "level" }, line.level), " ", el("span", { className: "message" }, line.message ?? ""), " ",
      el("span", { className: "rest" }, fieldsOf(line)));
  };

  function begin() {
    running.abort();
    running = new AbortController();
    const empty = () => { list.replaceChildren(); list.classList.add("empty"); };
    keepStream(`${of(channel, "logs")}?follow=true&level=${level.value}`, running.signal, {
      onOpen() { empty(); seen = ""; state.textContent = "following"; },
      onEvent(name, line) {
        if (name !== "line") return;
        seen = line.timestamp;
        put(line);
      },
      onLost(why) { state.textContent = why; },
    });
  }
  scope.until(() => running.abort());
  begin();
  return {
    node: el("div", { className: "logs" }, el("div", { className: "logs-head" }, el("label", {}, "Level", level), state), list),
    last: () => seen,
  };
}
