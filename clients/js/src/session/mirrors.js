// The mirrors of a client: what is sent for them, and what each frame does to them.

import { OnetreeError } from '../errors.js';
import { contains } from '../protocol/paths.js';
import { sees } from '../protocol/views.js';
import { AGAIN, Slot } from './subs.js';

/** About how many bytes of subscriptions go into `hello`; the others follow it. */
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
   * @param {number} timeout how long a request for a verdict waits, ms
   * @param {import('./asked.js').Asks} asks
   * @param {import('./effects.js').Effects} effects
   */
  constructor(timeout, asks, effects) {
    this.timeout = timeout;
    this.asks = asks;
    this.effects = effects;
    /** @type {Map<number, Slot>} */
    this.slots = new Map();
    /** @private The `welcome` of the connection that is up. @type {Frame | undefined} */
    this.welcome = undefined;
    /** @private What is to be sent. @type {{say: 'sub' | 'unsub' | 'resync', sub: number}[]} */
    this.control = [];
    /**
     * @private The parts of deltas that are not complete yet. `undefined` is a delta for all mirrors.
     * @type {Map<number | undefined, import('../protocol/frames.js').Change[]>}
     */
    this.parts = new Map();
    /** @private The tickets that wait for the next `sync`, each with its subscription. @type {[number, number][]} */
    this.verifying = [];
    /** @private Until when each ticket waits for its verdict, the first in front. @type {Map<number, number>} */
    this.verdicts = new Map();
    /** @private */
    this.syncWanted = false;
  }

  // Commands of the application.

  /**
   * Returns a history other than the present one, if a mirror at, over or under one of these paths still shows it.
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

  /**
   * Adds a mirror, which is not started yet.
   * @param {number} sub
   * @param {MirrorState} state
   * @param {import('./subs.js').SubOptions} options
   */
  add(sub, state, options) {
    this.slots.set(sub, new Slot(state, options));
    if (this.welcome) state.handleKey(this.welcome['digest_key']);
  }

  /** Has a mirror refreshed, if there is a connection. Otherwise the next `hello` does it. @param {number} sub */
  start(sub) {
    const slot = this.slots.get(sub);
    // `hello` has the subscription already, with a cookie: that needs a `resync` after it.
    if (!slot || !(this.welcome || slot.subscribed)) return;
    const say = slot.subscribed ? 'resync' : 'sub';
    if (!this.control.some((c) => c.say === say && c.sub === sub)) this.control.push({ say, sub });
  }

  /** Ends a mirror; no further effect is about it. @param {number} sub */
  drop(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    this.slots.delete(sub);
    this.parts.delete(sub);
    // Before `welcome`, too: `hello` has the subscription.
    if (slot.subscribed) this.control.push({ say: 'unsub', sub });
  }

  /** Starts a mirror again from nothing, because the application asked for it. @param {number} sub */
  resync(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    slot.state.handleDistrust();
    slot.held = undefined;
    this.start(sub);
    this.tell(sub, undefined);
  }

  /** Asks the broker for a `sync`, which brings all fresh mirrors to the present. */
  wantSync() {
    if (this.welcome) this.syncWanted = true;
  }

  /**
   * Compares a mirror with the broker's digest; a verdict follows. @param {number} now @param {number} ticket @param
   * {number} sub
   */
  verify(now, ticket, sub) {
    this.verdicts.set(ticket, now + this.timeout);
    if (this.welcome && this.slots.has(sub)) {
      this.verifying.push([ticket, sub]);
      this.syncWanted = true;
    } else {
      this.verdict(ticket, { verdict: 'unknown' });
    }
  }

  /** Reports the end of a mirror, and removes it. @param {number} sub @param {OnetreeError | undefined} error */
  end(sub, error) {
    this.tell(sub, error ? { type: 'ended', error } : { type: 'ended' });
    this.slots.delete(sub);
    this.parts.delete(sub);
  }

  /** Ends all mirrors. @param {OnetreeError | undefined} error */
  endAll(error) {
    for (const sub of [...this.slots.keys()]) this.end(sub, error);
  }

  // What is sent.

  /** Returns as many subscriptions as fit into `hello`. The others follow it. @returns {Frame[]} */
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

  /** Returns what is to be sent next. @returns {Frame | undefined} */
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
    // Waiting for a revision alone (`at`) needs no digest of a large view.
    return { op: 'sync', id, all: waiting.length > 0 };
  }

  // The connection, and time.

  /** The connection is up. @param {Frame} welcome */
  handleWelcome(welcome) {
    this.welcome = welcome;
    for (const { state } of this.slots.values()) state.handleKey(welcome['digest_key']);
    this.tellAll({ type: 'online', resumed: welcome['resumed'] ?? false });
    // Mirrors that were made between `hello` and `welcome`.
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

  /** Reports timeouts, and starts mirrors that have waited long enough. @param {number} now */
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

  /** Returns when to call `handleTimeout` next; Infinity: never. */
  nextTimeout() {
    let [next = Infinity] = this.verdicts.values();
    for (const { held } of this.slots.values()) if (held !== undefined) next = Math.min(next, held);
    return next;
  }

  // Frames of the broker.

  /** @param {number} now @param {Frame} refresh */
  handleRefresh(now, refresh) {
    const { sub, kind } = refresh;
    this.parts.delete(sub);
    // This refresh answers a request from before the mirror had to start from nothing, so the mirror does not want it.
    if (kind === 'delta' && this.isRestarting(sub)) return;
    this.on(now, sub, (state) => state.handleRefresh(/** @type {any} */ (refresh)));
  }

  /** @private Whether a `resync` of a mirror has no answer yet. @param {number} sub */
  isRestarting(sub) {
    return this.asks.hasResync(sub) || this.control.some((c) => c.say === 'resync' && c.sub === sub);
  }

  /** @param {number} now @param {Frame} entries */
  handleEntries(now, { sub, changes }) {
    this.on(now, sub, (state) => state.handleEntries(changes));
  }

  /** Takes `fresh`, which ends a mirror of mode `once`. @param {number} now @param {Frame} fresh */
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

  /** Takes `delta`. Its parts are collected until it is complete. @param {number} now @param {Frame} delta */
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

  /**
   * Takes a `sync`: the answer to a request, or one that the broker sends by itself. @param {number} now @param {Frame}
   * sync
   */
  handleSync(now, { id, rev, digests }) {
    /** @type {Map<number, Verdict>} */
    const verdicts = new Map();
    for (const [sub, digest] of digests) verdicts.set(sub, this.on(now, sub, (state) => state.handleSync(rev, digest)));
    const asked = this.asks.takeSync(id);
    for (const [ticket, sub] of asked?.waiting ?? []) this.verdict(ticket, verdicts.get(sub) ?? { verdict: 'unknown' });
  }

  /** No `sync` will come for these. @param {[number, number][]} waiting */
  handleUnverified(waiting) {
    for (const [ticket] of waiting) this.verdict(ticket, { verdict: 'unknown' });
  }

  /**
   * The broker has refused a `sub` or a `resync`.
   * @param {number} now
   * @param {'sub' | 'resync'} what
   * @param {number} sub
   * @param {Frame} error
   */
  handleRefused(now, what, sub, error) {
    const slot = this.slots.get(sub);
    if (slot) slot.subscribed = what === 'sub' ? error['code'] === 'sub-in-use' : error['code'] !== 'no-such-sub';
    this.handleError(now, sub, error);
  }

  /**
   * The broker cannot serve a subscription, either now or at all. @param {number} now @param {number} sub @param
   * {Frame} frame
   */
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
   * @private Gives a frame to a mirror and acts on the outcome.
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

  /**
   * @private Starts a mirror again because it is wrong. If it has started again too often, it waits first.
   * @param {number} now
   * @param {number} sub
   * @param {Slot} slot
   */
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

  /** @private Gives a verdict, unless the ticket no longer waits. @param {number} ticket @param {Verdict} verdict */
  verdict(ticket, verdict) {
    if (this.verdicts.delete(ticket)) this.effects.push({ do: 'verdict', ticket, verdict });
  }
}
