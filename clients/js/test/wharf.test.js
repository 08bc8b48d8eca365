import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { Channel, ChannelError, connect, Presence, shouldReconnect } from "../wharf.js";
import * as wharf from "../wharf.js";
import { channel, count, FakeWebSocket, life, seeded, socket, tick } from "./fake.js";

test("an address may be one of HTTP, with parameters added", () => {
  connect("https://wharf.test/a?b=1#part", { WebSocket: FakeWebSocket, query: { name: "Ann & Bo", n: 2 }, protocols: ["v1"] });
  assert.equal(socket().url, "wss://wharf.test/a?b=1&name=Ann+%26+Bo&n=2&wharf_heartbeat=1&wharf_recover=");
  assert.deepEqual(socket().protocols, ["v1"]);
  assert.throws(() => connect("/chat", { WebSocket: FakeWebSocket }), TypeError, "a page's address is missing");
});

test("parameters are read anew for each attempt", () => {
  const query = { since: 0 };
  channel({ query });
  socket().open().end(1012);
  query.since = 7;
  tick(500);
  assert.equal(new URL(socket().url).searchParams.get("since"), "7");
});

test("the longest delay doubles up to a bound, and the delay is anything below it", () => {
  const events = life(channel({ firstDelay: 500, longestDelay: 4_000 }));
  const expected = seeded(7);
  for (const longest of [500, 1_000, 2_000, 4_000, 4_000, 4_000]) {
    socket().end(1006);
    const [, , delay] = events.at(-1);
    assert.equal(delay, expected() * longest);
    const before = count();
    tick(Math.floor(delay) - 1);
    assert.equal(count(), before, "too early");
    tick(2);
    assert.equal(count(), before + 1);
  }
  assert.deepEqual(events.filter(([what]) => what === "reconnecting").map(([, attempt]) => attempt), [1, 2, 3, 4, 5, 6]);
});

test("delays of many clients are spread over the whole range", () => {
  const delays = Array.from({ length: 200 }, () => {
    const events = life(channel());
    socket().end(1012);
    return events.at(-1)[2];
  });
  assert.ok(Math.min(...delays) < 25 && Math.max(...delays) > 475, `${Math.min(...delays)} to ${Math.max(...delays)}`);
});

test("only a connection that was stable makes the next delay a first one", () => {
  mock.method(Math, "random", () => 1);
  const events = life(channel({ stableAfter: 5_000 }));
  const delay = () => events.at(-1)[2];
  socket().end(1006);
  assert.equal(delay(), 500);
  tick(500);
  socket().open();
  tick(4_999);
  socket().end(1011);
  assert.equal(delay(), 1_000, "it was open for too short a time");
  tick(1_000);
  socket().open();
  tick(5_000);
  socket().end(1011);
  assert.equal(delay(), 500);
});

test("codes that may pass are tried again, all others are final", () => {
  const recoverable = [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015];
  for (const code of [...Array.from({ length: 16 }, (_, n) => 1000 + n), 3000, 3999, 4000, 4001, 4999]) {
    const one = channel();
    socket().open().end(code);
    assert.equal(one.state, recoverable.includes(code) ? "waiting" : "closed", `code ${code}`);
    assert.equal(shouldReconnect({ code, reason: "" }), recoverable.includes(code));
    one.close();
  }
});

test("a channel that was removed is tried again, but rarely", () => {
  const one = channel();
  const events = life(one);
  socket().open().end(1001, "removed");
  for (const [attempt, code] of [[1, 1001], [2, 1006], [3, 1006]]) {
    const [, told, delay] = events.at(-1);
    assert.equal(told, attempt);
    assert.ok(delay >= 15_000 && delay <= 30_000, `${delay}`);
    tick(30_000);
    // It is not there yet: 404.
    if (code) socket().end(1006);
  }
  tick(30_000);
  socket().open().end(1012);
  assert.ok(events.at(-1)[2] <= 16_000, "it is there again");
});

test("which codes are final can be chosen", () => {
  const own = (end) => end.code === 4503 || (end.code !== 1011 && shouldReconnect(end));
  for (const [code, state] of [[4503, "waiting"], [4001, "closed"], [1011, "closed"], [1012, "waiting"]]) {
    const one = channel({ shouldReconnect: own });
    socket().open().end(code);
    assert.equal(one.state, state, `code ${code}`);
    one.close();
  }
});

test("an attempt that hangs is given up", () => {
  const events = life(channel({ openTimeout: 3_000 }));
  tick(3_000);
  assert.deepEqual(socket().closedWith, [undefined, undefined]);
  assert.deepEqual(events[0], ["close", 1006, true]);
  const abandoned = socket();
  tick(500);
  abandoned.onopen({});
  assert.equal(events.length, 2, "nobody listens to an abandoned socket");
});

