// The people who are present in a room, and handlers of events, for wharf.js.

/** Makes a function that adds a handler and returns a function to remove it; its `tell` calls them all. */
export function handlers() {
  const all = new Set();
  const add = (handler) => {
    const entry = { handler };
    all.add(entry);
    return () => void all.delete(entry);
  };
  add.tell = (...values) => {
    // A handler that fails must not keep the others from their turn.
    for (const { handler } of [...all]) guarded(() => handler(...values));
  };
  return add;
}

export class Presence {
  present = new Map();
  isCurrent = false;
  onChange = handlers();
  #sequence = 0;

  apply(message) {
    if (!isPresence(message)) return;
    const { type, sequence, present, joins = {}, leaves = [] } = message;
    const isState = type === "presence_state";
    if (!isState && !(this.isCurrent && sequence > this.#sequence)) return;
    this.isCurrent = true;
    this.#sequence = sequence;
    const entries = new Map(Object.entries(isState ? present : joins));
    const gone = isState ? [...this.present.keys()].filter((key) => !entries.has(key)) : leaves;
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

/** Returns true for the host's own messages: a plugin may use the same types for something else. */
export function isPresence({ type, room, sequence, present, joins = {}, leaves = [] }) {
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const areEntries = (value) => isObject(value) && Object.values(value).every((entry) => Array.isArray(entry?.metas));
  if ((room !== undefined && typeof room !== "string") || !Number.isFinite(sequence)) return false;
  if (type === "presence_state") return areEntries(present);
  return type === "presence_diff" && areEntries(joins) && Array.isArray(leaves);
}

export function guarded(action) {
  try { action(); } catch (error) { report(error); }
}

/** Throws an error of the page's own function where the page sees it, as one that nobody has caught. */
export function report(error) {
  queueMicrotask(() => { throw error; });
}
