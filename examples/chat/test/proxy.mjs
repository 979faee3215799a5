// A network that can be taken away: forwards TCP to a port, and when told cuts all of it, or loses what comes back.

import net from 'node:net';

export class Proxy {
  /** @param {number} target */
  constructor(target) {
    this.isCut = false;
    this.isDeaf = false;
    this.sockets = new Set();
    this.server = net.createServer((near) => {
      if (this.isCut) return near.destroy();
      const far = net.connect(target, '127.0.0.1');
      for (const [socket, other] of [[near, far], [far, near]]) {
        this.sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.sockets.delete(socket);
          other.destroy();
        });
      }
      near.on('data', (data) => far.write(data));
      far.on('data', (data) => this.isDeaf || near.write(data));
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

  mend() {
    this.isCut = false;
    this.isDeaf = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
