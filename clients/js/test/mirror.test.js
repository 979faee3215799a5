// A mirror against a naive one, with random stories; and the map whose copies are cheap.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { EntryHasher, blake2s } from '../src/blake2s.js';
import { Feed } from '../src/changes.js';
import { OnetreeError } from '../src/errors.js';
import { Gaps } from '../src/gaps.js';
import { MirrorState } from '../src/mirror.js';
import { digestOf } from '../src/protocol/digests.js';
import { logKey } from '../src/protocol/log-keys.js';
import { comparePaths, contains } from '../src/protocol/paths.js';
import { Value } from '../src/protocol/values.js';
import { fingerprint, sees, viewOf } from '../src/protocol/views.js';
import { Snapshot } from '../src/snapshot.js';
import { apply } from './lib/model.js';
import { Random, seeds } from './lib/random.js';

const KEY = '00112233445566778899aabbccddeeff';
const EPOCH = 'a'.repeat(32);
const SEGMENTS = ['a', 'b', 'a b', 'a-b', 'ä', '\uffff', '\u{10000}', logKey(3, 0), logKey(9, 1)];

function atRandom(r) {
  return `/${Array.from({ length: 1 + r.below(4) }, () => r.pick(SEGMENTS)).join('/')}`;
}

const rows = (entries) => Array.from(entries, ({ path, rev, value }) => [path, rev, value?.text]);

function change(r, rev) {
  const path = atRandom(r);
  const act = r.pick(['put', 'put', 'put', 'put', 'put', 'delete', 'drop', 'trim']);
  if (act === 'put') return { path, rev, act, value: Value.json(rev) };
  return act === 'trim' ? { path, rev, act, to: r.pick([logKey(3, 0), logKey(5, 0), logKey(9, 1)]), gap: r.chance(0.2) } : { path, rev, act };
}

const VIEWS = [
  { path: '/' }, { path: '/a' }, { path: '/a', depth: 'children' }, { path: '/a/b', depth: 'entry' }, { path: '/', values: false },
  { path: '/', match: ['a/**', '*/b'] }, { path: '/b', match: ['**/a b'] },
];

test('a mirror is what a naive one is, and who applies its changes has it', () => {
  for (const seed of seeds(80)) {
    const r = new Random(seed);
    const view = viewOf(r.pick(VIEWS));
    const state = new MirrorState(view);
    state.handleKey(KEY);
    const tree = new Map();
    const copy = new Map();
    let rev = 0;
    const take = (outcome) => {
      assert.ok(!['broken', 'corrupt'].includes(outcome.what), `ONETREE_SEED=${seed}: ${JSON.stringify(outcome)}`);
      const changes = outcome.changes ?? [];
      assert.equal(new Set(changes.map(({ path }) => path)).size, changes.length, `ONETREE_SEED=${seed}: each path once`);
      for (const { path, old, new: now } of changes) {
        assert.deepEqual(copy.get(path), old, `ONETREE_SEED=${seed}: old of ${path}`);
        assert.notDeepEqual(old, now, `ONETREE_SEED=${seed}: nothing happened to ${path}`);
        if (now) copy.set(path, now);
        else copy.delete(path);
      }
    };
    const seen = () => [...tree.values()].filter(({ path }) => sees(view, path)).sort((a, b) => comparePaths(a.path, b.path))
      .map((entry) => (view.values ? entry : { path: entry.path, rev: entry.rev }));
    const full = () => {
      take(state.handleRefresh({ kind: 'full', why: 'no-cookie' }));
      take(state.handleEntries(seen().map((entry) => ({ act: 'put', ...entry }))));
      take(state.handleFresh({ rev, view: fingerprint(view), digest: digestOf(KEY, seen()) }, EPOCH));
    };
    full();
    for (let n = 0; n < 60; n += 1) {
      const before = state.snapshot;
      const was = rows(before);
      const changes = [];
      const since = rev;
      for (let i = 1 + r.below(3); i > 0; i -= 1) {
        rev += 1;
        for (let k = 1 + r.below(3); k > 0; k -= 1) {
          changes.push(change(r, rev));
          apply(tree, changes.at(-1));
        }
      }
      const how = r.next();
      if (how < 0.8) {
        take(state.handleDelta(since, rev, changes));
      } else if (how < 0.9) {
        state.handleLost();
        take(state.handleRefresh({ kind: 'delta', why: 'cookie', from: since }));
        take(state.handleEntries(changes));
        take(state.handleFresh({ rev, view: fingerprint(view), digest: digestOf(KEY, seen()) }, EPOCH));
      } else {
        full();
      }
      assert.deepEqual(rows(state.snapshot), rows(seen()), `ONETREE_SEED=${seed}`);
      assert.equal(state.digestText(), digestOf(KEY, seen()), `ONETREE_SEED=${seed}`);
      assert.deepEqual(rows(before), was, `ONETREE_SEED=${seed}: a snapshot never changes`);
      const top = atRandom(r);
      assert.deepEqual(rows(state.snapshot.under(top)), rows(seen().filter(({ path }) => contains(top, path))));
      const differing = seen().filter(({ path, rev: at }) => before.get(path)?.rev !== at).map(({ path }) => path);
      assert.deepEqual(state.snapshot.since(before).filter((c) => c.new).map(({ path }) => path), differing);
    }
    assert.deepEqual(rows([...copy.values()].sort((a, b) => comparePaths(a.path, b.path))), rows(seen()), `ONETREE_SEED=${seed}`);
  }
});

