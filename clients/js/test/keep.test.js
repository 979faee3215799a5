// Keeping a mirror: what is read is what was saved, and a broken file is never replaced.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import files, { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';
import { OnetreeError } from '../src/errors.js';
import { keepInFile } from '../src/keep-file.js';
import { start } from '../src/index.js';
import { Mirror } from '../src/live.js';
import { Value } from '../src/protocol/values.js';
import { Snapshot } from '../src/snapshot.js';
import { client as made } from './lib/socket.js';

const COOKIE = { epoch: 'e'.repeat(32), rev: 9, view: 'f'.repeat(16) };
const ENTRIES = [
  { path: '/a', rev: 1, value: Value.jsonText('{"x": 1.50e+2}') }, { path: '/a/b', rev: 2, value: Value.text('ä\n') },
  { path: '/a b', rev: 3, value: Value.of('image/png', Uint8Array.of(0, 255)) }, { path: '/c', rev: 9 },
  { path: '/d', rev: 4, value: Value.jsonText('{\n "x":\r1}') },
];

async function file(t) {
  const folder = await mkdtemp(join(tmpdir(), 'onetree-'));
  t.after(() => rm(folder, { recursive: true }));
  return join(folder, 'state');
}

test('what is read is what was saved', async (t) => {
  const path = await file(t);
  const keep = keepInFile(path);
  assert.equal(await keep.load(), undefined);
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  const { cookie, entries } = await keepInFile(path).load();
  assert.deepEqual(cookie, COOKIE);
  const plain = ({ path: at, rev, value }) => [at, rev, value?.type, value && Buffer.from(value.bytes).toString('hex')];
  assert.deepEqual(entries.map(plain), ENTRIES.map(plain));
});

test('a file is that of one mirror at a time, by whatever name', async (t) => {
  const path = await file(t);
  const link = `${path}.link`;
  await symlink(path, link);
  const [one, other] = [keepInFile(path), keepInFile(join(dirname(path), '.', 'x', '..', 'state'))];
  assert.equal(await one.load(), undefined);
  await one.save(Snapshot.saved(COOKIE, ENTRIES));
  for (const keep of [other, keepInFile(link), one]) await assert.rejects(keep.load(), { code: 'state-in-use' });
  await assert.rejects(other.save(Snapshot.saved(COOKIE, [])), { code: 'state-in-use' });
  // The action is not to retry: somebody has to do something.
  assert.deepEqual(['state', 'state-in-use', 'state-broken'].map((code) => new OnetreeError(code, '').action), ['fix', 'fix', 'fix']);
  // A mirror that was refused has nothing to release; the one that has the file still saves.
  await other.close();
  await assert.rejects(keepInFile(path).load(), { code: 'state-in-use' });
  await one.save(Snapshot.saved(COOKIE, ENTRIES));
  await one.close();
  assert.equal((await other.load()).entries.length, ENTRIES.length);
  await other.save(Snapshot.saved(COOKIE, []));
  await other.close();
  // A mirror that is closed while it loads, and one that finds no mirror in the file, release it, too.
  const loading = one.load();
  await one.close();
  await loading;
  await writeFile(path, 'precious');
  await assert.rejects(one.load(), { code: 'state-broken' });
  await assert.rejects(other.load(), { code: 'state-broken' });
});

test('a link stays a link, also if what it leads to does not exist yet', async (t) => {
  const path = await file(t);
  const folder = dirname(path);
  await mkdir(join(folder, 'real'));
  await symlink('real/state', path);
  await symlink(path, `${path}.link`);
  const [keep, other] = [keepInFile(`${path}.link`), keepInFile(join(folder, 'real', 'state'))];
  assert.equal(await keep.load(), undefined);
  await assert.rejects(other.load(), { code: 'state-in-use' });
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  await keep.close();
  assert.deepEqual((await readdir(folder)).sort(), ['real', 'state', 'state.link']);
  assert.deepEqual(await readdir(join(folder, 'real')), ['state']);
  assert.equal((await other.load()).entries.length, ENTRIES.length);
  // One that leads to itself leads to no file.
  await symlink('loop', join(folder, 'loop'));
  await assert.rejects(keepInFile(join(folder, 'loop')).load(), { code: 'state' });
});

