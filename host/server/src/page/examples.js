// The panels of the smaller example plugins; two more are in files of their own.

import { button, callVisitor, choice, el, field, form, log, sender, visitor } from "/_wharf/elements.js";
import { shown } from "/_wharf/panel.js";

export { secure } from "/_wharf/secure.js";

/** Makes a list of the messages sent and received. */
function exchange(label) {
  const [list, entry] = log(label);
  const sent = (text) => entry("sent", "→ ", text);
  const got = (text) => entry("got", "← ", text);
  return { list, entry, sent, got };
}

export const echo = {
  id: "echo",
  title: "Echo",
  path: "/echo",
  about: "Sends back whatever it receives: text as text, bytes as bytes. The smallest plugin there is.",
  tries: ["Send a text, then some bytes. Anything will do, JSON or not."],

  start(panel) {
    const { list, entry, sent, got } = exchange("Messages");
    const [label, text] = field("Text", { value: "ahoy", autocomplete: "off" });
    const channel = panel.connect("/echo");
    const send = sender(channel, entry);
    channel.onText(got);
    channel.onBinary((data) => got(shown(data)));
    const bytes = () => {
      const data = crypto.getRandomValues(new Uint8Array(8));
      if (send(data)) sent(shown(data));
    };
    panel.work.append(
      form(() => send(text.value) && sent(text.value), label, el("button", {}, "Send"), button("Send bytes", bytes)),
      list);
  },
};

export const notifications = {
  id: "notifications",
  title: "Notifications",
  path: "/notifications",
  about: "Messages for users, on all of their devices. This page plays three devices: two are Ann's, one is Bob's.",
  tries: ["Notify Bob from one of Ann's devices, and Ann from Bob's: hers ring both.",
    "Sign Ann out elsewhere: her other device is closed with code 4001, and does not come back."],

  start(panel) {
    const people = [["ann", "Ann's phone"], ["ann", "Ann's laptop"], ["bob", "Bob's phone"]];
    const devices = el("div", { className: "columns" });
    people.forEach(([user, title], index) => {
      const [list, entry] = log(title);
      const options = { query: { user } };
      const channel = index === 0 ? panel.connect("/notifications", options) : panel.also(title, "/notifications", options);
      const send = sender(channel, entry);
      channel.on("welcome", ({ devices }) =>
        entry("notice", `signed in as ${user}, on ${devices} ${devices === 1 ? "device" : "devices"}`));
      channel.on("notification", ({ from, text }) => entry("got", el("strong", {}, `${from}: `), text));
      channel.on("delivered", ({ online, offline }) =>
        entry("notice", `delivered to ${online.join(", ") || "nobody"}${offline.length ? `; offline: ${offline.join(", ")}` : ""}`));
      channel.on("error", (message) => entry("error", message.message ?? message.code));
      channel.onClose(({ code, reason, willReconnect }) => willReconnect || entry("error", `closed with ${code}: ${reason}`));
      const other = user === "ann" ? "bob" : "ann";
      const [label, text] = field(`To ${other}`, { value: `hello from ${title}`, autocomplete: "off" });
      devices.append(el("section", { className: "box", ariaLabel: title }, el("h3", {}, title), list,
        form(() => send({ type: "notify", to: [other], text: text.value }), label, el("button", {}, "Notify"),
          button("Tell all others", () => send({ type: "announce", text: text.value })),
          button("Sign out elsewhere", () => send({ type: "sign_out_elsewhere" })))));
    });
    panel.work.append(devices);
  },
};

