// The session in simulations: the connection is cut at any point, every write takes effect once, and the mirror is
// right.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnetreeError, RETRY_MOST, closedError } from '../src/errors.js';
import { json } from '../src/json.js';
import { MirrorState } from '../src/mirror.js';
import { msgpack } from '../src/msgpack.js';
import { logKey } from '../src/protocol/log-keys.js';
import { comparePaths } from '../src/protocol/paths.js';
import { viewOf } from '../src/protocol/views.js';
import * as request from '../src/request.js';
import { Session } from '../src/session/session.js';
import { Broker, Connection } from './lib/naive.js';
import { Random, seeds } from './lib/random.js';

/** A session, a broker, and what is on its way between them. */
class World {
  constructor(seed, options = {}) {
    this.random = new Random(seed);
    this.codec = this.random.pick([json, msgpack]);
    let names = 0;
    this.session = new Session({
      codec: this.codec, agent: 'test', reconnect: 'always', requestTimeoutMs: 1e12, connectTimeoutMs: 1e12, backoffMs: [100, 1000],
      random: this.random.next, newName: () => `c${names++}`, ...options,
    });
    this.broker = new Broker();
    this.now = 0;
    this.up = [];
    this.down = [];
    this.replies = new Map();
    this.events = [];
    this.statuses = [];
  }

  effects() {
    for (const effect of this.session.takeEffects()) {
      if (effect.do === 'connect') this.connecting = true;
      if (effect.do === 'disconnect') this.lose();
      if (effect.do === 'status') this.statuses.push(effect.status);
      if (effect.do === 'mirror' && effect.event) this.events.push(effect.event);
      if (effect.do !== 'reply') continue;
      assert.ok(!this.replies.has(effect.ticket), 'answered twice');
      this.replies.set(effect.ticket, effect);
    }
  }

  lose() {
    this.connecting = false;
    this.connection = undefined;
    this.up = [];
    this.down = [];
  }

  /** Cuts the connection: some of what was sent still arrives, but nothing comes back. */
  cut() {
    this.effects();
    for (const message of this.up.slice(0, this.random.below(this.up.length + 1))) {
      this.connection?.handle(this.codec.decodeClient(message));
    }
    this.lose();
    this.session.handleClosed(this.now, new OnetreeError('lost', 'cut'));
    this.effects();
  }

  /** Does any one thing that can be done. Returns whether there was one. */
  step() {
    this.effects();
    const can = [];
    if (this.connecting) can.push('connect');
    if (this.connection) {
      const message = this.session.pollTransmit();
      this.effects();
      if (message !== undefined) {
        this.up.push(message);
        return true;
      }
      if (this.up.length > 0) can.push('up');
      if (this.down.length > 0) can.push('down');
    } else if (!this.connecting) can.push('wait');
    if (can.length === 0) return false;
    switch (this.random.pick(can)) {
      case 'connect':
        this.connecting = false;
        this.connection = new Connection(this.broker);
        this.session.handleOpen(this.now);
        break;
      case 'up': this.down.push(...this.connection.handle(this.codec.decodeClient(this.up.shift())).map(this.codec.encodeServer)); break;
      case 'down': this.session.handleFrame(this.now, this.codec.decodeServer(this.down.shift())); break;
      default:
        this.now = Math.max(this.now, this.session.nextTimeout());
        this.session.handleTimeout(this.now);
    }
    this.effects();
    return true;
  }

  settle() {
    for (let i = 0; i < 20_000; i += 1) if (!this.step()) return;
    assert.fail('it does not come to rest');
  }
}

const sorted = (entries) => [...entries].sort((a, b) => comparePaths(a.path, b.path)).map(({ path, rev, value }) => [path, rev, value.text]);

