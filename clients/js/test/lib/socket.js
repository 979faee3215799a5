// A client without a network: its WebSocket leads to a broker of `naive.js` in this process.

import { start } from '../../src/index.js';
import { json } from '../../src/json.js';
import { Value } from '../../src/protocol/values.js';
import { Broker, Connection } from './naive.js';

/** Returns a client with a broker of its own, as long as the test runs. `cut()` loses its connection. */
export function client(t, options) {
  const world = { broker: new Broker(), refuses: false, answers: true, later: setTimeout, socket: undefined };
  const before = globalThis.WebSocket;
  globalThis.WebSocket = class {
    protocol = json.subprotocol;
    bufferedAmount = 0;
    readyState = 0;

    constructor() {
      world.socket = this;
      this.connection = new Connection(world.broker);
      setTimeout(() => {
        if (world.refuses) return this.onclose?.({ code: 1006, reason: '' });
        this.readyState = 1;
        this.onopen?.();
      });
    }

    send(message) {
      for (const frame of this.connection.handle(json.decodeClient(message))) {
        if (world.answers) world.later(() => this.onmessage?.({ data: json.encodeServer(frame) }));
      }
    }

    close() {
      this.readyState = 3;
    }
  };
  const made = start('ws://naive', { reconnect: 'always', backoffMs: [1, 2], ...options });
  t.after(async () => {
    await made.close();
    globalThis.WebSocket = before;
  });
  return Object.assign(world, { client: made, cut: () => world.socket.onclose?.({ code: 1006, reason: '' }) });
}

/** Replaces the broker by one of another history, and loses the connection. */
export function anew(world, ...puts) {
  world.broker = new Broker();
  world.broker.epoch = 'd'.repeat(32);
  const connection = new Connection(world.broker);
  connection.handle({ op: 'hello', id: 0, client: 'other' });
  puts.forEach(([path, value], n) => {
    connection.handle({ op: 'put', id: n, seq: n + 1, path, value: Value.from(value) });
  });
  world.cut();
}

/** Returns what is thrown to the host from now on, and keeps it from the host. */
export function thrown(t) {
  const errors = [];
  const later = globalThis.queueMicrotask;
  t.mock.method(globalThis, 'queueMicrotask', (run) => later(() => {
    try {
      run();
    } catch (error) {
      errors.push(error);
    }
  }));
  return errors;
}
