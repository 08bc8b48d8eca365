// Two visitors who talk in a room of their own, with every message numbered, so that a message that
// gets lost, or comes twice, is seen.

import { connect } from "/_wharf/wharf.js";

const SPEAKERS = ["Ada", "Bo"];
const WORDS = [
  "ship ahoy", "good morning, harbour", "two crates for pier 4", "the crane is free", "tide is coming in", "ropes are fast",
  "unloading now", "who has the ledger?", "I have it", "next ship at noon", "pier 4 is ready", "all hands on deck",
];
const EVERY_MS = 700;
/** Time between messages while a swap is under way, and the number that are sent at once when it begins. */
const HURRY_MS = 8;
const BURST = 10;
/** Time after which a message that has not arrived is lost. */
const LOST_AFTER_MS = 5_000;

export class Stream {
  delivered = 0;
  lost = 0;
  doubled = 0;
  breaks = 0;
  sent = 0;
  generation = null;
  /** Time at which the first message of the present generation arrived. */
  since = 0;
  #channels;
  #waiting = new Map();
  #timer;
  #isPaused = false;
  #isHurried = false;
  #tell;

  /** `tell` gets each message that Bo sees, and is called without one when a number has changed. */
  constructor(tell) {
    this.#tell = tell;
    const room = `tour-${Math.random().toString(36).slice(2, 10)}`;
    this.#channels = SPEAKERS.map((name, index) => {
      const channel = connect(`/chat/${room}`, { query: { name }, queueLength: 0 });
      channel.on("chat_message", (message) => this.#heard(index, message));
      channel.on("system", (message) => this.#serves(message));
      channel.onClose(({ wasOpen }) => {
        if (!wasOpen) return;
        this.breaks += 1;
        tell();
      });
      channel.onOpen(() => tell());
      return channel;
    });
    this.#again();
  }

  get isOpen() { return this.#channels.every(({ state }) => state === "open"); }

  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#again();
  }

  /** Sends as fast as a busy room for a while, so that many messages are on their way during a swap. */
  hurry(isHurried) {
    this.#isHurried = isHurried;
    for (let left = isHurried ? BURST : 0; left > 0; left--) this.#say();
    this.#again();
  }

  close() {
    clearTimeout(this.#timer);
    for (const channel of this.#channels) channel.close();
  }

  #again() {
    clearTimeout(this.#timer);
    const delay = this.#isHurried ? HURRY_MS : EVERY_MS;
    this.#timer = setTimeout(() => {
      this.#countLost();
      if (!this.#isPaused || this.#isHurried) this.#say();
      this.#again();
    }, delay);
  }

  #say() {
    if (!this.isOpen) return;
    const number = this.sent + 1;
    const message = `${number} · ${WORDS[number % WORDS.length]}`;
    try {
      this.#channels[number % 2].send({ type: "chat_message", message });
    } catch { return; }
    this.sent = number;
    this.#waiting.set(number, { at: performance.now(), missing: new Set([0, 1]) });
  }

  #heard(listener, message) {
    const [, number, words] = String(message.message ?? "").match(/(\d+) · (.*)/) ?? [];
    if (!number) return;
    const entry = this.#waiting.get(Number(number));
    if (entry?.missing.delete(listener)) this.delivered += 1;
    else this.doubled += 1;
    if (entry?.missing.size === 0) this.#waiting.delete(Number(number));
    this.#serves(message);
    // The voice of the plugin may put something in front of the number.
    const [before] = String(message.message).split(number);
    this.#tell(listener === 1 ? { user: message.user, number: Number(number), text: `${before}${words}` } : undefined);
  }

  #serves({ generation }) {
    if (!Number.isInteger(generation) || generation <= (this.generation ?? 0)) return;
    this.generation = generation;
    this.since = performance.now();
  }

  #countLost() {
    // A page that slept has not read its messages yet.
    const now = performance.now();
    for (const [number, { at, missing }] of this.#waiting) {
      if (now - at < LOST_AFTER_MS) break;
      this.lost += missing.size;
      this.#waiting.delete(number);
      this.#tell();
    }
  }
}
