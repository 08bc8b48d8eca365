import assert from "node:assert/strict";
import { test } from "node:test";

import { Presence } from "../wharf.js";
import { channel, socket, tick } from "./fake.js";

test("presence is the last list with all differences since", () => {
  const one = channel();
  const room = one.presence("lobby");
  assert.equal(one.presence("lobby"), room);
  const changes = [];
  const off = room.onChange((change) => changes.push(change));
  const tell = (type, sequence, rest) => socket().message({ type, room: "lobby", sequence, ...rest });
  const [single, two] = [{ metas: [{ tab: 1 }] }, { metas: [{ tab: 1 }, { tab: 2 }] }];
  socket().open();
  tell("presence_diff", 3, { joins: { eve: single }, leaves: [] });
  assert.equal(room.present.size, 0, "a difference to nothing");
  tell("presence_state", 4, { present: { ann: single, bob: single } });
  tell("presence_diff", 4, { joins: {}, leaves: ["ann"] });
  tell("presence_diff", 3, { joins: {}, leaves: ["ann"] });
  tell("presence_diff", 6, { joins: { ann: two, ["__proto__"]: single }, leaves: ["bob", "nobody"] });
  assert.deepEqual([...room.present], [["ann", two], ["__proto__", single]]);
  assert.deepEqual(changes, [
    { joined: ["ann", "bob"], updated: [], left: [] },
    { joined: ["__proto__"], updated: ["ann"], left: ["bob"] },
  ]);
  socket().message({ type: "presence_state", room: "cellar", sequence: 1, present: { eve: single } });
  assert.deepEqual([...one.presence("cellar").present.keys()], ["eve"]);

  // Another server may start its numbers again.
  socket().end(1012);
  assert.deepEqual([room.isCurrent, room.present.size], [false, 2]);
  tick(500);
  socket().open();
  tell("presence_diff", 9, { joins: {}, leaves: ["ann"] });
  assert.ok(room.present.has("ann"), "a difference to a list that was not seen");
  off();
  tell("presence_state", 1, { present: { bob: two } });
  assert.deepEqual([...room.present], [["bob", two]]);
  assert.ok(room.isCurrent);
  assert.equal(changes.length, 2);
});

test("presence takes only the host's messages, and a plugin may use their types for its own", () => {
  const one = channel();
  const room = one.presence("lobby");
  const heard = [];
  for (const type of ["presence_state", "presence_diff"]) one.on(type, () => heard.push(type));
  socket().open();
  socket().message({ type: "presence_state", room: "lobby", sequence: 1, present: { ann: { metas: [] } } });
  const own = [
    { leaves: "ann" }, { leaves: { ann: 1 } }, { leaves: 7 }, { joins: 7 }, { joins: "ab" }, { joins: [1] }, { joins: null },
    { joins: { bob: null } }, { joins: { bob: { metas: "none" } } }, { leaves: ["ann"], sequence: "2" }, { room: 7 },
    { room: null }, { sequence: null }, { sequence: {} },
  ];
  for (const rest of own) socket().message({ type: "presence_diff", room: "lobby", sequence: 2, ...rest });
  for (const present of [undefined, null, 7, "x", [], { bob: 1 }, { bob: {} }]) {
    socket().message({ type: "presence_state", room: "lobby", sequence: 2, present });
  }
  assert.equal(heard.length, 1 + own.length + 7);
  assert.deepEqual([...room.present.keys()], ["ann"]);
  assert.ok(room.isCurrent);
  const alone = new Presence();
  alone.apply({ type: "presence_diff", sequence: 1, leaves: 7 });
  alone.apply({ type: "presence_state", sequence: 1, present: { ann: { metas: [1] } } });
  assert.ok(alone.isCurrent && alone.present.has("ann"));
});

test("presence of a room ends when the page forgets it", () => {
  const one = channel();
  const room = one.presence("lobby");
  socket().open();
  const state = { type: "presence_state", room: "lobby", sequence: 1, present: { ann: { metas: [] } } };
  socket().message(state);
  one.forget("lobby");
  assert.equal(room.isCurrent, false);
  socket().message({ ...state, sequence: 2, present: {} });
  assert.deepEqual([room.isCurrent, [...room.present.keys()]], [false, ["ann"]]);
  assert.notEqual(one.presence("lobby"), room);
  one.forget("never seen");
});

test("rooms that a server names do not pile up", () => {
  const one = channel();
  const kept = one.presence("room 0");
  socket().open();
  const name = (n) => socket().message({ type: "presence_state", room: `room ${n}`, sequence: 1, present: { ann: { metas: [] } } });
  for (let n = 0; n < 1_000; n++) name(n);
  socket().message({ type: "presence_diff", room: "room 1", sequence: 2, joins: {}, leaves: ["ann"] });
  assert.ok(kept.isCurrent && one.presence("room 0") === kept);
  assert.ok(one.presence("room 999").isCurrent, "a page may ask for it a moment later");
  assert.equal(one.presence("room 1").isCurrent, false);
  name(1_000);
  socket().end(1012);
  assert.equal(one.presence("room 1000").present.size, 0, "nobody has asked for it until the connection was lost");
});

test("a list that comes on a connection that a handler ends is not current", () => {
  for (const end of ["close", "reconnect"]) {
    const one = channel();
    const room = one.presence("lobby");
    one.onText(() => one[end]());
    socket().open().message({ type: "presence_state", room: "lobby", sequence: 1, present: {} });
    assert.equal(room.isCurrent, false, end);
  }
});
