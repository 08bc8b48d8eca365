// Rules that hold whatever happens, in whatever order: random lives of a channel.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { channel, FakeWebSocket, inPage, seeded, settled, socket, tick } from "./fake.js";

const RUNS = 300;
const STEPS = 80;
const CODES = [1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 3000, 4000];
const EVENTS = ["online", "pageshow", "focus", "visibilitychange", "resume"];

test("whatever happens, the state is true, and nothing that was accepted vanishes", async () => {
  const real = queueMicrotask;
  // Errors of the page's functions are reported to the page; here nobody listens.
  mock.method(globalThis, "queueMicrotask", (task) => real(() => { try { task(); } catch { /* as said */ } }));
  for (let run = 0; run < RUNS; run++) {
    const random = seeded(run);
    const any = (list) => list[Math.floor(random() * list.length)];
    const chance = (share) => random() < share;
    await inPage(async (happens) => {
      FakeWebSocket.all = [];
      const sometimes = (value) => { if (chance(0.3)) throw new Error("of the page's"); return value; };
      let tokens = 0;
      const one = channel({
        queueLength: 5, timeout: 20_000,
        ...(chance(0.5) && { shouldReconnect: ({ code }) => sometimes(code !== 4000) }),
        ...(chance(0.5) && { token: () => sometimes(`token ${++tokens}`) }),
      });
      const [accepted, unsent, requests] = [[], [], []];
      for (const on of [one.onOpen, one.onClose, one.onReconnecting, one.onText]) {
        on(() => sometimes());
        // A handler acts in the middle of something else.
        on(() => chance(0.05) && one.reconnect());
        on(() => chance(0.02) && one.close());
      }
      one.onClose((event) => unsent.push(...event.unsent));
      const alive = () => socket() && socket().readyState < 3 && socket().onmessage;
      let isHidden = false;
      const actions = [
        () => alive() && socket().readyState === 0 && socket().open(),
        () => alive() && socket().readyState === 0 && socket().open().message('{"type":"wharf:ping"}'),
        () => alive() && socket().readyState === 1 && socket().message(any(['{"type":"wharf:pong"}', "text", '{"type":"x"}'])),
        () => alive() && chance(0.5) && socket().end(any(CODES), any(["", "removed"])),
        () => alive() && socket().readyState === 1 && (socket().readyState = 2),
        () => {
          const text = `message ${accepted.length}`;
          try { one.send(text); } catch { return; }
          accepted.push(text);
        },
        () => {
          const request = one.request("x").catch(() => {});
          requests.push(request);
        },
        () => tick(any([0, 10, 500, 5_000, 31_000])),
        () => isHidden || happens(any(EVENTS)),
        () => { happens("pagehide", { persisted: true }); isHidden = true; },
        () => { happens("pageshow", { persisted: true }); isHidden = false; },
        () => chance(0.1) && one.reconnect(),
      ];
      for (let step = 0; step < STEPS; step++) {
        any(actions)();
        await settled();
        const isOpen = alive() && socket().readyState > 0 && socket().closedWith === null;
        if (one.state === "open") assert.ok(isOpen, `run ${run}: open with a socket`);
        if (isHidden) assert.notEqual(one.state, "open", `run ${run}: a hidden page`);
      }
      // Now the world is kind.
      happens("pageshow", { persisted: true });
      for (let n = 0; n < 200 && one.state !== "closed"; n++) {
        if (alive() && socket().readyState === 2) socket().end(1006);
        if (alive() && socket().readyState === 0) socket().open();
        await settled();
        if (one.state === "open" && n > 100) break;
        tick(500);
      }
      assert.ok(["open", "closed"].includes(one.state), `run ${run}: ${one.state} for good`);
      tick(20_000);
      await Promise.all(requests);
      const sent = FakeWebSocket.all.flatMap((each) => each.sent).filter((text) => /^message/.test(text));
      assert.deepEqual([...sent, ...unsent].sort(), [...accepted].sort(), `run ${run}: each was sent once, or handed back`);
      one.close();
    });
  }
});