test('a copy that is not what its digest says is corrupt, and keeps no cookie', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleKey(KEY);
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleEntries([{ path: '/a', rev: 1, act: 'put', value: Value.json(1) }]);
  assert.equal(state.handleFresh({ rev: 1, view: '0'.repeat(16), digest: digestOf(KEY, []) }, EPOCH).what, 'corrupt');
  assert.equal(state.snapshot.cookie, undefined);
});

test('an event tells each path once, from what was there before it to what is there behind it', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  const put = (path, rev, json) => ({ path, rev, act: 'put', value: Value.json(json) });
  state.handleEntries([put('/a', 1, 1), put('/d/x', 1, 1), put('/d/y', 1, 1), put(`/log/${logKey(1, 0)}`, 1, 1)]);
  state.handleFresh({ rev: 1, view: '0'.repeat(16) }, EPOCH);
  const told = ({ changes }) => changes.map(({ path, rev, old, new: now, trimmed }) => [path, rev, old?.value.json, now?.value.json, trimmed]);
  const delta = (rev, ...changes) => told(state.handleDelta(rev - 1, rev, changes.map((change) => ({ rev, ...change }))));
  const no = undefined;
  assert.deepEqual(delta(2, put('/z', 2, 1), put('/b', 2, 2), put('/z', 2, 3)), [['/z', 2, no, 3, no], ['/b', 2, no, 2, no]]);
  assert.deepEqual(delta(3, { act: 'drop', path: '/d' }, put('/d/x', 3, 9)), [['/d/x', 3, 1, 9, no], ['/d/y', 3, 1, no, no]]);
  assert.deepEqual(delta(4, { act: 'delete', path: '/a' }, put('/a', 4, 1)), [['/a', 4, 1, 1, no]]);
  assert.deepEqual(delta(5, put('/tmp', 5, 1), { act: 'delete', path: '/tmp' }), []);
  assert.deepEqual(delta(6, put('/b', 6, 3), { act: 'delete', path: '/b' }), [['/b', 6, 2, no, no]]);
  // New entries of a log are in their order.
  const keys = [1, 7, 8].map((rev) => logKey(rev, 0));
  const appended = keys.slice(1).map((key, n) => put(`/log/${key}`, 7 + n, n));
  assert.deepEqual(told(state.handleDelta(6, 8, [...appended, { act: 'trim', path: '/log', rev: 8, to: keys[0] }])),
    [[`/log/${keys[1]}`, 7, no, 0, no], [`/log/${keys[2]}`, 8, no, 1, no], [`/log/${keys[0]}`, 8, 1, no, '/log']]);
  // A refresh from a cookie may repeat what the mirror has.
  state.handleLost();
  state.handleRefresh({ kind: 'delta', why: 'cookie', from: 3 });
  state.handleEntries([put('/a', 4, 1), put('/z', 9, 4), put('/z', 10, 5)]);
  assert.deepEqual(told(state.handleFresh({ rev: 10, view: '0'.repeat(16) }, EPOCH)), [['/z', 10, 3, 5, no]]);
  assert.deepEqual(rows(state.snapshot).map(([path, rev]) => [path, rev]),
    [['/a', 4], ['/d/x', 3], [`/log/${keys[1]}`, 7], [`/log/${keys[2]}`, 8], ['/z', 10]]);
});

