// A network that can fail: it forwards TCP to a port. When told, it cuts everything, loses what comes back, or keeps
// what is sent.

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
          // What is on its way arrives, even if its sender has gone meanwhile.
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

  /** Lets what is sent arrive, but no answer, until everything is cut and mended. */
  deafen() {
    this.isDeaf = true;
  }

  /** Holds what the present connections send from now on. Later connections are not held. */
  hold() {
    for (const socket of this.sockets) if (!this.held.has(socket)) this.held.set(socket, []);
  }

  /** Lets what was held arrive. @returns {Promise<unknown>} */
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
