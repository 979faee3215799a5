// The mirrors of a client: what they have to say, and what each frame does to them.

import { OnetreeError } from '../errors.js';
import { contains } from '../protocol/paths.js';
import { sees } from '../protocol/views.js';
import { AGAIN, Slot } from './subs.js';

/** Subscriptions go into `hello` up to about this size, bytes, the others behind it. */
const HELLO_BYTES = 256 << 10;

/**
 * @typedef {import('../changes.js').MirrorEvent} MirrorEvent
 * @typedef {import('../mirror.js').MirrorState} MirrorState
 * @typedef {import('../mirror.js').Outcome} Outcome
 * @typedef {import('../protocol/frames.js').Frame} Frame
 * @typedef {import('./effects.js').Verdict} Verdict
 */

/** All mirrors, by subscription. */
export class Mirrors {
  /**
   * @param {number} timeout how long who asks for a verdict waits, ms
   * @param {import('./asked.js').Asks} asks
   * @param {import('./effects.js').Effects} effects
   */
  constructor(timeout, asks, effects) {
    this.timeout = timeout;
    this.asks = asks;
    this.effects = effects;
    /** @type {Map<number, Slot>} */
    this.slots = new Map();
    /** @private Of the connection that is up. @type {Frame | undefined} */
    this.welcome = undefined;
    /** @private What is to be said. @type {{say: 'sub' | 'unsub' | 'resync', sub: number}[]} */
    this.control = [];
    /**
     * @private What has come of deltas that are not whole, of all mirrors and of one.
     * @type {Map<number | undefined, import('../protocol/frames.js').Change[]>}
     */
    this.parts = new Map();
    /** @private The tickets that wait for the next `sync`, each with its subscription. @type {[number, number][]} */
    this.verifying = [];
    /** @private Until when who asks for a verdict waits, by ticket, the first in front. @type {Map<number, number>} */
    this.verdicts = new Map();
    /** @private */
    this.syncWanted = false;
  }

  // What the application wants.

  /**
   * A history that is not the one of now, where a mirror over or under one of these paths still shows it.
   * @param {string | undefined} now
   * @param {string[]} paths
   * @returns {string | undefined}
   */
  otherHistory(now, paths) {
    for (const { state } of this.slots.values()) {
      const shown = state.epoch;
      const { path: base } = state.view;
      if (shown !== undefined && shown !== now && paths.some((path) => contains(base, path) || contains(path, base))) return shown;
    }
    return undefined;
  }

  /** One more, not started. @param {number} sub @param {MirrorState} state @param {import('./subs.js').SubOptions} options */
  add(sub, state, options) {
    this.slots.set(sub, new Slot(state, options));
    if (this.welcome) state.handleKey(this.welcome['digest_key']);
  }

  /** Has one refreshed, when there is a connection; otherwise `hello` will. @param {number} sub */
  start(sub) {
    const slot = this.slots.get(sub);
    // What `hello` has said already, with a cookie, is to be taken back behind it.
    if (!slot || !(this.welcome || slot.subscribed)) return;
    const say = slot.subscribed ? 'resync' : 'sub';
    if (!this.control.some((c) => c.say === say && c.sub === sub)) this.control.push({ say, sub });
  }

  /** Ends one; there will be nothing more about it. @param {number} sub */
  drop(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    this.slots.delete(sub);
    this.parts.delete(sub);
    // Before `welcome`, too: `hello` has said it.
    if (slot.subscribed) this.control.push({ say: 'unsub', sub });
  }

  /** Starts one again, from nothing, because the application wants it. @param {number} sub */
  resync(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    slot.state.handleDistrust();
    slot.held = undefined;
    this.start(sub);
    this.tell(sub, undefined);
  }

  /** Asks the broker to bring all to the present that can be. */
  wantSync() {
    if (this.welcome) this.syncWanted = true;
  }

  /** Compares one with the tree; a verdict follows. @param {number} now @param {number} ticket @param {number} sub */
  verify(now, ticket, sub) {
    this.verdicts.set(ticket, now + this.timeout);
    if (this.welcome && this.slots.has(sub)) {
      this.verifying.push([ticket, sub]);
      this.syncWanted = true;
    } else {
      this.verdict(ticket, { verdict: 'unknown' });
    }
  }

  /** One is over, and told why. @param {number} sub @param {OnetreeError | undefined} error */
  end(sub, error) {
    this.tell(sub, error ? { type: 'ended', error } : { type: 'ended' });
    this.slots.delete(sub);
    this.parts.delete(sub);
  }

  /** All are over. @param {OnetreeError | undefined} error */
  endAll(error) {
    for (const sub of [...this.slots.keys()]) this.end(sub, error);
  }

  // What is sent.