test('what is folded is complete; a trim is a gap, a delete is none', () => {
  for (const [act, gaps] of [['delete', []], ['trim', ['/log']]]) {
    const state = new MirrorState(viewOf('/'));
    state.handleRefresh({ kind: 'full', why: 'no-cookie' });
    state.handleFresh({ rev: 0, view: '0'.repeat(16) }, EPOCH);
    const feed = new Feed(state, state.snapshot, []);
    const tell = (rev, changed) => {
      const outcome = state.handleDelta(undefined, rev, changed);
      feed.push({ type: 'delta', since: outcome.since, rev, changes: outcome.changes, gaps: outcome.gaps });
    };
    for (let rev = 1; rev <= 400; rev += 1) tell(rev, [{ path: `/log/${logKey(rev, 0)}`, rev, act: 'put', value: Value.json(rev) }]);
    const last = logKey(400, 0);
    tell(401, [act === 'trim' ? { path: '/log', rev: 401, act, to: last } : { path: `/log/${last}`, rev: 401, act }]);
    const events = [];
    for (let event = feed.nextNow(); event; event = feed.nextNow()) events.push(event);
    assert.ok(events.length < 400, 'it is folded');
    assert.deepEqual(events.flatMap((event) => event.gaps), gaps);
    const copy = new Map();
    for (const { path, new: now } of events.flatMap(({ changes }) => changes)) now ? copy.set(path, now) : copy.delete(path);
    assert.deepEqual(rows(copy.values()), rows(state.snapshot));
  }
});

test('what an entry of a log had under it goes with the trim of that log, and is a gap of that', () => {
  const state = new MirrorState(viewOf('/'));
  const put = (path, rev) => ({ path, rev, act: 'put', value: Value.json(rev) });
  const [first, second] = [`/log/${logKey(1, 0)}`, `/log/${logKey(1, 0)}/${logKey(2, 0)}`];
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleEntries([put(first, 1)]);
  state.handleFresh({ rev: 1, view: '0'.repeat(16) }, EPOCH);
  const gaps = new Gaps(state.snapshot);
  const tell = (rev, change) => gaps.fold({ type: 'delta', rev, ...state.handleDelta(rev - 1, rev, [change]) }, state);
  tell(2, put(second, 2));
  tell(3, { act: 'trim', path: '/log', rev: 3, to: logKey(1, 0) });
  assert.deepEqual([...gaps.logs], ['/log']);
});

/** A full queue, and the mirror after it: /log with the entries of these revisions, all of them known. */
function full(revs) {
  const state = new MirrorState(viewOf('/'));
  const entries = (all, epoch) => all.map((rev) => ({ path: `/log/${logKey(rev, 0)}`, rev, act: 'put', value: Value.json(epoch) }));
  const refresh = (all, rev, epoch) => {
    const { what, ...begun } = state.handleRefresh({ kind: 'full', why: 'epoch' });
    feed?.push({ type: what, ...begun });
    state.handleEntries(entries(all, epoch));
    const { changes, gaps } = state.handleFresh({ rev, view: '0'.repeat(16) }, epoch);
    feed?.push({ type: 'fresh', rev, changes, gaps });
  };
  const distrust = () => {
    state.handleDistrust();
    feed.push(undefined);
  };
  const tell = (rev, ...changed) => {
    const { since, changes, gaps } = state.handleDelta(undefined, rev, changed);
    feed.push({ type: 'delta', since, rev, changes, gaps });
  };
  const trim = (rev, gap) => tell(rev, { act: 'trim', path: '/log', rev, to: logKey(rev, 0), gap });
  let feed;
  refresh(revs, 9, EPOCH);
  feed = new Feed(state, state.snapshot, []);
  const online = () => feed.push({ type: 'online', resumed: true });
  for (let n = 0; n < 256; n += 1) online();
  const gaps = () => {
    const told = [];
    for (let event = feed.nextNow(); event; event = feed.nextNow()) told.push(...(event.gaps ?? []));
    return told;
  };
  return { online, refresh, distrust, tell, trim, gaps };
}

