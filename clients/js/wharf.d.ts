/** Text, bytes, or a value that is sent as JSON. */
export type Sendable = string | ArrayBuffer | ArrayBufferView | Blob | object;

/** A message with a `type`, as most channels send them. */
export interface Message {
  type: string;
  [member: string]: any;
}

/** The end of a connection or of an attempt. 1006 also stands for a refused handshake: browsers hide the reason. */
export interface End {
  /**
   * The close code: the server's, that of `close`, 1001 for a page that was hidden in the back/forward cache,
   * 1006 without a closing handshake, 1008 without a token.
   */
  code: number;
  reason: string;
  /** False for an attempt that failed. */
  wasOpen: boolean;
}

/** All times are in milliseconds. */
export interface Options {
  /**
   * Parameters added to the URL, in place of those of the same names. The object is read at each attempt, so it may
   * be changed in between. A value that cannot be made a text closes the channel for good, with code 1006.
   */
  query?: Record<string, string | number | boolean>;
  /** Subprotocols to ask for. */
  protocols?: string | string[];
  /**
   * Called before each attempt with the end of the last one that had its token, if there was one. The token that it
   * returns is added to the URL. `null` closes the channel for good, with code 1008. If it throws or rejects, the
   * attempt counts as lost, and the next call gets the same end. After a code of `tokenCodes`, the same token again
   * closes the channel for good. It is not called while a call is under way: further attempts wait for that one.
   */
  token?: (end: End | undefined) => string | null | undefined | Promise<string | null | undefined>;
  /** The parameter that has the token. Default: `"token"`. */
  tokenParameter?: string;
  /**
   * The subprotocol that announces the token, such as `"bearer"`: the token is then asked for as the next subprotocol
   * and is not added to the URL, which ends up in logs. It must be the word that the operator has set for the channel.
   */
  tokenProtocol?: string;
  /** The codes that call for another token, if `token` is given. Default: `[1008, 3000]`. */
  tokenCodes?: number[];
  /** Returns true to connect again. Default: {@link shouldReconnect}, which also decides if this function throws. */
  shouldReconnect?: (end: End) => boolean;
  /** The longest wait before the first attempt to connect again; it doubles with each. Default: 500. */
  firstDelay?: number;
  /** The longest wait before any attempt. Default: 30,000. */
  longestDelay?: number;
  /** The time after which a connection is stable: the delays start again at `firstDelay`. Default: 5,000. */
  stableAfter?: number;
  /** The longest time of an attempt, its token included. Default: 10,000. */
  openTimeout?: number;
  /** The time that a request waits for its answer, unless it has its own. Default: 10,000. */
  timeout?: number;
  /** Messages kept while there is no connection; further ones are refused. Default: 100. */
  queueLength?: number;
  /**
   * Bytes of those messages, text as UTF-8; and bytes that an open connection has not passed on yet, beyond which
   * messages are refused. Default: 8 MiB.
   */
  queueBytes?: number;
  /**
   * True to ask the host for heartbeats, with the parameter `wharf_heartbeat=1` in the URL. The host answers them, and
   * the channel sees neither the parameter nor the heartbeats. Default: true.
   */
  heartbeat?: boolean;
  /**
   * True to get what was missed in rooms that keep their messages: the client says where it was when it comes back, with
   * the parameter `wharf_recover` in the URL, which the channel does not see. Default: true.
   */
  recover?: boolean;
  /** The silence after which a connection with heartbeats is checked. Default: 30,000. */
  quietAfter?: number;
  /** The time within which something must be heard in a check. Default: 5,000. */
  answerTimeout?: number;
  /** The class to connect with if there is no global one, such as `WebSocket` of the package `ws`. */
  WebSocket?: new (url: string, protocols?: string | string[]) => any;
}

/** Connects to a channel. As `new Channel(url, options)`. */
export function connect(url: string | URL, options?: Options): Channel;

/**
 * Returns true for the end of a connection that may be temporary: 1001, 1005, 1006 and 1011 to 1015. Returns
 * false for all other codes, including those of applications (3000 to 4999). A channel whose plugin was removed (1001
 * with the reason `removed`) is tried again as well, but rarely.
 */
export function shouldReconnect(end: { code: number }): boolean;

/** The failure of a message or a request. */
export class ChannelError extends Error {
  constructor(code: string, message: string, answer?: object);
  /**
   * The code in the channel's answer, such as `"INVALID_JSON"`; or, in lower case, a failure of the
   * connection: `"timeout"`, `"connection-lost"`, `"closed"`, `"queue-full"`.
   */
  code: string;
  /** A text for each wrong field, if the channel sends them. */
  fields?: Record<string, string>;
  /** The whole answer of the channel; after `"closed"`, the {@link End}. */
  answer?: any;
}

/**
 * One connection after the other to a channel, until it is closed for good. A function of yours that throws keeps
 * neither the channel nor other functions from going on: its error is reported as an uncaught one.
 */
