// A client for the channels of a Wharf server: for browsers, Deno, bun and Node.js 22 or later,
// without dependencies. A plain `WebSocket` is enough to talk to a channel. This client also
// reconnects, matches answers to requests, and keeps the list of people who are present.
//
// The types, with a description of everything, are in wharf.d.ts; examples are in docs/browser.md.

/** Times are in milliseconds. */
const DEFAULTS = {
  firstDelay: 500, longestDelay: 30_000, stableAfter: 5_000, openTimeout: 10_000, timeout: 10_000,
  queueLength: 100, tokenParameter: "token", tokenCodes: [1008, 3000],
};

/** Going away, no code, no closing handshake, guest failure, restart, overload, gateway, TLS. */
const RECOVERABLE_CODES = [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015];

export function shouldReconnect({ code, reason }) {
  // A proxy may go away for a while, with the same code as a plugin that was removed.
  return RECOVERABLE_CODES.includes(code) && !(code === 1001 && reason === "removed");
}

export function connect(url, options) {
  return new Channel(url, options);
}

export class ChannelError extends Error {
  name = "ChannelError";

  constructor(code, message, answer) {
    super(message);
    Object.assign(this, { code, answer, fields: answer?.fields });
  }
}

/** Makes a function that adds a handler and returns a function to remove it; its `tell` calls them all. */
function handlers() {
  const all = new Set();
  const add = (handler) => {
    const entry = { handler };
    all.add(entry);
    return () => void all.delete(entry);
  };
  add.tell = (...values) => {
    for (const { handler } of [...all]) {
      // A handler that fails must not keep the others from their turn.
      try { handler(...values); } catch (error) { queueMicrotask(() => { throw error; }); }
    }
  };
  return add;
}

export class Presence {
  present = new Map();
  isCurrent = false;
  onChange = handlers();
  #sequence = 0;

