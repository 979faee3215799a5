// Tests against the real broker, if ONETREE_BIN names one.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, json, start, Value } from '../src/index.js';
import { entryText } from '../src/json.js';
import { keepInFile } from '../src/keep-file.js';
import { msgpack } from '../src/msgpack.js';
import { broker, exported, skip } from './lib/broker.js';
import { Random, seeds } from './lib/random.js';

const VALUES = [{ a: [1, 2.5, null, 'ä'] }, 'text', Uint8Array.of(0, 255), true, null, Value.text('ö'), Value.of('image/png', Uint8Array.of(1)),
  Value.jsonText('{"x": 1.50e+2}')];

for (const [name, codec] of [['json', json], ['msgpack', msgpack]]) {
  test(`a mirror is the tree, byte by byte: ${name}`, { skip }, async (t) => {
    const url = await broker(t);
    const [seed] = seeds(1);
    t.diagnostic(`ONETREE_SEED=${seed}`);
    const r = new Random(seed);
    const client = await connect(url, { codec });
    const other = await connect(url);
    assert.equal(client.status, 'online');
    assert.equal(client.connection.resumed, false);
    const mirror = client.mirror('/');
    const copy = new Map();
    mirror.onEvent((event) => {
      for (const { path, old, new: now } of event.changes ?? []) {
        assert.equal(copy.get(path)?.rev, old?.rev);
        if (now) copy.set(path, now);
        else copy.delete(path);
      }
    });
    let last = 0;
    for (let n = 0; n < 300; n += 1) {
      const path = `/${Array.from({ length: 3 }, () => r.pick(['a', 'b', 'ä ö', 'a-b'])).join('/')}`;
      const how = r.next();
      const done = await (how < 0.6 ? other.put(path, r.pick(VALUES)) : how < 0.8 ? other.append(`${path.slice(0, 2)}/log`, r.pick(VALUES))
        : how < 0.9 ? other.delete(path) : other.dropTree(path.slice(0, path.lastIndexOf('/'))));
      last = done.rev;
    }
    await mirror.at(last);
    const lines = Array.from(mirror.entries(), entryText);
    assert.deepEqual(lines, await exported(url));
    assert.equal((await mirror.verify()).verdict, 'same');
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(copy.size, mirror.size);
    for (const entry of mirror.entries()) assert.equal(copy.get(entry.path), entry);
    await client.close();
    await other.leave();
    assert.equal(client.status, 'ended');
  });
}

test('a function that gives no token is an attempt that failed', { skip }, async (t) => {
  const url = await broker(t);
  const options = { reconnect: 'never', connectTimeoutMs: 100 };
  for (const token of [() => new Promise(() => {}), async () => 7, () => undefined, () => { throw new Error('no'); }]) {
    const attempt = connect(url, { ...options, token });
    const late = new Promise((_, reject) => { setTimeout(reject, 5_000, new Error('still waiting')).unref(); });
    await assert.rejects(Promise.race([attempt, late]), { code: 'unreachable', message: /there is no token/ });
  }
  let asked = 0;
  const client = await connect(url, { reconnect: 'always', backoffMs: [1, 2], token: () => (asked++ ? 'a' : Promise.reject(new Error('no'))) });
  await client.until('online');
  assert.equal(asked, 2);
  await client.close();
});

test('an option that is none is refused: it may be a condition that somebody has misspelt', { skip }, async (t) => {
  const url = await broker(t);
  const client = await connect(url);
  t.after(() => client.close());
  const wrong = { code: 'bad-field', message: /no option/ };
  for (const ask of [
    () => client.put('/a', 1, { if_rev: 0 }), () => client.append('/a', 1, { ttl: 1 }), () => client.delete('/a', { rev: 0 }),
    () => client.dropTree('/a', { ifrev: 0 }), () => client.txn({ iff: [{ path: '/a', rev: 0 }], do: [] }),
    () => client.txn({ if: [{ path: '/a', revision: 0, rev: 0 }] }),
    () => client.txn({ do: [{ do: 'put', path: '/a', value: 1, ifRev: 0 }] }),
    () => client.txn({ do: [{ do: 'append', path: '/a', value: 1, ttl: 0 }] }),
    async () => client.mirror({ path: '/', deth: 'children' }), async () => client.mirror('/', { sinals: true }),
    async () => connect(url, { recconect: 'never' }),
  ]) await assert.rejects(ask(), wrong, String(ask));
  await assert.rejects(client.txn({ do: [{ do: 'constructor', path: '/a' }] }), { code: 'bad-field', message: /do is one of/ });
  assert.equal(await client.get('/a'), undefined);
});

test('requests say what they did, and what is wrong', { skip }, async (t) => {
  const url = await broker(t);
  const client = await connect(url);
  t.after(() => client.close());
  const { rev } = await client.put('/a', 1, { ifRev: 0 });
  await assert.rejects(client.put('/a', 2, { ifRev: 0 }), (error) => error.isConflict && error.rev === rev && error.path === '/a');
  await assert.rejects(client.put('a', 2), { code: 'bad-path', action: 'fix' });
  const done = await client.txn({ if: [{ path: '/a', rev }, { tree: '/b', rev }], do: [
    { do: 'delete', path: '/a' }, { do: 'append', path: '/log', value: 'x' }, { do: 'put', path: '/b', value: Value.text('y') }] });
  assert.equal(done.paths.length, 1);
  assert.equal(await client.get('/a'), undefined);
  assert.equal((await client.get('/b')).value.text, 'y');
  const page = await client.list('/log', { depth: 'children', reverse: true, limit: 1 });
  assert.deepEqual(page.entries.map((entry) => [entry.path, entry.value.json]), [[done.paths[0], 'x']]);
  await client.trim('/log', done.paths[0].slice(5));
  assert.equal((await client.getMany([done.paths[0]])).entries.length, 0);
  assert.throws(() => client.mirror({ path: '/', depth: 'all' }), { code: 'bad-field' });
});

