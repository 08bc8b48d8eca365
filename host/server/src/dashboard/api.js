// The operator's API, with the token that the user has given. The token stays in this tab.

import { eventReader } from "./figures.js";

const KEY = "wharf-operator-token";
const TIME_LIMIT_MS = 20_000;

/** The refusal of a request, in the host's words. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the host has answered with status ${status}`);
    this.status = status;
    this.code = body?.error?.code;
    this.nodes = body?.nodes;
  }
}

let onSignedOut = () => {};
let kept = null;

/** Sets the function that is called when the host no longer accepts the token. */
export function whenSignedOut(then) {
  onSignedOut = then;
}

export function token() {
  // A browser that keeps nothing for pages has the token as long as the page is open.
  try { return sessionStorage.getItem(KEY) ?? kept; } catch { return kept; }
}

export function signIn(given) {
  kept = given;
  try { sessionStorage.setItem(KEY, given); } catch { /* as said */ }
}

export function signOut() {
  kept = null;
  try { sessionStorage.removeItem(KEY); } catch { /* as said */ }
}

// Browsers take no other characters into a header.
const header = () => ({ Authorization: `Bearer ${token() ?? ""}` });

async function checked(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => undefined);
  if (response.status === 401) onSignedOut();
  throw new Refused(response.status, body);
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(options.limit ?? TIME_LIMIT_MS) });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "the host has not answered in time" : "the host cannot be reached");
  }
  return (await checked(response)).json();
}

export function get(path) {
  return request(`api/${path}`, { headers: header() });
}

export function act(path, body, { method = "POST", limit } = {}) {
  const headers = header();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return request(`api/${path}`, { method, headers, limit, body: body === undefined ? undefined : JSON.stringify(body) });
}

/** Returns the path of something of a channel. */
export function of(channel, ...names) {
  const parts = ["channels", channel, ...names];
  // A browser takes these for steps in the path, however they are written: the request would be about something else.
  if (parts.some((part) => /^(\.|%2e){1,2}$/i.test(part))) throw new Refused(400, { error: { message: "a name of dots only cannot be reached from a browser" } });
  return parts.map(encodeURIComponent).join("/");
}

/** Longest time without a byte of a stream, in milliseconds: the host sends at least a comment every five seconds. */
const MAX_SILENCE = 15_000;

/** Reads a stream of events until it ends or `signal` is given. Completes when it has ended. */
export async function stream(path, signal, { onOpen, onEvent }) {
  // A network that is gone does not end a stream that only receives. The host sends something every few seconds.
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error("nothing was heard")), MAX_SILENCE);
  };
  heard();
  try {
    const ends = AbortSignal.any([signal, silence.signal]);
    const response = await checked(await fetch(`api/${path}`, { headers: header(), cache: "no-store", signal: ends }));
    onOpen?.();
    const read = eventReader(onEvent);
    const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await pieces.read();
      if (done) return;
      heard();
      read(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Keeps a stream open until `signal` is given: it begins anew when it has ended. */
export async function keepStream(path, signal, { onOpen, onEvent, onLost }) {
  let pause = 500;
  while (!signal.aborted) {
    let why = "the host has ended the stream";
    try {
      await stream(path, signal, { onOpen() { pause = 500; onOpen?.(); }, onEvent });
    } catch (error) {
      if (signal.aborted) return;
      // It will not get better by itself.
      if (error.status === 401) return;
      why = error instanceof Refused ? error.message : "the host cannot be reached";
    }
    if (signal.aborted) return;
    onLost?.(why, pause);
    const waited = new AbortController();
    await new Promise((wake) => {
      const timer = setTimeout(wake, pause);
      const options = { once: true, signal: waited.signal };
      signal.addEventListener("abort", () => { clearTimeout(timer); wake(); }, options);
      addEventListener("online", wake, options);
    });
    waited.abort();
    pause = Math.min(pause * 2, 10_000);
  }
}
