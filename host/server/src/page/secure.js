// The panel of the example plugin that admits clients with a token.

import { button, el, field, form, log, sender } from "/_wharf/elements.js";

/** The secret that `cargo xtask serve` gives to the plugin, unless it has another. */
const SECRET = "known to everybody: for the demo page only";

export const secure = {
  id: "secure",
  title: "Be refused",
  heading: "Be let in, or be refused",
  path: "/secure",
  about: "Only a valid token opens this door. It says who comes, what that person may read, and until when.",
  tries: [
    "Come with a forged token: the plugin refuses, with code 4001.",
    "Read the diary, which the token does not name.",
    "Come for three seconds: the plugin ends the connection when the token expires, unless a new one comes in time.",
    "This page makes its tokens itself, with the secret of `cargo xtask serve`. A real page knows no secret.",
  ],

  start(panel) {
    const [list, entry] = log("Messages");
    list.dataset.empty = "Nobody has knocked yet.";
    const [secretField, secret] = field("Secret", { value: SECRET, autocomplete: "off", required: true });
    const [userField, user] = field("User", { value: "ann", required: true });
    const [documentsField, documents] = field("May read", { value: "plan, budget" });
    let channel;
    let send = () => entry("error", "not connected yet");
    const token = (seconds, key) => jwt({
      sub: user.value,
      exp: Math.floor(Date.now() / 1000) + seconds,
      documents: documents.value.split(",").map((name) => name.trim()),
    }, key);

    const canSign = () => Boolean(crypto.subtle) || entry("error", "Browsers sign tokens on https: and localhost only.");

    const enter = async (seconds, key) => {
      if (!canSign()) return;
      // The plugin would refuse with a status, which browsers hide from their pages.
      const query = { refuse: "close", token: await token(seconds, key) };
      channel = panel.connect("/secure", { query, shouldReconnect: () => false });
      send = sender(channel, entry);
      channel.on("authenticated", (message) => entry("good", `Welcome, ${message.user}: the token is valid for ${seconds} s.`));
      channel.on("document", (message) => entry("got", `← the document ${message.document}`));
      channel.on("renewed", ({ expires }) => entry("good", `renewed until ${new Date(expires * 1000).toLocaleTimeString()}`));
      channel.on("error", (message) => entry("error", `← ${message.message}`));
      channel.onClose(({ code, reason, wasOpen }) => {
        if (wasOpen && code !== 1000) entry("error", `closed with ${code}: ${reason}`);
        if (!wasOpen) entry("error", "No connection. Has the plugin its jwt_secret? The host's log says.");
      });
    };
    const read = (document) => send({ type: "read", document }) && entry("sent", `→ read ${document}`);
    const renew = async () => canSign() && send({ type: "renew", token: await token(60, secret.value) }) && entry("sent", "→ a new token");
    const first = button("Come with a good token", () => enter(60, secret.value));
    first.className = "strong";
    panel.work.append(
      el("div", { className: "row" }, first,
        button("Come with a forged one", () => enter(60, "a guess, and a wrong one")),
        button("Come for 3 seconds", () => enter(3, secret.value))),
      el("h4", {}, "Inside"),
      el("div", { className: "row" },
        button("Read the plan", () => read("plan")), button("Read the diary", () => read("diary")), button("Send a new token", renew)),
      list,
      el("details", {}, el("summary", {}, "Change the token"),
        form(() => enter(60, secret.value), userField, documentsField, secretField, el("button", {}, "Come with it"))));
  },
};

/** Returns a JSON Web Token with HS256 (RFC 7519). */
async function jwt(claims, secret) {
  const utf8 = (text) => new TextEncoder().encode(text);
  const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=/g, "");
  const signed = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => base64(utf8(JSON.stringify(part)))).join(".");
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return `${signed}.${base64(new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8(signed))))}`;
}
