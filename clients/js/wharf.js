// A client for the channels of a Wharf server: for browsers, React Native, Deno, bun and Node.js 22
// or later, without dependencies. A plain `WebSocket` is enough to talk to a channel. This client
// also reconnects, notices a connection that is dead, matches answers to requests, and keeps the
// list of people who are present.
//
// The types, with a description of everything, are in wharf.d.ts; examples are in docs/browser.md.
//
// Functions of the page (handlers, `token`, `shouldReconnect`, getters of `query`) may throw, and may
// call the channel. So each is called when the channel's state is true, or is guarded.

import { Positions } from "./positions.js";
import { Presence, guarded, handlers, isPresence, report } from "./presence.js";

export { Presence };

/** Times are in milliseconds. */
const DEFAULTS = {
  firstDelay: 500, longestDelay: 30_000, stableAfter: 5_000, openTimeout: 10_000, timeout: 10_000,
  queueLength: 100, queueBytes: 8 * 1024 * 1024, tokenParameter: "token", tokenCodes: [1008, 3000],
  heartbeat: true, recover: true, quietAfter: 30_000, answerTimeout: 5_000,
};

/** Going away, no code, no closing handshake, guest failure, restart, overload, gateway, TLS. */
const RECOVERABLE_CODES = [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015];

/** The parameter that asks the host for heartbeats, and the two messages that they consist of. */
const [HEARTBEAT, PING, PONG] = ["wharf_heartbeat", '{"type":"wharf:ping"}', '{"type":"wharf:pong"}'];
/** The parameter that asks the host for positions, and says where the client was. */
const RECOVER = "wharf_recover";
/** Silence after which a page that wakes up replaces a connection to a server without heartbeats. */
const LONG_SILENCE = 60_000;
/** Rooms whose presence is kept although the page has not asked for it: it may do so a moment later. */
const UNASKED_ROOMS = 16;
/** Events of a page, at `window` or `document`. */
const PAGE_EVENTS = ["online", "pagehide", "pageshow", "focus", "visibilitychange", "resume"];

