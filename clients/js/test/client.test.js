// The client with functions of the application: whatever they do, the client goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Client, Value, connect, logKey } from '../src/index.js';
import { json } from '../src/json.js';
import { client as made, thrown } from './lib/socket.js';

const mine = new RangeError('mine');
const fail = () => { throw mine; };

/** Fails if something does not come in time, instead of waiting for ever. */
function soon(promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(reject, 2_000, new Error('it hangs')); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

test('who listens to the status is told each, until he stops', async (t) => {
  const { client, cut } = made(t);
  const told = [];
  const stop = client.onStatus((status) => told.push(status));
  await client.until('online');
  cut();
  await client.until('online');
  assert.deepEqual(told.map(({ status }) => status), ['online', 'offline', 'online']);
  assert.equal(told[2].connection, client.connection);
  assert.equal(told[1].error.code, 'lost');
  stop();
  await client.close();
  assert.equal(told.length, 3);
});

test('what a listener throws is thrown to the host, and all goes on', async (t) => {
  const errors = thrown(t);
  const { client } = made(t);
  const told = [];
  client.onStatus(fail);
  client.onStatus(({ status }) => told.push(status));
  const mirror = client.mirror('/a');
  mirror.onEvent(fail);
  await soon(client.until('online'));
  const { rev } = await soon(client.put('/a', 1));
  await soon(mirror.at(rev));
  await soon(client.close());
  assert.deepEqual(told, ['online', 'ended']);
  assert.ok(errors.length > 4 && errors.every((error) => error === mine), String(errors));
});

test('what the predicate of until throws fails that wait alone', async (t) => {
  const errors = thrown(t);
  const { client } = made(t);
  const mirror = client.mirror('/a');
  await mirror.fresh();
  await assert.rejects(mirror.until(fail), mine);
  const waits = mirror.until(() => mirror.rev > 0 && fail());
  const { rev } = (await soon(Promise.all([client.put('/a', 1), assert.rejects(waits, mine)])))[0];
  await soon(mirror.at(rev));
  await soon(client.put('/a', 2));
  assert.deepEqual(errors, []);
});

test('an effect that cannot be had holds up no other', async (t) => {
  const errors = thrown(t);
  const { client } = made(t);
  const mirror = client.mirror('/a');
  await mirror.fresh();
  mirror.publish = fail;
  await soon(client.put('/a', 1));
  delete mirror.publish;
  assert.ok(errors.includes(mine));
});

test('a WebSocket that cannot be made is no connection', async (t) => {
  const { client } = made(t);
  await client.until('online');
  const before = globalThis.WebSocket;
  globalThis.WebSocket = class {
    constructor() { fail(); }
  };
  await assert.rejects(soon(connect('ws://naive', { reconnect: 'never' })), { code: 'unreachable', cause: mine });
  globalThis.WebSocket = before;
});

test('a client that is closed without a connection refuses what waits, and says whether it was sent', async (t) => {
  const world = made(t, { queueBytes: 2_000 });
  const { client, cut } = world;
  await client.until('online');
  await client.put('/a', 1);
  world.answers = false;
  const [sent, signal] = [client.put('/b', 1), client.signal('/b', 1)];
  await new Promise((resolve) => setTimeout(resolve, 5));
  world.refuses = true;
  cut();
  await assert.rejects(signal, { code: 'lost', sent: true });
  // There is no room for the third.
  const waiting = [client.put('/c', 1), client.put('/d', 1), client.put('/e', 1)];
  const refused = [assert.rejects(sent, { code: 'closed', sent: true }), ...waiting.map((one) => assert.rejects(one, { code: 'closed', sent: false }))];
  await soon(client.close());
  await soon(Promise.all(refused));
  await assert.rejects(client.put('/f', 1), { code: 'closed', sent: false });
});

test('what is in a request counts in the queue: steps, conditions and paths as well as values', async (t) => {
  const many = (one) => Array.from({ length: 100 }, (_, n) => one(`/${n}`));
  for (const ask of [
    (client) => client.txn({ do: many((path) => ({ do: 'delete', path })) }), (client) => client.getMany(many((path) => path)),
    (client) => client.txn({ if: many((path) => ({ path, rev: 0 })) }), (client) => client.put('/a', 'x'.repeat(12_800)),
  ]) {
    const world = made(t, { queueBytes: 13_000 });
    world.refuses = true;
    const [first, second] = [ask(world.client), world.client.put('/b', 1)];
    assert.equal(world.client.session.requests.all.size, 1, 'the second has no room');
    const refused = [first, second].map((one) => assert.rejects(one, { code: 'closed', sent: false }));
    await soon(world.client.close());
    await Promise.all(refused);
  }
});

test('who waits behind one that has waited long enough for room gets the room that there is', async (t) => {
  const world = made(t, { queueBytes: 13_000, requestTimeoutMs: 60 });
  const { client } = world;
  await client.until('online');
  world.answers = false;
  const sent = client.put('/a', 1);
  const large = client.put('/b', 'x'.repeat(12_900));
  const refused = [assert.rejects(sent, { sent: true }), assert.rejects(large, /no room in the queue/)];
  await new Promise((resolve) => setTimeout(resolve, 30));
  const small = client.put('/c', 1);
  refused.push(assert.rejects(small, /no answer within/));
  await soon(Promise.all(refused));
  // Otherwise the end of the client would wait for the answers.
  world.refuses = true;
  world.cut();
});

test('a client that is closed with a connection does first what was asked before', async (t) => {
  const { client, broker } = made(t);
  await client.until('online');
  const asked = [client.put('/a', 1), client.put('/b', 1)];
  await soon(client.close());
  await Promise.all(asked);
  assert.deepEqual([...broker.tree.keys()], ['/a', '/b']);
});

test('a write that is answered as if it was a read is not to be asked again', async (t) => {
  const world = made(t);
  await world.client.until('online');
  const { socket } = world;
  socket.send = (message) => {
    const found = { op: 'found', id: json.decodeClient(message).id, rev: 1, entries: [] };
    setTimeout(() => socket.onmessage({ data: json.encodeServer(found) }));
  };
  await assert.rejects(soon(world.client.put('/a', 1)), (error) => error.action === 'stop');
});

test('a place that cannot keep a mirror holds nothing up', async (t) => {
  const { client } = made(t);
  for (const keep of [
    { load: fail, save: fail, close: fail },
    { load: async () => fail(), save: async () => fail(), close: async () => fail() },
    { load: async () => ({ cookie: undefined, entries: { [Symbol.iterator]: fail } }), save: fail },
  ]) {
    const mirror = client.mirror('/a', { keep });
    await soon(mirror.fresh());
    assert.equal(mirror.keepError?.code ?? mirror.keepError, keep.close ? mine : 'state-broken');
    await soon(mirror.close());
    assert.equal(mirror.keepError, mine);
  }
  client.mirror('/b', { keep: { load: async () => undefined, save: fail, close: async () => fail() } });
  await soon(client.close());
});

test('the end of the client waits for the last save of a mirror whose end nobody waited for', async (t) => {
  const saved = [];
  const keep = {
    load: async () => undefined,
    save: async (snapshot) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      saved.push(snapshot.size);
    },
    close: async () => saved.push('free'),
  };
  const { client } = made(t);
  const mirror = client.mirror('/a', { keep });
  await soon(mirror.fresh());
  await soon(mirror.at((await client.put('/a', 1)).rev));
  void mirror.close();
  await soon(client.close());
  assert.deepEqual(saved.slice(-2), [1, 'free']);
  await soon(mirror.close());
  assert.equal(saved.filter((word) => word === 'free').length, 1, 'it is let go once');
});

