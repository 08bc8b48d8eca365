// `ws` on standard input and output: orders in, events out, one JSON value a line.
// tests/src/foreign.rs lists both.
//
// Usage: node client.mjs URL [SUBPROTOCOL...]

import { createInterface } from "node:readline";
import { WebSocket } from "ws";

const [url, ...subprotocols] = process.argv.slice(2);
const socket = new WebSocket(url, subprotocols);
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");

socket.on("open", () => say({ open: socket.protocol }));
socket.on("unexpected-response", (_request, response) => {
  say({ refused: response.statusCode });
  process.exit();
});
socket.on("message", (data, isBinary) =>
  say(isBinary ? { hex: data.toString("hex") } : { text: data.toString() }),
);
socket.on("pong", (data) => say({ pong: data.toString() }));
socket.on("close", (code, reason) => {
  say({ closed: [code, reason.toString()] });
  process.exit();
});
socket.on("error", (error) => console.error(error.message));

createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line);
  if ("send" in order) socket.send(order.send);
  if ("send_hex" in order) socket.send(Buffer.from(order.send_hex, "hex"));
  if ("ping" in order) socket.ping(order.ping);
  if ("close" in order) socket.close(...order.close);
});
