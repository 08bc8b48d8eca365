// The peer `socket.io`: its server as its documentation has it, WebSockets only. A client that
// connects with `?path=/echo` gets each event `m` sent back; with `?path=/room/ID` it is in that
// room, and its events are passed on to all members, the sender included.

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const server = createServer((_, response) => response.writeHead(426).end());
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  // A day: silent connections are measured as well.
  pingInterval: 86_400_000,
});

io.on("connection", (socket) => {
  const { path } = socket.handshake.query;
  if (!path.startsWith("/room/")) {
    socket.on("m", (text) => socket.emit("m", text));
    return;
  }
  socket.join(path);
  socket.on("m", (text) => io.to(path).emit("m", text));
});

server.listen(0, "127.0.0.1", () => {
  const address = `127.0.0.1:${server.address().port}`;
  console.error(JSON.stringify({ message: "listening", address }));
});