test('what a reader takes behind the end of a mirror is not saved: another may have the place', async (t) => {
  const saved = [];
  const keep = { load: async () => undefined, save: async (snapshot) => saved.push(snapshot.size), close: async () => saved.push('free') };
  const { client } = made(t);
  const mirror = client.mirror('/a', { keep });
  const changes = mirror.changes();
  await soon(mirror.at((await client.put('/a', 1)).rev));
  await soon(mirror.close());
  assert.equal(events(changes).at(-1), 'ended');
  mirror.get('/a');
  await soon(client.close());
  assert.deepEqual(saved, ['free']);
});

test('mirrors that have ended leave nothing behind in their client', async (t) => {
  const { client } = made(t);
  for (let n = 0; n < 20; n += 1) {
    const keep = { load: async () => undefined, save: async () => {} };
    const mirror = client.mirror('/a', { once: n % 2 === 0, ...(n % 4 < 2 ? { keep } : {}) });
    await soon(mirror.fresh());
    await soon(mirror.close());
  }
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual([[...client.endings].length, client.mirrors.size], [0, 0]);
});

test('of a reader that has left, what he was shown is saved, until the mirror itself is looked at', async (t) => {
  const { client } = made(t);
  for (const [path, look, seen] of [['/a', () => {}, 0], ['/b', (mirror) => mirror.get('/b'), 1], ['/c', (mirror) => mirror.entries(), 1]]) {
    const saved = [];
    const mirror = client.mirror(path, { keep: { load: async () => undefined, save: async (snapshot) => saved.push(snapshot.size) } });
    for await (const event of mirror.changes()) if (event.type === 'fresh') break;
    const { rev } = await client.put(path, 1);
    await soon(mirror.at(rev));
    look(mirror);
    await soon(mirror.close());
    assert.equal(saved.at(-1), seen, path);
  }
});

