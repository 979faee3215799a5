// Wrong arguments are refused with an OnetreeError: a function with a promise rejects it, all others throw.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnetreeError, Value, connect, start } from '../src/index.js';
import { client as made } from './lib/socket.js';

/** Checks that `ask` fails with `code`, by a promise or by throwing. */
async function refused(code, ask, { rejects = true, message = /./ } = {}) {
  let answer;
  try {
    answer = ask();
  } catch (error) {
    assert.ok(!rejects, `throws: ${ask}: ${error}`);
    assert.ok(error instanceof OnetreeError && error.code === code && message.test(error.message), `${ask}: ${error}`);
    return;
  }
  assert.ok(rejects && answer instanceof Promise, `nothing is refused: ${ask}`);
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(reject, 1_000, new Error('it hangs')); });
  const done = Promise.race([answer, late]).finally(() => clearTimeout(timer));
  await assert.rejects(done, (error) => error instanceof OnetreeError && error.code === code && message.test(error.message), String(ask));
}

const NUMBERS = [NaN, -1, 1.5, Infinity, 2 ** 53, '1', null, 1n];
const WHOLE = /is a whole number/;

test('an option that is none is refused', async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  await mirror.fresh();
  const none = { message: /no option/ };
  for (const ask of [
    () => client.put('/a', 1, { if_rev: 0 }), () => client.append('/a', 1, { ifRev: 0 }), () => client.delete('/a', { rev: 0 }),
    () => client.dropTree('/a', { ifrev: 0 }), () => client.trim('/a', '0'.repeat(18), { ifRev: 0 }), () => client.signal('/a', 1, { ttlMs: 1 }),
    () => client.list('/a', { limt: 2 }), () => client.list('/a', { op: 'get' }), () => client.txn({ iff: [] }), () => client.put('/a', 1, { constructor: 1 }),
    () => mirror.transact((tx) => tx.put('/a', 1, { ifRev: 1 })), () => mirror.transact((tx) => tx.append('/a', 1, { ifRev: 1 })),
    () => mirror.transact((tx) => tx.delete('/a', { ifRev: 1 })), () => mirror.transact((tx) => tx.dropTree('/a', { ifRev: 1 })),
    () => connect('ws://127.0.0.1:1', { recconect: 'never' }),
  ]) await refused('bad-field', ask, none);
  for (const ask of [() => client.mirror('/', { sinals: true }), () => client.mirror({ path: '/', deth: 1 }), () => start('ws://127.0.0.1:1', { x: 1 })]) {
    await refused('bad-field', ask, { rejects: false, ...none });
  }
});

test('what is no options is refused', async (t) => {
  const { client } = made(t);
  for (const wrong of [null, 5, 'x', [], true, () => {}]) {
    for (const ask of [() => client.put('/a', 1, wrong), () => client.append('/a', 1, wrong), () => client.delete('/a', wrong), () => client.txn(wrong),
      () => client.list('/a', wrong), () => client.txn({ do: [wrong] }), () => client.txn({ if: [wrong] })]) await refused('bad-field', ask);
    await refused('bad-field', () => client.mirror('/', wrong), { rejects: false });
    await refused('bad-field', () => start('ws://127.0.0.1:1', wrong), { rejects: false });
    if (wrong !== 'x') await refused('bad-field', () => client.mirror(wrong), { rejects: false });
  }
});

