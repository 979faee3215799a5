// Transactions whose function catches errors that are not its own, or goes on after its end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from '../src/protocol/values.js';
import { viewOf } from '../src/protocol/views.js';
import { Snapshot } from '../src/snapshot.js';
import { Transaction } from '../src/transact.js';
import { Connection } from './lib/naive.js';
import { anew, client as made } from './lib/socket.js';

/** Runs a transaction that must wait until `/a` exists. Returns its answer, how often it ran, and what was written. */
async function waiting(t, fn) {
  const { client, broker } = made(t);
  const mirror = client.mirror('/');
  await mirror.fresh();
  let runs = 0;
  const answer = mirror.transact((tx) => {
    runs += 1;
    return fn(tx);
  });
  // If there is a bug, the answer comes before there is anything to answer with.
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(runs, 1);
  await client.put('/a', 1);
  const { result } = await answer;
  return { result, runs, there: [...broker.tree.keys()].sort() };
}

const must = (tx) => tx.get('/a') ?? tx.retry();

const SWALLOWED = {
  'and the run ends': (tx) => {
    try {
      must(tx);
    } catch {}
  },
  'and goes on': (tx) => {
    try {
      must(tx);
    } catch {}
    tx.put('/b', 1);
  },
  'and it throws its own': (tx) => {
    try {
      must(tx);
    } catch (cause) {
      throw new Error('mine', { cause });
    }
  },
  'in a promise': async (tx) => {
    await Promise.resolve().then(() => must(tx)).catch(() => {});
    tx.put('/b', 1);
  },
};

for (const [how, fn] of Object.entries(SWALLOWED)) {
  test(`a retry that the application catches is one: ${how}`, async (t) => {
    const { runs, there } = await waiting(t, fn);
    assert.deepEqual([runs, there.includes('/a')], [2, true]);
  });

  test(`a retry that is caught in the first of orElse leads to the second: ${how}`, async (t) => {
    const { client, broker } = made(t);
    const mirror = client.mirror('/');
    const first = (tx) => {
      tx.put('/forgotten', 1);
      return fn(tx);
    };
    const { result } = await mirror.transact((tx) => tx.orElse(first, (other) => other.put('/second', 1) ?? 'second'));
    assert.deepEqual([result, [...broker.tree.keys()]], ['second', ['/second']]);
    // If both retry, the transaction retries when something that either has read changes.
    const { runs, there } = await waiting(t, (tx) => tx.orElse((one) => one.get('/never') ?? one.retry(), fn));
    assert.deepEqual([runs, there.includes('/a')], [2, true]);
  });
}

for (const [when, first] of Object.entries({
  'at once': async (tx) => tx.put('/first', 1) ?? tx.retry(),
  later: async (tx) => {
    tx.put('/first', 1);
    await null;
    tx.put('/first', 2);
    tx.retry();
  },
  'and is caught': async (tx) => {
    try {
      tx.retry();
    } catch {}
    await null;
    tx.put('/first', 1);
  },
  'in a first of its own': (tx) => tx.orElse(async () => tx.put('/first', 1) ?? tx.retry(), async () => {
    tx.put('/first', 2);
    await null;
    tx.retry();
  }),
})) {
  test(`what is written between orElse and its await is kept, where the first retries ${when}`, { timeout: 5_000 }, async (t) => {
    const { client, broker } = made(t);
    const mirror = client.mirror('/');
    const { result, runs } = await mirror.transact(async (tx) => {
      tx.put('/before', 1);
      const either = tx.orElse(first, (other) => other.put('/second', 1) ?? 'second');
      tx.put('/between', 1);
      return await either;
    });
    assert.deepEqual([result, runs, [...broker.tree.keys()].sort()], ['second', 1, ['/before', '/between', '/second']]);
  });
}

test('a retry beside one that was answered is one', async (t) => {
  const { runs, there } = await waiting(t, async (tx) => {
    const either = tx.orElse(async () => tx.retry(), () => tx.put('/second', 1));
    if (tx.get('/a')) return await either;
    either.catch(() => {});
    return tx.retry();
  });
  assert.deepEqual([runs, there], [2, ['/a', '/second']]);
});

