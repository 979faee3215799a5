// uWebSockets as Bun embeds it: each message to /pub/N goes to everyone on /sub/N.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: PORT,
  fetch(request, server) {
    const [, side, topic] = new URL(request.url).pathname.split("/");
    return server.upgrade(request, { data: { side, topic } }) ? undefined : new Response("", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    backpressureLimit: 1 << 28,
    maxPayloadLength: 1 << 20,
    open(socket) {
      if (socket.data.side === "sub") socket.subscribe(socket.data.topic);
    },
    message(socket, message) {
      server.publish(socket.data.topic, message);
    },
  },
});
