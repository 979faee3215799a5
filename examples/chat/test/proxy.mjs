// A network that can be taken away: forwards TCP to a port, and cuts all of it when told.

import net from 'node:net';

export class Proxy {
  /** @param {number} target */
  constructor(target) {
    this.isCut = false;
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
        socket.pipe(other);
      }
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

  mend() {
    this.isCut = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