test('what is kept does not go back to what a reader knew who left before it read', async (t) => {
  const { client } = made(t);
  const saved = [];
  const first = client.mirror('/');
  await soon(first.fresh());
  const [cookie, entries] = [first.cookie, first.entries()];
  const mirror = client.mirror('/', { keep: { load: async () => ({ cookie, entries }), save: async (snapshot) => saved.push(snapshot.rev) } });
  await soon(mirror.fresh());
  await soon(mirror.at((await client.put('/a', 1)).rev));
  await soon(mirror.saved());
  const late = mirror.changes();
  await late.return();
  await soon(mirror.at((await client.put('/b', 1)).rev));
  await soon(mirror.close());
  assert.ok(saved.length > 0 && saved.every((rev, n) => n === 0 || rev >= saved[n - 1]), String(saved));
});

test('a mirror goes on from a snapshot of another', async (t) => {
  const { client } = made(t);
  const first = client.mirror('/');
  const empty = first.snapshot();
  await soon(first.at((await client.put('/a', 1)).rev));
  const then = first.snapshot();
  await soon(first.at((await client.put('/b', 2)).rev));
  const second = client.mirror('/', { from: then });
  assert.deepEqual([second.rev, second.size, second.get('/a').value.json], [1, 1, 1]);
  const kind = (async () => { for await (const event of second.changes()) if (event.type === 'refreshing') return event.kind; })();
  await soon(second.fresh());
  assert.deepEqual([await soon(kind), second.size, then.size], ['delta', 2, 1]);
  // What `keep` gives is checked in the same way.
  const kept = client.mirror('/', { keep: { load: async () => then, save: async () => {} } });
  await soon(kept.fresh());
  assert.deepEqual([kept.keepError, kept.initial.rev], [undefined, 1]);
  // A snapshot without a cookie is a copy of nothing.
  assert.throws(() => client.mirror('/', { from: empty }), { code: 'bad-field', message: /epoch/ });
});

test('who waits for a client that ends is told as those who asked it something', async (t) => {
  const told = (promise) => soon(promise).then(() => 'done', ({ code, action, cause }) => [code, action, cause?.code]);
  const { client, cut } = made(t, { reconnect: 'never' });
  await soon(client.until('online'));
  const waits = client.until('connecting');
  cut();
  for (const one of [waits, client.until('online'), client.put('/a', 1)]) assert.deepEqual(await told(one), ['ended', 'retry', 'lost']);
  assert.equal((await soon(client.until('ended'))).error.code, 'lost');
  // `connect` fails with the reason itself.
  assert.deepEqual(await told(connect('ws://127.0.0.1:1', { reconnect: 'never', token: () => fail() })), ['unreachable', 'retry', undefined]);
  const other = made(t).client;
  await soon(other.close());
  assert.deepEqual(await told(other.until('online')), ['closed', 'stop', undefined]);
});

