// Things that the tests share: a WebSocket whose server is the test, a clock that they move, and random
// numbers that are known in advance.

import { afterEach, beforeEach, mock } from "node:test";

import { connect } from "../wharf.js";

/** Every socket that was made, in order. */
export class FakeWebSocket {
  static all = [];
  static get last() { return FakeWebSocket.all.at(-1); }

  readyState = 0;
  sent = [];
  closedWith = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeWebSocket.all.push(this);
  }

  send(data) {
    if (this.readyState === 0) throw new Error("send on a socket that is not open yet");
    // A browser drops it without an error.
    if (this.readyState > 1) return;
    this.sent.push(data);
  }

  close(code, reason) {
    if (this.readyState > 1) return;
    this.readyState = 2;
    this.closedWith = [code, reason];
  }

  // Actions of the server.

  open() {
    this.readyState = 1;
    this.onopen({});
    return this;
  }

  message(data) {
    this.onmessage({ data: typeof data === "string" || data instanceof ArrayBuffer ? data : JSON.stringify(data) });
  }

  end(code, reason = "") {
    this.readyState = 3;
    this.onerror({});
    this.onclose({ code, reason });
  }

  /** The JSON that was sent. */
  get messages() { return this.sent.map((text) => JSON.parse(text)); }
}

/** Numbers from 0 to 1 that are the same in each run (mulberry32). */
export function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

beforeEach(() => {
  FakeWebSocket.all = [];
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  mock.method(Math, "random", seeded(7));
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

export const channel = (options) => connect("ws://wharf.test/chat/lobby", { WebSocket: FakeWebSocket, ...options });
export const tick = (ms) => mock.timers.tick(ms);
/** Waits until the handlers of settled promises have run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
export const socket = () => FakeWebSocket.last;
export const count = () => FakeWebSocket.all.length;

/** Records the events of a channel's connections, in order. */
export function life(of) {
  const events = [];
  of.onOpen((event) => events.push(["open", event.isReconnect]));
  of.onClose((event) => events.push(["close", event.code, event.willReconnect]));
  of.onReconnecting((event) => events.push(["reconnecting", event.attempt, event.delay]));
  return events;
}

/** Gives the test a page: events of `window` and `document`, and what `navigator` says. */
export async function inPage(test, { onLine = true } = {}) {
  const page = new EventTarget();
  page.visibilityState = "visible";
  const given = {
    addEventListener: page.addEventListener.bind(page), removeEventListener: page.removeEventListener.bind(page),
    document: page, navigator: { onLine },
  };
  const before = Object.keys(given).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const [name, value] of Object.entries(given)) Object.defineProperty(globalThis, name, { value, configurable: true });
  try {
    await test((type, more) => page.dispatchEvent(Object.assign(new Event(type), more)), page);
  } finally {
    for (const [name, descriptor] of before) {
      delete globalThis[name];
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
    }
  }
}