export function shouldReconnect({ code }) {
  return RECOVERABLE_CODES.includes(code);
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

export class Channel {
  onText = handlers();
  onBinary = handlers();
  onOpen = handlers();
  onClose = handlers();
  onReconnecting = handlers();
  onHistory = handlers();
  #types = new Map();
  #url;
  #options;
  #state = "connecting";
  #socket = null;
  #isNear;
  /** True while nobody can have added a handler yet. */
  #isNew = true;
  #hasOpened = false;
  /** True while the page lies in the back/forward cache. */
  #isAway = false;
  /** True after the channel was removed, until it is there again. */
  #isRemoved = false;
  #timer;
  /** Attempts since the last connection that was stable. */
  #attempt = 0;
  #token;
  /** The call of `token` that is under way. */
  #asking;
  #end;
  /** The last end of a connection or of an attempt that had its token. */
  #endWithToken;
  #queue = [];
  #queuedBytes = 0;
  #requests = new Map();
  #ref = 0;
  #presences = new Map();
  #positions = new Positions();
  #openedAt;
  #hasHeartbeats = false;
  #heardAt = 0;
  /** The time of a ping after which nothing has been heard. */
  #pingedAt;
  #watcher;
  #onPage = (event) => this.#page(event);

  constructor(url, options = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const { WebSocket } = globalThis;
    this.#options = { shouldReconnect, WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
    if (!this.#options.WebSocket) throw new TypeError("no WebSocket here: give its class as an option");
    this.#url = address(url);
    this.#isNear = isNear(this.#url);
    this.#listen("addEventListener");
    this.#connect();
    this.#isNew = false;
  }

  get state() { return this.#state; }

  on(type, handler) {
    return entry(this.#types, type, handlers)(handler);
  }

  presence(room) {
    const kept = entry(this.#presences, room, () => ({ presence: new Presence() }));
    kept.isAskedFor = true;
    return kept.presence;
  }

  forget(room) {
    this.#presences.get(room)?.presence.markOffline();
    this.#presences.delete(room);
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
    this.#send(isRaw(data) ? data : json(data));
  }

  request(message, ...rest) {
    const [payload, options] = typeof message === "string" ? rest : [undefined, rest[0]];
    const ref = ++this.#ref;
    const body = typeof message === "string" ? { type: message, payload, ref } : { ...message, ref };
    const timeout = options?.timeout ?? this.#options.timeout;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // A waiting request is not sent any more: its caller has stopped waiting.
        this.#takeFromQueue(this.#queue.findIndex((entry) => entry.ref === ref));
        this.#settle(ref)?.reject(new ChannelError("timeout", `no answer within ${timeout} ms`));
      }, timeout);
      this.#requests.set(ref, { resolve, reject, timer, isSent: false });
      try { this.#send(json(body), ref); } catch (error) { this.#settle(ref)?.reject(error); }
    });
  }

  check() {
    if (this.#state !== "open" || this.#pingedAt !== undefined) return;
    if (!this.#hasHeartbeats) {
      if (Date.now() - this.#heardAt >= LONG_SILENCE) this.reconnect();
      return;
    }
    const { answerTimeout } = this.#options;
    const pingedAt = (this.#pingedAt = Date.now());
    this.#beat(PING);
    this.#watch(answerTimeout, () => {
      this.#pingedAt = undefined;
      // The page itself was busy or asleep: the answer may be among what it has not read yet.
      if (Date.now() - pingedAt > answerTimeout + 1_000) this.check();
      else this.#ended({ code: 1006, reason: `no sign of life within ${answerTimeout} ms` }, true);
    });
  }

  reconnect() {
    if (this.#state === "waiting") this.#connect();
    else if (this.#state !== "closed") this.#ended({ code: 1006, reason: "given up by the client" }, true);
  }

  close(code = 1000, reason = "") {
    // `WebSocket` throws as well, but only while it is open.
    const isCode = code === 1000 || (Number.isInteger(code) && code >= 3000 && code <= 4999);
    if (!isCode) throw new RangeError(`a client closes with 1000, or 3000 to 4999, not with ${String(code)}`);
    if (bytesOf(`${reason}`) > 123) throw new RangeError("the reason is longer than 123 bytes");
    if (this.#state === "closed") return;
    closeSocket(this.#socket, code, `${reason}`);
    this.#ended({ code, reason: `${reason}` }, false);
  }

  async #connect() {
    if (this.#isAway) return;
    this.#state = "connecting";
    const { openTimeout, query, protocols, token, tokenParameter, tokenProtocol, WebSocket } = this.#options;
    const opening = (this.#socket = { lacksToken: Boolean(token), close() {} });
    const failed = (reason, willReconnect) => this.#ended({ code: 1006, reason }, willReconnect);
    this.#after(openTimeout, () => failed(`not open within ${openTimeout} ms`));
    let fresh;
    if (token) {
      try {
        fresh = await this.#askForToken();
      } catch (error) {
        if (this.#socket === opening) failed(`no token: ${textOf(error)}`);
        return;
      }
      if (this.#socket !== opening) return;
      if (fresh == null) return this.#ended({ code: 1008, reason: "no token" }, false);
      // The token that was refused would be refused again.
      if (fresh === this.#token && this.#isAboutToken(this.#endWithToken)) return this.#ended(this.#endWithToken, false);
      this.#token = fresh;
    }
    let socket;
    try {
      const parameters = Object.entries(query ?? {});
      if (token && !tokenProtocol) parameters.push([tokenParameter, fresh]);
      if (this.#options.heartbeat) parameters.push([HEARTBEAT, 1]);
      if (this.#options.recover) parameters.push([RECOVER, this.#positions.told()]);
      const asked = token && tokenProtocol ? [protocols ?? [], tokenProtocol, `${fresh}`].flat() : protocols ?? [];
      socket = new WebSocket(withParameters(this.#url, parameters), asked);
      socket.binaryType = "arraybuffer";
    } catch (error) {
      if (this.#socket === opening) failed(textOf(error), false);
      return;
    }
    if (this.#socket !== opening) return closeSocket(socket);
    this.#socket = socket;
    // Events of an abandoned socket are ignored.
    const current = (handler) => (event) => void (this.#socket === socket && handler(event));
    socket.onopen = current(() => this.#opened());
    socket.onmessage = current(({ data }) => this.#received(data));
    socket.onclose = current((end) => this.#ended(end));
    socket.onerror = () => {}; // a close follows, with all there is to know
  }

  /** Calls `token`, unless a call is under way: one that is given up may use up what the next one needs. */
  #askForToken() {
    const end = this.#endWithToken && { ...this.#endWithToken };
    this.#asking ??= Promise.resolve().then(() => this.#options.token(end))
      .finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  #opened() {
    const isReconnect = this.#hasOpened;
    this.#state = "open";
    this.#hasOpened = true;
    this.#isRemoved = false;
    this.#end = undefined;
    this.#openedAt = this.#heardAt = Date.now();
    this.#after(this.#options.stableAfter, () => (this.#attempt = 0));
    // Messages of the handlers go before those that have waited.
    this.onOpen.tell({ isReconnect });
    while (this.#isReady() && this.#queue.length > 0) {
      const { data, ref } = this.#takeFromQueue(0);
      // One that cannot be sent must not hold up the others.
      guarded(() => {
        try {
          this.#transmit(data, ref);
        } catch (error) {
          const request = this.#settle(ref);
          if (!request) throw error;
          request.reject(error);
        }
      });
    }
  }

  #received(data) {
    this.#heard();
    const note = this.#options.recover ? this.#positions.take(data) : undefined;
    if (note?.isMissing) return this.#ended({ code: 1006, reason: "a message is missing" }, true);
    if (note?.history) this.onHistory.tell(note.history);
    if (note) return;
    if (typeof data !== "string") return this.onBinary.tell(data);
    if (this.#options.heartbeat && (data === PING || data === PONG)) {
      if (data === PING) this.#beat(PONG);
      if (!this.#hasHeartbeats) this.#watchForSilence();
      this.#hasHeartbeats = true;
      return;
    }
    const socket = this.#socket;
    this.onText.tell(data);
    let message;
    try { message = JSON.parse(data); } catch { return; }
    const type = message?.type;
    if (typeof type !== "string") return;
    const request = type === "reply" || type === "error" ? this.#settle(message.ref) : undefined;
    if (request && type === "reply") return request.resolve(message.payload);
    if (request) return request.reject(errorOf(message));
    // A handler may have ended the connection.
    if (isPresence(message) && this.#socket === socket) this.#keepPresence(message);
    this.#types.get(type)?.tell(message);
  }

  #keepPresence(message) {
    const { room, type } = message;
    if (!this.#presences.has(room)) {
      if (typeof room !== "string" || type !== "presence_state") return;
      const unasked = [...this.#presences].filter(([, kept]) => !kept.isAskedFor);
      if (unasked.length >= UNASKED_ROOMS) this.forget(unasked[0][0]);
      this.#presences.set(room, { presence: new Presence(), isAskedFor: false });
    }
    this.#presences.get(room).presence.apply(message);
  }

  /** Removes a request from those that wait, and returns it. */
  #settle(ref) {
    const request = this.#requests.get(ref);
    this.#requests.delete(ref);
    clearTimeout(request?.timer);
    return request;
  }

  /** Returns true if the socket takes messages: one that is closing drops them without an error. */
  #isReady() {
    return this.#state === "open" && (this.#socket.readyState ?? 1) === 1;
  }

  #send(data, ref) {
    if (this.#state === "closed") throw this.#closedError();
    const { queueLength, queueBytes } = this.#options;
    if (this.#isReady()) {
      const { bufferedAmount } = this.#socket;
      if (bufferedAmount > queueBytes) throw new ChannelError("queue-full", `${bufferedAmount} bytes are still to be sent`);
      return this.#transmit(data, ref);
    }
    const [kept, bytes] = [copyOf(data), bytesOf(data)];
    if (this.#queue.length >= queueLength || this.#queuedBytes + bytes > queueBytes) {
      throw new ChannelError("queue-full",
        `not connected, and ${this.#queue.length} messages of ${this.#queuedBytes} bytes are waiting`);
    }
    this.#queue.push({ data: kept, ref, bytes });
    this.#queuedBytes += bytes;
  }

  #transmit(data, ref) {
    if (ref !== undefined) this.#requests.get(ref).isSent = true;
    this.#socket.send(data);
  }

  #takeFromQueue(index) {
    if (index < 0) return undefined;
    const [taken] = this.#queue.splice(index, 1);
    this.#queuedBytes -= taken.bytes;
    return taken;
  }

  /** Handles the end of a connection, or a failed attempt. Asks `shouldReconnect`, unless it is decided. */
  #ended({ code = 1006, reason = "" }, decided) {
    const [socket, wasOpen] = [this.#socket, this.#state === "open"];
    const end = { code, reason, wasOpen };
    this.#end = end;
    // This is true from here on, and functions of the page may act on it.
    this.#socket = null;
    this.#state = "waiting";
    clearTimeout(this.#timer);
    clearTimeout(this.#watcher);
    [this.#hasHeartbeats, this.#pingedAt] = [false, undefined];
    if (wasOpen) this.#positions.ended(Date.now() - this.#openedAt >= this.#options.stableAfter);
    for (const [room, { presence, isAskedFor }] of this.#presences) {
      presence.markOffline();
      if (!isAskedFor) this.#presences.delete(room);
    }
    closeSocket(socket);
    if (socket && !socket.lacksToken) this.#endWithToken = end;
    const willTry = decided ?? (this.#isAboutToken(end) || this.#asksForMore(end));
    // `shouldReconnect` may have closed the channel, or have connected already.
    const isAsIs = this.#state === "waiting" && this.#socket === null;
    if (this.#state === "closed") return;
    this.#isRemoved ||= code === 1001 && reason === "removed";
    const delay = this.#delay();
    let unsent = [];
    if (!isAsIs || (willTry && this.#isAway)) {
      // Nothing is to be scheduled.
    } else if (willTry) {
      this.#attempt += 1;
      this.#after(delay, () => this.#connect());
    } else {
      this.#state = "closed";
      unsent = this.#queue.filter(({ ref }) => ref === undefined).map(({ data }) => data);
      [this.#queue, this.#queuedBytes] = [[], 0];
      this.#listen("removeEventListener");
    }
    const willReconnect = this.#state !== "closed";
    for (const [ref, { isSent }] of [...this.#requests]) {
      if (willReconnect && !isSent) continue;
      const lost = () => new ChannelError("connection-lost", `lost with code ${code} before the answer`);
      this.#settle(ref).reject(willReconnect ? lost() : this.#closedError());
    }
    const tell = () => {
      this.onClose.tell({ ...end, willReconnect, unsent });
      const isScheduled = this.#state === "waiting" && !this.#isAway && this.#end === end;
      if (isScheduled) this.onReconnecting.tell({ ...end, attempt: this.#attempt, delay });
    };
    // A page adds its handlers when the constructor has returned.
    if (this.#isNew) queueMicrotask(tell);
    else tell();
  }

  #asksForMore(end) {
    try { return Boolean(this.#options.shouldReconnect({ ...end })); } catch (error) { report(error); }
    return shouldReconnect(end);
  }

  /** A random delay below a bound that doubles, so that a server's clients do not all come back at once. */
  #delay() {
    const { firstDelay, longestDelay } = this.#options;
    // A channel that was taken away may be there again, but hardly in a moment.
    if (this.#isRemoved) return longestDelay * (0.5 + Math.random() / 2);
    // Without a network, rare attempts are enough. They still happen, since the browser may be wrong.
    if (globalThis.navigator?.onLine === false && !this.#isNear) return longestDelay;
    return Math.random() * Math.min(longestDelay, firstDelay * 2 ** this.#attempt);
  }

  /** Starts the one timer: a channel waits to be open, to be stable, or to try again. */
  #after(delay, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delay);
  }

  #heard() {
    this.#heardAt = Date.now();
    if (this.#pingedAt === undefined) return;
    this.#pingedAt = undefined;
    this.#watchForSilence();
  }

  /** Sends a message of the heartbeat, which does not wait and is no concern of the page. */
  #beat(text) {
    if (this.#isReady()) guarded(() => this.#socket.send(text));
  }

  #watch(delay, then) {
    clearTimeout(this.#watcher);
    this.#watcher = setTimeout(then, delay);
  }

  /** Checks the connection after a silence. The host breaks it more often, unless its network is gone. */
  #watchForSilence(delay = this.#options.quietAfter) {
    this.#watch(delay, () => {
      const left = this.#heardAt + this.#options.quietAfter - Date.now();
      if (left > 0) this.#watchForSilence(Math.min(left, this.#options.quietAfter));
      else this.check();
    });
  }

  #listen(method) {
    for (const target of [globalThis, globalThis.document]) {
      for (const type of PAGE_EVENTS) target?.[method]?.(type, this.#onPage);
    }
  }

  /** Handles an event of the page: it goes into the back/forward cache, comes back, or wakes up. */
  #page({ type, persisted }) {
    if (type === "pagehide") {
      if (!persisted || this.#isAway) return;
      this.#isAway = true;
      if (this.#state === "waiting") return clearTimeout(this.#timer);
      closeSocket(this.#socket, 1000, "page hidden");
      return this.#ended({ code: 1001, reason: "page hidden" }, true);
    }
    const wasAway = this.#isAway && type === "pageshow";
    if (wasAway) this.#isAway = false;
    else if (globalThis.document?.visibilityState === "hidden" && type !== "online") return;
    if (this.#state === "open") return this.check();
    if (this.#state !== "waiting" || type === "focus") return;
    [this.#attempt, this.#isRemoved] = [0, false];
    const delay = wasAway ? 0 : this.#delay();
    if (delay < this.#options.longestDelay) this.#after(delay, () => this.#connect());
  }

  #isAboutToken({ code } = {}) {
    const { token, tokenCodes } = this.#options;
    return Boolean(token) && tokenCodes.includes(code);
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

function closeSocket(socket, ...end) {
  try { socket?.close(...end); } catch { /* it is abandoned all the same */ }
}

/** Returns the error of an answer, of whatever shape that is. */
function errorOf(answer) {
  const { code, message = "" } = answer;
  const text = typeof message === "string" ? message : JSON.stringify(message);
  return new ChannelError(typeof code === "string" ? code : "error", text, answer);
}

function textOf(error) {
  try { return String(error); } catch { return "an error without a text"; }
}

function json(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`JSON has no ${typeof value}`);
  return text;
}

function isRaw(data) {
  return typeof data === "string" || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
    || (typeof Blob !== "undefined" && data instanceof Blob);
}

/** Returns bytes that stay as they are, for a message that has to wait. */
function copyOf(data) {
  if (data instanceof ArrayBuffer) return data.slice(0);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return data;
}

function bytesOf(data) {
  if (typeof data !== "string") return data.byteLength ?? data.size;
  return typeof TextEncoder === "undefined" ? data.length * 3 : new TextEncoder().encode(data).length;
}

/** Returns an address for `WebSocket`, as text: in React Native `URL` can hardly do more than be made. */
function address(url) {
  let text = String(url).trim();
  const isAbsolute = () => /^(ws|http)s?:\/\//i.test(text);
  if (!isAbsolute()) text = new URL(text, globalThis.location?.href).href;
  if (!isAbsolute() || globalThis.URL?.canParse?.(text) === false) throw new TypeError(`no address of a channel: ${text}`);
  return text.replace(/#.*$/s, "").replace(/^http/i, "ws");
}

/** Returns an address with parameters in place of those of the same names. */
function withParameters(url, parameters) {
  const [path, query = ""] = url.split(/\?(.*)/s, 2);
  const encoded = (value) => encodeURIComponent(String(value).replace(/[\ud800-\udfff]/gu, "\ufffd")).replace(/%20/g, "+");
  const added = new Map(parameters.map(([name, value]) => [encoded(name), encoded(value)]));
  const kept = query.split("&").filter((pair) => pair && !added.has(pair.split("=", 1)[0]));
  const all = [...kept, ...[...added].map((pair) => pair.join("="))];
  return all.length > 0 ? `${path}?${all.join("&")}` : path;
}

/** Returns true for this machine and the network around it, which work without what `onLine` tells of. */
function isNear(url) {
  const [, host] = url.toLowerCase().match(/^\w+:\/\/(?:[^/?@]*@)?(\[[^\]]*\]|[^/?:]*)/);
  const name = host.replace(/^\[(?:::ffff:(?=.*\.))?|\]$|\.$/g, "");
  if (name.includes(":")) return /^(::1$|::ffff:(7f|a)|f[cd]|fe[89ab])/.test(name);
  if (/^[\d.]+$/.test(name)) {
    return /^(0|10|127|169\.254|192\.168|172\.(1[6-9]|2\d|3[01])|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./.test(name);
  }
  return !name.includes(".") || /\.(localhost|local|lan|internal|home\.arpa)$/.test(name);
}
