// The dashboard: signing in, the way to each view, and the state of the link to the host.

import { get, signIn, signOut, token, whenSignedOut } from "./api.js";
import { channel } from "./channel.js";
import { connection, user } from "./connection.js";
import { $ } from "./elements.js";
import { parts, to } from "./figures.js";
import { audit, hosts, plugins } from "./host.js";
import * as live from "./live.js";
import { overview, slow } from "./overview.js";
import { el, empty, Scope } from "./parts.js";
import { room } from "./room.js";

const NAV = [["", "Overview"], ["slow", "Slow"], ["plugins", "Plugins"], ["hosts", "Hosts"], ["audit", "Audit"]];

let scope;
let isFirst = true;

/** Returns the view of an address. */
function viewOf(scope, [first, ...rest]) {
  const simple = { slow, plugins, hosts, audit };
  if (first === undefined) return overview(scope);
  if (first in simple && rest.length === 0) return simple[first](scope);
  const [name, kind, thing] = rest;
  if (first === "channels" && name !== undefined) {
    if (thing === undefined) return channel(scope, name, kind);
    if (kind === "connections") return connection(scope, name, thing);
    if (kind === "rooms") return room(scope, name, thing);
    if (kind === "users") return user(scope, name, thing);
  }
  return { name: "Not found", node: empty("There is no such page.", el("a", { href: "#/" }, "Overview")) };
}

function show() {
  if (!token()) return showSignIn();
  // The link to the content is no address of a view.
  if (location.hash === "#main") return $("main").focus();
  scope?.end();
  scope = new Scope();
  const address = parts(location.hash);
  const view = viewOf(scope, address);
  document.title = `${view.name} · Wharf`;
  $("main").replaceChildren(view.node);
  for (const link of $("nav").querySelectorAll("a")) {
    const isHere = (address[0] ?? "") === link.dataset.of || (link.dataset.of === "" && address[0] === "channels");
    isHere ? link.setAttribute("aria-current", address.length < 2 ? "page" : "true") : link.removeAttribute("aria-current");
  }
  // A reader hears which view it is; the first one is announced by the browser.
  if (!isFirst) view.node.querySelector("h1")?.focus({ preventScroll: true });
  if (!isFirst) scrollTo(0, 0);
  isFirst = false;
}

function linked(state, why) {
  const line = $("link");
  line.className = `link ${state}`;
  line.textContent = state === "live" ? "live" : `not connected: ${why}; trying again`;
  document.body.classList.toggle("stale", state === "lost");
}

function begin() {
  $("nav").hidden = $("leave").hidden = false;
  live.begin(linked);
  show();
}

function leave(why) {
  signOut();
  live.end();
  scope?.end();
  $("nav").hidden = $("leave").hidden = true;
  $("link").textContent = "";
  $("link").className = "link";
  $("host").textContent = "";
  showSignIn(why);
}

function showSignIn(why) {
  document.title = "Sign in · Wharf";
  const trouble = el("p", { className: "problem", role: "alert", hidden: !why }, why ?? "");
  const field = el("input", { id: "token", type: "password", required: true, autocomplete: "current-password", spellcheck: false });
  field.setAttribute("aria-describedby", "token-hint");
  const go = el("button", { type: "submit" }, "Sign in");
  const form = el("form", {
    className: "sign-in card",
    async onsubmit(event) {
      event.preventDefault();
      go.disabled = true;
      // A token has no spaces; one that is pasted may have some around it.
      const given = field.value.trim();
      signIn(/^[\x21-\x7e]+$/.test(given) ? given : "none");
      try {
        await get("plugins");
        isFirst = true;
        begin();
        $("main").querySelector("h1")?.focus();
      } catch (error) {
        if (error.status !== 401) leave(error.message);
        $("token")?.focus();
      }
    },
  }, el("h1", { tabIndex: -1 }, "Sign in"),
  el("p", { className: "muted" }, "This is the dashboard of a Wharf host, for its operator."),
  el("label", { htmlFor: "token" }, "Operator's token"), field,
  el("p", { className: "hint", id: "token-hint" }, "The host's ", el("code", {}, "operator_token"), ", or ", el("code", {}, "WHARF_OPERATOR_TOKEN"),
    ". It stays in this tab until you sign out or close it."),
  trouble, go);
  $("main").replaceChildren(form);
  field.focus();
}

whenSignedOut(() => leave("The host does not accept this token."));
$("nav").append(...NAV.map(([address, label]) => {
  const link = el("a", { href: address ? to(address) : "#/" }, label);
  link.dataset.of = address;
  return link;
}));
$("leave").addEventListener("click", () => leave());
live.onFigures(({ host }) => { $("host").textContent = host.host ?? location.host; });
addEventListener("hashchange", show);
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
if (token()) begin();
else showSignIn();