test('what another history has brought was never seen', () => {
  // The revisions of this history are below the known ones; or it has other entries at the keys of known ones.
  for (const [revs, rev] of [[[3], 5], [[1, 2], 9]]) {
    const { refresh, distrust, trim, gaps } = full([1, 2]);
    distrust();
    refresh(revs, rev, 'f'.repeat(32));
    trim(rev + 1);
    assert.deepEqual(gaps(), ['/log']);
  }
});

test('what was known is no gap when the mirror starts from nothing, what is new is one', () => {
  for (const folds of [false, true]) {
    for (const [revs, told] of [[[2], []], [[1, 2, 10], ['/log']]]) {
      const { online, refresh, distrust, trim, gaps } = full([1, 2]);
      if (folds) online();
      distrust();
      refresh(revs, 10, EPOCH);
      trim(11);
      assert.deepEqual(gaps(), told);
    }
  }
});

test('what a refresh from nothing brings back is not trimmed by what was before', () => {
  const { refresh, trim, gaps } = full([1, 2]);
  trim(10, true);
  refresh([1, 2], 5, 'f'.repeat(32));
  assert.deepEqual(gaps(), []);
});

test('what one commit has deleted and trimmed was taken by the first of them', () => {
  const [one, two] = [logKey(1, 0), logKey(10, 0)];
  const inner = `/log/${one}/${two}`;
  const [deletes, drops] = ['delete', 'drop'].map((act) => ({ act, path: `/log/${two}`, rev: 11 }));
  const [trims, inside] = ['/log', `/log/${one}`].map((path) => ({ act: 'trim', path, rev: 11, to: two }));
  for (const [path, changed, told] of [
    [`/log/${two}`, [deletes, trims], []],
    [`/log/${two}`, [drops, trims], []],
    [`/log/${two}`, [trims, deletes], ['/log']],
    [inner, [inside, trims], [`/log/${one}`]],
    [inner, [trims, inside], ['/log']],
  ]) {
    const { tell, gaps } = full([1]);
    tell(10, { act: 'put', path, rev: 10, value: Value.json('new') });
    tell(11, ...changed);
    assert.deepEqual(gaps(), told, JSON.stringify(changed));
  }
});

test('gaps of logs that came and went do not add up', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleFresh({ rev: 0, view: '0'.repeat(16) }, EPOCH);
  const feed = new Feed(state, state.snapshot, []);
  const value = Value.json(1);
  let rev = 0;
  const tell = (...changed) => {
    rev += 1;
    const outcome = state.handleDelta(undefined, rev, changed.map((each) => ({ rev, ...each })));
    feed.push({ type: 'delta', since: outcome.since, rev, changes: outcome.changes, gaps: outcome.gaps });
  };
  const append = (log) => tell({ path: `${log}/${logKey(rev + 1, 0)}`, act: 'put', value });
  const trim = (log) => tell({ path: log, act: 'trim', to: logKey(rev, 0) });
  for (let n = 0; n < 300; n += 1) tell({ path: '/a', act: 'put', value });
  append('/log');
  trim('/log');
  append('/log');
  for (let n = 0; n < 3_000; n += 1) {
    append(`/logs/${n}`);
    trim(`/logs/${n}`);
  }
  const gaps = [];
  for (let event = feed.nextNow(); event; event = feed.nextNow()) gaps.push(...event.gaps);
  assert.ok(gaps.length <= 1024, `${gaps.length} gaps`);
  assert.equal(gaps[0], '/log');
});

