// A mirror that is kept in IndexedDB: what is read is what was saved, cookie and entries of one moment.

import 'fake-indexeddb/auto';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { json } from '../src/json.js';
import { keepInIndexedDB } from '../src/keep-indexeddb.js';
import { MirrorState } from '../src/mirror.js';
import { Value } from '../src/protocol/values.js';
import { fingerprint, viewOf } from '../src/protocol/views.js';
import { Snapshot } from '../src/snapshot.js';
import { Session } from '../src/session/session.js';
import { Random, seeds } from './lib/random.js';
import { client as made } from './lib/socket.js';

const VIEW = viewOf('/');
const COOKIE = { epoch: 'e'.repeat(32), rev: 9, view: fingerprint(VIEW) };
const ENTRIES = [
  { path: '/a', rev: 1, value: Value.jsonText('{"x": 1.50e+2}') }, { path: '/a/b', rev: 2, value: Value.text('ä\n') },
  { path: '/a b', rev: 3, value: Value.of('image/png', Uint8Array.of(0, 255)) }, { path: '/c', rev: 9 },
  { path: '/ä/\u{10000}', rev: 4, value: Value.of('text/plain', Uint8Array.of(255)) },
];

const plain = (entries) => Array.from(entries, ({ path, rev, value }) => (
  [path, rev, value?.type, value && Buffer.from(value.bytes).toString('hex')]));
const inOrder = (entries) => plain(Snapshot.saved(undefined, entries));

let names = 0;
const fresh = () => `test-${names++}`;

/** Returns what another page finds. */
async function found(name) {
  const keep = keepInIndexedDB(name);
  const saved = await keep.load();
  await keep.close();
  return saved;
}

