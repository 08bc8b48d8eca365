// What the page does with each of the smaller example plugins.

import { connect } from "/_wharf/wharf.js";
import { button, el, field, form, log } from "/_wharf/elements.js";

/** A list of what was sent and received. */
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
  about: "Sends back whatever it receives: text as text, binary as binary.",

  start(panel) {
    const { list, sent, got } = exchange("Messages");
    const [label, text] = field("Text", { value: "ahoy", autocomplete: "off" });
    const channel = panel.connect("/echo");
    channel.onText(got);
    channel.onBinary((data) => got(`${data.byteLength} bytes: ${[...new Uint8Array(data)].join(" ")}`));
    const bytes = () => {
      const data = crypto.getRandomValues(new Uint8Array(8));
      channel.send(data);
      sent(`8 bytes: ${data.join(" ")}`);
    };
    panel.stage.append(
      form(() => { channel.send(text.value); sent(text.value); }, label, el("button", {}, "Send"), button("Send bytes", bytes)),
      list);
  },
};

export const notifications = {
  id: "notifications",
  title: "Notifications",
  path: "/notifications",
  about: "Messages for users, on all of their devices. Ann has a phone and a laptop here, and Bob a phone.",
  tries: ["Notify Bob from Ann's phone.", "Sign Ann out elsewhere: her laptop is closed, for good."],

  start(panel) {
    const people = [["ann", "Ann's phone"], ["ann", "Ann's laptop"], ["bob", "Bob's phone"]];
    const devices = el("div", { className: "columns" });
    people.forEach(([user, title], index) => {
      const [list, entry] = log(title);
      const options = { query: { user } };
      const channel = index === 0 ? panel.connect("/notifications", options) : connect("/notifications", options);
      channel.on("welcome", (message) => entry("notice", `signed in, ${message.devices} device(s)`));
      channel.on("notification", ({ from, text }) => entry("got", el("strong", {}, from), ` ${text}`));
      channel.on("delivered", ({ online, offline }) =>
        entry("notice", `delivered to ${online.join(", ") || "nobody"}${offline.length ? `; offline: ${offline.join(", ")}` : ""}`));
      channel.on("error", (message) => entry("error", message.message ?? message.code));
      channel.onClose(({ code, reason, willReconnect }) => willReconnect || entry("error", `closed: ${code} ${reason}`));
      const other = user === "ann" ? "bob" : "ann";
      const [label, text] = field(`To ${other}`, { value: "hello", autocomplete: "off" });
      const say = (message) => { try { channel.send(message); } catch (error) { entry("error", error.message); } };
      devices.append(el("section", { className: "box", ariaLabel: title }, el("h2", {}, title), list,
        form(() => say({ type: "notify", to: [other], text: text.value }), label, el("button", {}, "Notify")),
        el("div", { className: "row" },
          button("Tell all others", () => say({ type: "announce", text: text.value })),
          button("Sign out elsewhere", () => say({ type: "sign_out_elsewhere" })))));
    });
    panel.stage.append(devices);
  },
};

export const presence = {
  id: "presence",
  title: "Presence",
  path: "/presence/:room",
  about: "Who is in a room, with a status for each of their tabs. The host keeps the list and tells what changes.",
  tries: ["Let others come and go. Open this page in a second tab as well.", "Reload the page: you were never away."],

  start(panel) {
    const guests = ["bob", "cleo", "dag", "edda"];
    const here = new Map();
    const people = el("ul", { className: "people", ariaLabel: "Who is here" });
    const { list, entry } = exchange("What has changed");
    const channel = panel.connect("/presence/demo", { query: { user: "ann" } });
    const room = channel.presence("demo");
    room.onChange(({ joined, updated, left }) => {
      const entries = [...room.present].sort(([one], [other]) => (one < other ? -1 : 1));
      people.replaceChildren(...entries.map(([key, { metas }]) =>
        el("li", {}, el("strong", { dir: "auto" }, key), ` ${metas.map((meta) => meta?.status ?? "").join(", ")}`)));
      for (const [what, keys] of [["came", joined], ["changed", updated], ["left", left]]) {
        if (keys.length > 0) entry("notice", `${keys.join(", ")} ${what}`);
      }
    });
    const [label, status] = field("Status", {}, ...["online", "away", "busy"].map((text) => el("option", {}, text)));
    status.addEventListener("change", () => channel.send({ type: "status", status: status.value }));
    const come = () => {
      const user = guests.find((guest) => !here.has(guest));
      if (user) here.set(user, connect("/presence/demo", { query: { user } }));
    };
    const go = () => {
      const [user] = [...here.keys()].slice(-1);
      here.get(user)?.close();
      here.delete(user);
    };
    panel.stage.append(
      el("div", { className: "row" }, label, button("Hide me", () => channel.send({ type: "hide" })),
        button("Show me", () => channel.send({ type: "show" })), button("Somebody comes", come), button("Somebody goes", go)),
      people, list);
  },
};