  /** As many subscriptions as go into `hello`; the others follow. @returns {Frame[]} */
  greet() {
    this.control = [];
    const subs = [];
    let bytes = 0;
    for (const [sub, slot] of this.slots) {
      if (slot.held !== undefined) continue;
      const { view } = slot.state;
      bytes += 256 + view.path.length * 3 + view.match.reduce((sum, pattern) => sum + pattern.length * 3 + 8, 0);
      if (bytes > HELLO_BYTES) {
        this.control.push({ say: 'sub', sub });
        continue;
      }
      slot.subscribed = true;
      subs.push(slot.frame(this.asks.add({ to: 'sub', sub }), sub));
    }
    return subs;
  }

  /** What is to be said next. @returns {Frame | undefined} */
  next() {
    for (let next = this.control.shift(); next !== undefined; next = this.control.shift()) {
      const { say, sub } = next;
      const slot = this.slots.get(sub);
      if (!slot && say !== 'unsub') continue;
      const id = this.asks.add(say === 'unsub' ? { to: say } : { to: say, sub });
      if (slot && say === 'sub') {
        slot.subscribed = true;
        return slot.frame(id, sub);
      }
      return { op: say, id, sub };
    }
    if (!this.syncWanted) return undefined;
    this.syncWanted = false;
    const waiting = this.verifying;
    const id = this.asks.add({ to: 'sync', waiting });
    this.verifying = [];
    // Who only waits for a revision waits for nothing that takes long.
    return { op: 'sync', id, all: waiting.length > 0 };
  }

  // The connection, and time.

  /** The connection is up. @param {Frame} welcome */
  handleWelcome(welcome) {
    this.welcome = welcome;
    for (const { state } of this.slots.values()) state.handleKey(welcome['digest_key']);
    this.tellAll({ type: 'online', resumed: welcome['resumed'] ?? false });
    // Those that were made between `hello` and `welcome`.
    for (const [sub, slot] of this.slots) if (!slot.subscribed && slot.held === undefined) this.start(sub);
  }

  /** There is no connection any more. @param {[number, number][]} asked who waited for a `sync` that was sent */
  handleLost(asked) {
    this.welcome = undefined;
    this.parts.clear();
    this.control = [];
    this.syncWanted = false;
    const waiting = [...this.verifying, ...asked];
    this.verifying = [];
    this.handleUnverified(waiting);
    for (const slot of this.slots.values()) {
      slot.subscribed = false;
      slot.state.handleLost();
    }
  }

  /** Tells those who have waited long enough, and starts what has. @param {number} now */
  handleTimeout(now) {
    for (const [ticket, until] of this.verdicts) {
      if (until > now) break;
      this.verdicts.delete(ticket);
      const sent = !this.verifying.some(([one]) => one === ticket);
      const what = `no answer within ${this.timeout} ms${sent ? '' : '; it was never sent'}`;
      this.effects.push({ do: 'verdict', ticket, error: new OnetreeError('timeout', what, { sent, again: true }) });
    }
    for (const [sub, slot] of this.slots) {
      if (slot.held !== undefined && slot.held <= now) {
        slot.held = undefined;
        this.start(sub);
      }
    }
  }

  /** When `handleTimeout` has something to do; Infinity: never. */
  nextTimeout() {
    let [next = Infinity] = this.verdicts.values();
    for (const { held } of this.slots.values()) if (held !== undefined) next = Math.min(next, held);
    return next;
  }

  // What comes.

  /** @param {number} now @param {Frame} refresh */
  handleRefresh(now, refresh) {
    const { sub, kind } = refresh;
    this.parts.delete(sub);
    // What was asked before the mirror was to start from nothing is not what it waits for.
    if (kind === 'delta' && this.isRestarting(sub)) return;
    this.on(now, sub, (state) => state.handleRefresh(/** @type {any} */ (refresh)));
  }

  /** @private Whether a `resync` was not answered yet. @param {number} sub */
  isRestarting(sub) {
    return this.asks.hasResync(sub) || this.control.some((c) => c.say === 'resync' && c.sub === sub);
  }

  /** @param {number} now @param {Frame} entries */
  handleEntries(now, { sub, changes }) {
    this.on(now, sub, (state) => state.handleEntries(changes));
  }

  /** One of mode `once` is over then. @param {number} now @param {Frame} fresh */
  handleFresh(now, fresh) {
    const { sub } = fresh;
    this.on(now, sub, (state) => state.handleFresh(/** @type {any} */ (fresh), this.welcome?.['epoch']));
    const slot = this.slots.get(sub);
    if (slot?.options.once && slot.state.fresh) this.end(sub, undefined);
  }

  /** @param {Frame} signal */
  handleSignal({ path, value }) {
    for (const [sub, { options, state }] of this.slots) {
      if (options.signals && sees(state.view, path)) this.tell(sub, { type: 'signal', path, value });
    }
  }