test('what a reader was shown is what the mirror was then, however far behind it is', () => {
  for (const seed of seeds(40)) {
    const r = new Random(seed);
    const state = new MirrorState(viewOf('/'));
    state.handleKey(KEY);
    const initial = state.snapshot;
    const reader = (past) => ({ feed: new Feed(state, initial, past), copy: new Map(), pace: r.next() });
    const feeds = Array.from({ length: 3 }, () => reader([]));
    const tree = new Map();
    let rev = 0;
    /** @type {Map<number, any[]>} what the mirror showed, by revision */
    const shown = new Map([[0, []]]);
    const tell = (outcome) => {
      const { what, ...more } = outcome;
      assert.ok(['fresh', 'delta', 'corrupt', 'refreshing'].includes(what), `ONETREE_SEED=${seed}: ${JSON.stringify(outcome)}`);
      shown.set(state.rev, [...tree.values()]);
      const empty = what === 'delta' && more.changes.length === 0 && more.gaps.length === 0;
      for (const { feed } of feeds) feed.push(empty ? undefined : { type: what, rev, ...more });
    };
    const inOrder = (entries) => [...entries].sort((a, b) => comparePaths(a.path, b.path));
    const full = () => {
      tell(state.handleRefresh({ kind: 'full', why: 'no-cookie' }));
      state.handleEntries([...tree.values()].map((entry) => ({ act: 'put', ...entry })));
      tell(state.handleFresh({ rev, view: '0'.repeat(16), digest: digestOf(KEY, tree.values()) }, EPOCH));
    };
    const read = ({ feed, copy }) => {
      const event = feed.nextNow();
      for (const { path, old, new: now } of event?.changes ?? []) {
        assert.deepEqual(copy.get(path), old, `ONETREE_SEED=${seed}: old of ${path}`);
        if (now) copy.set(path, now);
        else copy.delete(path);
      }
      return event;
    };
    const look = ({ feed, copy }) => {
      const then = feed.snapshot();
      assert.deepEqual(rows(then), rows(inOrder(copy.values())), `ONETREE_SEED=${seed}: what was shown`);
      assert.deepEqual(rows(then), rows(inOrder(shown.get(then.rev))), `ONETREE_SEED=${seed}: what was there`);
      assert.ok(then.cookie === undefined || then.cookie.rev === then.rev, `ONETREE_SEED=${seed}`);
      return then;
    };
    full();
    for (let n = r.below(700); n > 0; n -= 1) {
      if (r.chance(0.02)) {
        tell(state.handleSync(rev, `7:${'0'.repeat(32)}`));
        full();
      } else if (r.chance(0.02)) {
        full();
      } else {
        rev += 1;
        const changes = Array.from({ length: r.below(4) }, () => change(r, rev));
        for (const one of changes) apply(tree, one);
        tell(state.handleDelta(rev - 1, rev, changes));
      }
      // A reader that begins late, and may not read for a long time.
      if (feeds.length < 5 && r.chance(0.01)) feeds.push(reader([{ type: 'fresh', rev: state.rev, changes: [], gaps: [] }]));
      for (const one of feeds) {
        if (r.chance(one.pace)) read(one);
        if (r.chance(0.05)) look(one);
      }
      if (r.chance(0.01)) assert.deepEqual(rows(state.snapshot), rows(inOrder(shown.get(rev))), `ONETREE_SEED=${seed}`);
    }
    for (const one of feeds) {
      while (read(one)) look(one);
      assert.equal(look(one), state.snapshot, 'who has read all has the mirror');
    }
  }
});

