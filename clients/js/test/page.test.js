// Pages and networks that sleep, wake up, go and come back.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { connect } from "../wharf.js";
import { channel, count, FakeWebSocket, inPage, life, socket, tick } from "./fake.js";

test("an attempt is made at once when asked for, or when the browser is online again", () => {
  const browser = new EventTarget();
  globalThis.addEventListener = browser.addEventListener.bind(browser);
  globalThis.removeEventListener = browser.removeEventListener.bind(browser);
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
  try {
    const one = channel();
    const events = life(one);
    socket().open().end(1006);
    assert.equal(events.at(-1)[2], 30_000, "without a network there is no haste");
    tick(20_000);
    assert.equal(count(), 1);
    globalThis.navigator.onLine = true;
    browser.dispatchEvent(new Event("online"));
    tick(500);
    assert.equal(count(), 2);

    socket().end(1006);
    one.reconnect();
    assert.equal(count(), 3);
    one.close();
    browser.dispatchEvent(new Event("online"));
    tick(60_000);
    assert.equal(count(), 3);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
    if (navigator) Object.defineProperty(globalThis, "navigator", navigator);
    else delete globalThis.navigator;
  }
});

const [PING, PONG] = ['{"type":"wharf:ping"}', '{"type":"wharf:pong"}'];

test("heartbeats are answered, and are no messages of the channel's", () => {
  const one = channel();
  const got = [];
  one.onText((text) => got.push(text));
  one.on("wharf:ping", (message) => got.push(message));
  assert.equal(new URL(socket().url).searchParams.get("wharf_heartbeat"), "1");
  socket().open().message(PING);
  socket().message(PONG);
  assert.deepEqual([socket().sent, got], [[PONG], []]);

  const without = channel({ heartbeat: false, recover: false });
  without.onText((text) => got.push(text));
  assert.equal(new URL(socket().url).search, "");
  socket().open().message(PING);
  assert.deepEqual([socket().sent, got], [[], [PING]]);
});

test("a connection that is silent for long is checked, and replaced if nothing is heard", () => {
  const one = channel({ quietAfter: 30_000, answerTimeout: 5_000 });
  const events = life(one);
  socket().open().message(PING);
  for (let n = 0; n < 10; n++) {
    tick(29_000);
    socket().message("news");
  }
  assert.deepEqual(socket().sent, [PONG], "there was always something to hear");
  for (let n = 0; n < 3; n++) {
    tick(30_000);
    assert.equal(socket().sent.at(-1), PING);
    tick(4_000);
    socket().message(PONG);
  }
  assert.equal(one.state, "open");
  tick(30_000);
  tick(5_000);
  assert.deepEqual([one.state, events.at(-2)], ["waiting", ["close", 1006, true]]);
  tick(500);
  socket().open();
  assert.equal(count(), 2);
  tick(600_000);
  assert.deepEqual([one.state, socket().sent], ["open", []], "this server has no heartbeats");
});

test("a page that wakes up checks its connection", async () => {
  for (const type of ["online", "pageshow", "focus", "visibilitychange", "resume"]) {
    await inPage((happens, page) => {
      const one = channel();
      const alive = socket().open();
      alive.message(PING);
      happens(type);
      happens(type);
      assert.deepEqual(alive.sent, [PONG, PING], type);
      tick(1_000);
      alive.message(PONG);
      tick(10_000);
      assert.equal(one.state, "open", type);

      happens(type);
      tick(5_000);
      assert.equal(one.state, "waiting", `${type}: nothing was heard`);
      tick(500);
      assert.equal(one.state, "connecting");
      socket().open().message(PING);
      page.visibilityState = "hidden";
      happens("visibilitychange");
      assert.deepEqual(socket().sent, [PONG], "it goes to sleep");
      one.close();
    });
  }
});

test("a page that was asleep itself asks once more before it gives up", () => {
  const one = channel();
  socket().open().message(PING);
  one.check();
  // The timer fires late, and the answer has not been read yet.
  const asleep = mock.method(Date, "now", () => 3_600_000);
  tick(5_000);
  asleep.mock.restore();
  assert.deepEqual([one.state, socket().sent], ["open", [PONG, PING, PING]]);
  socket().message(PONG);
  tick(10_000);
  assert.equal(one.state, "open");
  one.check();
  tick(5_000);
  assert.equal(one.state, "waiting");
});