const SIDE = 64;

export const game = {
  id: "game",
  title: "Game",
  path: "/game/:game_id",
  about: "Players claim cells of a board, one each turn. The board is the state of a room: moves are handled one at a time.",
  tries: ["Join, then click on the board, or name a cell.", "A second tab plays against you; a turn is over when all have moved."],

  start(panel) {
    const { list, entry } = exchange("Moves");
    const board = el("canvas", { className: "board", width: SIDE * 8, height: SIDE * 8, role: "img", ariaLabel: "The board, 64 by 64 cells" });
    const context = board.getContext("2d");
    const [nameField, name] = field("Name", { value: "Ann", maxLength: 40, required: true });
    const [colorField, color] = field("Colour", { type: "color", value: `#${Math.floor(0x404040 + Math.random() * 0x9f9f9f).toString(16)}` });
    const cell = (label) => field(label, { type: "number", min: 0, max: SIDE - 1, value: 0, required: true });
    const [[xField, x], [yField, y]] = [cell("x"), cell("y")];
    const channel = panel.connect("/game/demo", { queueLength: 0 });
    const send = (message) => { if (channel.state === "open") channel.send(message); };
    const move = (x, y) => send({ type: "move", x, y });
    channel.on("player_joined", ({ player, players }) => entry("notice", `${player} has joined, ${players} playing`));
    channel.on("player_left", ({ player, players }) => entry("notice", `${player} has left, ${players} playing`));
    channel.on("turn", ({ turn }) => entry("notice", `turn ${turn}`));
    channel.on("error", (message) => entry("error", message.message));
    channel.on("move_made", (move) => {
      context.fillStyle = move.color;
      context.fillRect(move.x * 8 + 0.5, move.y * 8 + 0.5, 7, 7);
      entry("got", `${move.number}. ${move.player} claims ${move.x}, ${move.y}`);
    });
    board.addEventListener("click", (event) => {
      const scale = SIDE / board.clientWidth;
      move(Math.floor(event.offsetX * scale), Math.floor(event.offsetY * scale));
    });
    panel.stage.append(
      form(() => send({ type: "join_game", player_name: name.value, color: color.value }), nameField, colorField,
        el("button", {}, "Join"), button("Leave", () => send({ type: "leave_game" }))),
      form(() => move(Number(x.value), Number(y.value)), xField, yField, el("button", {}, "Move")),
      el("div", { className: "columns" }, board, list));
  },
};

export const batched = {
  id: "batched",
  title: "Batched",
  path: "/batched",
  about: "Messages of all clients, told to all in batches: as soon as there are ten, and at the latest after 100 ms.",

  start(panel) {
    const { list, entry } = exchange("Batches");
    const [label, count] = field("Messages", { type: "number", min: 1, max: 100, value: 25, required: true });
    const channel = panel.connect("/batched");
    channel.on("batch", ({ number, messages }) => {
      const texts = messages.map(({ message }) => message);
      const range = texts.length > 1 ? `${texts[0]} … ${texts.at(-1)}` : texts[0];
      entry("got", el("strong", {}, `Batch ${number}`), ` of ${messages.length}: ${range}`);
    });
    channel.on("error", (message) => entry("error", message.message));
    let sent = 0;
    const send = () => {
      for (let left = Number(count.value); left > 0; left--) channel.send(`message ${++sent}`);
    };
    panel.stage.append(form(send, label, el("button", {}, "Send all at once")), list);
  },
};

