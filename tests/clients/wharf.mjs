// The client for browsers, in Node.js. It takes orders on standard input, one a line, and reports
// events on standard output, one a line.
//
// orders: {"send": …}, {"request": [TYPE, PAYLOAD]}, {"close": true}, {"page": EVENT}
// events: {"open": IS_RECONNECT}, {"message": …}, {"answer": …}, {"failed": CODE},
//         {"present": [KEY, …]}, {"closed": CODE, "again": WILL_RECONNECT}, {"attempt": NUMBER}

import { createInterface } from "node:readline";
import { connect } from "../../clients/js/wharf.js";

// Node.js has a WebSocket of its own since version 22.
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const tell = (event) => console.log(JSON.stringify(event));

// The events of a page, which the orders name.
const page = new EventTarget();
for (const method of ["addEventListener", "removeEventListener"]) globalThis[method] = page[method].bind(page);

const channel = connect(process.argv[2], { WebSocket, firstDelay: 20, longestDelay: 100, answerTimeout: 1_000 });
channel.onOpen(({ isReconnect }) => tell({ open: isReconnect }));
channel.onClose(({ code, willReconnect }) => tell({ closed: code, again: willReconnect }));
channel.onReconnecting(({ attempt }) => tell({ attempt }));
channel.onText((text) => {
  const message = JSON.parse(text);
  if (message.type !== "reply" && !/^presence_/.test(message.type)) tell({ message });
});

for (const type of ["presence_state", "presence_diff"]) {
  channel.on(type, ({ room }) => tell({ present: [...channel.presence(room).present.keys()].sort() }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const [[order, value]] = Object.entries(JSON.parse(line));
  if (order === "send") channel.send(value);
  if (order === "close") channel.close();
  if (order === "page") page.dispatchEvent(Object.assign(new Event(value), { persisted: true }));
  if (order === "request") {
    channel.request(...value).then((answer) => tell({ answer }), ({ code }) => tell({ failed: code }));
  }
}
