// The panels of the smaller example plugins; the others are in files of their own.

import { button, callVisitor, choice, el, exchange, field, form, log, sender, visitor } from "/_wharf/elements.js";
import { shown } from "/_wharf/panel.js";

export const echo = {
  id: "echo",
  title: "Hear an echo",
  heading: "Hear an echo",
  path: "/echo",
  about: "Everything that you send comes back: text as text, bytes as bytes. It is the smallest plugin there is.",
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
  title: "Be notified",
  heading: "Be notified, on every device",
  path: "/notifications",
  about: "A notification is for a user, and reaches all of that user's devices. Here are three: two are Ann's, one is Bob's.",
  tries: ["Notify Ann from Bob's phone: both of her devices ring.",
    "Sign Ann out elsewhere: her other device is closed with code 4001, and does not come back."],

  start(panel) {
    const people = [["ann", "Ann's phone"], ["ann", "Ann's laptop"], ["bob", "Bob's phone"]];
    const devices = el("div", { className: "columns" });
    people.forEach(([user, title], index) => {
      const [list, entry] = log(title);
      list.dataset.empty = "No notifications yet.";
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
      const [label, text] = field("Text", { value: `hello from ${title}`, autocomplete: "off" });
      devices.append(el("section", { className: "box", ariaLabel: title }, el("h4", {}, title), list,
        form(() => send({ type: "notify", to: [other], text: text.value }), label,
          el("button", {}, `Notify ${other === "ann" ? "Ann" : "Bob"}`),
          button("Tell all others", () => send({ type: "announce", text: text.value })),
          user === "ann" && button("Sign out elsewhere", () => send({ type: "sign_out_elsewhere" })))));
    });
    panel.work.append(devices);
  },
};

export const presence = {
  id: "presence",
  title: "See who is here",
  heading: "See who is here",
  path: "/presence/:room",
  about: "The host keeps the list of people in a room, each with a status, and tells everyone what changes.",
  forMany: "and be there twice, or under another name.",
  tries: ["Let guests come and go, and choose another status.",
    "Load the page again: for the others you were never away. A visitor who leaves stays on the list for two seconds."],

  start(panel) {
    const guests = new Map();
    const people = el("ul", { className: "people", ariaLabel: "Who is here" });
    const [list, entry] = log("What has changed");
    list.dataset.empty = "Changes appear here.";
    people.dataset.empty = "Nobody is here.";
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
        people.classList.toggle("empty", room.present.size === 0);
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
    const comes = button("A guest comes", come);
    comes.className = "strong";
    panel.work.append(
      el("div", { className: "row" }, comes, button("A guest goes", go), statusField,
        button("Hide me", () => send({ type: "hide" })), button("Show me", () => send({ type: "show" }))),
      el("h4", {}, "Here now"), people, el("h4", {}, "What has changed"), list,
      el("details", {}, el("summary", {}, "Come under another name"), form(enter, nameField, el("button", {}, "Enter"))));
    enter();
  },
};

export const batched = {
  id: "batched",
  title: "Send a burst",
  heading: "Send a burst",
  path: "/batched",
  about: "Many small messages become few: the plugin tells all clients as soon as there are ten, and after 100 ms at the latest.",
  forMany: "and send from there: its messages come here too, in the same batches.",
  tries: ["Send 25 at once: two batches of ten come right away, the other five when their 100 ms are over."],

  start(panel) {
    const [list, entry] = log("Batches");
    list.dataset.empty = "Batches appear here.";
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
