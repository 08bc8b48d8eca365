// A chat client for the plugin in plugins/chat. It shows which generation of the plugin has answered,
// so that a swap can be seen while the connection stays open.

const $ = (id) => document.getElementById(id);

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const PING_EVERY_MS = 15_000;
const PONG_WITHIN_MS = 10_000;
const TYPING_PAUSE_MS = 2_000;
// Somebody whose "stopped typing" got lost is not typing for ever.
const TYPING_FORGOTTEN_MS = 10_000;
// A connection that lasted this long was a good one: the next attempt does not wait long.
const STABLE_MS = 5_000;
const MOST_ENTRIES = 500;

// The server does not want this client back as it is. Any code of an application's own
// (3000 to 4999) is as final.
const FINAL_CODES = new Set([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010]);
const CODES = {
  1000: "closed", 1001: "the plugin was removed", 1002: "protocol error", 1006: "connection lost",
  1007: "bad UTF-8", 1008: "refused", 1009: "message too big", 1011: "the plugin failed",
  1012: "the server restarts", 1013: "overloaded, or too slow",
};

let socket = null;
let attempt = 0;
let retryTimer, pingTimer, pongTimer, typingTimer;
let pingSentAt = 0;
let openedAt = 0;
let hasAnswered = false;
let reconnects = 0;
let swaps = 0;
let generation = null;
let me = "";
let isTyping = false;
const typing = new Map();

// --- the connection

function connect() {
  hangUp();
  const room = $("room").value.trim();
  const name = $("name").value.trim();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const path = `/chat/${encodeURIComponent(room)}?name=${encodeURIComponent(name)}`;
  $("title").textContent = room;
  setState("connecting", attempt ? `connecting, attempt ${attempt + 1}` : "connecting");
  const opening = new WebSocket(`${scheme}://${location.host}${path}`);
  socket = opening;
  // What an abandoned socket still has to say is of no interest.
  const current = (handler) => (event) => { if (socket === opening) handler(event); };
  opening.onopen = current(opened);
  opening.onmessage = current((event) => received(event.data));
  opening.onclose = current((event) => closed(event.code, event.reason));
}

function hangUp() {
  for (const timer of [retryTimer, pingTimer, pongTimer, typingTimer]) clearTimeout(timer);
  const old = socket;
  socket = null;
  openedAt = 0;
  hasAnswered = false;
  old?.close();
  isTyping = false;
  typing.clear();
  showTyping();
  $("text").disabled = $("send").disabled = true;
  $("here").textContent = "";
}

function opened() {
  if (attempt > 0) $("reconnects").textContent = ++reconnects;
  openedAt = Date.now();
  setState("open", "connected");
  $("text").disabled = $("send").disabled = false;
  $("text").focus({ preventScroll: true });
  ping();
}

function closed(code, reason) {
  const wasOpen = openedAt > 0;
  if (wasOpen && Date.now() - openedAt > STABLE_MS) attempt = 0;
  hangUp();
  const what = reason || CODES[code] || "closed";
  $("code").textContent = code;
  if (wasOpen) entry("notice", `Connection closed: ${code}, ${what}`);
  if (FINAL_CODES.has(code) || code >= 3000) {
    setState("closed", `closed with ${code}: ${what}`);
    return;
  }
  if (!wasOpen && attempt === 0) {
    entry("error", "Cannot connect. Is the server up, and the chat plugin in its folder?");
  }
  // Jitter, so that the clients of a server that restarts do not all come back at once.
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  retryIn(longest * (0.5 + Math.random() / 2), `${wasOpen ? "lost" : "no answer"} (${code})`);
}