test('what was kept is looked at before it is shown', async (t) => {
  const { client } = made(t);
  const cookie = { epoch: 'e'.repeat(32), rev: 1, view: 'f'.repeat(16) };
  const entries = [{ path: '/a', rev: 1, value: Value.json(1) }];
  for (const wrong of [
    5, {}, { cookie }, { cookie: { ...cookie, epoch: 'x' }, entries }, { cookie: { ...cookie, rev: NaN }, entries }, { cookie, entries: [...entries, { path: 'a', rev: 1 }] },
    { cookie, entries: [{ path: '/a', rev: '1' }] }, { cookie, entries: [{ path: '/a', rev: 1, value: 'x' }] }, { cookie, entries: [null] },
  ]) {
    let saved = 0;
    const mirror = client.mirror('/', { keep: { load: async () => wrong, save: async () => { saved += 1; } } });
    const changes = mirror.changes();
    await soon(mirror.fresh());
    assert.equal(mirror.keepError?.code, 'state-broken', JSON.stringify(wrong));
    for (let event = changes.nextNow(); event; event = changes.nextNow()) assert.ok(event.kind !== 'delta', 'it starts from nothing');
    await soon(mirror.close());
    assert.equal(saved, 1, 'what is broken is replaced');
  }
});

/** Returns all events that are there now. */
function events(changes) {
  const all = [];
  for (let event = changes.nextNow(); event; event = changes.nextNow()) all.push(event.type);
  return all;
}

test('a client that waits hears of the host that the network is back, as long as it lives', async (t) => {
  const host = new EventTarget();
  const heard = new Set();
  globalThis.addEventListener = (type, listener) => {
    heard.add(listener);
    host.addEventListener(type, listener);
  };
  globalThis.removeEventListener = (type, listener) => {
    heard.delete(listener);
    host.removeEventListener(type, listener);
  };
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  t.mock.method(Math, 'random', () => 0.02);
  const world = made(t, { backoffMs: [500_000, 1_000_000] });
  const { client } = world;
  await client.until('online');
  world.refuses = true;
  world.cut();
  assert.ok(client.error && client.status === 'offline');
  world.refuses = false;
  host.dispatchEvent(new Event('online'));
  await soon(client.until('online'));
  assert.equal(heard.size, 1);
  await client.close();
  assert.equal(heard.size, 0);
  host.dispatchEvent(new Event('online'));
  assert.equal(client.status, 'ended');
});

test('what prints a client, or a mirror of it, says how it stands, and no secret', async (t) => {
  const { client } = made(t, { token: 'secret' });
  const mirror = client.mirror('/a');
  await client.put('/a/b', 1);
  await mirror.fresh();
  assert.equal(inspect(client), 'Client {"url":"ws://naive/v1/sync","status":"online"}');
  assert.equal(inspect(mirror), 'Mirror {"view":{"path":"/a","depth":"tree","match":[],"values":true},"rev":1,"isFresh":true,"size":1}');
  for (const depth of [0, 20]) for (const what of [{ client, mirror }, mirror.changes(), [client]]) assert.doesNotMatch(inspect(what, { depth, showHidden: true }), /secret/);
  assert.deepEqual(JSON.parse(JSON.stringify({ client, mirror })), {
    client: { url: 'ws://naive/v1/sync', status: 'online' }, mirror: { view: { path: '/a', depth: 'tree', match: [], values: true }, rev: 1, isFresh: true, size: 1 },
  });
  const other = new Client('ws://me:secret@naive/x?token=secret', { reconnect: 'never' });
  assert.equal(JSON.stringify(other), '{"url":"ws://naive/x","status":"connecting"}');
  await other.close();
});

test('who begins to read a mirror that is offline is told so, behind what it shows', async (t) => {
  const world = made(t, { backoffMs: [1_000, 1_000] });
  const { client, cut } = world;
  const mirror = client.mirror('/');
  await soon(mirror.fresh());
  world.refuses = true;
  cut();
  await soon(client.until('offline'));
  const changes = mirror.changes();
  assert.deepEqual(events(changes), ['fresh', 'offline']);
  await soon(client.close());
  assert.deepEqual(events(changes), ['ended']);
  assert.deepEqual(events(mirror.changes()), ['fresh', 'offline', 'ended']);
});

