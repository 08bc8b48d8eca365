// A browser that the tests drive: headless Chromium, by its DevTools protocol. It takes orders on
// standard input, one a line, and answers each with a line on standard output.
//
// | order | action | answer |
// | --- | --- | --- |
// | `{"open": "http://…"}` | go to a page and wait until it has loaded | `{"opened": …}` |
// | `{"back": true}` | go back to the page before | `{"back": …}`: true if the browser had kept it |
// | `{"evaluate": "…"}` | evaluate an expression, promises awaited | `{"value": …}` or `{"error": "…"}` |
// | `{"freeze": true}` | freeze the page as one that nobody looks at; with `false`, let it go on | `{"frozen": …}` |
// | `{"view": [390, 844, "dark"]}` | width, height and colour scheme | `{"viewed": …}` |
// | `{"lessMotion": true}` | the preference for less motion | `{"lessMotion": true}` |
// | `{"key": "Enter"}` | press a key; any other word is typed | `{"pressed": …}` |
// | `{"screenshot": "name.png"}` | write a picture of the whole page | `{"written": …}` |
// | `{"complaints": true}` | uncaught errors, refused resources and errors on the console so far | `{"complaints": […]}` |
//
// The variable WHARF_CHROMIUM names the browser. It keeps its files in the folder that is the first
// argument, and ends when standard input ends.

import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

const program = process.env.WHARF_CHROMIUM ?? "chromium";
// The browser that npm installs brings the libraries that a bare system lacks.
const [libraries, fonts] = ["al2023/lib", "fonts"].map((name) => join(dirname(program), name));
const environment = { ...process.env };
if (existsSync(libraries)) environment.LD_LIBRARY_PATH = libraries;
if (existsSync(fonts) && !existsSync("/etc/fonts")) environment.FONTCONFIG_PATH = fonts;

const browser = spawn(program, [
  "--headless=new",
  // The sandbox needs more rights than most containers give, and the browser opens only test pages.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-extensions",
  "--disable-background-networking",
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--no-first-run",
  "--hide-scrollbars",
  // A pipe ends the browser together with the test, even if the test is killed.
  "--remote-debugging-pipe",
  `--user-data-dir=${process.argv[2]}`,
  "about:blank",
], { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"], env: environment });
browser.on("error", (error) => fail(`the browser does not start: ${error.message}`));
browser.on("exit", (code) => fail(`the browser ended with ${code}`));
createInterface({ input: browser.stderr }).on("line", (line) => {
  // Without a desktop it logs errors repeatedly.
  if (!/dbus/.test(line)) console.error(line);
});

function fail(why) {
  console.error(why);
  process.exit(1);
}

const [, , , toBrowser, fromBrowser] = browser.stdio;
const calls = new Map();
const listeners = new Map();
const complaints = [];
let unread = "";
fromBrowser.setEncoding("utf8").on("data", (text) => {
  const parts = (unread + text).split("\0");
  unread = parts.pop();
  for (const { id, method, params, result, error } of parts.map((part) => JSON.parse(part))) {
    if (id === undefined) {
      listeners.get(method)?.(params);
      continue;
    }
    const { resolve, reject } = calls.get(id);
    calls.delete(id);
    error ? reject(new Error(error.message)) : resolve(result);
  }
});

let last = 0;
let sessionId;
function call(method, params = {}) {
  return new Promise((resolve, reject) => {
    calls.set(++last, { resolve, reject });
    toBrowser.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
  });
}

const { targetInfos } = await call("Target.getTargets");
const { targetId } = targetInfos.find((target) => target.type === "page");
({ sessionId } = await call("Target.attachToTarget", { targetId, flatten: true }));
listeners.set("Runtime.exceptionThrown", ({ exceptionDetails: details }) =>
  complaints.push(details.exception?.description ?? details.text));
listeners.set("Runtime.consoleAPICalled", ({ type, args }) =>
  type === "error" && complaints.push(args.map((arg) => arg.value ?? arg.description).join(" ")));
// A WebSocket that cannot connect is listed here too, although some pages expect it.
listeners.set("Log.entryAdded", ({ entry }) =>
  entry.level === "error" && !/favicon.ico$/.test(entry.url) && !/WebSocket connection/.test(entry.text)
    && complaints.push(`${entry.text} ${entry.url ?? ""}`));
for (const domain of ["Page", "Runtime", "Log"]) await call(`${domain}.enable`);

/** Those that the tests press, with their codes. */
const KEYS = { Tab: 9, Enter: 13, Escape: 27, End: 35, Home: 36, ArrowLeft: 37, ArrowRight: 39 };

const orders = {
  async open(url) {
    const loaded = new Promise((resolve) => listeners.set("Page.loadEventFired", resolve));
    const { errorText } = await call("Page.navigate", { url });
    if (errorText) return { error: errorText };
    await loaded;
    return { opened: url };
  },
  async back() {
    const shown = new Promise((resolve) => listeners.set("Page.frameNavigated", resolve));
    const { currentIndex, entries } = await call("Page.getNavigationHistory");
    await call("Page.navigateToHistoryEntry", { entryId: entries[currentIndex - 1].id });
    return { back: (await shown).type === "BackForwardCacheRestore" };
  },
  async evaluate(expression) {
    const { result, exceptionDetails: details } =
      await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (details) return { error: details.exception?.description ?? details.text };
    return { value: result.value ?? null };
  },
  async freeze(isFrozen) {
    await call("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" });
    return { frozen: isFrozen };
  },
  async view([width, height, scheme]) {
    const mobile = width < 600;
    await call("Emulation.setDeviceMetricsOverride", { width, height, mobile, deviceScaleFactor: 1 });
    await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    return { viewed: [width, height, scheme] };
  },
  async lessMotion() {
    await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-reduced-motion", value: "reduce" }] });
    return { lessMotion: true };
  },
  async key(name) {
    const windowsVirtualKeyCode = KEYS[name];
    if (windowsVirtualKeyCode === undefined) {
      await call("Input.insertText", { text: name });
    } else {
      const text = name === "Enter" ? "\r" : undefined;
      for (const type of ["keyDown", "keyUp"]) {
        await call("Input.dispatchKeyEvent", { type, key: name, code: name, windowsVirtualKeyCode, text });
      }
    }
    return { pressed: name };
  },
  async screenshot(file) {
    const { cssContentSize: { width, height } } = await call("Page.getLayoutMetrics");
    const clip = { x: 0, y: 0, width, height, scale: 1 };
    const { data } = await call("Page.captureScreenshot", { clip, captureBeyondViewport: true });
    writeFileSync(file, Buffer.from(data, "base64"));
    return { written: file };
  },
  async complaints() {
    return { complaints };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [[name, value]] = Object.entries(JSON.parse(line));
  const answer = await orders[name](value).catch((error) => ({ error: error.message }));
  console.log(JSON.stringify(answer));
}
browser.removeAllListeners("exit").on("exit", () => process.exit(0));
await call("Browser.close");