test("closing is final, whatever the state", () => {
  const open = channel();
  const events = life(open);
  socket().open();
  open.close(4000, "bye");
  assert.deepEqual(socket().closedWith, [4000, "bye"]);
  socket().onclose({ code: 1006, reason: "" });
  assert.deepEqual(events, [["open", false], ["close", 4000, false]]);

  const connecting = channel();
  connecting.close();
  const waiting = channel();
  socket().end(1006);
  waiting.close();
  tick(60_000);
  assert.equal(count(), 3);
  assert.deepEqual([open, connecting, waiting].map((one) => one.state), ["closed", "closed", "closed"]);
});

test("a handler may close or reconnect", () => {
  const one = channel();
  one.onReconnecting(({ attempt }) => attempt === 3 && one.close());
  while (one.state !== "closed") {
    socket().end(1006);
    tick(30_000);
  }
  assert.equal(count(), 3);

  const other = channel();
  other.onOpen(({ isReconnect }) => isReconnect || other.reconnect());
  socket().open();
  assert.equal(other.state, "waiting");
  tick(500);
  socket().open();
  assert.equal(other.state, "open");
});

test("messages wait for a connection, up to a bound, after what is sent when it opens", () => {
  const one = channel({ queueLength: 2 });
  one.onOpen(() => one.send({ type: "join" }));
  one.send("first");
  one.send({ type: "second" });
  assert.throws(() => one.send("third"), { name: "ChannelError", code: "queue-full" });
  socket().open();
  assert.deepEqual(socket().sent, ['{"type":"join"}', "first", '{"type":"second"}']);
  one.close();
  assert.throws(() => one.send("late"), { code: "closed" });
});

test("bytes are sent as they are", () => {
  const one = channel();
  socket().open();
  const data = [new Uint8Array([1]), new ArrayBuffer(2), new Blob(["x"])];
  data.forEach((some) => one.send(some));
  data.forEach((some, index) => assert.equal(socket().sent[index], some));
});

test("messages come to the handlers of their type, until those are taken away", () => {
  const one = channel();
  const got = [];
  const off = one.on("said", (message) => got.push(["said", message.text]));
  one.on("error", (message) => got.push(["error", message.code]));
  one.onText((text) => got.push(["text", text]));
  one.onBinary((data) => got.push(["binary", data.byteLength]));
  socket().open();
  socket().message({ type: "said", text: "hi" });
  socket().message({ type: "other" });
  for (const text of ["no JSON", "null", "7", "[]", '{"type":1}', '{"type":"__proto__"}']) socket().message(text);
  socket().message({ type: "error", code: "INVALID" });
  socket().message(new ArrayBuffer(3));
  off();
  socket().message({ type: "said", text: "unheard" });
  assert.deepEqual(got.filter(([what]) => what !== "text"), [["said", "hi"], ["error", "INVALID"], ["binary", 3]]);
  assert.equal(got.filter(([what]) => what === "text").length, 10);
});

test("a request is answered by the reply with its ref", async () => {
  const one = channel();
  const early = one.request("add", { one: 1 });
  socket().open();
  const late = one.request({ type: "subtract", one: 1 });
  assert.deepEqual(socket().messages, [
    { type: "add", payload: { one: 1 }, ref: 1 },
    { type: "subtract", one: 1, ref: 2 },
  ]);
  socket().message({ type: "reply", ref: 2, status: "ok", payload: { difference: 0 } });
  socket().message({ type: "reply", ref: 1, status: "ok", payload: { sum: 2 } });
  assert.deepEqual(await Promise.all([early, late]), [{ sum: 2 }, { difference: 0 }]);
});

test("an error with its ref rejects a request, with the channel's code and fields", async () => {
  const one = channel();
  const others = [];
  one.on("error", (message) => others.push(message.code));
  socket().open();
  const request = one.request("buy", { cups: 0 });
  socket().message({ type: "error", code: "ELSEWHERE", message: "not about it" });
  socket().message({ type: "error", ref: 1, status: "error", code: "INVALID", message: "no", fields: { cups: "too few" } });
  const error = await request.catch((error) => error);
  assert.ok(error instanceof ChannelError && error instanceof Error);
  assert.deepEqual([error.code, error.message, error.fields], ["INVALID", "no", { cups: "too few" }]);
  assert.deepEqual(others, ["ELSEWHERE"]);
});