test('of those who ask for a file at once the first has it, however long its name takes to be found', async (t) => {
  const path = await file(t);
  const { realpath } = files;
  let asked = 0;
  t.mock.method(files, 'realpath', async (/** @type {string} */ of) => {
    if (asked++ === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    return realpath(of);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const keeps = [keepInFile(path), keepInFile(path)];
  const [first, second] = await Promise.allSettled(keeps.map((keep) => keep.load()));
  assert.ok(asked > 0);
  assert.deepEqual([first.status, second.reason?.code], ['fulfilled', 'state-in-use']);
});

test('a file is whole even if another thread saves into it meanwhile', async (t) => {
  const path = await file(t);
  const keep = keepInFile(path);
  const here = (name) => JSON.stringify(new URL(`../src/${name}`, import.meta.url));
  const other = `Promise.all([import(${here('keep-file.js')}), import(${here('snapshot.js')})])
    .then(([{ keepInFile }, { Snapshot }]) => keepInFile(${JSON.stringify(path)}).save(Snapshot.saved(${JSON.stringify({ ...COOKIE, rev: 8 })}, [])))`;
  const { rename } = files;
  t.mock.method(files, 'rename', async (/** @type {[string, string]} */ ...names) => {
    const [code] = await once(new Worker(other, { eval: true }), 'exit');
    assert.equal(code, 0);
    assert.equal((await readFile(path, 'utf8')).split('\n').length, 2);
    return rename(...names);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  await keep.save(Snapshot.saved(COOKIE, ENTRIES));
  const { cookie, entries } = await keep.load();
  assert.deepEqual([cookie.rev, entries.length], [COOKIE.rev, ENTRIES.length]);
  assert.deepEqual(await readdir(dirname(path)), ['state']);
});

test('while a large file is read others have their turns', async (t) => {
  const path = await file(t);
  const entries = Array.from({ length: 20_000 }, (_, n) => ({ path: `/${String(n).padStart(5, '0')}`, rev: 1 }));
  const keep = keepInFile(path);
  await keep.save(Snapshot.saved(COOKIE, entries));
  const bytes = await readFile(path);
  // The disk accepts no files.
  t.mock.method(files, 'realpath', async (/** @type {string} */ of) => of);
  t.mock.method(files, 'readFile', async () => bytes);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  let [turns, loaded] = [0, false];
  const count = () => {
    turns += 1;
    if (!loaded) setImmediate(count);
  };
  setImmediate(count);
  const saved = await keep.load();
  loaded = true;
  assert.equal(saved.entries.length, entries.length);
  assert.ok(turns >= 9, `${turns} turns`);
  await keep.close();
});

test('a file that cannot be named is a matter of its own mirror only', async (t) => {
  const path = await file(t);
  for (const wrong of [undefined, pathToFileURL(`${path}.none`)]) {
    await assert.rejects(keepInFile(/** @type {any} */ (wrong)).load(), TypeError);
    const keep = keepInFile(path);
    assert.equal(await keep.load(), undefined);
    await keep.close();
  }
});

test('a file whose name is never found keeps no other waiting', { timeout: 5_000 }, async (t) => {
  const path = await file(t);
  const { realpath } = files;
  t.mock.method(files, 'realpath', (/** @type {string} */ of) => (of === `${path}.hangs` ? new Promise(() => {}) : realpath(of)));
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  void keepInFile(`${path}.hangs`).load();
  assert.equal(await keepInFile(path).load(), undefined);
});

test('two mirrors of one process do not write into one file, also by one keep', async (t) => {
  const path = await file(t);
  const { client } = made(t);
  await client.put('/a', 1);
  const keep = keepInFile(path);
  const kept = client.mirror('/', { keep });
  const others = [client.mirror({ path: '/', values: false }, { keep: keepInFile(path) }), client.mirror('/b', { keep })];
  await Promise.all([kept, ...others].map((mirror) => mirror.fresh()));
  assert.deepEqual([kept, ...others].map(({ keepError }) => keepError?.code), [undefined, 'state-in-use', 'state-in-use']);
  await client.put('/b', 2);
  await Promise.all(others.map((mirror) => mirror.close()));
  await kept.at(2);
  await kept.close();
  const again = client.mirror('/', { keep });
  await again.fresh();
  assert.deepEqual([again.initial.rev, again.initial.size, again.keepError], [2, 2, undefined]);
  await again.close();
});

test('who is refused says why in few words, and does not hold the mirror that has it', async (t) => {
  const path = await file(t);
  const { client } = made(t, { token: 'secret' });
  const refused = await (async () => {
    const one = client.mirror('/', { keep: keepInFile(path) });
    const other = client.mirror('/', { keep: told(keepInFile(path)) });
    await Promise.all([one.fresh(), other.fresh()]);
    const text = inspect(other.keepError);
    assert.match(text, /state-in-use/);
    assert.doesNotMatch(text, /Mirror \{|secret/);
    await one.close();
    return { one: new WeakRef(one), other };
  })();
  for (let n = 0; n < 10 && refused.one.deref(); n += 1) {
    await new Promise(setImmediate);
    globalThis.gc();
  }
  assert.equal(refused.one.deref(), undefined);
  assert.equal(refused.other.keepError?.code, 'state-in-use');
});

/** A `keep` of the application that passes on what another one gives. */
const told = (/** @type {any} */ keep) => ({ load: async () => keep.load(), save: (snapshot) => keep.save(snapshot), close: async () => keep.close() });

/** A `keep` of the application that first waits for something of its own. */
const late = (/** @type {any} */ keep) => told({ ...keep, load: async () => (await new Promise(setImmediate), keep.load()) });

/** Other `keep`s of the same place. @type {Record<string, (keep: any, path: string) => any>} */
const SAME = {
  'the same keep': (keep) => keep, 'another keep': (_, path) => keepInFile(path), 'one of the application': (_, path) => told(keepInFile(path)),
};

/** @type {typeof SAME} */
const SAME_LATE = { ...SAME, 'one of the application that waits': (_, path) => late(keepInFile(path)) };

/**
 * A mirror that is kept in a file, which others then ask for.
 * @param {import('node:test').TestContext} t
 * @param {SAME[keyof SAME]} another
 */
async function keptFirst(t, another) {
  const path = await file(t);
  const { client } = made(t);
  await client.put('/a', 1);
  const keep = another(keepInFile(path), path);
  const first = client.mirror('/', { keep });
  await first.fresh();
  return { path, client, keep, first };
}

for (const [whose, another] of Object.entries(SAME_LATE)) {
  test(`a mirror begins behind the end of the one that is kept there before it, by ${whose}`, async (t) => {
    const { path, client, keep, first } = await keptFirst(t, another);
    void first.close();
    // A mirror that is closed while it waits takes the place from nobody.
    void client.mirror('/', { keep: another(keep, path) }).close();
    const second = client.mirror('/', { keep: another(keep, path) });
    await second.fresh();
    assert.deepEqual([second.keepError, second.initial.rev], [undefined, 1]);
    await client.put('/b', 2);
    await second.at(2);
    // Nobody waits for a mirror that goes on.
    const third = client.mirror('/', { keep: another(keep, path) });
    void client.mirror('/').close();
    await third.fresh();
    assert.equal(third.keepError?.code, 'state-in-use');
    await Promise.all([third.close(), second.close()]);
    assert.equal((await keepInFile(path).load()).cookie.rev, 2);
  });
}

for (const [whose, another] of Object.entries(SAME_LATE)) {
  test(`the end of a mirror that is kept elsewhere is not waited for, by ${whose}`, { timeout: 5_000 }, async (t) => {
    const path = await file(t);
    let end = () => {};
    t.after(() => end());
    const { client } = made(t);
    await client.put('/a', 1);
    const keep = another(keepInFile(path), path);
    const first = client.mirror('/', { keep });
    const hangs = client.mirror('/', { keep: { load: async () => undefined, save: () => new Promise((resolve) => { end = resolve; }) } });
    await Promise.all([first.fresh(), hangs.fresh()]);
    const ended = hangs.close();
    const second = client.mirror('/', { keep: another(keep, path) });
    await second.fresh();
    assert.equal(second.keepError?.code, 'state-in-use');
    void first.close();
    const third = client.mirror('/', { keep: another(keep, path) });
    await third.fresh();
    assert.deepEqual([third.keepError, third.initial.rev], [undefined, 1]);
    end();
    await Promise.all([ended, third.close()]);
  });
}

for (const [whose, another] of Object.entries(SAME)) {
  test(`of those who wait for a mirror to end, and who ask then, the first has what it is kept in, by ${whose}`, async (t) => {
    const { path, client, keep, first } = await keptFirst(t, another);
    const ended = first.close();
    const next = [client.mirror('/', { keep: another(keep, path) })];
    next.push(client.mirror('/', { keep: another(keep, path) }));
    await ended;
    next.push(client.mirror('/', { keep: another(keep, path) }));
    await Promise.all(next.map((mirror) => mirror.fresh()));
    assert.deepEqual(next.map(({ keepError }) => keepError?.code), [undefined, 'state-in-use', 'state-in-use']);
    // A mirror that waits for another that itself waits gets its turn, too.
    void next[0].close();
    const [fourth, fifth] = [client.mirror('/', { keep: another(keep, path) }), client.mirror('/', { keep: another(keep, path) })];
    await Promise.all([fourth.fresh(), fifth.fresh()]);
    assert.deepEqual([fourth.keepError, fifth.keepError?.code], [undefined, 'state-in-use']);
    await fourth.close();
  });
}

for (const how of /** @type {const} */ (['close', 'leave'])) {
  test(`the end of a client is the end of its mirrors: ${how}`, { timeout: 5_000 }, async (t) => {
    const path = await file(t);
    const { client, broker } = made(t);
    const other = start('ws://naive');
    t.after(() => other.close());
    const first = client.mirror('/', { keep: keepInFile(path) });
    await Promise.all([first.fresh(), other.until('online')]);
    const rev = client.put('/a', 1);
    const ended = client[how]();
    const [second, third] = [other.mirror('/', { keep: keepInFile(path) }), other.mirror('/', { keep: keepInFile(path) })];
    await ended;
    const fourth = other.mirror('/', { keep: keepInFile(path) });
    const mirrors = [second, third, fourth];
    await Promise.all(mirrors.map((mirror) => mirror.fresh()));
    assert.deepEqual(mirrors.map(({ keepError }) => keepError?.code), [undefined, 'state-in-use', 'state-in-use']);
    assert.deepEqual([second.initial.rev, (await rev).rev, broker.rev], [1, 1, 1]);
    await second.close();
  });
}

/** A mirror that waits for the end of the one that has the place. `saved` has the revisions that were saved. */
async function waits(t, options = {}) {
  const { client } = made(t);
  const saved = [];
  const keep = { load: async () => undefined, save: async ({ rev }) => saved.push(rev), ...options.keep };
  const first = client.mirror('/', { keep });
  await client.put('/a', 1);
  await first.at(1);
  void first.close();
  saved.length = 0;
  return { client, saved, mirror: client.mirror('/', { keep, from: options.from }) };
}

test('what a reader takes is kept behind it, also of a mirror that waited for the end of another', async (t) => {
  const { client, saved, mirror } = await waits(t);
  const changes = mirror.changes();
  await mirror.fresh();
  while (changes.nextNow());
  await mirror.saved();
  await client.put('/b', 1);
  await mirror.at(2);
  // The application is busy.
  await mirror.saved();
  assert.equal(saved.at(-1), 1);
  while (changes.nextNow());
  assert.notEqual(mirror.keepTimer, undefined);
  await mirror.close();
  assert.equal(saved.at(-1), 2);
});

test('what a reader was not shown who left while the mirror waited for the end of another is not saved', async (t) => {
  const { client, saved, mirror } = await waits(t);
  await mirror.changes().return();
  await mirror.fresh();
  await client.put('/b', 1);
  await mirror.at(2);
  await mirror.saved();
  assert.deepEqual(saved.filter((rev) => rev > 1), []);
  mirror.get('/b');
  await mirror.close();
  assert.equal(saved.at(-1), 2);
});

test('of a reader who left before what is kept was there, that is what he was shown', async (t) => {
  const { client } = made(t);
  const from = { cookie: { ...COOKIE, rev: 3 }, entries: [] };
  const kept = { cookie: { ...COOKIE, epoch: 'd'.repeat(32), rev: 5 }, entries: [] };
  const saved = [];
  const mirror = client.mirror('/', { from, keep: { load: async () => kept, save: async ({ cookie }) => saved.push(cookie) } });
  await mirror.changes().return();
  await mirror.fresh();
  await mirror.saved();
  assert.deepEqual(saved, []);
});

/** Runs the garbage collector until `so` is true. */
async function collect(/** @type {() => unknown} */ so) {
  for (let n = 0; n < 20 && !(await so()); n += 1) {
    await new Promise(setImmediate);
    globalThis.gc();
  }
}

const gc = { skip: !globalThis.gc && 'without --expose-gc' };

test('a reader that was let go of without a word holds up no save, and what he was not shown is not saved', gc, async (t) => {
  const { client } = made(t);
  const saved = [];
  const mirror = client.mirror('/', { keep: { load: async () => undefined, save: async ({ rev }) => saved.push(rev) } });
  await client.put('/a', 1);
  await mirror.at(1);
  await (async () => assert.equal((await mirror.changes().next()).value.type, 'fresh'))();
  await client.put('/b', 2);
  await mirror.at(2);
  await collect(() => mirror.feeds.size === 0);
  await mirror.saved();
  assert.deepEqual(saved, [1]);
  mirror.get('/b');
  await mirror.saved();
  assert.deepEqual(saved, [1, 2]);
});

test('a reader that leaves was the one that all others waited for', async (t) => {
  const { client } = made(t);
  const saved = [];
  const mirror = client.mirror('/', { keep: { load: async () => undefined, save: async ({ rev }) => saved.push(rev) } });
  await client.put('/a', 1);
  await mirror.at(1);
  const [slow, quick] = [mirror.changes(), mirror.changes()];
  while (quick.nextNow());
  await mirror.saved();
  assert.deepEqual(saved, []);
  await slow.return();
  assert.notEqual(mirror.keepTimer, undefined);
  await mirror.saved();
  assert.deepEqual(saved, [1]);
});

test('who waits for an event is not let go of, though nothing else holds him', gc, async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  await mirror.fresh();
  const seen = [];
  (() => {
    void (async () => {
      for await (const { type } of mirror.changes()) seen.push(type);
    })();
    const changes = mirror.changes();
    changes.nextNow();
    void changes.next().then(({ value }) => seen.push(`once ${value?.type}`));
  })();
  let rounds = 0;
  await collect(() => (rounds += 1) > 5);
  await client.put('/a', 1);
  await mirror.at(1);
  await mirror.close();
  await collect(() => seen.includes('ended'));
  assert.deepEqual(seen.sort(), ['delta', 'ended', 'fresh', 'once delta']);
});

test('a mirror that has ended holds nobody who read it, but for its last save', async (t) => {
  const { client } = made(t);
  const saved = [];
  for (const keep of [undefined, { load: async () => undefined, save: async ({ rev }) => saved.push(rev) }]) {
    const mirror = client.mirror('/', { keep });
    await mirror.fresh();
    const changes = mirror.changes();
    await client.put('/a', 1);
    await mirror.at(1);
    await mirror.close();
    assert.equal(mirror.feeds.size, 0);
    const late = mirror.changes();
    assert.equal(mirror.feeds.size, 0);
    for (const reader of [changes, late]) {
      const types = [];
      for await (const { type } of reader) types.push(type);
      assert.equal(types.at(-1), 'ended');
    }
  }
  assert.deepEqual(saved, []);
});

test('who begins to read behind the end holds up no save', async (t) => {
  const { client } = made(t);
  const saved = [];
  const mirror = client.mirror('/', { keep: { load: async () => undefined, save: async ({ rev }) => saved.push(rev) } });
  await client.put('/a', 1);
  await mirror.at(1);
  const ended = mirror.close();
  const changes = mirror.changes();
  await ended;
  assert.deepEqual(saved, [1]);
  assert.deepEqual([changes.nextNow()?.type, changes.nextNow()?.type], ['fresh', 'ended']);
});

test('a file that is not whole is named, and left as it is', async (t) => {
  const path = await file(t);
  await keepInFile(path).save(Snapshot.saved(COOKIE, ENTRIES));
  const text = await readFile(path, 'utf8');
  const lines = text.split('\n');
  const wrong = {
    'state:6:': text.slice(0, -3), 'state:1:': text.slice(1), 'state:2: .*not come after|state:3:': [lines[0], lines[2], lines[1], ...lines.slice(3)].join('\n'),
    'ends after 3 of 5': [...lines.slice(0, 4), ''].join('\n'), 'no entry': text.replace(lines[4], '{"path":"/c","rev":9,"delete":true}'),
  };
  for (const [why, broken] of Object.entries(wrong)) {
    await writeFile(path, broken);
    const keep = keepInFile(path);
    await assert.rejects(keep.load(), (error) => error.code === 'state-broken' && new RegExp(why).test(error.message), why);
    await assert.rejects(keep.save(Snapshot.saved(COOKIE, [])), { code: 'state-broken' });
    assert.equal(await readFile(path, 'utf8'), broken);
  }
});

test('bytes that are no text are named, not read as something else', async (t) => {
  const path = await file(t);
  await keepInFile(path).save(Snapshot.saved(COOKIE, ENTRIES));
  const whole = await readFile(path);
  const at = whole.indexOf('ä');
  for (const wrong of [[0xff, 0xa4], [0xc3, 0x20], [0xed, 0xa0]]) {
    const broken = Buffer.from(whole);
    broken.set(wrong, at);
    await writeFile(path, broken);
    const keep = keepInFile(path);
    await assert.rejects(keep.load(), { code: 'state-broken', message: /state:3: .*left as it is/ });
    await assert.rejects(keep.save(Snapshot.saved(COOKIE, [])), { code: 'state-broken' });
    assert.ok(broken.equals(await readFile(path)));
  }
});

test('a save that fails leaves nothing beside the file', async (t) => {
  const path = await file(t);
  await mkdir(path);
  await assert.rejects(keepInFile(path).save(Snapshot.saved(COOKIE, ENTRIES)), { code: 'state' });
  assert.deepEqual(await readdir(dirname(path)), ['state']);
});

test('who reads in another history than now is further behind than any who reads in this one', () => {
  const of = (epoch, rev) => ({ rev, cookie: { epoch, rev } });
  const [old, older, mid, now] = [of('1', 20), of('1', 10), of('2', 1), of('2', 2)];
  const shown = (...snapshots) => {
    const feeds = new Set(snapshots.map((at) => ({ snapshot: () => at })));
    return Mirror.prototype.shown.call({ state: { snapshot: now }, feeds, lastShown: undefined });
  };
  assert.equal(shown(old, now), old);
  assert.equal(shown(old, mid), old);
  assert.equal(shown(mid, old, older), older);
  assert.equal(shown(now, old, older), older);
  assert.equal(shown(now), now);
});

test('what is kept goes before what a mirror is to go on from, and what cannot be read is left as it is', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'onetree-'));
  t.after(() => rm(folder, { recursive: true }));
  const { client } = made(t);
  await client.put('/a', 1);
  const file = join(folder, 'state');
  const kept = client.mirror('/', { keep: keepInFile(file) });
  await kept.fresh();
  const from = { cookie: kept.cookie, entries: [...kept.snapshot().entries()] };
  await client.put('/b', 2);
  await kept.at(2);
  await kept.close();
  const again = client.mirror('/', { keep: keepInFile(file), from });
  await again.fresh();
  assert.equal(again.initial.rev, 2);
  await again.close();
  const other = join(folder, 'other');
  await writeFile(other, 'precious');
  const mirror = client.mirror('/', { keep: keepInFile(other), from });
  await mirror.fresh();
  await mirror.close();
  assert.equal(mirror.keepError?.code, 'state-broken');
  assert.equal(await readFile(other, 'utf8'), 'precious');
});
