// The peer `bun`: its own WebSocket server, which is uWebSockets, with its own publish and
// subscribe. `/echo` sends back, `/room/ID` passes on to all members, the sender included.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    // Cheaper than `new URL`: a server written to win would do the same.
    const path = request.url.slice(request.url.indexOf("/", "http://".length));
    const room = path.startsWith("/room/") ? path : "";
    if (room === "" && path !== "/echo") return new Response("no such path", { status: 404 });
    if (server.upgrade(request, { data: room })) return;
    return new Response("expected a WebSocket", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    publishToSelf: true,
    // Bun queues what a member has not read. The load checks that nothing is dropped.
    backpressureLimit: 256 * 1024 * 1024,
    closeOnBackpressureLimit: true,
    // The longest timeout that bun accepts, in seconds: silent connections are measured as well.
    idleTimeout: 960,
    sendPings: false,
    open(socket) {
      if (socket.data !== "") socket.subscribe(socket.data);
    },
    message(socket, message) {
      if (socket.data !== "") socket.publish(socket.data, message);
      else socket.send(message);
    },
  },
});

console.error(JSON.stringify({ message: "listening", address: `127.0.0.1:${server.port}` }));