test("without heartbeats, a page that wakes up replaces a connection that was silent for a minute", async () => {
  await inPage((happens) => {
    const one = channel();
    socket().open();
    tick(59_000);
    happens("visibilitychange");
    assert.equal(one.state, "open");
    tick(1_000);
    happens("visibilitychange");
    assert.equal(one.state, "waiting");
    tick(500);
    assert.equal(one.state, "connecting");
  });
});

test("a page that wakes up while it waits tries again soon", async () => {
  await inPage((happens) => {
    mock.method(Math, "random", () => 0.999);
    const one = channel();
    for (let n = 0; n < 10; n++) {
      socket().end(1006);
      tick(30_000);
    }
    socket().end(1006);
    happens("focus");
    tick(1_000);
    assert.equal(one.state, "waiting", "the focus goes to and fro");
    happens("visibilitychange");
    tick(500);
    assert.equal(one.state, "connecting");
  });
});

test("a page in the back/forward cache has let go of its socket, and comes back when it is shown", async () => {
  await inPage(async (happens) => {
    const one = channel();
    const events = life(one);
    const room = one.presence("lobby");
    const cached = socket().open();
    cached.message({ type: "presence_state", room: "lobby", sequence: 1, present: { ann: { metas: [] } } });
    const sent = one.request("sent");
    happens("pagehide", { persisted: false });
    assert.deepEqual([one.state, cached.closedWith], ["open", null], "the browser closes it");
    happens("pagehide", { persisted: true });
    assert.deepEqual([one.state, cached.closedWith], ["waiting", [1000, "page hidden"]]);
    assert.deepEqual(events, [["open", false], ["close", 1001, true]]);
    assert.equal(room.isCurrent, false);
    await assert.rejects(sent, { code: "connection-lost" });
    const kept = one.request("kept");
    one.reconnect();
    happens("online");
    tick(9_000);
    assert.equal(count(), 1, "nothing happens in the cache");

    happens("pageshow", { persisted: true });
    tick(0);
    assert.equal(count(), 2);
    socket().open().message({ type: "reply", ref: 2, payload: 7 });
    assert.deepEqual(events.at(-1), ["open", true]);
    assert.equal(await kept, 7);
    assert.equal(room.present.size, 1);

    for (const prepare of [() => {}, () => socket().end(1006), () => { socket().end(1006); tick(500); }]) {
      prepare();
      happens("pagehide", { persisted: true });
      const before = count();
      tick(60_000);
      assert.equal(count(), before);
      happens("pageshow", { persisted: true });
      tick(0);
      assert.equal(one.state, "connecting");
      socket().open();
    }
    const ends = events.filter(([what]) => what === "close").length;
    socket().end(1012);
    happens("pagehide", { persisted: true });
    assert.equal(events.filter(([what]) => what === "close").length, ends + 1, "there was no attempt to give up");
    happens("pageshow", { persisted: true });
    tick(0);
    socket().open();
    happens("pagehide", { persisted: true });
    one.close();
    happens("pageshow", { persisted: true });
    tick(60_000);
    assert.equal(one.state, "closed");
  });
});

test("near servers are tried without a network, too", async () => {
  const near = [
    "localhost", "app.localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.1", "[::1]", "10.1.2.3", "172.16.0.1", "172.31.9.9",
    "192.168.1.7", "169.254.1.1", "100.64.0.1", "[fe80::1]", "[fd00::7]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "printer.local",
    "nas", "user:pass@127.0.0.1",
  ];
  const far = [
    "wharf.test", "8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]",
    "127.0.0.1.wharf.test", "10.wharf.test", "localhost.wharf.test", "local.test", "fd00.test",
  ];
  await inPage((happens) => {
    mock.method(Math, "random", () => 0.5);
    for (const [hosts, delay] of [[near, 250], [far, 30_000]]) {
      for (const host of hosts) {
        const one = connect(`ws://${host}:9/a?b=//127.0.0.1`, { WebSocket: FakeWebSocket });
        const events = life(one);
        socket().end(1006);
        assert.equal(events.at(-1)[2], delay, host);
        happens("visibilitychange");
        tick(20_000);
        assert.equal(one.state, delay === 250 ? "connecting" : "waiting", host);
        one.close();
      }
    }
  }, { onLine: false });
});
