// What a client costs while something outside of it is slow, and what it takes for late if its own program is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../src/index.js';
import { json } from '../src/json.js';
import { client as made } from './lib/socket.js';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test('while the socket takes nothing there is one clock, however much is asked', async (t) => {
  const world = made(t);
  const mirror = world.client.mirror('/');
  await mirror.fresh();
  world.socket.bufferedAmount = 1 << 24;
  const asked = [];
  for (let n = 0; n < 100; n += 1) {
    asked.push(world.client.put(`/${n}`, n));
    await null;
  }
  await pause(20);
  let clocks = 0;
  const later = globalThis.setTimeout;
  t.mock.method(globalThis, 'setTimeout', (...given) => {
    clocks += 1;
    return later(...given);
  });
  await new Promise((resolve) => later(resolve, 100));
  assert.ok(clocks < 100, `${clocks} clocks in 100 ms`);
  world.socket.bufferedAmount = 0;
  await Promise.all(asked);
});

test('what was answered while the program was busy is not late', async (t) => {
  const world = made(t, { requestTimeoutMs: 200 });
  await world.client.until('online');
  // A host that is behind runs its timers first, and then hands over what has come.
  world.later = setImmediate;
  await new Promise(setImmediate);
  const asked = Array.from({ length: 8 }, (_, n) => world.client.put(`/${n}`, n));
  await null;
  for (const until = performance.now() + 300; performance.now() < until;);
  await Promise.all(asked);
});

test('a program that was busy does not lose a connection that is alive', async (t) => {
  let busy = 0;
  t.mock.method(Client.prototype, 'now', () => performance.now() + busy);
  const { client } = made(t, { requestTimeoutMs: 60_000 });
  const told = [];
  client.onStatus(({ status }) => told.push(status));
  await client.until('online');
  busy = 12_000;
  await client.put('/a', 1);
  assert.deepEqual(told, ['online']);
});

test('a save that takes long is followed by one more, not by all that came meanwhile', async (t) => {
  const { client } = made(t);
  const saved = [];
  let done;
  const save = (snapshot) => {
    saved.push(snapshot.rev);
    return new Promise((resolve) => { done = resolve; });
  };
  const mirror = client.mirror('/', { keep: { load: async () => undefined, save } });
  await mirror.fresh();
  for (let n = 0; n < 5; n += 1) {
    await client.put('/a', n);
    await pause(600);
  }
  assert.equal(saved.length, 1);
  const ended = mirror.close();
  done();
  while (saved.length < 2) await pause(5);
  done();
  await ended;
  assert.deepEqual([saved.length, saved[1]], [2, 5]);
});

test('a save that failed is tried again, also where nothing changes any more', async (t) => {
  const { client } = made(t);
  let tries = 0;
  const save = async () => {
    tries += 1;
    if (tries < 3) throw new Error('the disk is full');
  };
  const mirror = client.mirror('/', { keep: { load: async () => undefined, save } });
  await mirror.fresh();
  for (let n = 0; n < 100 && (tries < 3 || mirror.keepError); n += 1) await pause(50);
  assert.deepEqual([tries, mirror.keepError], [3, undefined]);
  // A save that has succeeded is not repeated.
  await pause(1_200);
  assert.equal(tries, 3);
});

test('a small value does not keep the whole frame that it came in', { skip: !globalThis.gc && 'without --expose-gc' }, () => {
  const kept = [];
  const change = (path, text) => ({ path, rev: 1, act: 'put', value: { type: 'application/json', bytes: Buffer.from(JSON.stringify(text)) } });
  const before = (globalThis.gc(), process.memoryUsage().heapUsed);
  for (let n = 0; n < 100; n += 1) {
    const small = change(`/a/path/that/is/long/enough/${n}`, 'twenty bytes or more, not few');
    const text = json.encodeServer({ op: 'delta', rev: n + 1, changes: [change('/large', 'x'.repeat(300_000)), small] });
    kept.push(json.decodeServer(text).changes[1]);
  }
  globalThis.gc();
  const bytes = process.memoryUsage().heapUsed - before;
  assert.ok(bytes < 3_000_000, `${bytes} bytes for ${kept.length} small changes`);
});