/** Uses of `fn` as the first of an `orElse`, or as both. */
const BRANCHES = {
  'at once': async (tx) => tx.retry(),
  later: async (tx) => {
    await null;
    tx.retry();
  },
  'much later': async (tx) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    tx.retry();
  },
};
/** What goes wrong beside it. */
const MISTAKES = {
  'at once': (tx) => tx.put('no path', 1),
  'in a function of its own': async (tx) => {
    const inner = async () => tx.put('no path', 1);
    return inner();
  },
  later: async () => {
    for (let n = 0; n < 9; n += 1) await null;
    throw Object.assign(new Error('mine'), { code: 'bad-path' });
  },
};

for (const [when, branch] of Object.entries(BRANCHES)) {
  for (const [how, mistake] of Object.entries(MISTAKES)) {
    for (const [whose, second] of Object.entries({ 'both retry': branch, 'the first retries': async (tx) => (await null, tx.put('/second', 1)) })) {
      test(`an error ${how} beside an orElse of which ${whose} ${when} is told`, { timeout: 5_000 }, async (t) => {
        const { client, broker } = made(t);
        const mirror = client.mirror('/');
        const unhandled = [];
        const note = (error) => unhandled.push(error);
        process.on('unhandledRejection', note);
        t.after(() => process.off('unhandledRejection', note));
        for (const fn of [async (tx) => {
          const either = tx.orElse(branch, second);
          await mistake(tx);
          return await either;
        }, (tx) => {
          const either = tx.orElse(branch, second);
          tx.put('no path', 1);
          return either;
        }]) await assert.rejects(mirror.transact(fn), { code: 'bad-path' });
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert.deepEqual([unhandled, broker.tree.size], [[], 0]);
      });
    }
  }
}

test('what is under way behind the end of a run does not end the process', { timeout: 5_000 }, async (t) => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  const late = (tx) => tx.orElse(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    tx.put('/late', 1);
  }, () => {});
  const { client, broker } = made(t);
  const mirror = client.mirror('/');
  await mirror.transact((tx) => {
    late(tx);
    tx.put('/b', 1);
  });
  let runs = 0;
  const caught = mirror.transact((tx) => {
    runs += 1;
    if (tx.get('/a')) return;
    late(tx);
    try {
      tx.retry();
    } catch {}
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await client.put('/a', 1);
  await caught;
  assert.deepEqual([unhandled, runs, [...broker.tree.keys()].sort()], [[], 2, ['/a', '/b']]);
});

test('a retry of an asynchronous orElse that is caught is one, whatever is thrown then', async (t) => {
  const { runs } = await waiting(t, async (tx) => {
    try {
      await tx.orElse(async () => must(tx), async () => must(tx));
    } catch (cause) {
      throw new Error('mine', { cause });
    }
  });
  assert.equal(runs, 2);
});