  /** Its parts wait until it is whole. @param {number} now @param {Frame} delta */
  handleDelta(now, delta) {
    const { rev, since, sub, part } = delta;
    let changes = delta['changes'] ?? [];
    const before = this.parts.get(sub);
    if (before) changes = before.concat(changes);
    if (part) {
      this.parts.set(sub, changes);
      return;
    }
    if (before) this.parts.delete(sub);
    if (sub !== undefined) {
      this.on(now, sub, (state) => state.handleDelta(since, rev, changes));
      return;
    }
    for (const [each, slot] of this.slots) {
      if (slot.options.everyMs === 0) this.on(now, each, (state) => state.handleDelta(since, rev, changes));
    }
  }

  /** The answer to one of ours, or of the broker's own accord. @param {number} now @param {Frame} sync */
  handleSync(now, { id, rev, digests }) {
    /** @type {Map<number, Verdict>} */
    const verdicts = new Map();
    for (const [sub, digest] of digests) verdicts.set(sub, this.on(now, sub, (state) => state.handleSync(rev, digest)));
    const asked = this.asks.takeSync(id);
    for (const [ticket, sub] of asked?.waiting ?? []) this.verdict(ticket, verdicts.get(sub) ?? { verdict: 'unknown' });
  }

  /** There will be no `sync` for these. @param {[number, number][]} waiting */
  handleUnverified(waiting) {
    for (const [ticket] of waiting) this.verdict(ticket, { verdict: 'unknown' });
  }

  /** The broker has refused a `sub` or a `resync`. @param {number} now @param {'sub' | 'resync'} what @param {number} sub @param {Frame} error */
  handleRefused(now, what, sub, error) {
    const slot = this.slots.get(sub);
    if (slot) slot.subscribed = what === 'sub' ? error['code'] === 'sub-in-use' : error['code'] !== 'no-such-sub';
    this.handleError(now, sub, error);
  }

  /** The broker cannot serve a subscription, now or as it is. @param {number} now @param {number} sub @param {Frame} frame */
  handleError(now, sub, frame) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    const error = OnetreeError.fromFrame(/** @type {any} */ (frame));
    if (error.code === 'sub-in-use' || error.code === 'no-such-sub' || error.action === 'resync') {
      slot.state.handleDistrust();
      this.restart(now, sub, slot);
    } else if (error.action === 'retry') {
      slot.state.handleLost();
      const retryInMs = error.retryInMs || AGAIN;
      slot.held = now + retryInMs;
      this.tell(sub, { type: 'circling', retryInMs });
    } else {
      this.end(sub, error);
    }
  }

  /**
   * @private Gives a frame to a mirror, and does what comes of it.
   * @param {number} now
   * @param {number} sub
   * @param {(state: MirrorState) => Outcome} handle
   * @returns {Verdict}
   */
  on(now, sub, handle) {
    const slot = this.slots.get(sub);
    if (!slot) return { verdict: 'unknown' };
    const outcome = handle(slot.state);
    const { rev } = slot.state;
    switch (outcome.what) {
      case 'refreshing': this.tell(sub, { type: 'refreshing', kind: outcome.kind, why: outcome.why }); break;
      case 'fresh': this.tell(sub, { type: 'fresh', rev, changes: outcome.changes, gaps: outcome.gaps }); break;
      case 'delta': {
        const { since, changes, gaps } = outcome;
        const empty = changes.length === 0 && gaps.length === 0;
        this.tell(sub, empty ? undefined : { type: 'delta', since, rev, changes, gaps });
        break;
      }
      case 'synced':
        this.tell(sub, { type: 'synced', rev, verified: outcome.verified });
        return outcome.verified ? { verdict: 'same', rev } : { verdict: 'unknown' };
      case 'corrupt': {
        const { expected, found } = outcome;
        this.tell(sub, { type: 'corrupt', expected, found });
        this.restart(now, sub, slot);
        return { verdict: 'differs', expected, found };
      }
      case 'broken':
        this.tell(sub, { type: 'broken', why: outcome.why });
        this.restart(now, sub, slot);
        break;
      default:
    }
    return { verdict: 'unknown' };
  }

  /** @private Starts one again because it is wrong, unless it goes in circles. @param {number} now @param {number} sub @param {Slot} slot */
  restart(now, sub, slot) {
    this.parts.delete(sub);
    const retryInMs = slot.restart(now);
    if (retryInMs === undefined) this.start(sub);
    else this.tell(sub, { type: 'circling', retryInMs });
  }

  /** @private @param {number} sub @param {MirrorEvent | undefined} event */
  tell(sub, event) {
    if (this.slots.has(sub)) this.effects.push({ do: 'mirror', sub, event });
  }

  /** @param {MirrorEvent} event */
  tellAll(event) {
    for (const sub of this.slots.keys()) this.tell(sub, event);
  }

  /** @private @param {number} ticket of one who may wait no more @param {Verdict} verdict */
  verdict(ticket, verdict) {
    if (this.verdicts.delete(ticket)) this.effects.push({ do: 'verdict', ticket, verdict });
  }
}