test('cut at any point, each write takes effect once, and the mirror is right', () => {
  for (const seed of seeds(150)) {
    const world = new World(seed);
    try {
      tell(world);
    } catch (error) {
      error.message = `ONETREE_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
});

function tell(world) {
  const { random: r, session, broker } = world;
  const state = new MirrorState(viewOf('/'));
  session.mirror(1, state, { once: false, signals: false, everyMs: 0 });
  const marks = new Map();
  let ticket = 0;
  for (let n = 20 + r.below(150); n > 0; n -= 1) {
    const action = r.next();
    if (action < 0.35) {
      ticket += 1;
      const path = `/${r.pick('abc')}/${r.pick('abc')}`;
      const write = r.pick([
        () => request.put(path, ticket), () => request.append('/log', ticket), () => request.remove(path),
        () => request.dropTree(path.slice(0, 2)), () => request.put(r.chance(0.2) ? '/refused' : path, ticket),
        () => request.txn({ do: [{ do: 'put', path, value: 1 }, { do: 'append', path: '/log', value: ticket }] }),
        () => request.txn({ if: [{ path, rev: 2 ** 40 }], do: [{ do: 'put', path, value: 1 }] }),
        () => request.trim('/log', logKey(broker.rev, 0)),
      ])();
      if (write.op === 'append') marks.set(ticket, String(ticket));
      session.request(world.now, ticket, write);
    } else if (action < 0.42) {
      world.cut();
    } else if (action < 0.44) {
      world.cut();
      if (r.chance(0.5)) broker.restart();
    } else if (action < 0.46) {
      session.resync(1);
    } else {
      for (let i = r.below(12); i > 0; i -= 1) world.step();
    }
  }
  world.settle();
  // A commit that changes nothing in the view is reported by the next sync.
  session.wantSync();
  world.settle();
  assert.equal(world.replies.size, ticket, 'each has its answer');
  assert.equal(new Set(broker.executed).size, broker.executed.length, 'none is executed twice');
  // An append that was answered with `done` happened once; no append happened twice.
  const made = broker.history.filter(({ act, path }) => act === 'put' && path.startsWith('/log/')).map(({ value }) => value.text);
  for (const [number, mark] of marks) {
    const times = made.filter((one) => one === mark).length;
    const { error } = world.replies.get(number);
    if (!error) assert.equal(times, 1, `append ${mark}`);
    else assert.ok(error.code === 'outcome-unknown' ? times <= 1 : times === 0, `append ${mark}: ${error.code}, ${times} times`);
  }
  assert.ok(state.fresh);
  assert.equal(state.snapshot.rev, broker.rev);
  assert.deepEqual(sorted(state.snapshot), sorted(broker.tree.values()));
  assert.equal(state.digestText(), broker.digest(viewOf('/')));
  const copy = new Map();
  for (const event of world.events) {
    assert.ok(event.type !== 'corrupt' && event.type !== 'broken', JSON.stringify(event));
    for (const { path, old, new: now } of event.changes ?? []) {
      assert.equal(copy.get(path)?.rev, old?.rev, `old of ${path}`);
      if (now) copy.set(path, now);
      else copy.delete(path);
    }
  }
  assert.deepEqual(sorted(copy.values()), sorted(broker.tree.values()), 'who applied the changes has the tree');
}

test('writes are executed in the order in which they were asked for', () => {
  for (const seed of seeds(40)) {
    const world = new World(seed);
    for (let n = 1; n <= 40; n += 1) {
      world.session.request(world.now, n, request.append('/log', n));
      for (let i = world.random.below(4); i > 0; i -= 1) world.step();
      if (world.random.chance(0.15)) world.cut();
    }
    world.settle();
    const made = [...world.broker.tree.values()].map(({ value }) => value.json);
    assert.deepEqual(made, Array.from({ length: 40 }, (_, i) => i + 1), `ONETREE_SEED=${seed}`);
  }
});

test('while numbers are sorted out, what has one goes first', () => {
  const world = new World(1);
  const { session } = world;
  const up = () => {
    while (world.connecting || !world.connection || session.link !== 'up') assert.ok(world.step());
  };
  up();
  const frame = () => world.codec.decodeClient(session.pollTransmit());
  for (const n of [1, 2, 3]) session.request(0, n, request.put(`/${n}`, n));
  const [first, second, third] = [frame(), frame(), frame()];
  const error = (id, code) => session.handleFrame(0, { op: 'error', id, code, message: code });
  // The first is refused before it reaches the tree. The second comes back as a gap. The third is on its way when the
  // link is cut.
  error(first.id, 'value-too-large');
  error(second.id, 'seq-gap');
  world.cut();
  up();
  const again = frame();
  assert.equal(again.path, '/3');
  assert.equal(Number(again.seq), Number(third.seq));
  error(again.id, 'seq-gap');
  assert.deepEqual([frame(), frame()].map(({ path, seq }) => [path, Number(seq)]), [['/2', 1], ['/3', 2]]);
});

/** A world that is up and at rest. Its broker was at `rev` when the client connected. */
function online(options, rev = 0) {
  const world = new World(1, options);
  world.broker.rev = rev;
  world.settle();
  assert.equal(world.session.link, 'up');
  return world;
}

/** Returns everything that the session has to send now. */
function said({ session, codec }) {
  const frames = [];
  for (let message = session.pollTransmit(); message !== undefined; message = session.pollTransmit()) frames.push(codec.decodeClient(message));
  return frames;
}

test('what the broker cannot read, and cannot name, is found, and nothing waits for it for ever', () => {
  for (const unread of [1, 4, 9]) {
    for (const seed of seeds(10)) {
      const world = new World(seed);
      world.settle();
      for (let n = 1; n <= 9; n += 1) world.session.request(world.now, n, request.put(n === unread ? '/no-json' : `/${n}`, n));
      world.settle();
      const failed = [...world.replies].filter(([, { error }]) => error).map(([n, { error }]) => [n, error.code]);
      assert.deepEqual(failed, [[unread, 'bad-frame']], `ONETREE_SEED=${seed}`);
      assert.match(world.replies.get(unread).error.message, /it is no JSON/);
      assert.deepEqual([...world.broker.tree.values()].map(({ value }) => value.json), [1, 2, 3, 4, 5, 6, 7, 8, 9].filter((n) => n !== unread));
      // Then as many go out at once as before.
      for (let n = 11; n <= 13; n += 1) world.session.request(world.now, n, request.put(`/${n}`, n));
      assert.equal(said(world).length, 3);
    }
  }
});

test('refused neighbours, however many, take no good write along', () => {
  for (const seed of seeds(5)) {
    const world = new World(seed);
    world.settle();
    for (let n = 1; n <= 40; n += 1) world.session.request(world.now, n, request.put(n % 2 ? '/refused' : `/${n}`, n));
    world.settle();
    for (let n = 1; n <= 40; n += 1) assert.equal(world.replies.get(n).error?.code, n % 2 ? 'unavailable' : undefined, `ONETREE_SEED=${seed}: ${n}`);
  }
});

test('who sends first writes again says since when they may have happened', () => {
  const { session, ...world } = online({});
  const hello = (rev) => {
    session.handleClosed(world.now, new OnetreeError('lost', 'cut'));
    world.now = session.nextTimeout();
    session.handleTimeout(world.now);
    session.handleOpen(world.now);
    const { id, since } = world.codec.decodeClient(session.pollTransmit());
    const limits = { frame_bytes: 1e6, value_bytes: 1e6, subscriptions: 9, in_flight: 9 };
    session.handleFrame(world.now, { op: 'welcome', id, session: 's', epoch: world.broker.epoch, rev, heartbeat_ms: 1e6, digest_key: 'd'.repeat(32), limits });
    return since === undefined ? undefined : Number(since);
  };
  const sent = () => said({ session, codec: world.codec });
  assert.equal(hello(5), undefined);
  session.request(world.now, 1, request.put('/a', 1));
  assert.equal(sent().length, 1);
  session.request(world.now, 2, request.put('/b', 1));
  // The broker was at 5 when the first write was sent, whatever it is at now.
  assert.deepEqual([hello(7), sent().length, hello(9)], [5, 2, 5]);
  const [{ id }] = sent();
  session.handleFrame(world.now, { op: 'done', id, rev: 10, durable: true });
  // By a number above 1 the broker itself sees that it has forgotten the client.
  assert.equal(hello(11), undefined);
});

test('a broker that cannot read a frame and does not answer the others is left', () => {
  const { session, ...world } = online({ requestTimeoutMs: 5_000 });
  session.mirror(1, new MirrorState(viewOf('/')), { once: false, signals: false, everyMs: 0 });
  session.request(0, 1, request.put('/a', 1));
  assert.ok(session.pollTransmit() && session.pollTransmit());
  session.handleFrame(0, { op: 'error', code: 'bad-frame', message: 'it is no JSON' });
  session.request(0, 2, request.put('/b', 1));
  assert.equal(session.pollTransmit(), undefined);
  session.handleTimeout(5_000);
  assert.deepEqual(session.takeEffects().filter(({ do: what }) => what === 'status').map(({ status }) => [status.status, status.error.code]), [['offline', 'protocol']]);
  assert.equal(world.connection.subs.size, 0);
});

test('a bye is waited for on a link that was idle', () => {
  const { session } = online({ requestTimeoutMs: 5_000 });
  session.close(900, true);
  assert.ok(session.pollTransmit());
  const ended = (now) => {
    session.handleTimeout(now);
    return session.isOver;
  };
  assert.deepEqual([ended(5_800), ended(5_900)], [false, true]);
});

test('a late hello of its own does not end a client, but another user of its session does', () => {
  /** A client that came back after `given` ends of connections without `welcome`, and says how many losses of its session it outlives. */
  const outlives = (given, resumed = true) => {
    const { session, codec, ...world } = online({});
    const close = (code) => session.handleClosed(world.now, new OnetreeError(code, 'no'));
    const greet = () => {
      world.now = session.nextTimeout();
      session.handleTimeout(world.now);
      session.handleOpen(world.now);
      return codec.decodeClient(session.pollTransmit());
    };
    const limits = { frame_bytes: 1e6, value_bytes: 1e6, subscriptions: 9, in_flight: 9 };
    const welcome = { op: 'welcome', session: 's', resumed, epoch: world.broker.epoch, rev: 1, heartbeat_ms: 1e6, digest_key: 'd'.repeat(32), limits };
    close('lost');
    for (const code of given) {
      assert.equal(greet().session, 's');
      close(code);
    }
    for (let times = 0; ; times += 1) {
      session.handleFrame(world.now, { ...welcome, id: greet().id });
      assert.equal(session.link, 'up');
      close('session-taken');
      const { status, error } = session.takeEffects().findLast((effect) => effect.do === 'status').status;
      if (session.isOver) {
        assert.deepEqual([status, error.code], ['ended', 'session-taken']);
        return times;
      }
      assert.deepEqual([status, error.code], ['offline', 'lost']);
    }
  };
  assert.equal(outlives([]), 0);
  for (const code of ['lost', 'silent', 'protocol']) assert.equal(outlives([code]), 1, code);
  assert.equal(outlives(['lost', 'silent', 'lost']), 3);
  // These were answered, and the last one is about a session that is over.
  assert.equal(outlives(['shutting-down', 'too-many-connections']), 0);
  assert.equal(outlives(['lost'], false), 0);
});

test('a request that may still happen is not to be asked again', () => {
  const { session, ...world } = online({ requestTimeoutMs: 5_000 });
  session.request(world.now, 1, request.append('/log', 1));
  assert.ok(session.pollTransmit());
  session.handleClosed(world.now, new OnetreeError('lost', 'cut'));
  session.request(world.now, 2, request.append('/log', 2));
  session.handleTimeout(world.now + 5_000);
  const errors = session.takeEffects().filter((effect) => effect.do === 'reply').map(({ error }) => [error.code, error.sent, error.action]);
  assert.deepEqual(errors, [['timeout', true, 'stop'], ['timeout', false, 'retry']]);
});

test('a read that was sent may be asked again, unless the application has closed the client', () => {
  /** Returns the result of each request if the client is ended by `end`. */
  const told = (end) => {
    const { session, now } = online({ requestTimeoutMs: 5_000, reconnect: 'never' });
    const asked = [request.get(['/a']), request.list('/'), request.auth('t'), request.signal('/a', 1), request.put('/a', 1)];
    asked.forEach((frame, n) => session.request(now, n + 1, frame));
    while (session.pollTransmit());
    session.request(now, asked.length + 1, request.get(['/a']));
    end(session, now);
    const replies = session.takeEffects().filter((effect) => effect.do === 'reply').sort((a, b) => a.ticket - b.ticket);
    return replies.map(({ error }) => [error.code, error.sent, error.action, /happen/.test(error.message)]);
  };
  const each = (code, read, signal, write, unsent) => [...Array(3).fill([code, true, read, false]), signal, [code, true, write, true], [code, false, unsent, false]];
  const lost = ['lost', true, 'retry', false];
  const closed = (error) => (session, now) => session.handleClosed(now, error);
  assert.deepEqual(told((session, now) => session.handleTimeout(now + 5_000)), each('timeout', 'retry', ['timeout', true, 'stop', true], 'stop', 'retry'));
  // The client ended by itself: the error that ended it says what helps.
  assert.deepEqual(told(closed(new OnetreeError('lost', 'cut'))), each('ended', 'retry', lost, 'stop', 'retry'));
  assert.deepEqual(told(closed(new OnetreeError('not-a-broker', 'no'))), each('ended', 'fix', lost, 'stop', 'fix'));
  assert.deepEqual(told(closed(new OnetreeError('session-taken', 'no'))), each('session-taken', 'stop', lost, 'stop', 'stop'));
  // The client was closed: nobody must begin again what the application has ended.
  const byApplication = (session, now) => {
    session.close(now, true);
    session.handleClosed(now, new OnetreeError('lost', 'cut'));
  };
  assert.deepEqual(told(byApplication), each('closed', 'stop', lost, 'stop', 'stop'));
});

test('what a client that has ended by itself refuses has the code that it ended with', () => {
  const { session, ...world } = online({});
  session.request(world.now, 1, request.append('/log', 1));
  assert.ok(session.pollTransmit());
  session.handleClosed(world.now, new OnetreeError('session-taken', 'another connection has it'));
  session.request(world.now, 2, request.append('/log', 2));
  const errors = session.takeEffects().filter((effect) => effect.do === 'reply').map(({ error }) => [error.code, error.sent, error.action]);
  assert.deepEqual(errors, [['session-taken', true, 'stop'], ['session-taken', false, 'stop']]);
  // Another code does not make what was sent harmless to repeat either.
  assert.equal(closedError(new OnetreeError('unauthorized', 'no'), true).action, 'stop');
  assert.equal(closedError(new OnetreeError('unauthorized', 'no'), false).action, 'reauth');
  assert.equal(closedError(new OnetreeError('not-a-broker', 'no'), false).code, 'ended');
});

test('a token is that of later connections when the broker has taken it', () => {
  for (const [answer, then] of [[{ op: 'error', code: 'unauthorized', message: 'no' }, 'old'], [{ op: 'ok' }, 'new']]) {
    const world = new World(1);
    world.session.token = 'old';
    world.settle();
    world.session.request(world.now, 1, request.auth('new'));
    const [{ id }] = said(world);
    world.session.handleFrame(world.now, { ...answer, id });
    world.session.handleClosed(world.now, new OnetreeError('lost', 'cut'));
    world.session.handleTimeout(world.session.nextTimeout());
    world.session.handleOpen(world.now);
    assert.equal(said(world)[0].token, then);
  }
});

test('a value that is too large is refused with its path', () => {
  const world = online({});
  world.session.welcome.limits.value_bytes = 10;
  const large = 'x'.repeat(20);
  const steps = [{ do: 'put', path: '/a', value: 1 }, { do: 'delete', path: '/b' }, { do: 'put', path: '/c', value: large }];
  [request.put('/a', large), request.append('/log', large), request.signal('/s', large), request.txn({ do: steps })].forEach((frame, n) => {
    world.session.request(world.now, n, frame);
  });
  assert.deepEqual(said(world), []);
  world.effects();
  assert.deepEqual([...world.replies.values()].map(({ error }) => [error.code, error.path]),
    ['/a', '/log', '/s', '/c'].map((path) => ['value-too-large', path]));
});

test('a mirror that is wrong again and again waits, longer each time', () => {
  const world = online();
  const { session } = world;
  session.welcome = { ...session.welcome, heartbeat_ms: 1e9 };
  const state = new MirrorState(viewOf('/'));
  session.mirror(1, state, { once: false, signals: false, everyMs: 0 });
  world.settle();
  /** Finds it wrong after so many seconds, and returns how many it waits then. */
  const wrong = (after) => {
    world.now += after * 1_000;
    session.handleFrame(world.now, { op: 'sync', rev: 0, digests: [[1, `77:${'1'.repeat(32)}`]] });
    world.effects();
    const { type, retryInMs = 0 } = world.events.at(-1);
    assert.equal(type, retryInMs ? 'circling' : 'corrupt');
    if (retryInMs) assert.deepEqual(said(world), []);
    world.now += retryInMs;
    session.handleTimeout(world.now);
    world.settle();
    assert.ok(state.fresh);
    return retryInMs / 1_000;
  };
  const waits = [0, 0, 0, 10, 20, 40, 80, 160, 300, 300, 300];
  assert.deepEqual(waits.map(() => wrong(1)), waits);
  // After a minute without a restart it begins anew.
  for (let i = 0; i < 2; i += 1) assert.deepEqual([61, 1, 1, 1].map(wrong), [0, 0, 0, 10]);
});

test('a mirror that is to be compared and gets no answer is told so, once', () => {
  const { session, ...world } = online({ requestTimeoutMs: 5_000 });
  session.mirror(1, new MirrorState(viewOf('/')), { once: false, signals: false, everyMs: 0 });
  said({ session, ...world });
  const verdicts = () => session.takeEffects().filter(({ do: what }) => what === 'verdict')
    .map(({ ticket, verdict, error }) => [ticket, error ? [error.code, error.action, error.message] : verdict.verdict]);
  const late = ['timeout', 'retry', 'timeout: no answer within 5000 ms'];
  session.verify(1_000, 1, 1);
  const [{ id }] = said({ session, ...world });
  session.verify(2_000, 2, 1);
  assert.equal(session.nextTimeout(), 6_000);
  session.handleTimeout(5_999);
  assert.deepEqual(verdicts(), []);
  session.handleTimeout(6_000);
  assert.deepEqual(verdicts(), [[1, late]]);
  assert.equal(session.nextTimeout(), 7_000);
  // What comes now is too late for the first, but not for the second.
  const [second] = said({ session, ...world });
  for (const each of [id, second.id]) session.handleFrame(6_500, { op: 'sync', id: each, rev: 0, digests: [] });
  assert.deepEqual(verdicts(), [[2, 'unknown']]);
  // The end of the connection is an answer, too.
  session.verify(7_000, 3, 1);
  session.handleClosed(8_000, new OnetreeError('lost', 'cut'));
  assert.deepEqual(verdicts(), [[3, 'unknown']]);
  session.handleTimeout(12_000);
  assert.deepEqual(verdicts(), []);
});

test('a verdict that did not come in time says whether it was asked for', () => {
  for (const full of [true, false]) {
    const { session, ...world } = online({ requestTimeoutMs: 5_000 });
    session.mirror(1, new MirrorState(viewOf('/')), { once: false, signals: false, everyMs: 0 });
    said({ session, ...world });
    session.verify(0, 1, 1);
    // As many requests are under way as the broker allows, or fewer.
    if (full) session.welcome = { ...session.welcome, limits: { ...session.welcome.limits, in_flight: 0 } };
    assert.equal(said({ session, ...world }).some(({ op }) => op === 'sync'), !full);
    session.handleTimeout(5_000);
    const [{ error }] = session.takeEffects().filter((effect) => effect.do === 'verdict');
    assert.deepEqual([error.code, error.sent, error.action], ['timeout', !full, 'retry']);
    assert.equal(/was never sent/.test(error.message), full);
  }
});

test('a token that is refused is asked for once more, not as often as it is refused', () => {
  /**
   * Returns what a client reports whose connections end with these codes, each after this many ms `online` (none:
   * before that).
   */
  const told = (reconnect, ...ends) => {
    const world = new World(1, { reconnect, tokenAgain: true });
    const { session } = world;
    for (const [code, online] of ends) {
      if (session.link === 'down') session.handleTimeout(world.now = session.nextTimeout());
      session.handleOpen(world.now);
      if (online !== undefined) for (const frame of new Connection(world.broker).handle(said(world)[0])) session.handleFrame(world.now, frame);
      world.now += online ?? 0;
      if (code !== 'outcome-unknown') {
        session.handleClosed(world.now, new OnetreeError(code, 'no'));
        continue;
      }
      // The client comes back under another name.
      session.request(world.now, 1, request.put('/a', 1));
      const [{ id }] = said(world);
      session.handleFrame(world.now, { op: 'error', id, code, message: 'no' });
      assert.equal(session.link, 'down');
    }
    world.effects();
    const { status, error, retryInMs } = world.statuses.at(-1);
    return status === 'offline' ? [status, retryInMs === 0 ? 'at once' : 'later'] : [status, error.code];
  };
  const [refused, ended, again] = ['unauthorized', ['ended', 'unauthorized'], ['offline', 'at once']];
  for (const reconnect of ['never', 'after-first', 'always']) {
    assert.deepEqual(told(reconnect, [refused]), again);
    assert.deepEqual(told(reconnect, [refused], [refused]), ended);
    // After `welcome`: a broker that takes a token and then refuses it must not get one connection after another.
    assert.deepEqual(told(reconnect, [refused], [refused, 0]), ended);
  }
  assert.deepEqual(told('never', [refused, 0]), ended);
  assert.deepEqual(told('never', [refused, 20_000]), ended);
  for (const reconnect of ['after-first', 'always']) {
    assert.deepEqual(told(reconnect, [refused, 0]), again);
    assert.deepEqual(told(reconnect, [refused, 0], [refused, 9_000]), ended);
    assert.deepEqual(told(reconnect, [refused, 0], [refused, 10_000]), again);
    assert.deepEqual(told(reconnect, [refused, 0], ['lost', 0]), ['offline', 'later']);
    assert.deepEqual(told(reconnect, [refused, 0], ['lost', 0], [refused]), ended);
    assert.deepEqual(told(reconnect, [refused, 0], ['lost', 10_000], [refused]), again);
    assert.deepEqual(told(reconnect, [refused], ['outcome-unknown', 9_000], [refused]), ended);
    assert.deepEqual(told(reconnect, [refused], ['outcome-unknown', 10_000], [refused]), again);
  }
});

test('a mirror that is closed between hello and welcome is unsubscribed', () => {
  const world = new World(1);
  const state = new MirrorState(viewOf('/'));
  world.session.mirror(7, state, { once: false, signals: false, everyMs: 0 });
  world.session.handleOpen(0);
  const [hello] = said(world);
  assert.deepEqual(hello.subs.map(({ sub }) => sub), [7]);
  world.session.dropMirror(7);
  for (const frame of new Connection(world.broker).handle(hello)) world.session.handleFrame(0, frame);
  assert.deepEqual(said(world).map(({ op, sub }) => [op, sub]), [['unsub', 7]]);
});

test('behind its bye the broker is listened to until it closes, and told nothing', () => {
  for (const closes of [true, false]) {
    const { session, ...world } = online();
    session.request(world.now, 1, request.put('/a', 1));
    const [{ id }] = said({ session, ...world });
    session.handleFrame(world.now, { op: 'bye', code: 'shutting-down', retry_ms: 700, message: 'so long' });
    session.request(world.now, 2, request.put('/b', 1));
    session.wantSync();
    assert.deepEqual(said({ session, ...world }), []);
    session.handleFrame(world.now, { op: 'done', id, rev: 1, durable: true });
    const effects = session.takeEffects();
    assert.deepEqual(effects.filter(({ do: what }) => what === 'reply').map(({ ticket, frame }) => [ticket, frame?.op]), [[1, 'done']]);
    assert.ok(!effects.some(({ do: what }) => what === 'disconnect'));
    if (closes) session.handleClosed(world.now, new OnetreeError('lost', 'cut'));
    else assert.equal(session.nextTimeout(), world.now + 5_000);
    session.handleTimeout(session.nextTimeout());
    const [{ status }] = session.takeEffects().filter(({ do: what }) => what === 'status');
    assert.deepEqual([status.status, status.error.code, status.retryInMs], ['offline', 'shutting-down', 700]);
  }
});

test('who is told to come back at once waits as if nothing was said', () => {
  const { session, ...world } = online();
  session.handleClosed(world.now, new OnetreeError('unreachable', 'full', { retryInMs: 0 }));
  const { status } = session.takeEffects().filter(({ do: what }) => what === 'status').at(-1);
  assert.ok(status.retryInMs > 0);
});

test('when the network is back, what waits tries within a second, but for who was told when to come', () => {
  const { session, ...world } = online({ backoffMs: [20_000, 20_000] });
  const lose = (retryInMs) => session.handleClosed(world.now, new OnetreeError('unreachable', 'nobody', { retryInMs }));
  const wait = () => session.nextTimeout() - world.now;
  session.handleNetwork(world.now);
  assert.equal(session.link, 'up');
  lose();
  session.backoff.failures = 9;
  session.until = world.now + 20_000;
  session.handleNetwork(world.now);
  const first = wait();
  assert.ok(first > 0 && first <= 1_000, String(first));
  assert.equal(session.backoff.failures, 0);
  // If the host says it once more, the client does not come later.
  session.handleNetwork(world.now);
  assert.ok(wait() <= first);
  session.handleTimeout(session.nextTimeout());
  assert.equal(session.link, 'opening');
  session.handleNetwork(world.now);
  lose(7_000);
  session.handleNetwork(world.now);
  assert.equal(wait(), 7_000);
});

test('who is told to come back in a million years comes back before', () => {
  const { session, ...world } = online();
  for (const retryInMs of [2 ** 32 - 1, 1.8e22, Infinity]) {
    session.handleClosed(world.now, new OnetreeError('unreachable', 'full', { retryInMs }));
    const { status } = session.takeEffects().filter(({ do: what }) => what === 'status').at(-1);
    assert.ok(status.retryInMs <= RETRY_MOST && status.error.retryInMs <= RETRY_MOST && RETRY_MOST < 2 ** 31);
    assert.ok(session.nextTimeout() <= world.now + RETRY_MOST);
    session.handleTimeout(session.nextTimeout());
    session.handleOpen(world.now);
    for (const frame of new Connection(world.broker).handle(said({ session, ...world })[0])) session.handleFrame(world.now, frame);
  }
});

const EPHEMERAL = {
  put: (ephemeral) => request.put('/lock', 1, { ifRev: 0, ephemeral }),
  append: (ephemeral) => request.append('/log', 1, { ephemeral }),
  'txn that puts': (ephemeral) => request.txn({ do: [{ do: 'delete', path: '/a' }, { do: 'put', path: '/lock', value: 1, ephemeral }] }),
  'txn that appends': (ephemeral) => request.txn({ do: [{ do: 'delete', path: '/a' }, { do: 'append', path: '/log', value: 1, ephemeral }] }),
};

/** Loses the connection before the answer to a write, which was executed before that or will be after it. */
function comeBack(write, resumes, executed = true) {
  const world = online({});
  world.session.request(world.now, 1, write);
  const message = world.session.pollTransmit();
  if (executed) world.connection.handle(world.codec.decodeClient(message));
  world.cut();
  world.broker.resumes = resumes;
  world.settle();
  assert.equal(world.broker.executed.length, 1);
  return world;
}

for (const [what, write] of Object.entries(EPHEMERAL)) {
  test(`what happened in a session that is over, and went with it, is not told as done: ${what}`, () => {
    const world = comeBack(write(true), false);
    const { code, action, message } = world.replies.get(1).error ?? {};
    assert.deepEqual([code, action], ['outcome-unknown', 'stop']);
    assert.equal(message, 'outcome-unknown: it happened in a session that is over, and what was ephemeral went with it');
    // The broker has answered: the numbers continue, under the same name.
    const { name } = world.session;
    world.session.request(world.now, 2, write(true));
    world.settle();
    assert.deepEqual([world.broker.executed.length, world.session.name], [2, name]);
  });

  test(`what is done in the session of now, or outlives them, is told as done: ${what}`, () => {
    for (const [resumes, executed, ephemeral] of [[true, true, true], [false, false, true], [false, true, false]]) {
      const { frame, error } = comeBack(write(ephemeral), resumes, executed).replies.get(1);
      assert.equal(frame?.op, 'done', String(error));
    }
  });
}

test('a session that another history knows began in that one', () => {
  const world = online({}, 50);
  world.cut();
  // The broker was restored from a backup, in which the session owns something.
  Object.assign(world.broker, { epoch: 'd'.repeat(32), rev: 3, resumes: true });
  world.session.request(world.now, 1, EPHEMERAL.put(true));
  world.settle();
  assert.equal(world.replies.get(1).frame?.op, 'done');
});