test('signals come to who asked for them', { skip }, async (t) => {
  const url = await broker(t);
  const client = await connect(url);
  t.after(() => client.close());
  const mirror = client.mirror('/s', { signals: true });
  await mirror.fresh();
  const heard = new Promise((resolve) => mirror.onEvent((event) => event.type === 'signal' && resolve(event)));
  await client.signal('/s/x', { typing: true });
  const { path, value } = await heard;
  assert.deepEqual([path, value.json], ['/s/x', { typing: true }]);
});

test('several count at once, and no count is lost', { skip }, async (t) => {
  const url = await broker(t);
  const clients = await Promise.all([1, 2, 3].map(() => connect(url)));
  t.after(() => Promise.all(clients.map((client) => client.close())));
  const mirrors = clients.map((client) => client.mirror('/n'));
  const results = await Promise.all(mirrors.flatMap((mirror) => Array.from({ length: 20 }, () => mirror.transact((tx) => {
    const n = (tx.get('/n')?.value.json ?? 0) + 1;
    tx.put('/n', n);
    return n;
  }))));
  assert.deepEqual(results.map(({ result }) => result).sort((a, b) => a - b), Array.from({ length: 60 }, (_, i) => i + 1));
  assert.equal((await clients[0].get('/n')).value.json, 60);
});

test('transact: retry waits, orElse tries the other, own writes are seen in path order', { skip }, async (t) => {
  const url = await broker(t);
  const client = await connect(url);
  t.after(() => client.close());
  const mirror = client.mirror('/q');
  await client.put('/q/b', 0);
  await mirror.transact((tx) => {
    tx.put('/q/c', 2);
    tx.put('/q/a', 1);
    tx.put('/q/b', 3);
    assert.deepEqual(tx.under('/q').map(({ path, value }) => [path, value.json]), [['/q/a', 1], ['/q/b', 3], ['/q/c', 2]]);
    tx.delete('/q/b');
    tx.dropTree('/q/c');
    assert.deepEqual(tx.under('/q').map(({ path }) => path), ['/q/a']);
  });
  assert.deepEqual((await client.list('/q')).entries.map(({ path }) => path), ['/q/a']);
  const take = (path) => (tx) => {
    const entry = tx.get(path);
    if (!entry) return tx.retry();
    tx.delete(path);
    return entry.value.json;
  };
  let runs = 0;
  const taken = mirror.transact((tx) => {
    runs += 1;
    return tx.orElse((one) => {
      one.put('/q/forgotten', 1);
      return take('/q/x')(one);
    }, take('/q/y'));
  });
  await client.put('/q/other', 1);
  await client.put('/q/y', 'there');
  const { result, done } = await taken;
  assert.equal(result, 'there');
  await mirror.at(done.rev);
  assert.equal(mirror.get('/q/forgotten'), undefined);
  assert.ok(runs <= 3, `what it did not read does not wake it: ${runs}`);
  await assert.rejects(mirror.transact((tx) => tx.get('/elsewhere')), { code: 'outside-view' });
  await assert.rejects(mirror.transact((tx) => {
    tx.put('/q/never', 1);
    throw new RangeError('mine');
  }), RangeError);
  assert.equal(await client.get('/q/never'), undefined);
  assert.equal((await mirror.transact((tx) => tx.get('/q/a').value.json)).done, undefined);
});

test('a mirror that is kept goes on where it was', { skip }, async (t) => {
  const url = await broker(t);
  const folder = await mkdtemp(join(tmpdir(), 'onetree-'));
  const keep = () => keepInFile(join(folder, 'state'));
  const first = await connect(url);
  await Promise.all(Array.from({ length: 50 }, (_, n) => first.put(`/k/${n}`, n)));
  const mirror = first.mirror('/k', { keep: keep() });
  await mirror.fresh();
  await first.close();
  const second = start(url);
  // Until it is closed, the mirror may save.
  t.after(() => second.close().then(() => rm(folder, { recursive: true })));
  await second.delete('/k/1');
  const { rev } = await second.put('/k/new', 'x');
  const again = second.mirror('/k', { keep: keep() });
  const events = again.changes();
  await again.at(rev);
  const seen = [];
  for (let event = events.nextNow(); event; event = events.nextNow()) seen.push(event);
  assert.deepEqual(seen.find(({ type }) => type === 'refreshing'), { type: 'refreshing', kind: 'delta', why: 'cookie' });
  assert.deepEqual(seen.find(({ type }) => type === 'fresh').changes.map(({ path, old, new: now }) => [path, old?.value.json, now?.value.json]),
    [['/k/1', 1, undefined], ['/k/new', undefined, 'x']]);
  assert.equal(again.size, 50);
});

test('earlier gives the page in front of a tail', { skip }, async (t) => {
  const client = await connect(await broker(t));
  t.after(() => client.close());
  for (let n = 0; n < 9; n += 1) await client.append('/t/log', n);
  const mirror = client.mirror({ path: '/t', tail: 3 });
  await mirror.fresh();
  const { entries, more } = await mirror.earlier('/t/log', 4);
  assert.deepEqual([entries.map(({ value }) => value.json), more, mirror.size], [[2, 3, 4, 5], true, 3]);
  const front = await mirror.earlier('/t/log', 4, entries[0].path);
  assert.deepEqual([front.entries.map(({ value }) => value.json), front.more], [[0, 1], false]);
});