/** Runs `fn` on a database directly. */
async function byHand(name, fn, version, upgrade = () => {}) {
  const request = indexedDB.open(`onetree:${name}`, version);
  const db = await new Promise((resolve, reject) => {
    request.onupgradeneeded = () => upgrade(request.result);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const stores = [...db.objectStoreNames];
  const transaction = stores.length > 0 ? db.transaction(stores, 'readwrite') : undefined;
  fn(transaction);
  if (transaction) await new Promise((resolve) => { transaction.oncomplete = resolve; });
  db.close();
}

test('what is read is what was saved, when the page comes back', async () => {
  const name = fresh();
  const keep = keepInIndexedDB(name);
  assert.equal(await keep.load(), undefined);
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  const again = keepInIndexedDB(name);
  const { cookie, entries } = await again.load();
  assert.deepEqual(cookie, COOKIE);
  assert.deepEqual(inOrder(entries), inOrder(ENTRIES));
  // A mirror that has ended can be started again, too.
  await again.close();
  assert.deepEqual((await again.load()).cookie, COOKIE);
  await again.close();
});

test('a save without a load replaces what is there', async () => {
  const name = fresh();
  const keep = keepInIndexedDB(name);
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  await keep.save(Snapshot.saved({ ...COOKIE, rev: 12 }, [{ path: '/new', rev: 12 }]));
  await keep.close();
  const { cookie, entries } = await found(name);
  assert.equal(cookie.rev, 12);
  assert.deepEqual(entries, [{ path: '/new', rev: 12 }]);
});

test('saves of one mirror after another, at random: each leaves what it was given', async () => {
  for (const seed of seeds(5)) {
    const r = new Random(seed);
    const name = fresh();
    const state = new MirrorState(VIEW);
    state.handleRefresh({ kind: 'full', why: 'no-cookie' });
    state.handleFresh({ rev: 0, view: COOKIE.view }, COOKIE.epoch);
    let keep = keepInIndexedDB(name);
    for (let rev = 1; rev <= 60; rev += 1) {
      const path = `/${r.pick('abc')}/${r.pick('abcdefgh')}`;
      const act = r.pick(['put', 'put', 'put', 'delete', 'drop']);
      state.handleDelta(rev - 1, rev, [act === 'put' ? { path, rev, act, value: Value.json(rev) } : { path: act === 'drop' ? path.slice(0, 2) : path, rev, act }]);
      if (!r.chance(0.4)) continue;
      await keep.save(state.snapshot);
      if (!r.chance(0.5)) continue;
      await keep.close();
      const { cookie, entries } = await found(name);
      assert.deepEqual([cookie, plain(entries)], [state.snapshot.cookie, plain(state.snapshot)], `ONETREE_SEED=${seed}`);
      keep = keepInIndexedDB(name);
      if (r.chance(0.5)) await keep.load();
    }
    await keep.close();
  }
});

test('a save that fails leaves cookie and entries as they were', async () => {
  const name = fresh();
  const keep = keepInIndexedDB(name);
  const before = Snapshot.saved(COOKIE, ENTRIES);
  await keep.save(before);
  const wrong = { ...COOKIE, rev: 10, nobodyClones: () => {} };
  const later = new Snapshot(Snapshot.saved(wrong, [{ path: '/new', rev: 10 }]).edit(), 10, wrong);
  await assert.rejects(keep.save(later), { code: 'state' });
  // As if there was no room: the browser aborts the transaction.
  const { put } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.put = function (...more) {
    if (more[1] === 'head') queueMicrotask(() => this.transaction.abort());
    return put.apply(this, more);
  };
  await assert.rejects(keep.save(Snapshot.saved({ ...COOKIE, rev: 11 }, [])), { code: 'state' }).finally(() => {
    IDBObjectStore.prototype.put = put;
  });
  const next = Snapshot.saved({ ...COOKIE, rev: 12 }, [...ENTRIES, { path: '/d', rev: 12 }]);
  for (const snapshot of [before, next]) {
    if (snapshot === next) await keep.save(next);
    const { cookie, entries } = await found(name);
    assert.deepEqual([cookie, inOrder(entries)], [snapshot.cookie, plain(snapshot)]);
  }
  await keep.close();
});

test('two mirrors with two names do not disturb one another', async () => {
  const [a, b] = [fresh(), fresh()];
  const [one, two] = [keepInIndexedDB(a), keepInIndexedDB(b)];
  await Promise.all([one.load(), two.load()]);
  await Promise.all([one.save(Snapshot.saved(COOKIE, ENTRIES)), two.save(Snapshot.saved({ ...COOKIE, rev: 3 }, ENTRIES.slice(0, 1)))]);
  await one.save(Snapshot.saved({ ...COOKIE, rev: 10 }, []));
  await Promise.all([one.close(), two.close()]);
  assert.deepEqual(await found(a), { cookie: { ...COOKIE, rev: 10 }, entries: [] });
  const { cookie, entries } = await found(b);
  assert.deepEqual([cookie.rev, plain(entries)], [3, plain(ENTRIES.slice(0, 1))]);
});

test('what is no mirror is named, and replaced by the next save', async () => {
  const row = (more) => (stores) => stores.objectStore('entries').put({ path: '/x', rev: 1, ...more });
  const head = (cookie) => (stores) => stores.objectStore('head').put(cookie, 'head');
  const wrongs = {
    epoch: head({ ...COOKIE, epoch: 'x' }), 'epoch is': head(null), 'rev is': head({ ...COOKIE, rev: -1 }), 'view is': head({ ...COOKIE, view: 7 }),
    'a path': row({ path: 'x' }), 'rev of /x is a whole number': row({ rev: '1' }), 'no value': row({ type: 'text/plain', raw: 1 }), 'of /x is no value': row({ type: 1, raw: '1' }),
  };
  for (const [why, spoil] of Object.entries(wrongs)) {
    const name = fresh();
    const keep = keepInIndexedDB(name);
    await keep.save(Snapshot.saved(COOKIE, ENTRIES));
    await keep.close();
    await byHand(name, spoil);
    await assert.rejects(keep.load(), (error) => error.code === 'state-broken' && error.message.includes(why), why);
    await keep.save(Snapshot.saved({ ...COOKIE, rev: 10 }, ENTRIES.slice(1)));
    await keep.close();
    const { cookie, entries } = await found(name);
    assert.deepEqual([cookie.rev, inOrder(entries)], [10, inOrder(ENTRIES.slice(1))]);
  }
});

test("a database of somebody else's, or of a later version, is left as it is", async () => {
  const name = fresh();
  await byHand(name, (stores) => stores.objectStore('things').put(1, 'mine'), 1, (db) => db.createObjectStore('things'));
  const keep = keepInIndexedDB(name);
  await assert.rejects(keep.load(), { code: 'state-broken' });
  await assert.rejects(keep.save(Snapshot.saved(COOKIE, ENTRIES)), { code: 'state-broken' });
  await keep.close();
  await byHand(name, (stores) => assert.deepEqual([...stores.objectStoreNames], ['things']));
  const later = fresh();
  await byHand(later, () => {}, 2);
  await assert.rejects(keepInIndexedDB(later).load(), { code: 'state' });
});

test('one that is deleted meanwhile is made anew, whole', async () => {
  const name = fresh();
  const keep = keepInIndexedDB(name);
  const before = Snapshot.saved(COOKIE, ENTRIES);
  await keep.save(before);
  await new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(`onetree:${name}`);
    request.onsuccess = resolve;
    request.onerror = request.onblocked = reject;
  });
  await keep.save(new Snapshot(before.edit(), 10, { ...COOKIE, rev: 10 }));
  await keep.close();
  const { cookie, entries } = await found(name);
  assert.deepEqual([cookie.rev, inOrder(entries)], [10, inOrder(ENTRIES)]);
});

