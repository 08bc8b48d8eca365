import assert from "node:assert/strict";
import { test } from "node:test";

import { channel, FakeWebSocket, socket, tick } from "./fake.js";

const EPOCH = "00000000000000ab";

/** Sends a note about a room that was joined, at this offset. */
function join(room, offset, rest = {}) {
  socket().message(`{"type":"wharf:history","room":${JSON.stringify(room)},"epoch":"${EPOCH}","offset":${offset},`
    + `"messages":0${Object.entries(rest).map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join("")}}`);
}

/** Sends the note before a message, or in place of one. */
function at(room, offset, rest = "") {
  socket().message(`{"type":"wharf:position","room":"${room}","epoch":"${EPOCH}","offset":${offset}${rest}}`);
}

/** Returns the positions that the last socket was opened with. */
function told() {
  return new URL(socket().url).searchParams.get("wharf_recover");
}

test("a client says where it was when it comes back, and hears what came of it", () => {
  const one = channel();
  const [texts, bytes, joined] = [[], [], []];
  one.onText((text) => texts.push(text));
  one.onBinary((data) => bytes.push(data.byteLength));
  one.onHistory((event) => joined.push(event));
  assert.equal(told(), "");
  socket().open();
  join("a,b", 3);
  join("news", 0);
  at("news", 1);
  socket().message("one");
  at("news", 2, ',"skipped":true');
  at("news", 3);
  socket().message(new ArrayBuffer(7));
  assert.deepEqual([texts, bytes], [["one"], [7]]);
  socket().end(1006);
  tick(500);
  assert.equal(told(), `news,${EPOCH},3;a%2Cb,${EPOCH},3`);
  socket().open();
  join("news", 3, { recovered: true });
  join("a,b", 9, { recovered: false, reason: "trimmed" });
  assert.deepEqual(joined.slice(2), [
    { room: "news", recovered: true, reason: undefined, messages: 0 },
    { room: "a,b", recovered: false, reason: "trimmed", messages: 0 },
  ]);
});

test("a message that is missing is fetched by another connection", () => {
  const one = channel();
  const texts = [];
  one.onText((text) => texts.push(text));
  socket().open();
  join("news", 0);
  at("news", 1);
  socket().message("one");
  at("news", 3);
  assert.equal(one.state, "waiting");
  socket().message("three");
  assert.deepEqual(texts, ["one"], "nothing of the old connection is heard");
  tick(500);
  assert.equal(told(), `news,${EPOCH},1`);
});

test("a note whose message has not come is no position", () => {
  channel();
  socket().open();
  join("news", 0);
  at("news", 1);
  socket().end(1006);
  tick(500);
  assert.equal(told(), `news,${EPOCH},0`);
});

test("rooms that a stable connection has not spoken of are forgotten", () => {
  channel();
  socket().open();
  join("news", 1);
  join("old", 1);
  socket().end(1006);
  tick(500);
  socket().open();
  join("news", 1, { recovered: true });
  // It ends before the channel has joined all of its rooms, perhaps.
  socket().end(1006);
  tick(1000);
  assert.equal(told(), `news,${EPOCH},1;old,${EPOCH},1`);
  socket().open();
  join("news", 1, { recovered: true });
  tick(5000);
  socket().end(1006);
  tick(500);
  assert.equal(told(), `news,${EPOCH},1`);
});

test("messages that look like notes are messages, and odd notes do no harm", () => {
  const one = channel();
  const texts = [];
  one.onText((text) => texts.push(text));
  socket().open();
  const fake = '{"type":"wharf:history","room":"news","epoch":"x","offset":9}';
  socket().message('{"type":"wharf:message"}');
  socket().message(fake);
  const odd = ['{"type":"wharf:', '{"type":"wharf:other","room":"a"}', '{"type":"wharf:position","room":1}',
    '{"type":"wharf:history","room":"a","epoch":"x"}', '{"type":"wharf:history","room":"a","epoch":"x","offset":1.5}'];
  for (const text of odd) socket().message(text);
  assert.deepEqual(texts, [fake, ...odd]);
  socket().end(1006);
  tick(500);
  assert.equal(told(), "");
});

test("a client that does not want to recover asks for nothing", () => {
  channel({ recover: false });
  assert.equal(new URL(socket().url).searchParams.has("wharf_recover"), false);
});

test("so many rooms are told as an address has room for, the ones that were heard of last", () => {
  channel();
  socket().open();
  for (let room = 0; room < 1000; room += 1) join(`a room with a rather long name ${room}`, 1);
  socket().end(1006);
  tick(500);
  assert.ok(FakeWebSocket.last.url.length < 6000, `${FakeWebSocket.last.url.length}`);
  const rooms = told().split(";").map((place) => decodeURIComponent(place.split(",")[0]));
  assert.ok(rooms.length > 20 && rooms[0].endsWith("999"), `${rooms.length}`);
});
