// Functions of the page that fail, messages that cannot be sent, and bounds.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { ChannelError } from "../wharf.js";
import { channel, count, FakeWebSocket, life, settled, socket, tick } from "./fake.js";

test("a handler that fails keeps nobody else from its turn", () => {
  const thrown = [];
  mock.method(globalThis, "queueMicrotask", (task) => {
    try { task(); } catch (error) { thrown.push(error.message); }
  });
  const one = channel();
  const got = [];
  one.on("said", () => { throw new Error("mine"); });
  one.on("said", (message) => got.push(message.text));
  socket().open();
  socket().message({ type: "said", text: "hi" });
  assert.deepEqual([got, thrown], [["hi"], ["mine"]]);
});

test("a socket that cannot be made closes the channel", () => {
  class Refusing { constructor() { throw new SyntaxError("bad subprotocol"); } }
  const one = channel({ WebSocket: Refusing });
  assert.equal(one.state, "closed");
});

/** Catches what a page would see as an error that nobody has caught. */
function uncaught() {
  const thrown = [];
  const real = queueMicrotask;
  mock.method(globalThis, "queueMicrotask", (task) => real(() => {
    try { task(); } catch (error) { thrown.push(error.message); }
  }));
  return thrown;
}

const fails = (why) => () => { throw new Error(why); };

test("a `shouldReconnect` that throws is as good as the usual one, and the state stays true", async () => {
  const thrown = uncaught();
  const one = channel({ shouldReconnect: fails("mine") });
  const events = life(one);
  socket().open();
  const sent = one.request("sent");
  socket().end(1006);
  await assert.rejects(sent, { code: "connection-lost" });
  assert.equal(one.state, "waiting");
  one.send("kept");
  tick(500);
  assert.deepEqual(socket().open().sent, ["kept"]);
  socket().end(4001);
  await settled();
  assert.deepEqual([one.state, thrown], ["closed", ["mine", "mine"]]);
  assert.deepEqual(events.filter(([what]) => what === "close"), [["close", 1006, true], ["close", 4001, false]]);

  const other = channel({ shouldReconnect: fails("mine"), openTimeout: 1_000 });
  tick(1_000);
  assert.equal(other.state, "waiting", "an attempt that hangs");
});

test("a `shouldReconnect` may close the channel or reconnect by itself", async () => {
  const closing = channel({ shouldReconnect: () => closing.close(4000) ?? true });
  const events = life(closing);
  socket().open();
  const sent = closing.request("sent");
  socket().end(1006);
  await assert.rejects(sent, { code: "closed" });
  assert.deepEqual(events, [["open", false], ["close", 4000, false]]);

  const eager = channel({ shouldReconnect: () => eager.reconnect() });
  const lives = life(eager);
  socket().open();
  const lost = eager.request("sent");
  socket().end(1006);
  await assert.rejects(lost, { code: "connection-lost" });
  assert.deepEqual([eager.state, lives.at(-1)], ["connecting", ["close", 1006, true]]);
  socket().open();
  assert.equal(eager.state, "open");
});

test("no function or value of the page leaves the channel without a connection and without an attempt", async () => {
  uncaught();
  const odd = Object.create(null);
  for (const options of [
    { token: fails("no network") }, { token: () => Promise.reject() }, { token: () => Promise.reject(odd) },
    { token: () => { throw odd; } }, { token: () => Promise.reject(false) },
  ]) {
    const one = channel(options);
    await settled();
    assert.equal(one.state, "waiting", "a failure to get a token passes");
    one.close();
  }
  for (const options of [
    { query: { get name() { throw new Error("mine"); } } }, { query: { name: odd } }, { query: { name: Symbol("x"), b: odd } },
    { token: () => odd }, { WebSocket: class { constructor() { throw odd; } } },
    { WebSocket: class { set binaryType(_) { throw odd; } close() { throw odd; } } },
  ]) {
    const before = count();
    const one = channel(options);
    const events = life(one);
    await settled();
    assert.deepEqual([one.state, count() - before], ["closed", 0], "no socket can be made");
    assert.deepEqual(events, [["close", 1006, false]], "the handlers are told, although they came later");
    await assert.rejects(one.opened(), { code: "closed" });
  }
  const one = channel({ query: { name: "lone \ud800" } });
  assert.equal(new URL(socket().url).searchParams.get("name"), "lone \ufffd");
  one.onOpen(fails("mine"));
  one.onClose(fails("mine"));
  one.onReconnecting(fails("mine"));
  one.send("first");
  socket().open();
  assert.deepEqual(socket().sent, ["first"]);
  socket().end(1006);
  assert.equal(one.state, "waiting");
});

