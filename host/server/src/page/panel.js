// The part that all examples have in common: a panel that shows the channel, the state of its
// connection, and everything that is sent and received.

import { connect, shouldReconnect } from "/_wharf/wharf.js";
import { button, el, log, prose } from "/_wharf/elements.js";

const LONGEST_SHOWN = 1_000;

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
  #source = el("code");
  #wire;
  #onWire;

  /** `heard` is called whenever a channel has said something. */
  constructor(example, heard) {
    this.#example = example;
    this.#heard = heard;
    this.#again.hidden = true;
    /** The elements for an example's controls, and for further facts that it shows. */
    this.work = el("div", { className: "work" });
    this.extra = el("dl", { className: "extra" });
    [this.#wire, this.#onWire] = log("What is sent and received", { className: "log wire", ariaLive: "off" });
    this.#box = el("div", { className: "generation" },
      el("span", {}, example.tellsGeneration ? "answered by" : "served by"), this.#number, this.#seen);
    const second = example.forMany && el("li", {},
      el("a", { href: `#${example.id}`, target: "_blank", rel: "noopener" }, "Open it in a second tab"), `, ${example.forMany}`);
    const facts = Object.entries(this.#facts).flatMap(([fact, value]) => [el("dt", {}, fact), value]);
    this.node = el("section", { className: `panel ${example.id}`, id: `panel-${example.id}`, role: "tabpanel", hidden: true },
      el("div", { className: "stage" },
        el("div", { className: "title" }, el("h2", {}, example.title), this.#state, this.#again),
        el("p", {}, ...prose(example.about)),
        el("ul", { className: "tries" }, ...example.tries.map((text) => el("li", {}, ...prose(text))), second),
        this.#missing, this.work),
      el("aside", { ariaLabel: "The connection" },
        this.#box, el("dl", {}, ...facts), this.extra,
        el("h3", {}, "On the wire"), this.#wire,
        el("p", { className: "source", hidden: !example.path }, "Source: ", this.#source)));
    this.node.setAttribute("aria-labelledby", `tab-${example.id}`);
    setInterval(() => this.#tick(), 1000);
  }

  get isMounted() { return this.#isMounted === true; }

  /** Shows the host's answer about the channel: its name and generation, or nothing if it is not loaded. */
  mounted(found) {
    const { id, path, tellsGeneration } = this.#example;
    this.#source.textContent = path ? `plugins/${found?.name ?? id}/src/lib.rs` : "";
    if (found?.generation && !tellsGeneration) this.servedBy(found.generation);
    if (!found?.generation) this.#number.textContent = "generation –";
    if (Boolean(found) === this.#isMounted) return;
    this.#isMounted = Boolean(found);
    this.#missing.hidden = this.#isMounted;
    this.#again.hidden ||= !this.#isMounted;
    this.#missing.replaceChildren(...prose(`The plugin \`${id}\` is not loaded here: nothing is mounted on \`${path}\`. `
      + "Put it into the host's plugin folder (`cargo xtask serve` does that with all examples), and it starts here by itself."));
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
    const tell = (kind, text) => this.#onWire(kind, who && el("strong", {}, `${who} `), text.slice(0, LONGEST_SHOWN));
    const channel = connect(path, { shouldReconnect: unlessRemoved, ...options, WebSocket: tapped(tell) });
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
    this.#seen.textContent = `${this.#swaps} ${this.#swaps === 1 ? "swap" : "swaps"} seen`;
    const where = this.#openedAt ? (wasKnown ? ", on this same connection" : ", while we were away") : "";
    const sentence = `Generation ${now} has taken over from ${before}${where}.`;
    this.#onWire("swap", sentence);
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
function tapped(tell) {
  return class extends WebSocket {
    constructor(...given) {
      super(...given);
      const { pathname, search } = new URL(this.url);
      this.addEventListener("open", () => tell("notice", `open ${pathname}${search}`));
      this.addEventListener("message", ({ data }) => isHeartbeat(data) || tell("got", `← ${shown(data)}`));
      this.addEventListener("close", ({ code, reason }) => tell("notice", `closed ${code}${reason && `: ${reason}`}`));
    }

    send(data) {
      if (!isHeartbeat(data)) tell("sent", `→ ${shown(data)}`);
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
