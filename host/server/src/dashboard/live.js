// The live figures of the host, and those of the last minutes.

import { keepStream } from "./api.js";
import { figures } from "./figures.js";

/** Figures that are kept: five minutes, one a second. */
const MOST = 300;

const listeners = new Set();
const loadListeners = new Set();
export const history = [];
let last;
let running;

/** Returns the newest figures, if there are any. */
export function newest() {
  return history.at(-1);
}

/** Returns the values of a figure in the last minutes: pairs of a time and a value. */
export function series(of) {
  const values = history.map((entry) => [entry.at, of(entry)]);
  return values.filter(([, value]) => value !== null && value !== undefined);
}

export function channelSeries(name, field) {
  return series((entry) => entry.channels.get(name)?.[field]);
}

/** Calls a function with each new figures, and at once if there are some. Returns one that ends it. */
export function onFigures(listener) {
  listeners.add(listener);
  if (newest()) listener(newest());
  return () => listeners.delete(listener);
}

/** Calls a function with each outcome of loading a plugin. Returns one that ends it. */
export function onLoad(listener) {
  loadListeners.add(listener);
  return () => loadListeners.delete(listener);
}

function take(answer) {
  // The host has begun anew.
  if (last && answer.uptime_ms < last.uptime_ms) {
    history.length = 0;
    last = undefined;
  }
  history.push(figures(last, answer));
  if (history.length > MOST) history.shift();
  last = answer;
  for (const listener of listeners) listener(newest());
}

/** Begins to follow the host. `onState` gets `live`, or `lost` with a reason. */
export function begin(onState) {
  running?.abort();
  running = new AbortController();
  let isLive = false;
  keepStream("live", running.signal, {
    onOpen() {},
    onEvent(name, data) {
      if (name === "stats") {
        if (!isLive) onState("live");
        isLive = true;
        take(data);
      } else if (name === "load") {
        for (const listener of loadListeners) listener(data);
      }
    },
    onLost(why) {
      isLive = false;
      onState("lost", why);
    },
  });
}

export function end() {
  running?.abort();
  running = undefined;
  history.length = 0;
  last = undefined;
}
