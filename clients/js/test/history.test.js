// What is about one history is sent in no other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logKey } from '../src/protocol/log-keys.js';
import { anew, client as made } from './lib/socket.js';

const KEY = logKey(1, 0);

/** Writes that are about a history. */
const ABOUT = {
  'put at a revision': (client) => client.put('/a', 2, { ifRev: 1 }),
  'delete at a revision': (client) => client.delete('/a', { ifRev: 1 }),
  'drop since a revision': (client) => client.dropTree('/a', { ifRev: 1 }),
  'txn at a revision': (client) => client.txn({ if: [{ path: '/b', rev: 0 }, { path: '/a', rev: 1 }], do: [{ do: 'put', path: '/a', value: 2 }] }),
  'txn since a revision': (client) => client.txn({ if: [{ tree: '/', rev: 1 }], do: [{ do: 'put', path: '/a', value: 2 }] }),
  'txn that trims': (client) => client.txn({ do: [{ do: 'trim', path: '/log', to: KEY }] }),
  'txn of what is in a log': (client) => client.txn({ do: [{ do: 'delete', path: `/log/${KEY}` }] }),
  trim: (client) => client.trim('/log', KEY),
  'drop of what is in a log': (client) => client.dropTree(`/log/${KEY}/thread`),
};

/** Writes that are about any history. */
const ANY = {
  put: (client) => client.put('/b', 2),
  'put where nothing is': (client) => client.put('/b', 2, { ifRev: 0 }),
  'txn where nothing is': (client) => client.txn({ if: [{ path: '/b', rev: 0 }], do: [{ do: 'put', path: '/b', value: 2 }] }),
};

/** Returns the result of a write that is requested without a connection, before the next connection. */
async function offline(t, write, between) {
  const world = made(t);
  await world.client.put('/a', 1);
  world.refuses = true;
  world.cut();
  await world.client.until('offline');
  const answer = write(world.client).then(() => 'done', ({ code }) => code);
  between(world);
  world.refuses = false;
  return [await answer, world.broker.tree.get('/a')?.value.json];
}

for (const [what, write] of Object.entries(ABOUT)) {
  test(`what waits is not sent to another history: ${what}`, async (t) => {
    assert.deepEqual(await offline(t, write, (world) => anew(world, ['/a', 5])), ['conflict', 5]);
  });
  test(`what waits is sent to the history that it is about: ${what}`, async (t) => {
    const [code] = await offline(t, write, () => {});
    assert.notEqual(code, 'conflict');
  });
}

for (const [what, write] of Object.entries(ANY)) {
  test(`what waits is sent to another history: ${what}`, async (t) => {
    assert.deepEqual(await offline(t, write, (world) => anew(world, ['/a', 5])), ['done', 5]);
  });
}

test('what waits for room is about the history in which it was asked for', async (t) => {
  const world = made(t, { queueBytes: 600 });
  await world.client.put('/a', 1);
  world.refuses = true;
  world.cut();
  await world.client.until('offline');
  const first = world.client.put('/b', 1);
  const late = world.client.delete('/a', { ifRev: 1 });
  anew(world, ['/a', 5]);
  world.refuses = false;
  await first;
  await assert.rejects(late, { code: 'conflict' });
  assert.equal(world.broker.tree.get('/a').value.json, 5);
});

test('what was sent before another history began is unknown, and holds nobody up', async (t) => {
  const world = made(t);
  await world.client.until('online');
  world.answers = false;
  // The very first write: another broker would take its number, too.
  const sent = world.client.put('/a', 2, { ifRev: 1 });
  const behind = world.client.put('/b', 2);
  sent.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 20));
  anew(world, ['/a', 5]);
  world.answers = true;
  await assert.rejects(sent, { code: 'outcome-unknown' });
  await behind.catch(({ code }) => assert.equal(code, 'outcome-unknown'));
  await world.client.put('/c', 3);
  assert.deepEqual([world.broker.tree.get('/a').value.json, world.broker.tree.get('/c').value.json], [5, 3]);
});

test('who comes back under another name says why, and that is no write whose outcome is unknown', async (t) => {
  const world = made(t);
  const { client } = world;
  const away = [];
  client.onStatus(({ status, error }) => { if (status === 'offline') away.push([error.code, error.action, error.message]); });
  await client.put('/a', 1);
  world.refuses = true;
  anew(world);
  const waits = client.put('/b', 1);
  world.refuses = false;
  await waits;
  assert.deepEqual(away.at(-1), ['lost', 'retry', 'lost: the broker has begun another history, so this client comes back under another name']);
  assert.ok(away.every(([code]) => code === 'lost'), String(away));
  // The same history, but the broker has forgotten the name.
  world.broker.last.clear();
  world.cut();
  await client.put('/c', 1);
  assert.deepEqual(away.at(-1), ['lost', 'retry', "lost: the broker does not know this client's writes, so this client comes back under another name"]);
});