test("a request fails at its timeout; where it still waited, it is not sent any more", async () => {
  const one = channel({ timeout: 1_000 });
  const waiting = one.request("first");
  const patient = one.request("second", {}, { timeout: 3_000 });
  tick(1_000);
  await assert.rejects(waiting, { code: "timeout" });
  socket().open();
  assert.deepEqual(socket().messages.map((message) => message.type), ["second"]);
  tick(2_000);
  await assert.rejects(patient, { code: "timeout" });
  socket().message({ type: "reply", ref: 2, payload: {} });
});

test("a lost connection rejects what was sent and keeps what waits", async () => {
  const one = channel();
  socket().open();
  const sent = one.request("sent");
  socket().end(1006);
  await assert.rejects(sent, { code: "connection-lost" });
  const kept = one.request("kept");
  tick(500);
  socket().open().message({ type: "reply", ref: 2, payload: 7 });
  assert.equal(await kept, 7);
  const last = one.request("last");
  socket().end(4001, "signed out");
  await assert.rejects(last, { code: "closed", message: "closed with code 4001: signed out" });
  await assert.rejects(one.request("later"), { code: "closed" });
});

test("a request of a full queue is refused", async () => {
  const one = channel({ queueLength: 0 });
  await assert.rejects(one.request("one"), { code: "queue-full" });
});

test("opened() resolves once there is a connection, and rejects when there will be none", async () => {
  const one = channel();
  const opened = one.opened();
  socket().end(1006);
  tick(500);
  socket().open();
  assert.equal(await opened, one);
  assert.equal(await one.opened(), one);
  one.close();
  await assert.rejects(one.opened(), { code: "closed" });
  const refused = channel();
  const never = refused.opened();
  socket().end(1008, "no");
  await assert.rejects(never, { code: "closed", message: "closed with code 1008: no" });
});

test("`reconnect` makes another connection, whatever `shouldReconnect` says", async () => {
  const one = channel({ shouldReconnect: () => false });
  socket().open();
  const sent = one.request("sent");
  one.reconnect();
  await assert.rejects(sent, { code: "connection-lost" });
  tick(500);
  socket().open();
  assert.equal(one.state, "open");
});

test("an address is built where `URL` is incomplete, as in React Native, or missing", () => {
  const complete = globalThis.URL;
  class Incomplete {
    constructor(url) { this.href = String(url); }
    get protocol() { throw new Error("URL.protocol is not implemented"); }
    get searchParams() { throw new Error("not implemented"); }
    toString() { return this.href; }
  }
  try {
    for (const url of [Incomplete, undefined]) {
      globalThis.URL = url;
      connect("https://wharf.test:8/a?b=1&n=1&&c#part", { WebSocket: FakeWebSocket, query: { n: "ü=&", "c d": true } });
      assert.equal(socket().url, "wss://wharf.test:8/a?b=1&c&n=%C3%BC%3D%26&c+d=true&wharf_heartbeat=1&wharf_recover=");
      connect("WS://wharf.test", { WebSocket: FakeWebSocket, heartbeat: false, recover: false });
      assert.equal(socket().url, "WS://wharf.test");
    }
    connect(new complete("http://wharf.test/a#b"), { WebSocket: FakeWebSocket, heartbeat: false, recover: false });
    assert.equal(socket().url, "ws://wharf.test/a");
  } finally {
    globalThis.URL = complete;
  }
  for (const url of ["ws://[no address", "mailto:ann@wharf.test", "", undefined]) {
    assert.throws(() => connect(url, { WebSocket: FakeWebSocket }), TypeError, `${url}`);
  }
});

test("what is declared is there, and what is there is declared", () => {
  const declared = readFileSync(new URL("../wharf.d.ts", import.meta.url), "utf8").replace(/\/\*\*.*?\*\//gs, "");
  const exported = [...declared.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual([...new Set(exported)].sort(), Object.keys(wharf).sort());
  for (const [name, instance] of [["Channel", channel()], ["Presence", new Presence()], ["ChannelError", new ChannelError("c", "m")]]) {
    const body = declared.match(new RegExp(`^export class ${name}\\b[^{]*\\{\\n(.*?)^\\}`, "ms"))[1];
    const members = [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[:(]/gm)].map(([, member]) => member);
    for (const member of members) assert.ok(member in instance, `${name}.${member} is declared, and not there`);
    const own = [...Object.getOwnPropertyNames(Object.getPrototypeOf(instance)), ...Object.keys(instance)];
    const undeclared = own.filter((member) => !["constructor", "name", ...members].includes(member));
    assert.deepEqual(undeclared, [], `${name} has members that are not declared`);
  }
  assert.ok(channel() instanceof Channel);
});