export const secure = {
  id: "secure",
  title: "Secure",
  path: "/secure",
  about: "Lets in who has a token, until it expires. The token is made here, which a real page could not do: it knows no secret.",
  tries: [
    "Start the host with WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET=… and enter the same secret.",
    "Ask for a document that the token does not name, or wait until it has expired.",
  ],

  start(panel) {
    const { list, entry, sent, got } = exchange("Messages");
    const [secretField, secret] = field("Secret", { type: "password", autocomplete: "off", required: true });
    const [userField, user] = field("User", { value: "ann", required: true });
    const [documentsField, documents] = field("May read", { value: "plan, budget" });
    const [lifeField, life] = field("Seconds", { type: "number", min: 1, max: 3600, value: 60, required: true });
    const [readField, read] = field("Document", { value: "plan", required: true });
    let channel;
    const enter = () => {
      const claims = () => ({
        sub: user.value,
        exp: Math.floor(Date.now() / 1000) + Number(life.value),
        documents: documents.value.split(",").map((name) => name.trim()),
      });
      channel = panel.connect("/secure", { query: { refuse: "close" }, token: () => jwt(claims(), secret.value) });
      channel.on("authenticated", (message) => entry("notice", `authenticated as ${message.user}`));
      channel.on("document", (message) => got(`the document ${message.document}`));
      channel.on("error", (message) => entry("error", message.message));
      channel.onClose(({ code, reason, wasOpen }) => entry("error", wasOpen
        ? `closed: ${code} ${reason}` : "no connection: does the plugin have its jwt_secret? The log of the host says"));
    };
    const ask = () => {
      try {
        channel.send({ type: "read", document: read.value });
        sent(`read ${read.value}`);
      } catch (error) {
        entry("error", error.message);
      }
    };
    panel.stage.append(
      form(enter, secretField, userField, documentsField, lifeField, el("button", {}, "Connect")),
      form(() => channel && ask(), readField, el("button", {}, "Read")),
      list);
  },
};

/** A JSON Web Token with HS256. */
async function jwt(claims, secret) {
  if (!globalThis.crypto.subtle) throw new Error("tokens can be made on https: and localhost only");
  const utf8 = (text) => new TextEncoder().encode(text);
  const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=/g, "");
  const signed = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => base64(utf8(JSON.stringify(part)))).join(".");
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return `${signed}.${base64(new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8(signed))))}`;
}

export const robust = {
  id: "robust",
  title: "Robust",
  path: "/robust",
  about: "A shop that sells tea, and whatever can go wrong in it. Each request is answered, error or not; five mistakes, and you are out.",
  tries: ["White tea is sold out, cola is none, and 100 cups are dear.", "Coupons are TEA- and a number up to 255.", "Break the machine: the plugin fails, and the page comes back with a new session."],

  start(panel) {
    const { list, entry, sent, got } = exchange("Orders");
    const [teaField, tea] = field("Tea", {}, ...["green", "black", "white", "cola"].map((name) => el("option", {}, name)));
    const [cupsField, cups] = field("Cups", { type: "number", value: 2, required: true });
    const [couponField, coupon] = field("Coupon", { value: "TEA-20", required: true });
    const credit = el("strong", { id: "credit" }, "50");
    let channel;
    const enter = () => {
      channel = panel.connect("/robust");
      channel.onOpen(() => (credit.textContent = "50"));
      channel.onClose(({ code, reason }) => entry("error", `closed: ${code}${reason && ` ${reason}`}`));
      channel.on("error", (message) => entry("error", `← ${message.code} ${message.message ?? ""}`));
    };
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
    enter();
    panel.extra.append(el("p", { className: "big" }, "Credit ", credit));
    panel.stage.append(
      form(() => order("buy", { tea: tea.value, cups: Number(cups.value) }), teaField, cupsField, el("button", {}, "Buy")),
      form(() => order("redeem", { coupon: coupon.value }), couponField, el("button", {}, "Redeem")),
      el("div", { className: "row" },
        button("Send no JSON", () => { try { channel.send("tea, please"); sent("tea, please"); } catch (error) { entry("error", error.message); } }),
        button("Break the machine", () => order("break_the_machine")), button("Come in again", enter)),
      list);
  },
};