test('where there are no locks, pages that keep the same one replace it, each whole', async () => {
  const name = fresh();
  const [one, two] = [keepInIndexedDB(name), keepInIndexedDB(name)];
  const before = Snapshot.saved(COOKIE, ENTRIES);
  await one.save(before);
  await two.load();
  // The other page has saved more, and ends. This page does not know that, and saves what differs from its own last
  // save.
  await two.save(Snapshot.saved({ ...COOKIE, rev: 12 }, [{ path: '/x', rev: 12 }]));
  const later = { ...COOKIE, rev: 10 };
  await one.save(new Snapshot(before.edit(), 10, later));
  await Promise.all([one.close(), two.close()]);
  const { cookie, entries } = await found(name);
  assert.deepEqual([cookie, inOrder(entries)], [later, inOrder(ENTRIES)]);
});

/** Gives the test the locks of a browser, as long as the test runs. Returns the names of those that are held. */
function locks(t) {
  const held = new Set();
  const request = async (name, { ifAvailable }, fn) => {
    assert.ok(ifAvailable);
    if (held.has(name)) return fn(null);
    held.add(name);
    await fn({ name });
    // A browser takes some time.
    await new Promise((resolve) => setTimeout(resolve, 20));
    held.delete(name);
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { locks: { request } }, configurable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, 'navigator', before) : delete globalThis.navigator));
  return held;
}

test('a page reads what another one keeps, and saves once that is gone', async (t) => {
  const held = locks(t);
  const name = fresh();
  const there = `onetree:${name}`;
  const keep = keepInIndexedDB(name);
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  // The other page, done by hand.
  held.add(there);
  assert.deepEqual((await keep.load()).cookie, COOKIE);
  const next = Snapshot.saved({ ...COOKIE, rev: 10 }, ENTRIES.slice(1));
  await assert.rejects(keep.save(next), { code: 'state-in-use' });
  // It saves something else, and ends.
  await byHand(name, (stores) => {
    stores.objectStore('head').put({ ...COOKIE, rev: 11 }, 'head');
    stores.objectStore('entries').clear();
  });
  held.delete(there);
  await Promise.all([keep.save(next), keep.save(next)]);
  assert.deepEqual([...held], [there]);
  await keep.close();
  assert.equal(held.size, 0);
  const { cookie, entries } = await found(name);
  assert.deepEqual([cookie.rev, inOrder(entries)], [10, inOrder(ENTRIES.slice(1))]);
});