export const presence = {
  id: "presence",
  title: "Presence",
  path: "/presence/:room",
  about: "Who is in a room, with a status for each of their tabs. The host keeps the list and tells what changes.",
  forMany: "and be there twice, or under another name.",
  tries: ["Let others come and go, and choose another status.",
    "Load the page again: for the others you were never away. A visitor who leaves stays on the list for two seconds."],

  start(panel) {
    const guests = new Map();
    const people = el("ul", { className: "people", ariaLabel: "Who is here" });
    const [list, entry] = log("What has changed");
    const [nameField, name] = field("Name", { value: visitor(), maxLength: 60, autocomplete: "nickname", required: true });
    const [statusField, status] = choice("Status", "online", "away", "busy");
    let send;
    const enter = () => {
      callVisitor(name.value);
      const channel = panel.connect("/presence/demo", { query: { user: name.value } });
      const room = channel.presence("demo");
      send = sender(channel, entry);
      status.value = "online";
      channel.on("error", (message) => entry("error", message.message));
      // Another connection is another session: it does not know the status yet.
      channel.onOpen(({ isReconnect }) => isReconnect && send({ type: "status", status: status.value }));
      room.onChange(({ joined, updated, left }) => {
        const entries = [...room.present].sort(([one], [other]) => (one < other ? -1 : 1));
        people.replaceChildren(...entries.map(([key, { metas }]) =>
          el("li", {}, el("strong", { dir: "auto" }, key), ` ${metas.map((meta) => meta?.status ?? "").join(", ")}`)));
        for (const [what, keys] of [["came", joined], ["changed", updated], ["left", left]]) {
          if (keys.length > 0) entry("notice", `${keys.join(", ")} ${what}`);
        }
      });
    };
    status.addEventListener("change", () => send({ type: "status", status: status.value }));
    const come = () => {
      const user = ["bob", "cleo", "dag", "edda"].find((guest) => !guests.has(guest));
      if (user) guests.set(user, panel.also(user, "/presence/demo", { query: { user } }));
    };
    const go = () => {
      const [user] = [...guests.keys()].slice(-1);
      guests.get(user)?.close();
      guests.delete(user);
    };
    panel.work.append(
      form(enter, nameField, el("button", {}, "Enter")),
      el("div", { className: "row" }, statusField, button("Hide me", () => send({ type: "hide" })),
        button("Show me", () => send({ type: "show" })), button("Somebody comes", come), button("Somebody goes", go)),
      people, list);
    enter();
  },
};

const SIDE = 64;
/** Size of a cell, in pixels. */
const CELL = 8;
const COLORS = ["#d6336c", "#ae3ec9", "#4263eb", "#0ca678", "#e8890c", "#e03131"];

export const game = {
  id: "game",
  title: "Game",
  path: "/game/:game_id",
  about: "Players claim cells of a board, one each turn. The board is the state of a room, and moves are handled one at a "
    + "time: a cell is never claimed twice, however many click at once.",
  forMany: "and play against yourself: a turn is over when all who have joined have moved.",
  tries: ["Join, then click on the board, or name a cell and move.", "Claim a cell twice, or move without joining.",
    "The plugin sends moves and not the board: a player who comes later sees only the moves from then on."],

  start(panel) {
    const [list, entry] = log("Moves");
    const board = el("canvas", {
      className: "board", width: SIDE * CELL, height: SIDE * CELL, role: "img", ariaLabel: "The board, 64 by 64 cells",
    });
    const context = board.getContext("2d");
    const [nameField, name] = field("Name", { value: visitor(), maxLength: 40, autocomplete: "nickname", required: true });
    const [colorField, color] = field("Colour", { type: "color", value: COLORS[Math.floor(Math.random() * COLORS.length)] });
    const cell = (label) => field(label, { type: "number", min: 0, max: SIDE - 1, value: 0, required: true });
    const [[xField, x], [yField, y]] = [cell("x"), cell("y")];
    const channel = panel.connect("/game/demo", { queueLength: 0 });
    const send = sender(channel, entry);
    const move = (x, y) => send({ type: "move", x, y });
    channel.on("player_joined", ({ player, players }) => entry("notice", `${player} has joined, ${players} playing`));
    channel.on("player_left", ({ player, players }) => entry("notice", `${player} has left, ${players} playing`));
    channel.on("turn", ({ turn }) => entry("notice", `turn ${turn}`));
    channel.on("error", (message) => entry("error", message.message));
    channel.on("move_made", (move) => {
      context.fillStyle = move.color;
      context.fillRect(move.x * CELL, move.y * CELL, CELL, CELL);
      entry("got", `${move.number}. ${move.player} claims ${move.x}, ${move.y}`);
    });
    board.addEventListener("click", (event) => {
      const scale = SIDE / board.clientWidth;
      [x.value, y.value] = [event.offsetX, event.offsetY].map((at) => Math.min(SIDE - 1, Math.max(0, Math.floor(at * scale))));
      move(Number(x.value), Number(y.value));
    });
    const join = () => {
      callVisitor(name.value);
      send({ type: "join_game", player_name: name.value, color: color.value });
    };
    panel.work.append(
      form(join, nameField, colorField, el("button", {}, "Join"), button("Leave", () => send({ type: "leave_game" }))),
      form(() => move(Number(x.value), Number(y.value)), xField, yField, el("button", {}, "Move")),
      el("div", { className: "columns" }, board, list));
  },
};

