// The places in rooms' histories up to which a client of wharf.js has got the messages.
//
// A host whose channel keeps messages tells a client that asks for it where each message stands: a note comes
// before the message, or in place of one that is for others. A note about a room that was joined comes first. The
// client says where it was when it comes back. docs/browser.md has the convention for other clients.

/** The beginning of the host's own messages, and of messages that look like one. */
const NOTE = '{"type":"wharf:';
/** Rooms whose places are kept and told, and the characters that they may take in an address. */
const [MOST_ROOMS, MOST_CHARACTERS] = [256, 4096];

export class Positions {
  /** Places by room; the one that was heard of last comes last. */
  #places = new Map();
  /** Rooms that were heard of on this connection. */
  #heard = new Set();
  /** The place of the message that comes next, `null` if it has none, `undefined` if no note came before it. */
  #next;

  /** Returns the places as the host reads them; the ones that were heard of last, if there are too many. */
  told() {
    let text = "";
    for (const [room, { epoch, offset }] of [...this.#places].reverse()) {
      const more = `${encodeURIComponent(room)},${epoch},${offset}`;
      if (encodeURIComponent(`${text};${more}`).length > MOST_CHARACTERS) break;
      text = text ? `${text};${more}` : more;
    }
    return text;
  }

  /**
   * Takes what has come. Returns `undefined` for a message; `{}` for a note that is no concern of the page;
   * `{ history }` for one about a room that was joined; `{ isMissing: true }` if a message is missing.
   */
  take(data) {
    if (this.#next !== undefined) {
      if (this.#next) this.#reach(this.#next);
      this.#next = undefined;
      return undefined;
    }
    if (typeof data !== "string" || !data.startsWith(NOTE)) return undefined;
    let note;
    try { note = JSON.parse(data); } catch { return undefined; }
    const { type, room, epoch, offset, recovered, reason, messages, skipped } = note;
    if (type === "wharf:message") {
      this.#next = null;
      return {};
    }
    if (typeof room !== "string" || typeof epoch !== "string" || !Number.isInteger(offset)) return undefined;
    if (type === "wharf:history") {
      this.#reach({ room, epoch, offset });
      return { history: { room, recovered, reason, messages } };
    }
    if (type !== "wharf:position") return undefined;
    const known = this.#places.get(room);
    if (known?.epoch !== epoch || known.offset + 1 !== offset) return { isMissing: true };
    if (skipped) this.#reach({ room, epoch, offset });
    else this.#next = { room, epoch, offset };
    return {};
  }

  /** Notes that the connection has ended. Rooms that a stable one has not spoken of were left. */
  ended(wasStable) {
    for (const room of [...this.#places.keys()]) if (wasStable && !this.#heard.has(room)) this.#places.delete(room);
    this.#heard.clear();
    this.#next = undefined;
  }

  #reach({ room, epoch, offset }) {
    this.#heard.add(room);
    this.#places.delete(room);
    this.#places.set(room, { epoch, offset });
    if (this.#places.size > MOST_ROOMS) this.#places.delete(this.#places.keys().next().value);
  }
}