  apply({ type, sequence, present, joins, leaves }) {
    const isState = type === "presence_state";
    if (!isState && !(this.isCurrent && sequence > this.#sequence)) return;
    this.isCurrent = true;
    this.#sequence = sequence;
    const entries = new Map(Object.entries((isState ? present : joins) ?? {}));
    const gone = isState ? [...this.present.keys()].filter((key) => !entries.has(key)) : leaves ?? [];
    const left = gone.filter((key) => this.present.delete(key));
    const joined = [...entries.keys()].filter((key) => !this.present.has(key));
    const updated = [...entries.keys()].filter((key) => this.present.has(key));
    for (const [key, entry] of entries) this.present.set(key, entry);
    this.onChange.tell({ joined, updated, left });
  }

  markOffline() {
    this.isCurrent = false;
  }
}

export class Channel {
  onText = handlers();
  onBinary = handlers();
  onOpen = handlers();
  onClose = handlers();
  onReconnecting = handlers();
  #types = new Map();
  #url;
  #options;
  #state = "connecting";
  #socket = null;
  #hasOpened = false;
  #timer;
  /** Attempts since the last connection that was stable. */
  #attempt = 0;
  #token;
  #end;
  #queue = [];
  #requests = new Map();
  #ref = 0;
  #presences = new Map();
  #isOnline = () => {
    if (this.#state !== "waiting") return;
    this.#attempt = 0;
    this.#after(this.#delay(), () => this.#connect());
  };

  constructor(url, options = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const { WebSocket } = globalThis;
    this.#options = { shouldReconnect, WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
    if (!this.#options.WebSocket) throw new TypeError("no WebSocket here: give its class as an option");
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#url.hash = "";
    globalThis.addEventListener?.("online", this.#isOnline);
    this.#connect();
  }

  get state() { return this.#state; }

  on(type, handler) {
    return entry(this.#types, type, handlers)(handler);
  }

  presence(room) {
    return entry(this.#presences, room, () => new Presence());
  }

  opened() {
    return new Promise((resolve, reject) => {
      const settle = () => {
        if (this.#state === "open") resolve(this);
        else if (this.#state === "closed") reject(this.#closedError());
        else return;
        offs.forEach((off) => off());
      };
      const offs = [this.onOpen(settle), this.onClose(settle)];
      settle();
    });
  }

  send(data) {
    const isRaw = typeof data === "string" || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
      || (typeof Blob !== "undefined" && data instanceof Blob);
    this.#send(isRaw ? data : JSON.stringify(data));
  }

  request(message, ...rest) {
    const [payload, options] = typeof message === "string" ? rest : [undefined, rest[0]];
    const ref = ++this.#ref;
    const body = typeof message === "string" ? { type: message, payload, ref } : { ...message, ref };
    const timeout = options?.timeout ?? this.#options.timeout;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // A waiting request is not sent any more: its caller has stopped waiting.
        this.#queue = this.#queue.filter((entry) => entry.ref !== ref);
        this.#settle(ref)?.reject(new ChannelError("timeout", `no answer within ${timeout} ms`));
      }, timeout);
      this.#requests.set(ref, { resolve, reject, timer, isSent: false });
      try { this.#send(JSON.stringify(body), ref); } catch (error) { this.#settle(ref)?.reject(error); }
    });
  }

  reconnect() {
    if (this.#state === "waiting") this.#connect();
    else if (this.#state !== "closed") this.#ended({ code: 1006, reason: "given up by the client" });
  }

  close(code = 1000, reason = "") {
    if (this.#state === "closed") return;
    this.#socket?.close(code, reason);
    this.#ended({ code, reason }, true);
  }

  async #connect() {
    this.#state = "connecting";
    const { openTimeout, query, protocols, token, tokenParameter, WebSocket } = this.#options;
    const opening = (this.#socket = { close() {} });
    const failed = (reason, isFinal) => this.#ended({ code: 1006, reason }, isFinal);
    this.#after(openTimeout, () => failed(`not open within ${openTimeout} ms`));
    const url = new URL(this.#url);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    if (token) {
      let fresh, error;
      try { fresh = await token(this.#end); } catch (thrown) { error = thrown; }
      if (this.#socket !== opening) return;
      if (error) return failed(`no token: ${error}`);
      if (fresh == null) return this.#ended({ code: 1008, reason: "no token" }, true);
      // The token that was refused would be refused again.
      if (fresh === this.#token && this.#isAboutToken(this.#end)) return this.#ended(this.#end, true);
      this.#token = fresh;
      url.searchParams.set(tokenParameter, fresh);
    }
    let socket;
    try { socket = new WebSocket(url.href, protocols ?? []); } catch (error) { return failed(`${error}`, true); }
    this.#socket = socket;
    // Events of an abandoned socket are ignored.
    const current = (handler) => (event) => void (this.#socket === socket && handler(event));
    socket.binaryType = "arraybuffer";
    socket.onopen = current(() => this.#opened());
    socket.onmessage = current(({ data }) => this.#received(data));
    socket.onclose = current((end) => this.#ended(end));
    socket.onerror = () => {}; // a close follows, with all there is to know
  }

  #opened() {
    const isReconnect = this.#hasOpened;
    this.#state = "open";
    this.#hasOpened = true;
    this.#end = undefined;
    this.#after(this.#options.stableAfter, () => (this.#attempt = 0));
    // Messages of the handlers go before those that have waited.
    this.onOpen.tell({ isReconnect });
    while (this.#state === "open" && this.#queue.length > 0) {
      const { data, ref } = this.#queue.shift();
      this.#send(data, ref);
    }
  }

  #received(data) {
    if (typeof data !== "string") return this.onBinary.tell(data);
    this.onText.tell(data);
    let message;
    try { message = JSON.parse(data); } catch { return; }
    const type = message?.type;
    if (typeof type !== "string") return;
    const request = type === "reply" || type === "error" ? this.#settle(message.ref) : undefined;
    if (request && type === "reply") return request.resolve(message.payload);
    if (request) return request.reject(new ChannelError(message.code ?? "error", message.message ?? "", message));
    if (type === "presence_state" || type === "presence_diff") this.presence(message.room).apply(message);
    this.#types.get(type)?.tell(message);
  }

  /** Removes a request from those that wait, and returns it. */
  #settle(ref) {
    const request = this.#requests.get(ref);
    this.#requests.delete(ref);
    clearTimeout(request?.timer);
    return request;
  }

  #send(data, ref) {
    if (this.#state === "closed") throw this.#closedError();
    if (this.#state === "open") {
      if (ref !== undefined) this.#requests.get(ref).isSent = true;
      return this.#socket.send(data);
    }
    const { queueLength } = this.#options;
    if (this.#queue.length >= queueLength) {
      throw new ChannelError("queue-full", `not connected, and ${queueLength} messages are waiting`);
    }
    this.#queue.push({ data, ref });
  }

  /** Handles the end of a connection, or a failed attempt. */
  #ended({ code, reason }, isFinal = false) {
    const [socket, wasOpen, end] = [this.#socket, this.#state === "open", { code, reason }];
    this.#end = end;
    this.#socket = null;
    socket?.close();
    const willReconnect = !isFinal && (this.#isAboutToken(end) || this.#options.shouldReconnect(end));
    this.#state = willReconnect ? "waiting" : "closed";
    for (const presence of this.#presences.values()) presence.markOffline();
    const delay = this.#delay();
    if (willReconnect) {
      this.#attempt += 1;
      this.#after(delay, () => this.#connect());
    } else {
      clearTimeout(this.#timer);
      this.#queue = [];
      globalThis.removeEventListener?.("online", this.#isOnline);
    }
    for (const [ref, { isSent }] of [...this.#requests]) {
      if (willReconnect && !isSent) continue;
      const lost = () => new ChannelError("connection-lost", `lost with code ${code} before the answer`);
      this.#settle(ref).reject(willReconnect ? lost() : this.#closedError());
    }
    this.onClose.tell({ ...end, wasOpen, willReconnect });
    if (this.#state === "waiting") this.onReconnecting.tell({ ...end, attempt: this.#attempt, delay });
  }

  /** A random delay below a bound that doubles, so that a server's clients do not all come back at once. */
  #delay() {
    const { firstDelay, longestDelay } = this.#options;
    // Without a network, rare attempts are enough. They still happen, since the browser may be wrong.
    if (globalThis.navigator?.onLine === false) return longestDelay;
    return Math.random() * Math.min(longestDelay, firstDelay * 2 ** this.#attempt);
  }

  /** Starts the one timer: a channel waits to be open, to be stable, or to try again. */
  #after(delay, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delay);
  }

  #isAboutToken({ code } = {}) {
    const { token, tokenCodes } = this.#options;
    return token !== undefined && tokenCodes.includes(code);
  }

  #closedError() {
    const { code, reason } = this.#end;
    return new ChannelError("closed", `closed with code ${code}${reason && `: ${reason}`}`, this.#end);
  }
}

/** Returns a map's value for a key, and makes it if it is missing. */
function entry(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}
