// A chat client for the plugin in plugins/chat. It shows which generation of the plugin has
// answered, so that a swap can be seen while the connection stays open.

import { button, callVisitor, el, field, form, log, visitor } from "/_wharf/elements.js";

const PING_EVERY_MS = 15_000;
const PONG_WITHIN_MS = 10_000;
const TYPING_PAUSE_MS = 2_000;
// Time after which a notice of typing lapses, in case the one of its end got lost.
const TYPING_FORGOTTEN_MS = 10_000;

export const chat = {
  id: "chat",
  title: "Talk",
  heading: "Talk in a room",
  path: "/chat/:room_id",
  about: "Say something: all who are in the room hear it, and see who comes, leaves and types.",
  forMany: "and talk to yourself.",
  tellsGeneration: true,
  tries: ["Swap the code at the top of the page, then say something here: the same connection, another voice.",
    "Go to another room: this one is told that you have left."],

  start(panel, room) {
    let channel;
    let pingTimer, pongTimer, typingTimer;
    let pingSentAt = 0;
    let isTyping = false;
    let me = "";
    const typing = new Map();

    const [nameField, name] = field("Name", { id: "name", maxLength: 64, autocomplete: "nickname", required: true });
    const [roomField, roomInput] = field("Room", { id: "room", maxLength: 60, autocomplete: "off", spellcheck: false, required: true });
    const [list, entry] = log("Messages");
    list.dataset.empty = "It is quiet here. Say something.";
    const here = el("span", { id: "here" });
    const typists = el("p", { className: "typing" });
    const text = el("input", { id: "text", maxLength: 1000, autocomplete: "off", placeholder: "Say something", ariaLabel: "Message" });
    const latency = el("dd", {}, "–");

    panel.work.append(
      list, typists,
      form(say, text, el("button", { id: "send" }, "Send")),
      el("div", { className: "row where" }, here,
        el("details", {}, el("summary", {}, "Change name or room"),
          form(join, nameField, roomField, button("Go there", () => join())))));
    panel.extra.append(el("div", {}, el("dt", {}, "ping"), latency));

    function join() {
      if (!name.value.trim() || !roomInput.value.trim()) return;
      callVisitor(name.value);
      const wanted = roomInput.value.trim();
      showAddress();
      typing.clear();
      showTyping();
      here.textContent = "";
      channel = panel.connect(`/chat/${encodeURIComponent(wanted)}`, { query: { name: name.value.trim() }, queueLength: 0 });
      channel.onOpen(() => ping());
      channel.onClose(({ code, reason, wasOpen }) => {
        clearTimeout(pingTimer);
        clearTimeout(pongTimer);
        isTyping = false;
        if (wasOpen && code !== 1000) entry("notice", `Connection closed: ${code}${reason && `, ${reason}`}`);
      });
      channel.onText(received);
    }

    /** Puts the room into the address, for a reload and for others. */
    function showAddress() {
      // A visitor who has not come for the chat keeps the plain address.
      if (!location.hash.startsWith("#chat") && roomInput.value.trim() === "lobby") return;
      history.replaceState(null, "", `#chat/${encodeURIComponent(roomInput.value.trim())}`);
    }

    function send(message) {
      if (channel.state === "open") channel.send(message);
    }

    function ping() {
      clearTimeout(pingTimer);
      pingSentAt = performance.now();
      send({ type: "ping" });
      const asked = channel;
      pongTimer = setTimeout(() => asked.reconnect(), PONG_WITHIN_MS);
    }

    function say() {
      if (channel.state !== "open" || !text.value.trim()) return;
      typed(false);
      send({ type: "chat_message", message: text.value });
      text.value = "";
    }

    function typed(on) {
      clearTimeout(typingTimer);
      if (on) typingTimer = setTimeout(() => typed(false), TYPING_PAUSE_MS);
      if (on !== isTyping) send({ type: on ? "typing_start" : "typing_stop" });
      isTyping = on;
    }
    text.addEventListener("input", () => typed(text.value !== ""));

    function received(data) {
      let message;
      try { message = JSON.parse(data); } catch { return; }
      const swapped = Number.isInteger(message.generation) && panel.servedBy(message.generation);
      if (swapped) entry("swap", swapped);
      if (Number.isInteger(message.count)) here.textContent = `${message.count} in the room ${roomInput.value.trim()}`;
      const user = String(message.user ?? "");
      switch (message.type) {
        case "system":
          me = user || me;
          return entry("notice", message.message);
        case "user_joined":
        case "user_left":
          setTyping(user, false);
          return entry("notice", `${message.message ?? user} · ${message.count ?? "?"} here`);
        case "user_typing": return setTyping(user, true);
        case "user_stopped_typing": return setTyping(user, false);
        case "chat_message":
          setTyping(user, false);
          return said(user, message);
        case "pong":
          clearTimeout(pongTimer);
          latency.textContent = `${Math.max(1, Math.round(performance.now() - pingSentAt))} ms`;
          pingTimer = setTimeout(ping, PING_EVERY_MS);
          return;
        case "error": return entry("error", message.message ?? message.code);
      }
    }

    function said(user, message) {
      const who = el("strong", { className: "user", dir: "auto" }, user === me ? `${user} (you)` : user);
      const hue = [...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
      who.style.setProperty("--hue", hue);
      const at = new Date(message.timestamp ?? Date.now());
      const time = Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString([], { timeStyle: "short" });
      entry("said", who, el("span", { className: "text", dir: "auto" }, String(message.message ?? "")),
        el("span", { className: "meta" }, `${time} · gen. ${message.generation ?? "–"}`));
    }

    function setTyping(user, on) {
      clearTimeout(typing.get(user));
      typing.delete(user);
      if (on) typing.set(user, setTimeout(() => setTyping(user, false), TYPING_FORGOTTEN_MS));
      showTyping();
    }

    function showTyping() {
      const names = [...typing.keys()];
      const who = names.length > 3 ? `${names.length} people` : names.join(" and ");
      typists.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
    }

    chat.again = (detail) => {
      const wanted = decoded(detail);
      if (!detail || wanted === roomInput.value) return showAddress();
      roomInput.value = wanted;
      join();
    };
    name.value = visitor();
    roomInput.value = decoded(room);
    join();
  },
};

function decoded(room) {
  try { return decodeURIComponent(room ?? "") || "lobby"; } catch { return "lobby"; }
}
