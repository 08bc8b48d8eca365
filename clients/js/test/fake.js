// A WebSocket whose server is the test, and random numbers that are known in advance.

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
    if (this.readyState !== 1) throw new Error("send on a socket that is not open");
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