export class Channel {
  /**
   * @param url `ws:`, `wss:`, `http:` or `https:`; in a page it may be relative. An address that `WebSocket` does not
   *   accept closes the channel, which `onClose` tells of after the constructor has returned.
   * @throws {TypeError} if `url` is not a URL, or there is no `WebSocket`.
   */
  constructor(url: string | URL, options?: Options);

  /** `waiting` for the next attempt to connect; `closed` for good. */
  readonly state: "connecting" | "open" | "waiting" | "closed";

  /**
   * Calls the handler with each message that is a JSON object of this `type`, but not with answers to
   * requests. Returns a function that removes the handler; so do the methods below.
   */
  on(type: string, handler: (message: any) => void): () => void;
  /** Calls the handler with each text message, JSON or not. */
  onText(handler: (text: string) => void): () => void;
  /** Calls the handler with each binary message. */
  onBinary(handler: (data: ArrayBuffer) => void): () => void;
  /** Calls the handler whenever a connection opens. Its messages go before those that have waited. */
  onOpen(handler: (event: { isReconnect: boolean }) => void): () => void;
  /**
   * Calls the handler whenever a connection ends or an attempt fails. `unsent` has the messages that have waited for a
   * connection and are dropped, because the channel is closed for good; it is empty otherwise.
   */
  onClose(handler: (event: End & { willReconnect: boolean; unsent: Sendable[] }) => void): () => void;
  /** Calls the handler when the next attempt is scheduled, `delay` milliseconds from now. */
  onReconnecting(handler: (event: End & { attempt: number; delay: number }) => void): () => void;

  /**
   * Calls the handler when the channel has joined a room that keeps its messages, before the messages that follow from
   * there. `recovered` is true if they are all that was missed since the last connection, false if some of it is not
   * kept any more or cannot be trusted, for this `reason`, and undefined if the room is new to this client. After
   * `false`, load the state of the room anew.
   */
  onHistory(handler: (event: RoomHistory) => void): () => void;

  /** Resolves when a connection is open, now or later; rejects when the channel is closed for good. */
  opened(): Promise<Channel>;

  /**
   * Sends a message, or keeps it until there is a connection. A message that is on its way when a
   * connection is lost may be lost as well; a request rejects then.
   * @throws {ChannelError} `queue-full`, `closed`
   * @throws {TypeError} if JSON has no such value
   */
  send(data: Sendable): void;

  /**
   * Sends a message with a `ref`, and resolves with the payload of the reply. Rejects with a
   * {@link ChannelError}: the channel's, `timeout`, `connection-lost` (the channel may have handled the
   * request), `closed`, or `queue-full`.
   */
  request(type: string, payload?: any, options?: { timeout?: number }): Promise<any>;
  /** Sends a request whose members stand beside its `type`. */
  request(message: Message, options?: { timeout?: number }): Promise<any>;

  /** The presence list of a room, as the server has sent it so far. The same object until {@link forget}. */
  presence(room: string): Presence;
  /**
   * Forgets the list of a room. Call it when you leave the room, since the host then sends no more about it. The list is
   * not current any more, and is not kept.
   */
  forget(room: string): void;

  /**
   * Asks the host for a sign of life, and makes another connection if there is none within `answerTimeout`. A page does
   * so by itself when it wakes up.
   */
  check(): void;
  /** Drops the connection and makes another one, or tries at once if an attempt is scheduled. */
  reconnect(): void;
  /**
   * Closes the channel for good. Requests are rejected, waiting messages are handed to `onClose`.
   * @throws {RangeError} if the code is neither 1000 nor 3000 to 4999, or the reason has more than 123 bytes
   */
  close(code?: number, reason?: string): void;
}

/** The outcome of joining a room that keeps its messages. */
export interface RoomHistory {
  room: string;
  recovered?: boolean;
  /**
   * `new-epoch`: the history began anew, or may have lost its end. `trimmed`: a part is not kept any more. `ahead`: the
   * position is after the last message. `too-much`: more than may wait for one connection. `unavailable`: the hosts do
   * not reach the engine that has the messages.
   */
  reason?: "new-epoch" | "trimmed" | "ahead" | "too-much" | "unavailable";
  /** The number of messages that follow from the history. */
  messages: number;
}

/** The presence list of a room. Kept by {@link Channel.presence}; or by hand, with a plain `WebSocket`. */
export class Presence {
  /** The entries by key, mostly a user's id; `metas` has the metadata of each connection of the key. */
  readonly present: Map<string, { metas: any[] }>;
  /** True if the list is up to date: false until the first list has come, after a lost connection, and once forgotten. */
  readonly isCurrent: boolean;
  /** Calls the handler with the keys that have come, changed and gone. */
  onChange(handler: (change: { joined: string[]; updated: string[]; left: string[] }) => void): () => void;
  /** Takes a message of the type `presence_state` or `presence_diff`, and ignores any that the host has not made. */
  apply(message: Message): void;
  /** Marks the connection as lost: diffs are ignored until the next whole list. */
  markOffline(): void;
}
