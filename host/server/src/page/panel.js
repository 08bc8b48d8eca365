// The part that all examples have in common: a panel that shows the channel, the state of its
// connection, everything that is sent and received, and the source of the plugin.

import { connect, shouldReconnect } from "/_wharf/wharf.js";
import { button, el, plural, prose } from "/_wharf/elements.js";
import { Source } from "/_wharf/source.js";
import { Wire } from "/_wharf/wire.js";

const MEANINGS = {
  1000: "done", 1001: "going away", 1006: "no connection", 1008: "policy", 1009: "too big", 1011: "the plugin failed",
  1012: "the host restarts", 1013: "overload",
};

export class Panel {
  #example;
  #heard;
  #main;
  #channels = new Set();
  #isShown = false;
  #isMounted;
  #isStarted = false;
  #openedAt = 0;
  #reconnects = 0;
  #generation = null;
  /** True if the generation was known before on the connection that is open now. */
  #isKnown = false;
  #swaps = 0;
  #facts = Object.fromEntries(["connected for", "reconnects", "last close code"].map((name) => [name, el("dd", {}, "–")]));
  #state = el("p", { className: "state", role: "status" }, "not connected");
  #again = button("Start again", () => this.#start());
  #missing = el("p", { className: "absent", hidden: true });
  #number = el("strong", { ariaLive: "polite" }, "generation –");
  #seen = el("span");
  #box;
  #wire = new Wire();
  #source = new Source();

