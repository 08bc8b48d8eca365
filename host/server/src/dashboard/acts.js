// The acts of an operator: each asks first, and says what has happened.

import { act, of } from "./api.js";
import { ask } from "./parts.js";

const RELOAD_LIMIT_MS = 15 * 60_000;

const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

const MESSAGE = {
  label: "Message", name: "message", tag: "textarea", rows: 4, required: true, spellcheck: false,
  hint: "Text is sent unchanged. JSON may be sent as well: channels of the examples expect an object.",
};
const CLOSE = [
  { label: "Close code", name: "code", type: "number", min: 1000, max: 4999, value: "1000", required: true, hint: "1000, or 3000 to 4999." },
  { label: "Reason", name: "reason", maxLength: 123, hint: "The client sees it. It may stay empty." },
];
const close = ({ code, reason }) => ({ code: Number(code), reason });

/** Sends to everybody in a channel, or in one of its rooms. */
export function broadcast(channel, room) {
  const where = room === undefined ? `all connections of ${channel}` : `the room ${room}`;
  ask({
    heading: "Broadcast", explanation: `The message goes to ${where}, in its turn among the messages of the plugin.`,
    fields: [MESSAGE], action: "Send",
    async act({ message }) {
      const audience = room === undefined ? { all: true } : { rooms: [room] };
      const { receivers } = await act(of(channel, "broadcast"), { ...audience, text: message });
      return `Sent to ${plural(receivers, "connection")}.`;
    },
  });
}

/** Sends to one connection or user; `to` is the part of the path that names it. */
export function send(channel, kind, name) {
  ask({
    heading: `Send to ${name}`, explanation: kind === "users" ? "Each connection of the user gets the message." : "Only this connection gets the message.",
    fields: [MESSAGE], action: "Send",
    async act({ message }) {
      const { receivers } = await act(of(channel, kind, name, "send"), { text: message });
      return receivers === 0 ? "The connection has just ended: nobody has got it." : `Sent to ${plural(receivers, "connection")}.`;
    },
  });
}

/** Closes one connection, or all of a user. */
export function disconnect(channel, kind, name, then) {
  ask({
    heading: `Disconnect ${name}?`, danger: true, action: "Disconnect", fields: CLOSE,
    explanation: "Messages that wait are delivered first, and the plugin's on_close runs. The client may come back at once, unless the plugin refuses it.",
    async act(given) {
      const { disconnected } = await act(of(channel, kind, name, "disconnect"), close(given));
      then?.();
      return `Disconnected ${plural(disconnected, "connection")}.`;
    },
  });
}

/** Closes all connections of a channel. */
export function disconnectAll(channel, connections) {
  ask({
    heading: `Disconnect everybody from ${channel}?`, danger: true, action: "Disconnect all", fields: CLOSE,
    explanation: `${plural(connections, "connection")} will be closed. Clients may come back at once, all of them together.`,
    async act(given) {
      const { disconnected } = await act(of(channel, "disconnect"), { ...close(given), all: true });
      return `Disconnected ${plural(disconnected, "connection")}.`;
    },
  });
}

const by = "by=dashboard";

/** Brings the plugin before the present one back. */
export function rollback(channel, previous, then) {
  ask({
    heading: `Roll ${channel} back?`, danger: true, action: "Roll back",
    explanation: `The plugin ${previous} is tried on all hosts, and serves on all of them or on none. Open connections stay.`,
    async act() {
      const { sha256, nodes } = await act(`plugins/${encodeURIComponent(channel)}/rollback?${by}`, undefined, { limit: RELOAD_LIMIT_MS });
      then?.();
      return `${channel} is rolled back to ${sha256.slice(0, 12)} on ${plural(nodes.length, "host")}.`;
    },
  });
}

/** Serves what the plugin folder has again. */
export function withdraw(channel, then) {
  ask({
    heading: `Withdraw what is deployed to ${channel}?`, danger: true, action: "Withdraw",
    explanation: "Each host serves the file of its plugin folder again. Without such a file the channel ends.",
    async act() {
      await act(`plugins/${encodeURIComponent(channel)}?${by}`, undefined, { method: "DELETE", limit: RELOAD_LIMIT_MS });
      then?.();
      return `${channel} is withdrawn.`;
    },
  });
}

/** Forgets the state of a room. */
export function reset(channel, room, then) {
  ask({
    heading: `Forget the state of ${room}?`, danger: true, action: "Forget",
    explanation: "The next event of the room begins without a state. Members and timers stay. It cannot be undone.",
    async act() {
      const done = await act(of(channel, "rooms", room, "reset"), {});
      then?.();
      return done.reset > 0 ? "The state is forgotten." : "There was no state.";
    },
  });
}

/** Posts an event to a room. */
export function post(channel, room) {
  ask({
    heading: `Post to ${room}`, explanation: "The plugin's on_room_event handles the event in its turn, with the state of the room.",
    fields: [{ label: "Event, as JSON", name: "event", tag: "textarea", rows: 4, required: true, spellcheck: false }], action: "Post",
    async act({ event }) {
      let json;
      try { json = JSON.parse(event); } catch (error) { throw new Error(`This is not JSON: ${error.message}`); }
      const { generation } = await act(`${of(channel, "rooms", room, "post")}?wait=true`, { event: json });
      return `Generation ${generation} has handled it.`;
    },
  });
}
