// The panel of the example plugin in which everything goes wrong that can.

import { button, el, exchange, sender } from "/_wharf/elements.js";

export const robust = {
  id: "robust",
  title: "Make mistakes",
  heading: "Make mistakes",
  path: "/robust",
  about: "A shop for tea. Each order carries a `ref` and is answered, also one that is wrong: with a code for programs and a "
    + "sentence for people. After five messages that make no sense, you are out.",
  tries: [
    "Order what is not sold, or too much of it, and read the answers on the wire.",
    "Break the machine: the plugin panics, the host closes the connection with code 1011, and the page comes back with a new session.",
  ],

  start(panel) {
    const { list, entry, sent, got } = exchange("Orders");
    list.dataset.empty = "Order something.";
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
    const act = (caption, ...given) => button(caption, () => order(...given));
    const first = act("Buy 2 cups of green tea", "buy", { tea: "green", cups: 2 });
    first.className = "strong";
    panel.extra.append(el("div", {}, el("dt", {}, "your credit"), credit));
    panel.work.append(
      el("div", { className: "row" }, first, act("Use the coupon TEA-20", "redeem", { coupon: "TEA-20" })),
      el("h4", {}, "What is wrong"),
      el("div", { className: "row" },
        act("Order cola", "buy", { tea: "cola", cups: 1 }),
        act("Order 100 cups", "buy", { tea: "black", cups: 100 }),
        act("Order −1 cups", "buy", { tea: "green", cups: -1 }),
        act("Forge a coupon", "redeem", { coupon: "TEA-no" }),
        act("Order what is sold out", "buy", { tea: "white", cups: 1 }),
        button("Send something that is not JSON", () => send("tea, please") && sent("tea, please")),
        act("Break the machine", "break_the_machine")),
      list);
  },
};
