// The peer `ws`: the usual WebSocket library of Node, as its documentation has it. `/echo` sends
// back, `/room/ID` passes on to all members, the sender included.

const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const rooms = new Map();
const server = createServer((_, response) => response.writeHead(426).end());
const sockets = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false });

sockets.on("connection", (socket, request) => {
  // The generator sees the errors of a connection at its own end.
  socket.on("error", () => {});
  if (!request.url.startsWith("/room/")) {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    return;
  }
  let members = rooms.get(request.url);
  if (members === undefined) rooms.set(request.url, (members = new Set()));
  members.add(socket);
  socket.on("close", () => members.delete(socket));
  socket.on("message", (data, binary) => {
    for (const member of members) member.send(data, { binary });
  });
});

server.listen(0, "127.0.0.1", () => {
  const address = `127.0.0.1:${server.address().port}`;
  console.error(JSON.stringify({ message: "listening", address }));
});
