import assert from "node:assert/strict";
import { test } from "node:test";

import { channel, count, life, settled, socket, tick } from "./fake.js";

test("a token is asked for at each attempt, with how the last one ended", async () => {
  const asked = [];
  const one = channel({ token: async (end) => `token ${asked.push(end?.code)}`, tokenParameter: "jwt" });
  await settled();
  assert.equal(new URL(socket().url).searchParams.get("jwt"), "token 1");
  socket().open().end(1012);
  tick(500);
  await settled();
  assert.equal(new URL(socket().url).searchParams.get("jwt"), "token 2");
  socket().open().end(1008, "token-expired");
  assert.equal(one.state, "waiting", "another token may do");
  tick(500);
  await settled();
  assert.equal(new URL(socket().url).searchParams.get("jwt"), "token 3");
  assert.deepEqual(asked, [undefined, 1012, 1008]);
});

test("a token can be asked for as a subprotocol, and is not in the URL then", async () => {
  for (const [protocols, asked] of [
    [undefined, ["bearer", "a.b.c"]],
    ["chat.v1", ["chat.v1", "bearer", "a.b.c"]],
    [["chat.v1", "chat.v2"], ["chat.v1", "chat.v2", "bearer", "a.b.c"]],
  ]) {
    channel({ token: () => "a.b.c", tokenProtocol: "bearer", protocols });
    await settled();
    assert.deepEqual(socket().protocols, asked);
    assert.equal(new URL(socket().url).searchParams.has("token"), false);
  }
  channel({ protocols: "chat.v1", tokenProtocol: "bearer" });
  assert.equal(socket().protocols, "chat.v1", "without a token there is no word for it");
});

test("a token that was refused is not tried twice", async () => {
  const one = channel({ token: () => "the only one" });
  const events = life(one);
  await settled();
  socket().open().end(1012);
  tick(500);
  await settled();
  assert.equal(count(), 2, "only a refusal is about the token");
  socket().open().end(1008, "token-expired");
  tick(1_000);
  await settled();
  assert.equal(count(), 2);
  assert.deepEqual(events.at(-1), ["close", 1008, false]);
  assert.equal(one.state, "closed");
});

test("without a token there is no connection, and a failure to get one is tried again", async () => {
  const none = channel({ token: () => null });
  await settled();
  assert.equal(none.state, "closed");
  assert.equal(count(), 0);

  let fails = true;
  const one = channel({ token: () => { if (fails) throw new Error("no network"); return "t"; } });
  await settled();
  assert.equal(one.state, "waiting");
  fails = false;
  tick(500);
  await settled();
  assert.equal(count(), 1);
});

test("the end that is told is the last one that had its token", async () => {
  const asked = [];
  let fail = false;
  const one = channel({
    token(end) {
      asked.push(end?.code);
      if (fail) throw new Error("no network");
      return end?.code === 1008 ? "new" : "old";
    },
  });
  await settled();
  socket().open();
  fail = true;
  socket().end(1008, "token-expired");
  tick(500);
  await settled();
  fail = false;
  tick(1_000);
  await settled();
  assert.deepEqual(asked, [undefined, 1008, 1008]);
  assert.equal(new URL(socket().url).searchParams.get("token"), "new");
  socket().end(1006);
  tick(4_000);
  await settled();
  assert.equal(asked.at(-1), 1006, "that is settled");
  assert.equal(one.state, "connecting");
});

test("a token that was refused is not tried twice after a failure either", async () => {
  let fail = false;
  const one = channel({ token: () => { if (fail) throw new Error("no network"); return "same"; } });
  await settled();
  socket().open();
  fail = true;
  socket().end(1008, "token-expired");
  tick(500);
  await settled();
  fail = false;
  tick(1_000);
  await settled();
  assert.deepEqual([count(), one.state], [1, "closed"]);
  assert.throws(() => one.send("x"), { code: "closed", message: "closed with code 1008: token-expired" });
});

test("one call of `token` is under way at a time", async () => {
  const calls = [];
  const one = channel({ token: () => new Promise((resolve) => calls.push(resolve)), openTimeout: 1_000 });
  const events = life(one);
  await settled();
  tick(1_000);
  tick(500);
  await settled();
  assert.deepEqual([calls.length, one.state, events[0]], [1, "connecting", ["close", 1006, true]]);
  calls[0]("late");
  await settled();
  assert.equal(new URL(socket().url).searchParams.get("token"), "late");
  socket().open().end(1012);
  tick(5_000);
  await settled();
  assert.equal(calls.length, 2);
});

test("what is told for a token is not what became of the attempt to get one", async () => {
  const asked = [];
  let fail = false;
  const one = channel({ token(end) { asked.push(end && [end.code, end.wasOpen]); if (fail) throw new Error("no network"); return "t"; } });
  await settled();
  socket().open();
  fail = true;
  socket().end(1012);
  for (const delay of [500, 1_000, 2_000]) {
    tick(delay);
    await settled();
  }
  fail = false;
  tick(4_000);
  await settled();
  socket().end(1006);
  tick(8_000);
  await settled();
  assert.deepEqual(asked, [undefined, ...Array(4).fill([1012, true]), [1006, false]]);
  one.close();
});