test('what happens behind the beginning of a reader comes whole, however late he reads', () => {
  const state = new MirrorState(viewOf('/'));
  const initial = state.snapshot;
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleEntries([{ path: '/a', rev: 1, act: 'put', value: Value.json(1) }]);
  state.handleFresh({ rev: 1, view: '0'.repeat(16) }, EPOCH);
  const offline = { type: 'offline', error: undefined, retryInMs: 5 };
  const feed = new Feed(state, initial, [{ type: 'fresh', rev: 1, changes: [], gaps: [] }, offline]);
  const happened = [];
  const push = (event) => feed.push(happened[happened.push(event) - 1]);
  push({ type: 'signal', path: '/a', value: Value.json('hello') });
  for (let rev = 2; rev <= 5; rev += 1) {
    const { what: type, ...more } = state.handleDelta(rev - 1, rev, [{ path: '/a', rev, act: 'put', value: Value.json(rev) }]);
    push({ type, rev, ...more });
  }
  push({ type: 'online', resumed: true });
  assert.equal(feed.snapshot(), initial);
  const [fresh, ...rest] = Array.from({ length: 8 }, () => feed.nextNow());
  assert.deepEqual([fresh.type, fresh.rev, rows([fresh.changes[0].new])], ['fresh', 1, [['/a', 1, '1']]]);
  assert.deepEqual(rest, [offline, ...happened]);
  assert.equal(feed.nextNow(), undefined);
  // A reader that reads before anything else has happened gets what is there.
  const late = new Feed(state, initial, [{ type: 'fresh', rev: 5, changes: [], gaps: [] }]);
  state.handleSync(7, null);
  late.push(undefined);
  const first = late.nextNow();
  assert.deepEqual([first.type, first.rev, rows([first.changes[0].new])], ['fresh', 7, [['/a', 5, '5']]]);
  assert.equal(late.snapshot(), state.snapshot);
});

test('a reader that is always a little behind does not make the queue grow', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleFresh({ rev: 0, view: '0'.repeat(16) }, EPOCH);
  const feed = new Feed(state, state.snapshot, []);
  for (let rev = 1; rev <= 5000; rev += 1) {
    const { what: type, ...more } = state.handleDelta(rev - 1, rev, [{ path: '/a', rev, act: 'put', value: Value.json(rev) }]);
    feed.push({ type, rev, ...more });
    if (rev > 10) assert.equal(feed.nextNow().rev, rev - 10);
    if (rev % 100 === 0) assert.equal(feed.snapshot().get('/a').rev, rev - 10);
  }
  assert.ok(feed.queue.length < 1000);
});

test('as long as nothing is taken, a reader has the same snapshot', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  state.handleFresh({ rev: 0, view: '0'.repeat(16) }, EPOCH);
  const feed = new Feed(state, state.snapshot, []);
  const tell = (rev) => {
    const { what: type, ...more } = state.handleDelta(rev - 1, rev, [{ path: '/a', rev, act: 'put', value: Value.json(rev) }]);
    feed.push({ type, rev, ...more });
  };
  const first = feed.snapshot();
  tell(1);
  tell(2);
  assert.equal(feed.snapshot(), first);
  feed.nextNow();
  const second = feed.snapshot();
  assert.deepEqual([second.rev, second.cookie.rev, rows(second)], [1, 1, [['/a', 1, '1']]]);
  tell(3);
  assert.equal(feed.snapshot(), second);
  while (feed.nextNow());
  feed.push({ type: 'ended' });
  assert.equal(feed.snapshot(), state.snapshot);
  feed.nextNow();
  assert.equal(feed.snapshot(), state.snapshot);
});

test('a delta that breaks a rule changes nothing', () => {
  const state = new MirrorState(viewOf('/'));
  state.handleKey(KEY);
  state.handleRefresh({ kind: 'full', why: 'no-cookie' });
  const a = { path: '/a', rev: 1, value: Value.json(1) };
  state.handleEntries([{ act: 'put', ...a }]);
  state.handleFresh({ rev: 1, view: '0'.repeat(16) }, EPOCH);
  const wrong = [{ path: '/c', rev: 2, act: 'put' }, { path: '/c', rev: 3, act: 'put', value: Value.json(3) }];
  for (const last of wrong) {
    const changes = [{ path: '/a', rev: 2, act: 'delete' }, { path: '/b', rev: 2, act: 'put', value: Value.json(2) }, last];
    state.fresh = true;
    assert.equal(state.handleDelta(1, 2, changes).what, 'broken');
    assert.deepEqual([rows(state.snapshot), state.rev, state.digestText()], [rows([a]), 1, digestOf(KEY, [a])]);
    assert.deepEqual([state.fresh, state.cookie], [false, undefined]);
  }
});