test('who begins to read late is told which logs have lost what he never had', async (t) => {
  const { client } = made(t);
  const append = async (log) => (await client.append(log, 1)).paths[0];
  for (const goesOn of [(from) => ({ from }), (from) => ({ keep: { load: async () => from, save: async () => {} } })]) {
    const known = await append('/log');
    const before = client.mirror('/');
    await soon(before.fresh());
    const mirror = client.mirror('/', goesOn(before.snapshot()));
    await soon(mirror.fresh());
    const trim = async (last) => {
      const { rev } = await client.trim(last.slice(0, -19), last.slice(-18));
      await soon(mirror.at(rev));
    };
    const gaps = () => mirror.changes().nextNow().gaps;
    await trim(known);
    assert.deepEqual(gaps(), [], 'he had that');
    await trim(await append('/log'));
    assert.deepEqual(gaps(), ['/log']);
    assert.deepEqual(gaps(), ['/log'], 'each begins where the mirror did');
    // A refresh from nothing forgets them, as it does when events are folded.
    await soon(mirror.resync());
    assert.deepEqual(gaps(), []);
    await soon(mirror.close());
  }
});

test('a mirror of mode once was fresh, and is so no longer when it has ended', async (t) => {
  const { client } = made(t);
  await soon(client.put('/a', 1));
  const once = client.mirror('/', { once: true });
  assert.equal(await soon(once.fresh()), 1);
  assert.equal(once.isFresh, false);
  const look = async () => {
    assert.equal(await soon(once.fresh()), 1);
    assert.equal(await soon(once.at(1)), 1);
    assert.equal(once.isFresh, false);
    await assert.rejects(soon(once.resync()), { code: 'closed' });
    await assert.rejects(soon(once.at(2)), { code: 'closed' });
  };
  await look();
  await once.close();
  await look();
  const stay = client.mirror('/');
  await soon(stay.fresh());
  await soon(client.close());
  await look();
  assert.equal(stay.isFresh, false);
  await assert.rejects(soon(stay.fresh()), { code: 'closed' });
});

test('of a mirror that is closed it is said that the mirror is, not its client', async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  await soon(mirror.fresh());
  const waits = assert.rejects(soon(mirror.at(9)), { code: 'closed', message: 'closed: the mirror is closed' });
  await soon(mirror.close());
  await waits;
  for (const ask of [() => mirror.fresh(), () => mirror.at(1), () => mirror.resync(), () => mirror.transact(() => 1)]) {
    await assert.rejects(soon(ask()), { code: 'closed', message: 'closed: the mirror is closed', action: 'stop' });
  }
  await soon(client.close());
  await assert.rejects(soon(client.mirror('/').fresh()), { code: 'closed', message: 'closed: the client is closed' });
});

test('a mirror that ends with its client says what ended that, as a request does', async (t) => {
  const { client, cut } = made(t, { reconnect: 'never' });
  const mirror = client.mirror('/');
  await soon(mirror.fresh());
  const changes = mirror.changes();
  const loading = client.mirror('/', { keep: { load: () => new Promise(() => {}), save: async () => {} } });
  const waits = [mirror.at(9), loading.fresh()];
  cut();
  const asked = [...waits, mirror.fresh(), client.mirror('/').fresh(), client.put('/a', 1), client.get('/a')];
  for (const one of asked) {
    await assert.rejects(soon(one), ({ code, action, cause, message }) => (
      code === 'ended' && action === 'retry' && cause.code === 'lost' && message.startsWith('ended: the client has ended: ')), String(one));
  }
  let last;
  for (let event = changes.nextNow(); event; event = changes.nextNow()) last = event;
  assert.deepEqual([last.type, last.error.code, last.error.cause], ['ended', 'ended', client.error]);
});

test('a comparison says at which revision they are the same, or what differs', async (t) => {
  const { client, broker } = made(t);
  const { rev } = await soon(client.put('/a', 1));
  const mirror = client.mirror('/');
  await soon(mirror.at(rev));
  assert.deepEqual(await soon(mirror.verify()), { verdict: 'same', rev });
  const [expected, found] = [`7:${'0'.repeat(32)}`, broker.digest(mirror.view)];
  t.mock.method(broker, 'digest', () => expected, { times: 1 });
  assert.deepEqual(await soon(mirror.verify()), { verdict: 'differs', expected, found });
  mirror.close();
  assert.deepEqual(await soon(mirror.verify()), { verdict: 'unknown' });
});