test("a message that fails when it is sent does not hold up those behind it", async () => {
  const thrown = uncaught();
  class Picky extends FakeWebSocket {
    send(data) {
      if (String(data).includes("bad")) throw new TypeError("not this");
      super.send(data);
    }
  }
  const one = channel({ WebSocket: Picky });
  one.send("bad");
  const request = one.request("bad");
  one.send("good");
  socket().open();
  one.send("later");
  assert.deepEqual(socket().sent, ["good", "later"]);
  assert.throws(() => one.send("bad"), { message: "not this" });
  await assert.rejects(request, { message: "not this" });
  await assert.rejects(one.request("bad"), { message: "not this" });
  assert.deepEqual(thrown, ["not this"]);
});

test("an answer of any shape settles its request", async () => {
  const one = channel();
  socket().open();
  const strange = [{ message: { toString: 1, valueOf: 1 } }, { message: null, code: 7 }, { code: {} }, { fields: 7 }];
  for (const [index, rest] of strange.entries()) {
    const request = one.request("x");
    socket().message({ type: "error", ref: index + 1, ...rest });
    const error = await request.catch((error) => error);
    assert.ok(error instanceof ChannelError && typeof error.code === "string", JSON.stringify(rest));
  }
});

test("the queue is bounded in bytes, of the kind that is sent", () => {
  const one = channel({ queueBytes: 10 });
  one.send("grüße");
  one.send(new Uint16Array(1));
  assert.throws(() => one.send(new Blob(["xx"])), { code: "queue-full" });
  one.send("!");
  assert.throws(() => one.send("?"), { code: "queue-full", message: /3 messages of 10 bytes/ });
  socket().open().end(1006);
  for (const data of ["x".repeat(5), new ArrayBuffer(5)]) one.send(data);
  assert.throws(() => one.send(""+ "x"), { code: "queue-full" });

  // A request that is given up makes room.
  const other = channel({ queueBytes: 40, timeout: 1_000 });
  other.request("a").catch(() => {});
  assert.throws(() => other.send("x".repeat(30)), { code: "queue-full" });
  tick(1_000);
  other.send("x".repeat(30));
  assert.throws(() => channel().send("x".repeat(9 << 20)), { code: "queue-full" });
});

test("bytes that wait are those that were given", () => {
  const one = channel();
  const bytes = new Uint8Array([1, 2, 3]);
  one.send(bytes.subarray(1));
  one.send(bytes.buffer);
  bytes.fill(9);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  socket().open();
  assert.deepEqual(socket().sent.map((data) => [...new Uint8Array(data)]), [[2, 3], [1, 2, 3]]);
});

test("a network that takes nothing fills a bounded buffer", async () => {
  const one = channel({ queueBytes: 1_000 });
  socket().open().bufferedAmount = 1_001;
  assert.throws(() => one.send("x"), { code: "queue-full" });
  await assert.rejects(one.request("x"), { code: "queue-full" });
  socket().bufferedAmount = 1_000;
  one.send("x");
  assert.deepEqual(socket().sent, ["x"]);

  // A message that was accepted before is sent.
  socket().end(1006);
  one.send("y");
  one.onOpen(() => (socket().bufferedAmount = 2_000));
  tick(500);
  assert.deepEqual(socket().open().sent, ["y"]);
});

test("what is sent while the connection closes waits for the next one", async () => {
  const one = channel();
  one.onOpen(() => one.send("hello"));
  socket().open().readyState = 2;
  one.send("late");
  const request = one.request("late");
  assert.deepEqual(socket().sent, ["hello"]);
  socket().end(1012);
  tick(500);
  socket().open();
  assert.deepEqual(socket().sent.slice(0, 2), ["hello", "late"]);
  socket().message({ type: "reply", ref: 1, payload: 7 });
  assert.equal(await request, 7);
});

test("what never was sent is handed back when the channel is closed for good", async () => {
  const one = channel();
  const ends = [];
  one.onClose(({ unsent, willReconnect }) => ends.push([unsent, willReconnect]));
  one.send("first");
  one.send({ type: "second" });
  const request = one.request("third");
  socket().end(1006);
  tick(500);
  socket().end(4001);
  assert.deepEqual(ends, [[[], true], [["first", '{"type":"second"}'], false]]);
  await assert.rejects(request, { code: "closed" });
});

test("what cannot be sent, or closed with, is refused in each state", () => {
  const one = channel();
  const all = () => {
    for (const value of [undefined, () => 1, Symbol("x")]) assert.throws(() => one.send(value), TypeError);
    assert.throws(() => one.send(1n), TypeError);
    for (const code of [1001, 1006, 999, 2999, 5000, 3000.5, "1000", NaN, null]) assert.throws(() => one.close(code), RangeError);
    assert.throws(() => one.close(1000, "ü".repeat(62)), RangeError);
  };
  all();
  socket().open();
  all();
  assert.equal(socket().closedWith, null);
  socket().end(1006);
  all();
  one.close(4999, "ü".repeat(61));
  all();
  assert.equal(one.state, "closed");
});