test('numbers are whole and in their range', async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  await mirror.fresh();
  for (const wrong of NUMBERS) {
    for (const ask of [
      () => client.put('/a', 1, { ttlMs: wrong }), () => client.append('/a', 1, { ttlMs: wrong }), () => client.put('/a', 1, { ifRev: wrong }),
      () => client.delete('/a', { ifRev: wrong }), () => client.dropTree('/a', { ifRev: wrong }), () => client.list('/', { limit: wrong }),
      () => client.txn({ do: [{ do: 'put', path: '/a', value: 1, ttlMs: wrong }] }), () => client.txn({ if: [{ path: '/a', rev: wrong }] }),
      () => mirror.at(wrong), () => mirror.transact((tx) => tx.put('/a', 1, { ttlMs: wrong })), () => mirror.earlier('/log', wrong),
    ]) await refused('bad-field', ask, { message: WHOLE });
    const throws = { rejects: false, message: WHOLE };
    await refused('bad-field', () => client.mirror('/', { everyMs: wrong }), throws);
    if (wrong !== null) await refused('bad-field', () => client.mirror({ path: '/', tail: wrong }), throws);
    for (const name of ['requestTimeoutMs', 'connectTimeoutMs', 'queueBytes']) {
      await refused('bad-field', () => start('ws://127.0.0.1:1', { [name]: wrong }), throws);
    }
  }
  for (const ask of [() => mirror.at(), () => client.txn({ if: [{ path: '/a' }] })]) await refused('bad-field', ask, { message: WHOLE });
  await refused('bad-field', () => client.list('/', { limit: 2 ** 32 }), { message: WHOLE });
  await refused('bad-field', () => start('ws://127.0.0.1:1', { requestTimeoutMs: 2 ** 31 }), { rejects: false, message: WHOLE });
  // A member that is undefined counts as absent.
  await client.put('/a', 1, { ttlMs: undefined, ifRev: undefined, ephemeral: undefined });
});

test('an option of the client that is not what it must be is refused at its start, and what may be is named', async () => {
  for (const [options, message] of [
    [{ reconnect: 'sometimes' }, /reconnect is one of never, after-first, always/], [{ reconnect: true }, /reconnect is one of/],
    [{ token: 5 }, /token is a text/], [{ token: null }, /token is a text/], [{ token: 'x\ud800' }, /token is a text/], [{ agent: {} }, /agent is a text/],
    [{ backoffMs: 5 }, /backoffMs is two whole numbers/], [{ backoffMs: [1] }, /backoffMs is two whole/], [{ backoffMs: [1, NaN] }, /backoffMs is two whole/],
    [{ codec: 'msgpack' }, /codec is `json`, or `msgpack` of onetree\/msgpack/], [{ codec: {} }, /codec is/], [{ codec: null }, /codec is/],
    [{ label: 'a b' }, /label is 1 to 31/], [{ label: 7 }, /label is 1 to 31/], [{ label: '' }, /label is 1 to 31/],
  ]) await refused('bad-field', () => start('ws://127.0.0.1:1', options), { rejects: false, message });
  // A member that is undefined counts as absent.
  const names = ['codec', 'label', 'token', 'agent', 'reconnect', 'requestTimeoutMs', 'connectTimeoutMs', 'queueBytes', 'backoffMs'];
  const client = start('ws://127.0.0.1:1', Object.fromEntries(names.map((name) => [name, undefined])));
  assert.equal(client.options.requestTimeoutMs, 30_000);
  assert.equal(client.options.codec.subprotocol, 'onetree.v1.json');
  await client.close();
});