  /** `heard` is called whenever a channel has said something. */
  constructor(example, heard) {
    this.#example = example;
    this.#heard = heard;
    this.#again.hidden = true;
    /** The elements for an example's controls, and for further facts that it shows. */
    this.work = el("div", { className: "work" });
    this.extra = el("dl", { className: "facts extra" });
    this.#box = el("div", { className: "generation" },
      el("span", {}, example.tellsGeneration ? "last answered by" : "served by"), this.#number, this.#seen);
    const second = example.forMany && el("li", {},
      el("a", { href: `#${example.id}`, target: "_blank", rel: "noopener" }, "Open it in a second tab"), `, ${example.forMany}`);
    const facts = Object.entries(this.#facts).map(([fact, value]) => el("div", {}, el("dt", {}, fact), value));
    this.node = el("section", { className: `panel card ${example.id}`, id: `panel-${example.id}`, role: "tabpanel", hidden: true },
      el("div", { className: "stage" },
        el("div", { className: "title" }, el("h3", {}, example.heading), this.#state, this.#again),
        el("p", { className: "about" }, ...prose(example.about)),
        this.#missing, this.work,
        el("h4", {}, "Things to try"),
        el("ul", { className: "tries" }, ...example.tries.map((text) => el("li", {}, ...prose(text))), second)),
      el("aside", { ariaLabel: "Behind the scenes" },
        this.#box, el("dl", { className: "facts" }, ...facts), this.extra, ...this.#tools()));
    this.node.setAttribute("aria-labelledby", `tab-${example.id}`);
    setInterval(() => this.#tick(), 1000);
  }

  /** Returns the switch between the wire and the source, and the two. An example of any channel has no source. */
  #tools() {
    if (!this.#example.path) return [el("h4", {}, "On the wire"), this.#wire.node];
    const tools = [["On the wire", this.#wire.node], ["Source", this.#source.node]];
    const buttons = tools.map(([title], chosen) => button(title, () => choose(chosen)));
    const choose = (chosen) => {
      tools.forEach(([, node], index) => (node.hidden = index !== chosen));
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === chosen)));
      if (chosen === 1) this.#source.show();
    };
    choose(0);
    return [el("div", { className: "switch", role: "group", ariaLabel: "Show" }, ...buttons), ...tools.map(([, node]) => node)];
  }

  get isMounted() { return this.#isMounted === true; }

  /** Shows the host's answer about the channel: its name and generation, or nothing if it is not loaded. */
  mounted(found) {
    const { id, path, tellsGeneration } = this.#example;
    if (path) this.#source.of(found?.name ?? id);
    if (found?.generation && !tellsGeneration) this.servedBy(found.generation);
    if (!found?.generation) this.#number.textContent = "generation –";
    if (Boolean(found) === this.#isMounted) return;
    this.#isMounted = Boolean(found);
    this.#missing.hidden = this.#isMounted;
    this.work.hidden = !this.#isMounted;
    this.#again.hidden ||= !this.#isMounted;
    this.#missing.replaceChildren(...prose(`The plugin \`${id}\` is not loaded on this host: nothing has the path \`${path}\`. `
      + "It starts here by itself when it is put into the plugin folder."));
    if (this.#isMounted) this.#startIfNeeded();
    else this.#isStarted = false;
  }

  show(detail) {
    this.#isShown = true;
    this.node.hidden = false;
    if (this.#isStarted) this.#example.again?.(detail);
    this.#startIfNeeded();
  }

  hide() {
    this.#isShown = false;
    this.node.hidden = true;
  }

  #startIfNeeded() {
    if (this.#isShown && this.#isMounted && !this.#isStarted) this.#start();
  }

  #start() {
    this.#isStarted = true;
    for (const channel of this.#channels) channel.close();
    this.#channels.clear();
    this.#main = undefined;
    this.#openedAt = 0;
    this.work.replaceChildren();
    this.extra.replaceChildren();
    this.#show("idle", "not connected");
    const [id, detail] = location.hash.slice(1).split("/", 2);
    this.#example.start(this, id === this.#example.id ? detail : undefined);
  }

  /** Connects, in place of the earlier connection. The panel shows the state of this one. */
  connect(path, options) {
    const channel = this.also("", path, options);
    this.#main?.close();
    this.#main = channel;
    // It may lead to another channel.
    this.#generation = null;
    const current = (handler) => (event) => this.#main === channel && handler(event);
    this.#show("connecting", "connecting");
    channel.onOpen(current(({ isReconnect }) => {
      if (isReconnect) this.#facts.reconnects.textContent = ++this.#reconnects;
      this.#isKnown = false;
      this.#openedAt = Date.now();
      this.#show("open", "connected");
    }));
    channel.onClose(current(({ code, reason, willReconnect }) => {
      this.#openedAt = 0;
      const meaning = reason || MEANINGS[code];
      this.#facts["last close code"].textContent = `${code}${meaning ? `, ${meaning}` : ""}`;
      if (!willReconnect) this.#show("closed", `closed with ${code}${meaning ? `: ${meaning}` : ""}`);
    }));
    channel.onReconnecting(current(({ code, delay }) =>
      this.#show("connecting", `lost (${code}), trying again in ${Math.ceil(delay / 1000)} s`)));
    return channel;
  }

  /** Opens a further connection, which the list of messages names. */
  also(who, path, options) {
    const channel = connect(path, { shouldReconnect: unlessRemoved, ...options, WebSocket: tapped(this.#wire, who) });
    channel.onText(() => this.#heard());
    this.#channels.add(channel);
    return channel;
  }

  /** Shows the generation that has answered, or serves. Returns a sentence if it is another one than before. */
  servedBy(now) {
    const [before, wasKnown] = [this.#generation, this.#isKnown];
    this.#generation = now;
    this.#isKnown = true;
    this.#number.textContent = `generation ${now}`;
    if (before === null || before === now) return null;
    this.#swaps += 1;
    this.#seen.textContent = `${plural(this.#swaps, "swap")} seen`;
    const where = this.#openedAt ? (wasKnown ? ", on this same connection" : ", while we were away") : "";
    const sentence = `Generation ${now} has taken over from ${before}${where}.`;
    this.#wire.note("swap", "", sentence);
    this.#box.classList.remove("flash");
    void this.#box.offsetWidth; // This restarts the animation.
    this.#box.classList.add("flash");
    return sentence;
  }

  #show(state, text) {
    this.#state.dataset.state = state;
    this.#state.textContent = text;
    this.#again.hidden = state !== "closed";
    this.#tick();
  }

  #tick() {
    const seconds = Math.floor((Date.now() - this.#openedAt) / 1000);
    const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    this.#facts["connected for"].textContent = this.#openedAt ? text : "–";
  }
}

/** The page itself sees when a channel is there again, and starts it. */
function unlessRemoved(end) {
  return shouldReconnect(end) && end.reason !== "removed";
}

/** Heartbeats between the client and the host, which no channel sees. */
const isHeartbeat = (data) => /^{"type":"wharf:p[io]ng"}$/.test(data);

/** Returns a class of WebSockets that report the messages that pass through them. */
function tapped(wire, name) {
  return class extends WebSocket {
    constructor(...given) {
      super(...given);
      const { pathname, search } = new URL(this.url);
      const query = search.replace(/[?&]wharf_heartbeat=1/, "");
      this.addEventListener("open", () => wire.note("notice", name, `open ${pathname}${query}`));
      this.addEventListener("message", ({ data }) => isHeartbeat(data) || wire.message("got", name, shown(data)));
      this.addEventListener("close", ({ code, reason }) => wire.note("notice", name, `closed ${code}${reason && `: ${reason}`}`));
    }

    send(data) {
      if (!isHeartbeat(data)) wire.message("sent", name, shown(data));
      super.send(data);
    }
  };
}

/** Returns a message as text; for bytes, their number and values. */
export function shown(data) {
  if (typeof data === "string") return data;
  const bytes = new Uint8Array(data.buffer ?? data);
  return `${bytes.length} bytes: ${[...bytes.subarray(0, 64)].join(" ")}`;
}
