// The panel of the example plugin that admits clients with a token.

import { button, el, field, form, log, sender } from "/_wharf/elements.js";

/** The secret that `cargo xtask serve` gives to the plugin, unless it has another. */
const SECRET = "known to everybody: for the demo page only";

export const secure = {
  id: "secure",
  title: "Secure",
  path: "/secure",
  about: "Lets in who has a token, and lets them read what the token names, until it expires. This page makes the tokens "
    + "itself, which a real one could not do: it knows no secret.",
  tries: [
    "Connect, and read the plan; then something that the token does not name.",
    "Connect with a wrong secret: the plugin refuses, with code 4001.",
    "Let the token expire, or send a new one in time.",
    "The secret is the one of `cargo xtask serve`. A host of your own has `WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET`.",
  ],

  start(panel) {
    const [list, entry] = log("Messages");
    const [secretField, secret] = field("Secret", { value: SECRET, size: 40, autocomplete: "off", required: true });
    const [userField, user] = field("User", { value: "ann", required: true });
    const [documentsField, documents] = field("May read", { value: "plan, budget" });
    const [lifeField, life] = field("Seconds", { type: "number", min: 1, max: 3600, value: 60, required: true });
    const [readField, read] = field("Document", { value: "plan", required: true });
    let channel;
    let send = () => entry("error", "not connected yet");
    const token = () => jwt({
      sub: user.value,
      exp: Math.floor(Date.now() / 1000) + Number(life.value),
      documents: documents.value.split(",").map((name) => name.trim()),
    }, secret.value);

    const canSign = () => Boolean(crypto.subtle) || entry("error", "Browsers sign tokens on https: and localhost only.");

    const enter = async () => {
      if (!canSign()) return;
      // The plugin would refuse with a status, which browsers hide from their pages.
      const query = { refuse: "close", token: await token() };
      channel = panel.connect("/secure", { query, shouldReconnect: () => false });
      send = sender(channel, entry);
      channel.on("authenticated", (message) => entry("notice", `authenticated as ${message.user}`));
      channel.on("document", (message) => entry("got", `← the document ${message.document}`));
      channel.on("renewed", ({ expires }) => entry("notice", `renewed until ${new Date(expires * 1000).toLocaleTimeString()}`));
      channel.on("error", (message) => entry("error", `← ${message.message}`));
      channel.onClose(({ code, reason, wasOpen }) => {
        if (wasOpen && code !== 1000) entry("error", `closed with ${code}: ${reason}`);
        if (!wasOpen) entry("error", "No connection. Has the plugin its jwt_secret? The host's log says.");
      });
    };
    const ask = () => send({ type: "read", document: read.value }) && entry("sent", `→ read ${read.value}`);
    const renew = async () => canSign() && send({ type: "renew", token: await token() }) && entry("sent", "→ a new token");
    panel.work.append(
      form(enter, secretField, userField, documentsField, lifeField, el("button", {}, "Connect"),
        button("Send a new token", renew)),
      form(ask, readField, el("button", {}, "Read")),
      list);
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