test('within a page it is of one at a time', async (t) => {
  const held = locks(t);
  const name = fresh();
  const [one, two] = [keepInIndexedDB(name), keepInIndexedDB(name)];
  await one.save(Snapshot.saved(COOKIE, ENTRIES));
  await assert.rejects(two.load(), { code: 'state-in-use' });
  await assert.rejects(two.save(Snapshot.saved({ ...COOKIE, rev: 10 }, [])), { code: 'state-in-use' });
  // A mirror may be closed twice.
  void one.close();
  await one.close();
  assert.deepEqual((await two.load()).cookie, COOKIE);
  await two.close();
  assert.equal(held.size, 0);
});

test('the end of a mirror of this page is waited for, and of no other', { timeout: 5_000 }, async (t) => {
  let end = () => {};
  t.after(() => end());
  const held = locks(t);
  const { client } = made(t);
  const name = fresh();
  const next = () => client.mirror('/', { keep: keepInIndexedDB(name) });
  await client.put('/a', 1);
  const first = next();
  const hangs = client.mirror('/', { keep: { load: async () => undefined, save: () => new Promise((resolve) => { end = resolve; }) } });
  await Promise.all([first.fresh(), hangs.fresh()]);
  void hangs.close();
  const refused = next();
  await refused.fresh();
  const ended = first.close();
  const [second, third] = [next(), next()];
  await ended;
  const fourth = next();
  const mirrors = [refused, second, third, fourth];
  await Promise.all(mirrors.map((mirror) => mirror.fresh()));
  assert.deepEqual(mirrors.map(({ keepError }) => keepError?.code), ['state-in-use', undefined, 'state-in-use', 'state-in-use']);
  assert.equal(second.initial.rev, 1);
  await Promise.all(mirrors.map((mirror) => mirror.close()));
  // Another page has it.
  held.add(`onetree:${name}`);
  const late = next();
  await late.fresh();
  assert.equal(late.initial.rev, 1);
  await late.close();
  assert.equal(late.keepError?.code, 'state-in-use');
});

test('a mirror that goes on from it says its cookie in hello, and gets what it missed', async () => {
  const name = fresh();
  const keep = keepInIndexedDB(name);
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  const { cookie, entries } = await keep.load();
  const state = new MirrorState(VIEW, Snapshot.saved(cookie, entries));
  const session = new Session({
    codec: json, agent: 'test', reconnect: 'always', requestTimeoutMs: 1e12, connectTimeoutMs: 1e12, backoffMs: [100, 1000],
  });
  session.mirror(1, state, { once: false, signals: false, everyMs: 0 });
  session.handleOpen(0);
  const hello = json.decodeClient(session.pollTransmit());
  assert.deepEqual(hello.subs.map((sub) => sub.cookie), [COOKIE]);
  const limits = { frame_bytes: 1e6, value_bytes: 1e6, subscriptions: 9, in_flight: 9 };
  const frames = [
    { op: 'welcome', id: hello.id, session: 's', epoch: COOKIE.epoch, rev: 11, heartbeat_ms: 1000, digest_key: 'd'.repeat(32), limits },
    { op: 'ok', id: hello.subs[0].id }, { op: 'refresh', sub: 1, kind: 'delta', why: 'cookie', from: 9 },
    { op: 'entries', sub: 1, changes: [{ path: '/a', rev: 11, act: 'delete' }] }, { op: 'fresh', sub: 1, rev: 11, view: COOKIE.view },
  ];
  for (const frame of frames) session.handleFrame(0, frame);
  const rest = ENTRIES.slice(1);
  assert.deepEqual(plain(state.snapshot), inOrder(rest));
  await keep.save(state.snapshot);
  await keep.close();
  const saved = await found(name);
  assert.deepEqual([saved.cookie, inOrder(saved.entries)], [{ ...COOKIE, rev: 11 }, inOrder(rest)]);
});
