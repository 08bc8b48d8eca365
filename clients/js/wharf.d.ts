/** Text, bytes, or a value that is sent as JSON. */
export type Sendable = string | ArrayBuffer | ArrayBufferView | Blob | object;

/** A message with a `type`, as most channels send them. */
export interface Message {
  type: string;
  [member: string]: any;
}

/** How a connection ended, or an attempt at one. 1006 also stands for a refused handshake: browsers hide why. */
export interface End {
  /** The close code: the server's, that of `close`, 1006 without a closing handshake, 1008 without a token. */
  code: number;
  reason: string;
}

/** All times are in milliseconds. */
export interface Options {
  /** Parameters added to the URL. The object is read at each attempt, so that it may be changed meanwhile. */
  query?: Record<string, string | number | boolean>;
  /** Subprotocols to ask for. */
  protocols?: string | string[];
  /**
   * Called before each attempt with how the last connection ended, if one did; what it returns is added to
   * the URL. With nothing (`null`) the channel is closed for good, with code 1008. When it throws, the
   * attempt counts as lost. After a code of `tokenCodes` the same token again closes the channel for good.
   */
  token?: (end: End | undefined) => string | null | undefined | Promise<string | null | undefined>;
  /** The parameter that has the token. Default: `"token"`. */
  tokenParameter?: string;
  /** The codes that call for another token, where `token` is given. Default: `[1008, 3000]`. */
  tokenCodes?: number[];
  /** Whether to connect again. Default: {@link shouldReconnect}. */
  shouldReconnect?: (end: End) => boolean;
  /** The longest wait before the first attempt to connect again; it doubles with each. Default: 500. */
  firstDelay?: number;
  /** The longest wait of all. Default: 30,000. */
  longestDelay?: number;
  /** A connection open for so long was a good one: the next delay is a first one. Default: 5,000. */
  stableAfter?: number;
  /** An attempt that takes longer, its token included, is given up. Default: 10,000. */
  openTimeout?: number;
  /** How long a request waits for its answer, unless it says otherwise. Default: 10,000. */
  timeout?: number;
  /** Messages kept while there is no connection; further ones are refused. Default: 100. */
  queueLength?: number;
  /** The class to connect with, where there is no global one, such as `WebSocket` of the package `ws`. */
  WebSocket?: new (url: string, protocols?: string | string[]) => any;
}

/** Connects to a channel. As `new Channel(url, options)`. */
export function connect(url: string | URL, options?: Options): Channel;

/**
 * Whether an ending may pass: true of 1001, 1005, 1006 and 1011 to 1015, false of all others, the codes
 * of applications (3000 to 4999) among them; and false of 1001 with the reason `removed`, which a host
 * gives when the channel's plugin is gone.
 */
export function shouldReconnect(end: End): boolean;

/** What went wrong with a message or a request. */
export class ChannelError extends Error {
  constructor(code: string, message: string, answer?: object);
  /**
   * What the channel answered, such as `"INVALID_JSON"`; or, in lower case, what became of the connection:
   * `"timeout"`, `"connection-lost"`, `"closed"`, `"queue-full"`.
   */
  code: string;
  /** What is wrong with each field, where the channel says so. */
  fields?: Record<string, string>;
  /** The whole answer of the channel; after `"closed"`, the {@link End}. */
  answer?: any;
}

/** One connection after the other to a channel, until it is closed for good. */
export class Channel {
  /**
   * @param url `ws:`, `wss:`, `http:` or `https:`; in a page it may be relative.
   * @throws {SyntaxError | TypeError} where `url` is none, or there is no `WebSocket`.
   */
  constructor(url: string | URL, options?: Options);

  /** `waiting` for the next attempt to connect; `closed` for good. */
  readonly state: "connecting" | "open" | "waiting" | "closed";

  /**
   * Calls the handler with each message that is a JSON object of this `type`, but not with answers to
   * requests. Returns a function that takes the handler away; so do the others.
   */
  on(type: string, handler: (message: any) => void): () => void;
  /** Calls the handler with each text message, whatever is in it. */
  onText(handler: (text: string) => void): () => void;
  /** Calls the handler with each binary message. */
  onBinary(handler: (data: ArrayBuffer) => void): () => void;
  /** Calls the handler whenever a connection is open. What it sends goes before what has waited. */
  onOpen(handler: (event: { isReconnect: boolean }) => void): () => void;
  /** Calls the handler whenever a connection has ended, or an attempt at one. */
  onClose(handler: (event: End & { wasOpen: boolean; willReconnect: boolean }) => void): () => void;
  /** Calls the handler when the next attempt has been set for `delay` milliseconds from now. */
  onReconnecting(handler: (event: End & { attempt: number; delay: number }) => void): () => void;

  /** Resolves when a connection is open, now or later; rejects when the channel is closed for good. */
  opened(): Promise<Channel>;

  /**
   * Sends a message, or keeps it until there is a connection. A message that was under way when a
   * connection is lost is lost; a request tells.
   * @throws {ChannelError} `queue-full`, `closed`
   */
  send(data: Sendable): void;

  /**
   * Sends a message with a `ref`, and resolves with the payload of the reply. Rejects with a
   * {@link ChannelError}: that of the channel, `timeout`, `connection-lost` (it may or may not have been
   * handled), `closed`, or `queue-full`.
   */
  request(type: string, payload?: any, options?: { timeout?: number }): Promise<any>;
  /** The same with a message whose members stand beside its `type`. */
  request(message: Message, options?: { timeout?: number }): Promise<any>;

  /** Who is present in a room of this channel, as the server has told so far. Always the same object. */
  presence(room: string): Presence;

  /** Gives the connection up and makes another one, or tries at once where one is waited for. */
  reconnect(): void;
  /** Ends it for good. Requests are rejected, messages that wait are dropped. */
  close(code?: number, reason?: string): void;
}

/** Who is present in a room. Kept by {@link Channel.presence}; or by hand, with a plain `WebSocket`. */
export class Presence {
  /** By key, mostly a user's id; `metas` has what each connection behind it says of itself. */
  readonly present: Map<string, { metas: any[] }>;
  /** Whether it is up to date: false until the first list has come, and after a lost connection. */
  readonly isCurrent: boolean;
  /** Calls the handler with the keys that have come, changed and gone. */
  onChange(handler: (change: { joined: string[]; updated: string[]; left: string[] }) => void): () => void;
  /** Takes a message of the type `presence_state` or `presence_diff`. */
  apply(message: Message): void;
  /** Says that the connection was lost: differences mean nothing until the next whole list. */
  lapse(): void;
}