test('a retry in a transaction of another mirror ends the run that it is said of', { timeout: 5_000 }, async (t) => {
  const { client, broker } = made(t);
  const [mirror, other] = [client.mirror('/'), client.mirror('/inner')];
  const answer = mirror.transact(async (outer) => {
    await other.transact((inner) => {
      inner.put('/inner', 1);
      must(outer);
    });
    outer.put('/outer', 1);
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([...broker.tree.keys()], []);
  await client.put('/a', 1);
  assert.deepEqual([(await answer).runs, [...broker.tree.keys()].sort()], [2, ['/a', '/inner', '/outer']]);
});

test('a transaction that has ended is refused', async (t) => {
  const { client, broker } = made(t);
  const mirror = client.mirror('/');
  let kept;
  await mirror.transact((tx) => {
    kept = tx;
    tx.put('/b', 1);
  });
  for (const late of [(tx) => tx.get('/a'), (tx) => tx.under('/a'), (tx) => tx.put('/a', 1), (tx) => tx.append('/a', 1), (tx) => tx.delete('/a'),
    (tx) => tx.dropTree('/a'), (tx) => tx.retry(), (tx) => tx.orElse(() => 1, () => 2)]) {
    assert.throws(() => late(kept), { name: 'OnetreeError', code: 'ended', message: /transaction has ended/ });
  }
  // The same if the run ended with an error, and between two runs.
  await assert.rejects(mirror.transact((tx) => {
    kept = tx;
    throw new RangeError('mine');
  }), RangeError);
  assert.throws(() => kept.put('/a', 1), { code: 'ended', action: 'fix' });
  assert.deepEqual([...broker.tree.keys()], ['/b']);
});

for (const there of [false, true]) {
  test(`what was read of another history does not count, ${there ? 'though the mirror is there already' : 'before the mirror is there'}`, async (t) => {
    const world = made(t);
    const mirror = world.client.mirror('/');
    await world.client.put('/balance', 1000);
    await mirror.fresh();
    let runs = 0;
    const { result } = await mirror.transact(async (tx) => {
      const before = tx.get('/balance').value.json;
      runs += 1;
      if (runs === 1) anew(world, ['/balance', 5]);
      if (there) await mirror.until((now) => now.cookie?.epoch === world.broker.epoch, false);
      tx.put('/balance', before + 1);
      return before;
    });
    assert.deepEqual([result, runs, world.broker.tree.get('/balance').value.json], [5, 2, 6]);
  });
}

test('who waits for something to change is woken by another history, whatever its revisions are', async (t) => {
  const world = made(t);
  const mirror = world.client.mirror('/');
  for (let n = 0; n < 5; n += 1) await world.client.put('/a', n);
  await mirror.at(5);
  let runs = 0;
  const answer = mirror.transact((tx) => {
    runs += 1;
    const { rev } = tx.get('/a') ?? tx.retry();
    if (rev === 5) tx.retry();
    return rev;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  anew(world, ['/a', 1]);
  assert.deepEqual([(await answer).result, runs], [1, 2]);
});

test('who waits in a retry does not run on a mirror that is known to be wrong', async (t) => {
  const world = made(t);
  const mirror = world.client.mirror('/');
  await world.client.put('/seats/1', 1);
  await mirror.fresh();
  const seen = [];
  const waiting = mirror.transact((tx) => {
    seen.push(mirror.cookie === undefined);
    if (seen.length === 1) tx.retry();
    return tx.under('/seats').length;
  });
  await new Promise((resolve) => setTimeout(resolve, 10));
  void mirror.resync();
  assert.deepEqual([(await waiting).result, seen.includes(true)], [1, false]);
});

test('what a tail has left out is outside of the view, not absent', () => {
  const [there, left] = ['/log/000000000000020000', '/log/000000000000010000'];
  const entry = { path: there, rev: 2, time: 0, value: undefined };
  const snapshot = { get: (/** @type {string} */ path) => (path === there ? entry : undefined) };
  const tx = new Transaction(/** @type {any} */ (snapshot), viewOf({ path: '/', tail: 1 }));
  assert.equal(tx.get(there)?.rev, 2);
  assert.equal(tx.get('/other'), undefined);
  for (const path of [left, `${left}/reply`]) assert.throws(() => tx.get(path), { code: 'outside-view' });
  const whole = new Transaction(/** @type {any} */ (snapshot), viewOf('/'));
  assert.equal(whole.get(left), undefined);
});

/** Runs a transaction on these entries, in a view. Returns what `read` returned, and the conditions. */
function reading(view, there, read) {
  const snapshot = Snapshot.saved({ epoch: 'e'.repeat(32), rev: 9, view: 'f'.repeat(16) }, there.map((path, n) => ({ path, rev: n + 1, value: Value.json(n) })));
  const tx = new Transaction(snapshot, viewOf(view));
  const found = read(tx);
  return { found, conditions: tx.frame().if };
}

test('what it has written itself is read wherever it is, and is no condition', () => {
  const { found, conditions } = reading('/a', ['/a/1', '/a/2'], (tx) => {
    tx.put('/b', 'mine');
    tx.put('/a/1', 'mine');
    tx.delete('/a/2');
    tx.dropTree('/c');
    return [tx.get('/b')?.value.json, tx.get('/a/1')?.value.json, tx.get('/a/2'), tx.get('/c/d'), tx.get('/a/3')];
  });
  assert.deepEqual([found, conditions], [['mine', 'mine', undefined, undefined, undefined], [{ path: '/a/3', rev: 0 }]]);
  const dropped = reading('/', ['/a/1', '/a/2'], (tx) => {
    tx.dropTree('/a');
    tx.put('/a/3', 'mine');
    return tx.under('/a').map(({ path }) => path);
  });
  assert.deepEqual(dropped, { found: ['/a/3'], conditions: [] });
  assert.throws(() => reading('/a', [], (tx) => tx.put('/a/1', 1) ?? tx.get('/b')), { code: 'outside-view' });
});

test('what is read under a path is what the mirror sees there, on the condition that nothing changes, seen or not', () => {
  const there = ['/a', '/a/1', '/a/2'];
  for (const [view, top, seen] of [
    ['/', '/a', there], ['/a', '/a/1', ['/a/1']], [{ path: '/a', depth: 'children' }, '/a', there], [{ path: '/a', depth: 'children' }, '/a/1', ['/a/1']],
    [{ path: '/a', depth: 'entry' }, '/a', there], [{ path: '/a', tail: 5 }, '/a', there], [{ path: '/', match: ['a/*'] }, '/a', there],
  ]) {
    const { found, conditions } = reading(view, there, (tx) => tx.under(top).map(({ path }) => path));
    assert.deepEqual([found, conditions], [seen, [{ tree: top, rev: 9 }]], JSON.stringify(view));
  }
  for (const [view, top] of [['/a', '/'], ['/a', '/b'], [{ path: '/a', depth: 'entry' }, '/a/1'], [{ path: '/a', depth: 'children' }, '/a/1/x']]) {
    assert.throws(() => reading(view, there, (tx) => tx.under(top)), { code: 'outside-view', path: top });
  }
});

test('a transaction says which revision it reads', async (t) => {
  const { client } = made(t);
  const mirror = client.mirror('/');
  const { rev } = await client.put('/a', 1);
  await mirror.at(rev);
  const { result } = await mirror.transact((tx) => [tx.rev, tx.get('/a').rev]);
  assert.deepEqual(result, [rev, rev]);
});

test('what is read cannot be changed in the mirror, nor by a run for the next one', async (t) => {
  const { client, broker } = made(t);
  const mirror = client.mirror('/');
  await mirror.at((await client.put('/post', { stars: 1 })).rev);
  await assert.rejects(mirror.transact((tx) => {
    const post = tx.get('/post').value.json;
    post.stars += 1;
    tx.put('/post', post);
  }), TypeError);
  assert.equal(mirror.get('/post').value.json.stars, 1);
  const { runs } = await mirror.transact(async (tx) => {
    const post = tx.get('/post').value.json;
    tx.put('/post', { ...post, stars: post.stars + 1 });
    // Somebody else writes before the commit.
    if (broker.rev === 1) await client.put('/post', { stars: 10 });
  });
  assert.equal(runs, 2);
  assert.equal(broker.tree.get('/post').value.json.stars, 11);
});

/** Makes a broker that answers a write before it sends it to the mirror, which it does at the next `sync`. */
function late(t) {
  const { write } = Connection.prototype;
  t.mock.method(Connection.prototype, 'write', function answer(frame) {
    const { at } = this;
    const said = write.call(this, frame).slice(-1);
    this.at = at;
    return said;
  });
}

for (const fails of [true, false]) {
  test(`what commits nothing has seen what its client was told is done, also where it ${fails ? 'fails' : 'only reads'}`, async (t) => {
    late(t);
    const { client } = made(t);
    const mirror = client.mirror('/');
    await mirror.fresh();
    const isThere = (path) => mirror.transact((tx) => {
      const there = tx.get(path) !== undefined;
      if (fails && !there) throw new RangeError('mine');
      return there;
    });
    await client.put('/a', 1);
    assert.equal(mirror.get('/a'), undefined);
    assert.deepEqual(await isThere('/a'), { result: true, runs: 2 });
    // Once the run has seen the write, its result counts.
    if (fails) await assert.rejects(isThere('/b'), RangeError);
    else assert.deepEqual(await isThere('/b'), { result: false, runs: 1 });
  });
}

test('what commits nothing waits for no other history, and for no end', async (t) => {
  late(t);
  const world = made(t);
  const { client } = world;
  const once = client.mirror('/', { once: true });
  await once.fresh();
  for (let n = 0; n < 9; n += 1) await client.put('/a', n);
  // The mirror gets no further.
  assert.deepEqual(await once.transact((tx) => tx.get('/a')), { result: undefined, runs: 1 });
  // Here the write is nothing new.
  const mirror = client.mirror('/');
  await mirror.fresh();
  anew(world);
  await client.until('offline');
  await client.until('online');
  await mirror.fresh();
  assert.deepEqual([await mirror.transact((tx) => tx.get('/a')), mirror.rev], [{ result: undefined, runs: 1 }, 0]);
});