test('everything else that is wrong is refused alike: promises fail, the others throw', async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  await mirror.fresh();
  const entries = [{ path: '/a', rev: 1, value: Value.json(1) }];
  const cookie = { epoch: 'e'.repeat(32), rev: 1, view: 'f'.repeat(16) };
  for (const ask of [
    () => client.put('/a', 1, { ephemeral: 'yes' }), () => client.list('/', { depth: 'all' }), () => client.list('/', { reverse: 1 }),
    () => client.list('/', { values: 'no' }), () => client.getMany('/x'), () => client.getMany(null), () => client.getMany({}),
    () => client.txn({ do: 'x' }), () => client.txn({ if: {} }), () => client.txn({ if: [{ path: '/a', tree: '/a', rev: 1 }] }),
    () => client.txn({ if: [{ rev: 1 }] }), () => client.auth(5), () => client.auth(), () => client.until('on'), () => mirror.until(5),
    () => mirror.transact(), () => mirror.transact((tx) => tx.orElse(5, 6)), () => client.trim('/log', 5), () => client.trim('/log', 1n), () => client.trim('/log'),
  ]) await refused('bad-field', ask);
  for (const ask of [
    () => client.put('a', 1), () => client.put(5, 1), () => client.get(), () => client.getMany(['/a', 7]), () => client.getMany(Array(2)),
    () => client.list('x'), () => client.list('/', { after: 'x' }), () => client.list('/', { before: 5 }), () => client.signal('x', 1), () => client.txn({ do: [{ do: 'delete' }] }),
    () => mirror.transact((tx) => tx.get('a')), () => mirror.transact((tx) => tx.under(5)), () => mirror.earlier(5, 1),
  ]) await refused('bad-path', ask);
  for (const [code, ask] of [
    ['bad-field', () => client.mirror({ path: '/', depth: 'all' })], ['bad-field', () => client.mirror({ path: '/', match: 'text' })],
    ['bad-pattern', () => client.mirror({ path: '/', match: [5] })], ['bad-pattern', () => client.mirror({ path: '/', match: Array(2) })],
    ['bad-field', () => Value.of(1n, Uint8Array.of(1))], ['bad-field', () => Value.of(undefined, Uint8Array.of(1))], ['bad-field', () => client.mirror({ path: '/', values: 'no' })],
    ['bad-path', () => client.mirror({})], ['bad-path', () => client.mirror('x')], ['bad-field', () => client.mirror('/', { once: 1 })],
    ['bad-field', () => client.mirror('/', { signals: 'all' })], ['bad-field', () => client.mirror('/', { keep: 'file' })],
    ['bad-field', () => client.mirror('/', { keep: { load() {} } })], ['bad-field', () => client.mirror('/', { from: 5 })],
    ['bad-field', () => client.mirror('/', { from: { entries } })], ['bad-field', () => client.mirror('/', { from: { cookie: { ...cookie, rev: NaN }, entries } })],
    ['bad-field', () => client.mirror('/', { from: { cookie, entries: 5 } })], ['bad-field', () => client.mirror('/', { from: { cookie, entries: [{ path: '/a', rev: NaN }] } })],
    ['bad-path', () => client.mirror('/', { from: { cookie, entries: [{ path: 'a', rev: 1 }] } })],
    ['bad-field', () => client.mirror('/', { from: { cookie, entries: [{ path: '/a', rev: 1, value: 'x' }] } })],
    ['bad-field', () => client.onStatus(5)], ['bad-field', () => mirror.onEvent()], ['bad-path', () => mirror.get('a')], ['bad-path', () => mirror.under(5)],
    ['bad-path', () => mirror.snapshot().get()], ['bad-path', () => [...mirror.snapshot().under()]],
  ]) await refused(code, ask, { rejects: false });
  // None of this has reached the broker or harmed the client.
  assert.equal((await client.put('/a', 1)).rev, 1);
});

test('a star within a segment of a pattern is refused, with what it stands for', async (t) => {
  const { client } = made(t);
  for (const [pattern, segment] of [['user-*', 'user-*'], ['a/*x/**', '*x'], ['***', '***'], ['**.txt', '**.txt'], ['a/b*c', 'b*c']]) {
    assert.throws(() => client.mirror({ path: '/', match: ['**', pattern] }), { code: 'bad-pattern', message: `bad-pattern: "${pattern}": `
      + `'*' stands for a whole segment, and '**' for any number of them, not for a part of one ('${segment}')` });
  }
  // A path may have such a segment, and a subscription may look there.
  client.mirror({ path: '/a/user-*', match: ['*', 'a/**/b'] });
});

test('an error is told as JSON with the path and the revision that is there, where it has them', () => {
  const frame = { code: 'conflict', message: '/a is at revision 337, not 1', path: '/a', rev: 337 };
  assert.deepEqual(OnetreeError.fromFrame(frame).toJSON(), frame);
  assert.deepEqual(new OnetreeError('outside-view', 'no', { path: '/a' }).toJSON(), { code: 'outside-view', message: 'no', path: '/a' });
  assert.deepEqual(new OnetreeError('lost', 'cut').toJSON(), { code: 'lost', message: 'cut' });
});