export const batched = {
  id: "batched",
  title: "Batched",
  path: "/batched",
  about: "Messages of all clients, told to all in batches: as soon as there are ten, and at the latest after 100 ms.",
  forMany: "and send from there: its messages come here too, in the same batches.",
  tries: ["Send 25 at once: two batches of ten come right away, the other five when their 100 ms are over."],

  start(panel) {
    const [list, entry] = log("Batches");
    const [label, count] = field("Messages", { type: "number", min: 1, max: 100, value: 25, required: true });
    const channel = panel.connect("/batched");
    const send = sender(channel, entry);
    let [last, sentAt] = [0, -Infinity];
    channel.on("batch", ({ number, messages }) => {
      const texts = messages.map(({ message }) => message);
      const range = texts.length > 1 ? `${texts[0]} … ${texts.at(-1)}` : texts[0];
      // Those that come later are another client's.
      const wait = Math.round(performance.now() - sentAt);
      const after = wait < 1_000 ? `${wait} ms after the last was sent` : "";
      entry("got", el("strong", {}, `Batch ${number}`), ` of ${messages.length}: ${range}`, el("span", { className: "meta" }, after));
    });
    channel.on("error", (message) => entry("error", message.message));
    const sendAll = () => {
      for (let left = Number(count.value); left > 0 && send(`message ${++last}`); left--);
      sentAt = performance.now();
    };
    panel.work.append(form(sendAll, label, el("button", {}, "Send all at once")), list);
  },
};

export const robust = {
  id: "robust",
  title: "Robust",
  path: "/robust",
  about: "A shop that sells tea, and whatever can go wrong in it. Each request carries a `ref`, and is answered, error or "
    + "not; five mistakes, and you are out.",
  tries: [
    "Order cola, −1 cups, white tea (sold out) or 100 cups (too expensive). Coupons are TEA- and a number up to 255.",
    "Break the machine: the plugin panics, the host closes with 1011, and the page comes back with a new session.",
  ],

  start(panel) {
    const { list, entry, sent, got } = exchange("Orders");
    const [teaField, tea] = choice("Tea", "green", "black", "white", "cola");
    const [cupsField, cups] = field("Cups", { type: "number", value: 2, required: true });
    const [couponField, coupon] = field("Coupon", { value: "TEA-20", required: true });
    const credit = el("dd", { className: "big" }, "50");
    const channel = panel.connect("/robust");
    const send = sender(channel, entry);
    channel.onOpen(() => (credit.textContent = "50"));
    channel.onClose(({ code, reason }) => entry("error", `closed with ${code}${reason && `: ${reason}`}`));
    // The error of a request goes to its caller; the others arrive here.
    channel.on("error", (message) => entry("error", `← ${message.code}${message.message ? `: ${message.message}` : ""}`));
    const order = async (type, payload) => {
      sent(`${type} ${payload ? JSON.stringify(payload) : ""}`);
      try {
        const answer = await channel.request(type, payload);
        credit.textContent = answer.credit;
        got(JSON.stringify(answer));
      } catch (error) {
        const fields = Object.entries(error.fields ?? {}).map(([name, why]) => `; ${name} ${why}`);
        entry("error", `← ${error.code}: ${error.message}${fields.join("")}`);
      }
    };
    panel.extra.append(el("dt", {}, "credit"), credit);
    panel.work.append(
      form(() => order("buy", { tea: tea.value, cups: Number(cups.value) }), teaField, cupsField, el("button", {}, "Buy")),
      form(() => order("redeem", { coupon: coupon.value }), couponField, el("button", {}, "Redeem")),
      el("div", { className: "row" },
        button("Send no JSON", () => send("tea, please") && sent("tea, please")),
        button("Break the machine", () => order("break_the_machine"))),
      list);
  },
};
