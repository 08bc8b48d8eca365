// The figures of the operator's dashboard: texts for people, rates, addresses and streams of events.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ceiling } from "../../../host/server/src/dashboard/chart.js";
import * as f from "../../../host/server/src/dashboard/figures.js";
import { seeded } from "./fake.js";

test("figures have the digits that count, and a unit", () => {
  const texts = (format, ...values) => values.map((value) => f.text(format(value)));
  assert.deepEqual(texts(f.count, null, 0, 12_345, 12_345_678), ["–", "0", "12,345", "12.3\u202fM"]);
  assert.deepEqual(texts(f.rate, null, 0, 0.04, 12.34, 97_863, 123_456), ["–/s", "0/s", "<0.1/s", "12.3/s", "97,863/s", "123\u202fk/s"]);
  assert.deepEqual(f.perSecond(12.34), ["12.3", ""]);
  assert.deepEqual(texts(f.bytes, 0, 999, 1_000, 162 * 2 ** 20), ["0\u202fB", "999\u202fB", "0.98\u202fKiB", "162\u202fMiB"]);
  assert.deepEqual(texts(f.micros, null, 0.8, 42, 4_800, 2_640_000), ["–", "0.8\u202fµs", "42\u202fµs", "4.80\u202fms", "2.64\u202fs"]);
  assert.deepEqual(texts(f.percent, 0, 0.0004, 0.05, 0.7), ["0\u202f%", "<0.1\u202f%", "5.0\u202f%", "70\u202f%"]);
  assert.deepEqual([0, 59_000, 3_600_000, 273_600_000].map(f.span), ["0\u202fs", "59\u202fs", "1\u202fh", "3\u202fd 4\u202fh"]);
  assert.equal(f.ago(0, 1_000), "just now");
  assert.equal(f.ago(0, 250_000), "4\u202fmin ago");
  assert.equal(f.short(null), "–");
});

const answer = (uptime, events, name = "chat") => ({
  uptime_ms: uptime, now_ms: uptime, cpu_seconds: uptime / 2_000, handshakes: { accepted: events, refused: 0 }, connections: 1,
  channels: [{ name, events, messages_in: events, messages_out: 2 * events, bytes_in: 0, bytes_out: 0, guest_seconds: 0.5, traps: 0 }],
});

test("rates are differences of two answers, and unknown without an earlier one of the same life", () => {
  const first = f.figures(undefined, answer(1_000, 10));
  assert.equal(first.channels.get("chat").eventsRate, null);
  assert.equal(first.host.outRate, null);
  const second = f.figures(answer(1_000, 10), answer(3_000, 30));
  assert.equal(second.channels.get("chat").eventsRate, 10);
  assert.equal(second.host.outRate, 20);
  assert.equal(second.host.cpuRate, 0.5);
  assert.equal(second.host.acceptedRate, 10);
  // A channel that began anew counts from zero, and one that is new has no rate yet.
  assert.equal(f.figures(answer(1_000, 30), answer(2_000, 10)).channels.get("chat").eventsRate, 0);
  assert.equal(f.figures(answer(1_000, 30), answer(2_000, 10, "echo")).channels.get("echo").eventsRate, null);
  // So does a host.
  assert.equal(f.figures(answer(9_000, 30), answer(1_000, 40)).host.inRate, null);
});

test("any names survive in an address", () => {
  const names = ["café", "a/b", "100 %", "#", "?", "..", "\u202f"];
  assert.deepEqual(f.parts(f.to("channels", ...names)), ["channels", ...names]);
  assert.deepEqual(f.parts(""), []);
  assert.deepEqual(f.parts("#/"), []);
  assert.deepEqual(f.parts("#/%zz"), []);
});

test("events are read from pieces of any size", () => {
  const text = 'event: line\ndata: {"a":1}\n\n:\n\nevent: stats\ndata: {"b":"x: y"}\n\n';
  const random = seeded(1);
  for (let run = 0; run < 200; run++) {
    const events = [];
    const read = f.eventReader((name, data) => events.push([name, data]));
    for (let at = 0; at < text.length;) {
      const length = 1 + Math.floor(random() * 9);
      read(text.slice(at, at + length));
      at += length;
    }
    assert.deepEqual(events, [["line", { a: 1 }], ["stats", { b: "x: y" }]]);
  }
});

test("the upper edge of a chart is a round number above all values", () => {
  assert.deepEqual([0, 0.7, 1, 1.2, 6, 97_863].map(ceiling), [1, 0.75, 1, 1.5, 7.5, 100_000]);
  const random = seeded(2);
  for (let run = 0; run < 500; run++) {
    const value = 10 ** (random() * 12 - 3);
    assert.ok(ceiling(value) >= value && ceiling(value) <= value * 2 + 1e-9, String(value));
  }
});