test('what comes without a refresh breaks a rule where the mirror is fresh', () => {
  const strays = [
    (state) => state.handleEntries([{ path: '/b', rev: 2, act: 'put', value: Value.json(2) }]),
    (state) => state.handleFresh({ rev: 2, view: '0'.repeat(16) }, EPOCH),
  ];
  for (const stray of strays) {
    const state = new MirrorState(viewOf('/'));
    state.handleRefresh({ kind: 'full', why: 'no-cookie' });
    state.handleFresh({ rev: 1, view: '0'.repeat(16) }, EPOCH);
    assert.equal(stray(state).what, 'broken');
    assert.deepEqual([state.fresh, state.cookie, state.size, state.rev], [false, undefined, 0, 1]);
    // The frame was sent before the mirror was started again.
    assert.equal(stray(state).what, 'nothing');
  }
});

test('BLAKE2s is that of the host, keyed or not, whatever the length', () => {
  const r = new Random(7);
  const hasher = new EntryHasher(Buffer.from(KEY, 'hex'));
  for (let n = 0; n < 300; n += 1) {
    const message = Buffer.from(Array.from({ length: n }, () => r.below(256)));
    assert.equal(Buffer.from(blake2s(message, 32)).toString('hex'), createHash('blake2s256').update(message).digest('hex'));
    // A long path before a short one: nothing of it may be left.
    const path = `/${'xäy\u{10000}'.repeat(r.below(40))}${'z'.repeat(r.below(70))}`;
    const rev = r.below(2 ** 31) * 2 ** 20;
    hasher.hash(path, rev);
    const bytes = Buffer.alloc(8 + Buffer.byteLength(path));
    bytes.writeBigUInt64BE(BigInt(rev));
    bytes.write(path, 8);
    const words = Array.from(hasher.words, (w) => w.toString(16).padStart(8, '0')).join('');
    assert.equal(words, Buffer.from(blake2s(bytes, 16, Buffer.from(KEY, 'hex'))).toString('hex'));
  }
});

test('an empty snapshot has nothing', () => {
  assert.deepEqual([...Snapshot.saved()], []);
  assert.deepEqual([...Snapshot.saved().under('/a')], []);
});

test('what is under no path is refused at once, not when it is read', () => {
  assert.throws(() => Snapshot.saved().under('nope'), { code: 'bad-path' });
});

test('what was folded ends as it stands: offline comes behind what changed', () => {
  const offline = { type: 'offline', error: undefined, retryInMs: 5 };
  const online = { type: 'online', resumed: true };
  for (const [link, order] of [[[offline], ['delta', 'offline']], [[offline, online], ['online', 'delta']], [[offline, online, offline], ['delta', 'offline']]]) {
    const state = new MirrorState(viewOf('/'));
    state.handleRefresh({ kind: 'full', why: 'no-cookie' });
    state.handleFresh({ rev: 0, view: '0'.repeat(16) }, EPOCH);
    const feed = new Feed(state, state.snapshot, []);
    for (let rev = 1; rev <= 300; rev += 1) {
      const { what: type, ...more } = state.handleDelta(rev - 1, rev, [{ path: '/a', rev, act: 'put', value: Value.json(rev) }]);
      feed.push({ type, rev, ...more });
    }
    for (const event of link) feed.push(event);
    const events = [];
    for (let event = feed.nextNow(); event; event = feed.nextNow()) events.push(event.type);
    assert.deepEqual(events.slice(256), order);
  }
});

test('that a session was lost is told, however often the next one was resumed', () => {
  const offline = { type: 'offline', error: new OnetreeError('lost', 'away'), retryInMs: 0 };
  const online = (resumed) => ({ type: 'online', resumed });
  const folded = (...events) => {
    const state = new MirrorState(viewOf('/'));
    const feed = new Feed(state, state.snapshot, []);
    for (let n = 0; n < 256; n += 1) feed.push({ type: 'synced', rev: 1, verified: true });
    for (const event of events) feed.push(event);
    const told = [];
    for (let event = feed.nextNow(); event !== undefined; event = feed.nextNow()) told.push(event);
    return told.slice(256);
  };
  const lost = [offline, online(false), offline, online(true)];
  assert.deepEqual(folded(...lost), [online(false)]);
  // The same if there is no connection now.
  assert.deepEqual(folded(...lost, offline), [online(false), offline]);
  assert.deepEqual(folded(offline, online(true), offline, online(true)), [online(true)]);
  assert.deepEqual(folded(offline, online(true), offline), [offline]);
});