function retryIn(delay, why) {
  attempt += 1;
  const at = Date.now() + delay;
  setState("connecting", `${why}, trying again`);
  const countdown = document.createElement("span");
  countdown.ariaHidden = "true"; // nobody wants to hear it count
  $("state").append(countdown);
  const tick = () => {
    const left = at - Date.now();
    if (left <= 0) return connect();
    countdown.textContent = ` in ${Math.ceil(left / 1000)} s`;
    retryTimer = setTimeout(tick, Math.min(1000, left));
  };
  tick();
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function ping() {
  clearTimeout(pingTimer);
  pingSentAt = performance.now();
  send({ type: "ping" });
  pongTimer = setTimeout(() => closed(1006, "no answer to a ping"), PONG_WITHIN_MS);
}

// --- what the plugin says

function received(data) {
  let message;
  try { message = JSON.parse(data); } catch { return; }
  if (message === null || typeof message !== "object") return;
  if (Number.isInteger(message.generation)) answeredBy(message.generation);
  if (Number.isInteger(message.count)) $("here").textContent = `${message.count} here`;
  const user = String(message.user ?? "");
  switch (message.type) {
    case "system":
      me = user || me;
      return entry("notice", message.message);
    case "user_joined":
    case "user_left":
      setTyping(user, false);
      return entry("notice", `${message.message ?? user} · ${message.count ?? "?"} here`);
    case "user_typing": return setTyping(user, true);
    case "user_stopped_typing": return setTyping(user, false);
    case "chat_message":
      setTyping(user, false);
      return said(user, message);
    case "pong":
      clearTimeout(pongTimer);
      $("ping").textContent = `${Math.max(1, Math.round(performance.now() - pingSentAt))} ms`;
      pingTimer = setTimeout(ping, PING_EVERY_MS);
      return;
    case "error": return entry("error", message.message ?? message.code);
  }
}

function answeredBy(number) {
  const before = hasAnswered;
  hasAnswered = true;
  if (number === generation) return;
  if (generation !== null) {
    swaps += 1;
    $("swaps").textContent = `${swaps} ${swaps === 1 ? "swap" : "swaps"} seen`;
    const where = before ? "on this same connection" : "while we were away";
    entry("swap", `Generation ${number} has taken over from ${generation}, ${where}.`);
    const box = $("generation");
    box.classList.remove("flash");
    void box.offsetWidth; // so that the animation starts anew
    box.classList.add("flash");
  }
  generation = number;
  $("number").textContent = `generation ${number}`;
}

// --- showing it; text from others only ever becomes text

function entry(kind, ...content) {
  const log = $("log");
  const item = document.createElement("li");
  item.className = kind;
  item.append(...content.map((part) => (part instanceof Node ? part : String(part))));
  log.append(item);
  while (log.childElementCount > MOST_ENTRIES) log.firstElementChild.remove();
  stayAtEnd();
}

// Whoever has scrolled up to read stays there; whoever is at the end stays at the end.
let isAtEnd = true;
function stayAtEnd() {
  if (isAtEnd) $("log").scrollTop = $("log").scrollHeight;
}
$("log").addEventListener("scroll", ({ target: log }) => {
  isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
});
new ResizeObserver(stayAtEnd).observe($("log"));

function said(user, message) {
  const part = (tag, kind, text) => {
    const node = document.createElement(tag);
    node.className = kind;
    node.textContent = text;
    return node;
  };
  const name = part("strong", "user", user === me ? `${user} (you)` : user);
  const hue = [...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  name.style.setProperty("--hue", hue);
  const text = part("span", "text", message.message ?? "");
  name.dir = text.dir = "auto";
  const at = new Date(message.timestamp ?? Date.now());
  const time = Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString([], { timeStyle: "short" });
  entry("said", name, text, part("span", "meta", `${time} · generation ${message.generation ?? "–"}`));
}

function setTyping(user, on) {
  clearTimeout(typing.get(user));
  typing.delete(user);
  if (on) typing.set(user, setTimeout(() => setTyping(user, false), TYPING_FORGOTTEN_MS));
  showTyping();
}

function showTyping() {
  const names = [...typing.keys()];
  const who = names.length > 3 ? `${names.length} people` : names.join(" and ");
  $("typing").textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

function setState(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
}

// --- what the person at the keyboard does

function typed(on) {
  clearTimeout(typingTimer);
  if (on) typingTimer = setTimeout(() => typed(false), TYPING_PAUSE_MS);
  if (on !== isTyping) send({ type: on ? "typing_start" : "typing_stop" });
  isTyping = on;
}

$("text").addEventListener("input", () => typed($("text").value !== ""));

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = $("text").value;
  if (socket?.readyState !== WebSocket.OPEN || !message.trim()) return;
  typed(false);
  send({ type: "chat_message", message });
  $("text").value = "";
});

function join(event) {
  event?.preventDefault();
  if (!$("name").value.trim() || !$("room").value.trim()) return;
  remember("name", $("name").value);
  history.replaceState(null, "", `#${encodeURIComponent($("room").value.trim())}`);
  $("second").href = location.hash;
  attempt = 0;
  connect();
}

$("join").addEventListener("submit", join);
addEventListener("online", () => { if (!openedAt && attempt > 0) connect(); });
addEventListener("hashchange", () => { $("room").value = roomInAddress(); join(); });

setInterval(() => {
  const seconds = Math.floor((Date.now() - openedAt) / 1000);
  const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  $("uptime").textContent = openedAt ? text : "–";
}, 1000);

function roomInAddress() {
  try { return decodeURIComponent(location.hash.slice(1)) || "lobby"; } catch { return "lobby"; }
}

// Where a browser keeps nothing for pages, a name lasts as long as the page.
function remember(key, value) {
  try { sessionStorage.setItem(key, value); } catch { /* as said */ }
}
function remembered(key) {
  try { return sessionStorage.getItem(key); } catch { return null; }
}

const NAMES = ["Ada", "Bo", "Cleo", "Dag", "Edda", "Finn", "Gro", "Hal", "Ines", "Jon", "Kim", "Liv"];
const guest = `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${Math.ceil(Math.random() * 99)}`;
$("name").value = remembered("name") ?? guest;
$("room").value = roomInAddress();
join();
