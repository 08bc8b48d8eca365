// Figures for people, and rates from two answers of the host. Nothing here needs a page.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const KIB = 1024;
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Returns a number with as many digits as a person reads: three that count, or all of a small one. */
function digits(value) {
  if (value === 0) return "0";
  if (value >= 100) return grouped.format(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Returns the text of a figure without its unit, and the unit. */
export function count(value) {
  if (value === null || value === undefined) return ["–", ""];
  if (value >= 10_000_000) return [digits(value / 1_000_000), "M"];
  return [grouped.format(value), ""];
}

export function rate(value) {
  if (value === null || value === undefined) return ["–", "/s"];
  if (value >= 1_000_000) return [digits(value / 1_000_000), "M/s"];
  if (value >= 100_000) return [digits(value / 1_000), "k/s"];
  if (value > 0 && value < 0.1) return ["<0.1", "/s"];
  return [value === 0 ? "0" : value < 100 ? value.toFixed(1) : grouped.format(value), "/s"];
}

/** Returns a rate where its column says that it is one. */
export function perSecond(value) {
  const [shown, unit] = rate(value);
  return [shown, unit.replace("/s", "")];
}

export function bytes(value) {
  if (value === null || value === undefined) return ["–", ""];
  let unit = 0;
  while (value >= 1000 && unit < SIZES.length - 1) {
    value /= KIB;
    unit += 1;
  }
  return [unit === 0 ? grouped.format(value) : digits(value), SIZES[unit]];
}

export function bytesRate(value) {
  const [text, unit] = bytes(value);
  return [text, `${unit}/s`];
}

/** Returns a time of microseconds. */
export function micros(value) {
  if (value === null || value === undefined) return ["–", ""];
  if (value < 1_000) return [value > 0 && value < 10 ? value.toFixed(1) : grouped.format(value), "µs"];
  if (value < 1_000_000) return [digits(value / 1_000), "ms"];
  return [digits(value / 1_000_000), "s"];
}

/** Returns a time of milliseconds that is shorter than some seconds. */
export function millis(value) {
  return value === null || value === undefined ? ["–", ""] : micros(value * 1_000);
}

/** Returns a share of one core. */
export function percent(value) {
  if (value === null || value === undefined) return ["–", ""];
  const share = value * 100;
  if (share > 0 && share < 0.1) return ["<0.1", "%"];
  return [share === 0 ? "0" : share < 10 ? share.toFixed(1) : grouped.format(share), "%"];
}

export function text([value, unit]) {
  return unit.startsWith("/") || unit === "" ? value + unit : `${value}\u202f${unit}`;
}

/** Returns a span of time, in its two largest units. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  const parts = [
    [Math.floor(seconds / 86_400), "d"], [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0\u202fs";
  // Seconds of an hour tell nothing.
  const shown = parts.slice(first, first + 2).filter(([amount], index) => index === 0 || amount > 0);
  return shown.map(([amount, unit]) => `${amount}\u202f${unit}`).join(" ");
}

/** Returns the time since a moment, for people. */
export function ago(milliseconds, now) {
  const past = now - milliseconds;
  return past < 2_000 ? "just now" : `${span(past).split(" ")[0]} ago`;
}

/** Returns the beginning of a hash. */
export function short(hash) {
  return hash ? hash.slice(0, 12) : "–";
}

/** Returns a difference of two counts, which begin anew when the host or a channel does. */
const more = (after, before) => Math.max(0, (after ?? 0) - (before ?? 0));

const CHANNEL_RATES = [
  ["events", "events"], ["messages_in", "in"], ["messages_out", "out"], ["bytes_in", "bytesIn"], ["bytes_out", "bytesOut"],
  ["guest_seconds", "cpu"], ["traps", "traps"],
];

/** Returns the rates of a second answer after a first one; without a first one they are unknown. */
export function figures(before, after) {
  const isLater = before && after.uptime_ms > before.uptime_ms;
  const seconds = isLater ? (after.uptime_ms - before.uptime_ms) / 1_000 : undefined;
  const earlier = new Map((isLater ? before.channels : []).map((channel) => [channel.name, channel]));
  const channels = new Map();
  for (const channel of after.channels) {
    const old = earlier.get(channel.name);
    const known = { ...channel };
    for (const [field, name] of CHANNEL_RATES) {
      known[`${name}Rate`] = old ? more(channel[field], old[field]) / seconds : null;
    }
    channels.set(channel.name, known);
  }
  const sum = (field) => {
    const known = [...channels.values()].map((channel) => channel[field]).filter((value) => value !== null);
    return isLater ? known.reduce((all, value) => all + value, 0) : null;
  };
  return {
    at: after.now_ms,
    host: {
      ...after,
      inRate: sum("inRate"), outRate: sum("outRate"), eventsRate: sum("eventsRate"), guestRate: sum("cpuRate"),
      cpuRate: isLater ? more(after.cpu_seconds, before.cpu_seconds) / seconds : null,
      acceptedRate: isLater ? more(after.handshakes.accepted, before.handshakes.accepted) / seconds : null,
      refusedRate: isLater ? more(after.handshakes.refused, before.handshakes.refused) / seconds : null,
    },
    channels,
  };
}

/** Returns the parts of a path of the page, decoded; no part for one that cannot be. */
export function parts(hash) {
  try {
    return hash.replace(/^#\/?/, "").split("/").filter((part) => part !== "").map(decodeURIComponent);
  } catch {
    return [];
  }
}

/** Returns the address of a part of the page. */
export function to(...names) {
  return `#/${names.map(encodeURIComponent).join("/")}`;
}

/** Takes a stream of server-sent events apart. Returns a function that takes pieces of text. */
export function eventReader(onEvent) {
  let rest = "";
  return (piece) => {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      if (event.data !== "") onEvent(event.name, JSON.parse(event.data));
    }
  };
}