test('a page of a log has its entries alone, as many as were asked for, and says rightly whether there are more', async (t) => {
  const { client } = made(t);
  const put = async (path) => (await soon(client.put(path, 1))).rev;
  await put('/log');
  await put('/log/!below/x');
  await put('/log/00meta');
  const paths = [];
  for (let n = 0; n < 5; n += 1) {
    paths.push((await soon(client.append('/log', n))).paths[0]);
    // Between any two entries, and below some that no longer exist.
    await put(`${paths[n]}-more`);
    await put(`${paths[n]}/below`);
  }
  await client.delete(paths[1]);
  const meta = await put('/log/meta');
  const left = paths.filter((_, n) => n !== 1);
  const mirror = client.mirror({ path: '/log', depth: 'entry' });
  await soon(mirror.at(meta));
  for (const limit of [1, 2, 3, 4, 5, 2 ** 32 - 1]) {
    const seen = [];
    let before;
    for (let more = true; more;) {
      const page = await soon(mirror.earlier('/log', limit, before));
      more = page.more;
      assert.ok(page.entries.length === limit || (!more && page.entries.length > 0), `${limit}: ${page.entries.length}`);
      seen.unshift(...page.entries.map(({ path }) => path));
      before = seen[0];
    }
    assert.deepEqual(seen, left, `limit ${limit}`);
  }
  const some = await soon(mirror.earlier('/log', 0));
  assert.deepEqual([some.entries.map(({ path }) => path), some.more], [[left.at(-1)], true]);
  assert.deepEqual(await soon(mirror.earlier('/log', 0, left[0])), { rev: meta, entries: [], more: false });
  // If it takes several answers, `rev` is that of the last.
  const entry = (rev) => ({ path: `/log/${logKey(rev, 0)}`, rev });
  const answers = [{ rev: 8, entries: [entry(3)], more: true }, { rev: 9, entries: [entry(2)], more: false }];
  t.mock.method(client, 'list', async () => answers.shift());
  assert.deepEqual(await soon(mirror.earlier('/log', 2)), { rev: 9, entries: [entry(2), entry(3)], more: false });
});

test('a client that leaves ends when its last request is refused without being sent', async (t) => {
  const { client } = made(t);
  await client.until('online');
  const large = client.put('/a', 'x'.repeat(1 << 17));
  await Promise.all([soon(client.leave()), assert.rejects(large, { code: 'value-too-large' })]);
});

test('an attempt to connect has one deadline: for the token, the connection and the welcome', async (t) => {
  let [time, asked] = [5_000, 0];
  t.mock.method(Client.prototype, 'now', () => time);
  const token = () => {
    asked += 1;
    // Time in which the function blocks the client is not counted; time in which it does not block is.
    time += 5_000;
    return Promise.resolve().then(() => { time += 300; return 'x'; });
  };
  const waits = [];
  const later = globalThis.setTimeout;
  t.mock.method(globalThis, 'setTimeout', (fn, ms, ...more) => {
    if (asked > 0) waits.push(ms);
    return later(fn, ms, ...more);
  });
  const world = made(t, { token, connectTimeoutMs: 1_000 });
  world.answers = false;
  while (!world.socket) await new Promise((resolve) => setImmediate(resolve));
  // The timeout of the token and that of the connection.
  assert.deepEqual(waits.slice(0, 2), [1_000, 700]);
  time += 200;
  while (world.socket.readyState === 0) await new Promise((resolve) => later(resolve));
  assert.deepEqual([asked, world.client.session.link, world.client.session.nextTimeout()], [1, 'greeting', 11_000]);
});

test('whatever a token\'s function does, it is an attempt that failed', async (t) => {
  const wordless = Object.assign(Object.create(null), { toString: fail });
  class Wordless extends Error {
    get message() { return fail(); }
  }
  for (const odd of [() => { throw wordless; }, () => Promise.reject(wordless), () => { throw undefined; }, () => { throw Symbol('x'); }, async () => { throw null; },
    () => { throw new Wordless(); }, () => wordless, () => ({ then() { throw wordless; } }), () => 5, () => '\ud800', () => undefined]) {
    let asked = 0;
    const { client } = made(t, { token: () => (asked++ ? 'good' : odd()) });
    const told = [];
    client.onStatus(({ status, error }) => told.push([status, error?.code]));
    await soon(client.until('online'));
    assert.deepEqual([asked, told], [2, [['offline', 'unreachable'], ['online', undefined]]], String(odd));
    await soon(client.close());
  }
});
