// A network that can be taken away: forwards TCP to a port, and when told cuts all of it, loses what comes back, or
// keeps what is sent.

import net from 'node:net';

export class Proxy {
  /** @param {number} target */
  constructor(target) {
    this.isCut = false;
    this.isDeaf = false;
    this.sockets = new Set();
    /** What each connection sent while it was held, by the socket to the broker. @type {Map<net.Socket, Buffer[]>} */
    this.held = new Map();
    this.server = net.createServer((near) => {
      if (this.isCut) return near.destroy();
      const far = net.connect(target, '127.0.0.1');
      for (const [socket, other] of [[near, far], [far, near]]) {
        this.sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.sockets.delete(socket);
          // What is on its way arrives, also from who has gone meanwhile.
          if (!this.held.has(other)) other.destroy();
        });
      }
      near.on('data', (data) => (this.held.has(far) ? this.held.get(far).push(data) : far.write(data)));
      far.on('data', (data) => this.isDeaf || near.destroyed || near.write(data));
      return undefined;
    });
  }

  /** @returns {Promise<number>} its port */
  listen() {
    return new Promise((resolve) => this.server.listen(0, '127.0.0.1', () => resolve(this.server.address().port)));
  }

  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  /** What is sent arrives; no answer does, until all is cut and mended. */
  deafen() {
    this.isDeaf = true;
  }

  /** What the connections of now send from now on stays on its way; later ones are not held. */
  hold() {
    for (const socket of this.sockets) if (!this.held.has(socket)) this.held.set(socket, []);
  }

  /** What was on its way arrives. @returns {Promise<unknown>} */
  release() {
    const all = [...this.held];
    this.held.clear();
    return Promise.all(all.map(([far, sent]) => new Promise((resolve) => far.end(Buffer.concat(sent), resolve))));
  }

  mend() {
    this.isCut = false;
    this.isDeaf = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
