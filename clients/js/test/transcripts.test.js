// spec/transcripts: the broker's part of each transcript is played to a session.
//
// The session is made to send what the transcript's client sends. The frames must be equal, except for the numbers that
// the session chooses. If a transcript's client sends what our clients never send (wrong frames, a second `hello`…),
// the playing of that connection ends. `played` counts how much is played, so that it cannot shrink unnoticed.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { OnetreeError } from '../src/errors.js';
import { json } from '../src/json.js';
import { MirrorState } from '../src/mirror.js';
import { Snapshot } from '../src/snapshot.js';
import { msgpack } from '../src/msgpack.js';
import { comparePaths } from '../src/protocol/paths.js';
import { sees, viewOf } from '../src/protocol/views.js';
import { Session } from '../src/session/session.js';
import { closeError } from '../src/transport.js';
import { apply } from './lib/model.js';

const folder = new URL('../../../spec/transcripts/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();
/** The values of fields that a transcript leaves open. */
const SAID = {
  epoch: 'e'.repeat(32), digest_key: 'd'.repeat(32), heartbeat_ms: 1000, durable: false, message: 'so it is', retry_ms: 100,
  limits: { frame_bytes: 1 << 20, value_bytes: 1 << 16, subscriptions: 9, in_flight: 99 },
};
const WRITES = ['put', 'append', 'delete', 'drop', 'trim', 'txn'];
/** @type {Map<string, number>} steps, by file and codec */
const played = new Map();

const rows = (entries) => Array.from(entries, ({ path, rev, value }) => [path, rev, value?.type, value && Buffer.from(value.bytes).toString('hex')]);
const inOrder = (tree) => [...tree.values()].sort((a, b) => comparePaths(a.path, b.path));
/** Returns a frame as its JSON text has it, without what is left out. */
const asText = (frame) => JSON.parse(json.encodeClient(frame));

/** One connection of a transcript. */
class Player {
  /** @param {Map<string, Snapshot>} known what mirrors showed, by path and revision */
  constructor(codec, known) {
    this.codec = codec;
    this.known = known;
    this.session = new Session({
      codec, agent: 'test', reconnect: 'always', requestTimeoutMs: 1e12, connectTimeoutMs: 1e12, backoffMs: [100, 1000],
      random: () => 0.5, newName: () => 'c',
    });
    /** The session's ids, by the transcript's. */
    this.ids = new Map();
    this.states = new Map();
    /** For each mirror: what it must show, what a refresh builds, and the result of applying its events. */
    this.models = new Map();
    this.staged = new Map();
    this.copies = new Map();
    this.parts = new Map();
    this.ticket = 0;
    this.replies = 0;
  }

  /** @param {Record<string, any>} sub of a frame */
  mirror({ sub, cookie, mode, signals = false, every_ms: everyMs = 0, ...view }) {
    const entries = cookie && this.known.get(`${view.path} ${cookie.rev}`);
    const state = new MirrorState(viewOf(view), Snapshot.saved(cookie, entries));
    this.states.set(sub, state);
    this.models.set(sub, new Map(Array.from(state.snapshot, (entry) => [entry.path, entry])));
    this.copies.set(sub, new Map(this.models.get(sub)));
    this.session.mirror(sub, state, { once: mode === 'once', signals, everyMs });
  }

  /** Returns whether our clients can be made to send this now. */
  can(frame) {
    const { link, mirrors: { slots } } = this.session;
    if (link !== (frame.op === 'hello' ? 'opening' : 'up')) return false;
    switch (frame.op) {
      case 'hello': return new Set((frame.subs ?? []).map(({ sub }) => sub)).size === (frame.subs ?? []).length;
      case 'sub': return !slots.has(frame.sub) && !frame.copy;
      case 'unsub': case 'resync': return slots.has(frame.sub);
      // Our clients ask for an answer, and choose their own numbers.
      case 'signal': return frame.id !== undefined;
      default: return frame.seq === undefined;
    }
  }

  /** Makes the session send the same frame. */
  send(frame) {
    const { session } = this;
    switch (frame.op) {
      case 'hello':
        // The session knows its name from an earlier connection.
        session.name = frame.client ?? session.name;
        session.session = frame.session;
        session.seen = frame.seen;
        for (const sub of frame.subs ?? []) this.mirror(sub);
        session.handleOpen(0, frame.token);
        break;
      case 'sub': this.mirror(frame); break;
      case 'unsub': session.dropMirror(frame.sub); break;
      case 'resync': session.resync(frame.sub); break;
      case 'sync': session.wantSync(); break;
      case 'bye': session.close(0, true); break;
      default: {
        this.ticket += 1;
        const { id, ...rest } = this.codec.decodeClient(this.codec.encodeClient(frame));
        session.request(0, this.ticket, rest);
      }
    }
    const message = session.pollTransmit();
    assert.ok(message !== undefined, `nothing is said: ${JSON.stringify(frame)}`);
    const said = this.codec.decodeClient(message);
    assert.equal(session.pollTransmit(), undefined, 'it says no more than that');
    const pairs = [[said, frame], ...(said.subs ?? []).map((mine, i) => [mine, frame.subs[i]])];
    for (const [mine, theirs] of pairs) {
      assert.ok(![...this.ids.values()].includes(mine.id), 'a number that is in use');
      this.ids.set(theirs.id, mine.id);
      mine.id = theirs.id;
    }
    if (WRITES.includes(said.op)) {
      assert.ok(said.seq > 0);
      delete said.seq;
    }
    if (said.op === 'hello') {
      said.agent = frame.agent;
      said.client = frame.client;
    }
    assert.deepEqual(asText(said), asText(frame));
  }

  /** Gives the session a frame of the broker. */
  take(fields) {
    const frame = this.codec.decodeServer(this.codec.encodeServer(json.decodeServer(JSON.stringify(fields))));
    if (frame.id !== undefined) {
      assert.ok(this.ids.has(frame.id), JSON.stringify(fields));
      frame.id = this.ids.get(frame.id);
    }
    this.expect(frame);
    const wants = ([, { options, state }]) => frame.op === 'signal' && options.signals && sees(state.view, frame.path);
    const wanting = [...this.session.mirrors.slots].filter(wants).map(([sub]) => sub);
    const signalled = [];
    const closing = this.session.closing !== undefined;
    this.session.handleFrame(0, frame);
    this.effects((effect) => {
      if (effect.do === 'disconnect') assert.ok(closing || frame.op === 'bye', `hangs up at ${JSON.stringify(fields)}`);
      if (effect.do !== 'mirror') return;
      assert.ok(effect.event?.type !== 'broken' && effect.event?.type !== 'corrupt', JSON.stringify([fields, effect.event]));
      if (effect.event?.type === 'signal') signalled.push(effect.sub);
      const copy = this.copies.get(effect.sub);
      for (const { path, old, new: now } of effect.event?.changes ?? []) {
        assert.deepEqual(copy.get(path), old, `old of ${path}`);
        if (now) copy.set(path, now);
        else copy.delete(path);
      }
    });
    assert.deepEqual(signalled, wanting, 'who is told of a signal');
    for (const [sub, { view, snapshot }] of this.states) {
      const want = rows(inOrder(this.models.get(sub)));
      assert.deepEqual(rows(snapshot), want, JSON.stringify(fields));
      assert.deepEqual(rows(inOrder(this.copies.get(sub))), want, JSON.stringify(fields));
      if (snapshot.cookie) this.known.set(`${view.path} ${snapshot.rev}`, snapshot);
    }
  }

  /** @param {(effect: any) => void} look */
  effects(look) {
    for (const effect of this.session.takeEffects()) {
      if (effect.do === 'reply') this.replies += 1;
      look(effect);
    }
  }

  /** Notes what the mirrors must be after a frame. */
  expect({ op, sub, kind, changes = [], part = false, rev }) {
    if (op === 'refresh') {
      this.staged.set(sub, new Map(kind === 'full' ? [] : this.models.get(sub)));
    } else if (op === 'entries') {
      for (const change of changes) this.apply(sub, this.staged.get(sub), change);
    } else if (op === 'fresh') {
      this.models.set(sub, this.staged.get(sub));
      this.staged.delete(sub);
    } else if (op === 'delta') {
      const all = [...(this.parts.get(sub) ?? []), ...changes];
      this.parts.set(sub, all);
      if (part) return;
      this.parts.delete(sub);
      for (const [each, slot] of this.session.mirrors.slots) {
        const { state, options } = slot;
        const own = sub === undefined ? options.everyMs === 0 : sub === each;
        if (own && state.fresh && state.snapshot.rev < rev) for (const change of all) this.apply(each, this.models.get(each), change);
      }
    }
  }

  apply(sub, model, change) {
    const { view } = this.states.get(sub);
    if (change.act === 'put' && !sees(view, change.path)) return;
    apply(model, view.values ? change : { ...change, value: undefined });
  }

  /** @param {OnetreeError} error */
  closed(error) {
    this.session.handleClosed(0, error);
    this.effects(() => {});
  }
}

/**
 * Fills in a value for each placeholder.
 * @param {Map<string, any>} names the values of the placeholders so far
 */
function filled(step, names, field = '') {
  if (Array.isArray(step)) return step.map((one) => filled(one, names, field));
  if (step && typeof step === 'object') return Object.fromEntries(Object.entries(step).map(([key, one]) => [key, filled(one, names, key)]));
  if (typeof step !== 'string' || !step.startsWith('$')) return step;
  // The key of these hashes is not known.
  if (field === 'digest' || /^[0-9]+$/.test(field)) return null;
  if (field in SAID) return SAID[field];
  const made = { rev: 1000 + names.size, session: `s${names.size}`, view: '0'.repeat(16) };
  assert.ok(field in made, `nothing is said for ${field}`);
  if (!names.has(step)) names.set(step, made[field]);
  return names.get(step);
}

/** Returns the frame to send, if our clients can be made to send it now. */
function sayable(player, { send, msgpack: bytes }, names) {
  if (typeof send === 'string' || bytes !== undefined) return undefined;
  try {
    const frame = json.decodeClient(JSON.stringify(filled(send, names)));
    return player.can(frame) ? frame : undefined;
  } catch (error) {
    if (error instanceof OnetreeError) return undefined;
    throw error;
  }
}

for (const [name, codec] of [['json', json], ['msgpack', msgpack]]) {
  for (const file of files) {
    test(`${file} in ${name}`, () => {
      const [names, known, players] = [new Map(), new Map(), new Map()];
      const all = [];
      let count = 0;
      for (const step of JSON.parse(readFileSync(new URL(file, folder), 'utf8')).steps) {
        if ('connect' in step) {
          all.push(new Player(codec, known));
          players.set(step.connect, all.at(-1));
          continue;
        }
        const on = step.cut ?? step.on ?? 1;
        const player = players.get(on);
        if (!player) continue;
        if ('send' in step) {
          const frame = sayable(player, step, names);
          if (frame) {
            player.send(frame);
            count += 1;
          } else {
            players.delete(on);
            all.splice(all.indexOf(player), 1);
          }
        } else if ('expect' in step) {
          for (const fields of [filled(step.expect, names)].flat()) {
            player.take(fields);
            count += 1;
          }
        } else if ('close' in step) {
          player.closed(closeError(step.close, ''));
        } else if ('cut' in step) {
          player.closed(new OnetreeError('lost', 'cut'));
        }
      }
      for (const player of all) assert.equal(player.replies, player.ticket, 'each request has one answer');
      played.set(`${file} ${name}`, count);
    });
  }
}

test('most of them are played', () => {
  assert.ok(files.length >= 28);
  const counts = [...played.values()];
  assert.equal(counts.length, 2 * files.length);
  const list = JSON.stringify([...played]);
  assert.ok(counts.reduce((a, b) => a + b) > 800, list);
  assert.ok(counts.filter((count) => count > 5).length > 40, list);
});
