// A client for any channel on this host, for plugins that the page has no panel for.

import { el, field, form, log, sender } from "/_wharf/elements.js";
import { shown } from "/_wharf/panel.js";
import { shouldReconnect } from "/_wharf/wharf.js";

export const own = {
  id: "own",
  title: "Your own",
  heading: "Talk to a channel of your own",
  about: "Connects to any channel on this host: to a plugin of yours, or to one that has no tab here.",
  tries: ["Write the address as a client would, with a value in place of each `:parameter`, and a query where the channel wants one.",
    "While you are connected, change the plugin and put it into the folder: the next message runs on the new code."],
  forMany: "for a second connection.",

  /** Returns the channel that the address leads to. */
  find(channels) {
    own.channels = channels;
    own.news?.();
    return channels.find(({ paths }) => paths.some((path) => leads(path, own.address))) ?? { name: "NAME" };
  },

  /** Returns true if the page has a tab for a channel; set by the page. */
  isKnown: () => false,
  channels: [],
  address: "",

  /** Returns the likely reason why there is no connection, which browsers do not tell. */
  explain(address) {
    const { host, pathname } = new URL(address, location.href);
    if (host !== location.host) return "No connection. Browsers do not say why; that is another server.";
    const found = own.channels.find(({ paths }) => paths.some((path) => leads(path, pathname)));
    if (found) return `No connection. The channel ${found.name} has this path, so it has refused, or has failed: the host's log says more.`;
    const paths = own.channels.flatMap((channel) => channel.paths);
    return `No channel has this path. These are there: ${paths.join(", ") || "none"}.`;
  },

  start(panel) {
    const [list, entry] = log("Messages");
    list.dataset.empty = "Connect, then send something.";
    const addresses = el("datalist", { id: "addresses" });
    const others = el("p");
    const [addressField, address] = field("Address", { autocomplete: "off", required: true, spellcheck: false });
    address.setAttribute("list", addresses.id);
    const [textField, text] = field("Message", { value: '{"type": "ping"}', autocomplete: "off" });
    let send = () => entry("error", "not connected yet");
    const enter = () => {
      let hasOpened = false;
      let channel;
      try {
        // Without a first connection, further attempts are of no use.
        channel = panel.connect(address.value, { shouldReconnect: (end) => hasOpened && shouldReconnect(end) });
      } catch (error) {
        return entry("error", `This is no address: ${error.message}`);
      }
      own.address = address.value.split("?")[0];
      send = sender(channel, entry);
      channel.onOpen(() => {
        hasOpened = true;
        entry("notice", `connected to ${address.value}`);
      });
      channel.onText((data) => entry("got", "← ", data));
      channel.onBinary((data) => entry("got", "← ", shown(data)));
      channel.onClose(({ code, reason, wasOpen }) => code !== 1000 && entry("error", wasOpen
        ? `closed with ${code}${reason && `: ${reason}`}`
        : own.explain(address.value)));
    };
    own.news = () => {
      const all = own.channels.flatMap(({ paths }) => paths);
      if (all.join() !== addresses.dataset.all) {
        addresses.replaceChildren(...all.map((path) => el("option", { value: filled(path) })));
        addresses.dataset.all = all.join();
      }
      const unknown = own.channels.filter((channel) => !own.isKnown(channel));
      const names = unknown.map(({ name, paths }) => `${name} (${paths.join(", ")})`);
      others.textContent = names.length > 0 ? `Loaded, and without a tab here: ${names.join(", ")}` : "";
      if (document.activeElement !== address) address.value ||= filled((unknown[0] ?? own.channels[0])?.paths[0] ?? "");
    };
    own.news();
    panel.work.append(others, addresses,
      form(enter, addressField, el("button", {}, "Connect")),
      form(() => send(text.value) === true && entry("sent", "→ ", text.value), textField, el("button", {}, "Send")),
      list);
  },
};

/** Returns a pattern with values in place of its parameters. */
function filled(pattern) {
  return pattern.replace(/[:*][^/]+/g, "lobby");
}

function leads(pattern, address) {
  const [parts, values] = [pattern, address].map((path) => path.split("/"));
  const isLong = parts.at(-1).startsWith("*") && values.length > parts.length;
  return (isLong || parts.length === values.length)
    && parts.every((part, index) => /^[:*]/.test(part) || part === values[index]);
}
