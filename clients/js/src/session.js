// The session's rules, pure: commands, frames and the time in; messages and effects out. It decides when to connect, what
// to say, what an answer means and what to do when there is none. It has no socket and no clock.

import { Backoff } from './backoff.js';
import { OnetreeError, closedError } from './errors.js';
import { MirrorState } from './mirror.js';
import { contains } from './protocol/paths.js';
import { sees } from './protocol/views.js';
import { Requests, ofHistory } from './requests.js';
import { AGAIN, Slot } from './slot.js';

/** What comes on top of the broker's heartbeat before a silent connection is taken for dead, ms. */
const GRACE = 10_000;
/** A connection that lasted this long was good: the next wait is short again, ms. */
const GOOD = 10_000;
/** Subscriptions go into `hello` up to about this size, bytes, the others behind it. */
const HELLO_BYTES = 256 << 10;
/** How long an orderly end may take, ms: ours, and the broker's behind its `bye`. */
const BYE = 5_000;

/**
 * @typedef {import('./protocol/frames.js').Frame} Frame
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {import('./mirror.js').Outcome} Outcome
 * @typedef {{session: string, resumed: boolean, epoch: string, rev: number, heartbeatMs: number, limits: Limits}} Connection
 * @typedef {{frame_bytes: number, value_bytes: number, subscriptions: number, in_flight: number}} Limits
 * @typedef {{status: 'connecting'} | {status: 'online', connection: Connection}
 *   | {status: 'offline', error: OnetreeError, retryInMs: number} | {status: 'ended', error?: OnetreeError}} Status
 * @typedef {{verdict: 'same' | 'differs' | 'unknown', rev?: number, expected?: string, found?: string}} Verdict
 *   where it is the same; the broker's digest and the mirror's, where they differ
 * @typedef {{do: 'connect'} | {do: 'disconnect'} | {do: 'reply', ticket: number, frame?: Frame, error?: OnetreeError}
 *   | {do: 'release', ticket: number} | {do: 'verdict', ticket: number, verdict: Verdict} | {do: 'verdict', ticket: number, error: OnetreeError}
 *   | {do: 'mirror', sub: number, event: MirrorEvent | undefined}
 *   | {do: 'status', status: Status}} Effect what a session wants done; `connect` is answered by `handleOpen` or
 *   `handleClosed`; a `release` comes once for each request, behind its reply; a `mirror` is about its state as it is then, so
 *   that effects are to be taken before the next frame is handled
 * @typedef {{codec: import('./json.js').Codec, label?: string | undefined, agent: string,
 *   reconnect: 'never' | 'after-first' | 'always', requestTimeoutMs: number, connectTimeoutMs: number,
 *   backoffMs: readonly [number, number], random?: () => number, newName?: () => string, tokenAgain?: boolean}} SessionOptions
 * @typedef {import('./slot.js').SubOptions} SubOptions
 * @typedef {{to: 'request', ticket: number} | {to: 'sub' | 'resync', sub: number} | {to: 'unsub' | 'bye'}
 *   | {to: 'sync', waiting: [number, number][]}} Asked
 */

/** 128 random bits in hex. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A client's side of the protocol. Times are milliseconds since some moment, the same for all calls. */
export class Session {
  /** @param {SessionOptions} options */
  constructor(options) {
    this.options = options;
    const random = options.random ?? Math.random;
    this.backoff = new Backoff(options.backoffMs[0], options.backoffMs[1], random);
    this.name = this.newName();
    /** @type {string | undefined} */
    this.token = undefined;
    /** @type {string | undefined} */
    this.session = undefined;
    /** @type {number | undefined} */
    this.seen = undefined;
    /** @type {'down' | 'opening' | 'greeting' | 'up' | 'over'} */
    this.link = 'opening';
    /** The end of the wait when down, of patience when greeting. */
    this.until = 0;
    this.since = 0;
    this.ever = false;
    this.heard = 0;
    /** @type {number | undefined} */
    this.hello = undefined;
    /** @type {Frame | undefined} */
    this.welcome = undefined;
    /** @type {number | undefined} */
    this.renamed = undefined;
    /** Whether the numbers given under this name were of another history than the broker's. */
    this.foreign = false;
    /** Whether a refused token was asked for anew since one was last good. */
    this.reauthed = false;
    /** @type {OnetreeError | undefined} why it ended by itself */
    this.why = undefined;
    /** @type {{bye: boolean, said: boolean, asked: number, until: number} | undefined} */
    this.closing = undefined;
    /** The broker's `bye`, and until when it may close. @type {{error: OnetreeError, until: number} | undefined} */
    this.goodbye = undefined;
    /**
     * How many frames the broker could not read, until when all others are to be answered, and what it had against the last.
     * @type {{many: number, until: number, message: string} | undefined}
     */
    this.unread = undefined;
    this.lastId = 0;
    /** @type {Map<number, Asked>} */
    this.asked = new Map();
    /** @type {{say: 'sub' | 'unsub' | 'resync', sub: number}[]} */
    this.control = [];
    this.requests = new Requests(options.requestTimeoutMs, options.codec);
    /** @type {Map<number, Slot>} */
    this.slots = new Map();
    /** @type {Map<number | undefined, import('./protocol/frames.js').Change[]>} */
    this.parts = new Map();
    /** @type {[number, number][]} */
    this.verifying = [];
    /** Until when who asks for a verdict waits, by ticket, the first in front. @type {Map<number, number>} */
    this.verdicts = new Map();
    this.syncWanted = false;
    /** @type {Effect[]} */
    this.effects = [{ do: 'connect' }];
  }

  /** @private */
  newName() {
    const name = this.options.newName?.() ?? randomName();
    return this.options.label ? `${this.options.label}-${name}` : name;
  }

  /** Whether it has ended. */
  get isOver() {
    return this.link === 'over';
  }

  /** What is to be done since the last time. @returns {Effect[]} */
  takeEffects() {
    const { effects } = this;
    if (effects.length > 0) this.effects = [];
    return effects;
  }

  // What the application wants.

  /**
   * What a write is about: the history of now, or that which a mirror still shows where it names a revision.
   * @param {Frame} frame
   * @returns {string | undefined}
   */
  historyOf(frame) {
    const now = this.requests.history;
    const named = ofHistory(frame);
    if (named.length > 0) {
      for (const { state } of this.slots.values()) {
        const shown = state.epoch;
        const { path: base } = state.view;
        if (shown !== undefined && shown !== now && named.some((path) => contains(base, path) || contains(path, base))) return shown;
      }
    }
    return now;
  }

  /**
   * Asks something. Its `id` and `seq` are set here; there will be one reply.
   * @param {number} now
   * @param {number} ticket above all before
   * @param {Frame} frame
   * @param {string} [of] the history of the revisions that it names; that of now, where none is given. It is written into no
   *   other one
   */
  request(now, ticket, frame, of) {
    if (this.isOver || this.closing) {
      this.effects.push({ do: 'reply', ticket, error: closedError(this.why, false) }, { do: 'release', ticket });
      return;
    }
    this.requests.add(now, ticket, frame, of, this.effects);
  }

  /**
   * Starts a mirror as subscription `sub`, a number that no other has.
   * @param {number} sub
   * @param {MirrorState} state
   * @param {SubOptions} options
   */
  mirror(sub, state, options) {
    this.slots.set(sub, new Slot(state, options));
    if (this.link === 'up') state.handleKey(this.welcome?.['digest_key']);
    if (this.isOver || this.closing) this.endMirror(sub, closedError(this.why));
    else this.start(sub);
  }

  /** Ends a mirror; there will be nothing more about it. @param {number} sub */
  dropMirror(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    this.slots.delete(sub);
    this.parts.delete(sub);
    // Before `welcome`, too: `hello` has said it.
    if (slot.subscribed) this.control.push({ say: 'unsub', sub });
  }

  /** Starts a mirror again, from nothing, because the application wants it. @param {number} sub */
  resync(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    slot.state.handleDistrust();
    slot.held = undefined;
    this.start(sub);
    this.tell(sub, undefined);
  }

  /** Asks the broker to bring all mirrors to the present that can be. */
  wantSync() {
    if (this.link === 'up') this.syncWanted = true;
  }

  /** Compares a mirror with the tree; a verdict follows. @param {number} now @param {number} ticket @param {number} sub */
  verify(now, ticket, sub) {
    this.verdicts.set(ticket, now + this.options.requestTimeoutMs);
    if (this.link === 'up' && this.slots.has(sub)) {
      this.verifying.push([ticket, sub]);
      this.syncWanted = true;
    } else {
      this.verdict(ticket, { verdict: 'unknown' });
    }
  }

  /**
   * Ends the client: with `bye` the session ends at once, without it after its grace. What was asked before is done
   * first, when there is a connection.
   * @param {number} now
   * @param {boolean} bye
   */
  close(now, bye) {
    if (this.link !== 'up') {
      this.finish(undefined);
      return;
    }
    this.closing ??= { bye, said: false, asked: now, until: now + Math.max(this.options.requestTimeoutMs, BYE) };
    this.settleClose();
  }

  // What the connection does.

  /**
   * The connection is open.
   * @param {number} now
   * @param {string} [token] to be shown; absent: the one of before
   * @param {number} [until] when `welcome` must be there
   */
  handleOpen(now, token, until = now + this.options.connectTimeoutMs) {
    if (this.link !== 'opening') return;
    if (token !== undefined) this.token = token;
    this.heard = now;
    this.link = 'greeting';
    this.hello = undefined;
    this.until = until;
  }

  /**
   * The connection is closed, or could not be opened.
   * @param {number} now
   * @param {OnetreeError} cause
   */
  handleClosed(now, cause) {
    if (this.link === 'over' || this.link === 'down') return;
    const error = this.goodbye?.error ?? cause;
    if (this.closing) {
      this.finish(undefined);
      return;
    }
    const { action } = error;
    this.settleGood(now);
    const { reconnect } = this.options;
    const again = reconnect === 'always' || (reconnect === 'after-first' && this.ever);
    if (action === 'reauth' && this.options.tokenAgain && !this.reauthed && (again || !this.ever)) {
      this.reauthed = true;
      this.goOffline(now, error, 0);
      return;
    }
    if (!again || (action !== 'retry' && action !== 'resync')) {
      this.finish(error);
      return;
    }
    this.goOffline(now, error, this.backoff.next(error.retryInMs));
  }

  /** @private The connection ends: when it was good, what went wrong before it counts no more. @param {number} now */
  settleGood(now) {
    if (this.link !== 'up' || now - this.since < GOOD) return;
    this.backoff.reset();
    // A token that is refused right behind `welcome` is no better than one that is refused before.
    this.reauthed = false;
  }

  /** @private @param {number} now @param {OnetreeError} error @param {number} retryInMs */
  goOffline(now, error, retryInMs) {
    this.goDown(now + retryInMs);
    this.tellAll({ type: 'offline', error, retryInMs });
    this.effects.push({ do: 'status', status: { status: 'offline', error, retryInMs } });
  }

  /** The time of `nextTimeout` has come; calling it at other times does no harm. @param {number} now */
  handleTimeout(now) {
    this.requests.handleTimeout(now, this.effects);
    for (const [ticket, until] of this.verdicts) {
      if (until > now) break;
      this.verdicts.delete(ticket);
      const sent = !this.verifying.some(([one]) => one === ticket);
      const what = `no answer within ${this.options.requestTimeoutMs} ms${sent ? '' : '; it was never sent'}`;
      const error = new OnetreeError('timeout', what, { sent, again: true });
      this.effects.push({ do: 'verdict', ticket, error });
    }
    if (this.closing && this.closing.until <= now) {
      this.finish(undefined);
      return;
    }
    if (this.link === 'down' && this.until <= now) {
      this.link = 'opening';
      this.effects.push({ do: 'connect' });
    }
    if (this.deadAt() <= now) this.fail(now, new OnetreeError('silent', `nothing came for ${Math.round(now - this.heard)} ms`));
    if (this.unread && this.unread.until <= now) this.fail(now, new OnetreeError('protocol', 'no answer to what the broker can read'));
    for (const [sub, slot] of this.slots) {
      if (slot.held !== undefined && slot.held <= now) {
        slot.held = undefined;
        this.start(sub);
      }
    }
    this.settleClose();
  }

  /** When `handleTimeout` has something to do; Infinity: never. */
  nextTimeout() {
    const [verdict = Infinity] = this.verdicts.values();
    let next = Math.min(this.deadAt(), this.requests.nextTimeout(), verdict, this.closing?.until ?? Infinity, this.unread?.until ?? Infinity);
    if (this.link === 'down') next = Math.min(next, this.until);
    for (const slot of this.slots.values()) if (slot.held !== undefined) next = Math.min(next, slot.held);
    return next;
  }

  /** @private */
  deadAt() {
    if (this.link === 'greeting') return this.until;
    if (this.link !== 'up') return Infinity;
    return this.goodbye?.until ?? this.heard + this.welcome?.['heartbeat_ms'] + GRACE;
  }

  /** The next message to send, when there is one and the broker's limits allow it now. @returns {string | Uint8Array | undefined} */
  pollTransmit() {
    const { codec } = this.options;
    if (this.link === 'greeting' && this.hello === undefined) return codec.encodeClient(this.greet());
    if (this.link !== 'up' || this.goodbye || this.unread) return undefined;
    const limits = /** @type {Limits} */ (this.welcome?.['limits']);
    if (this.asked.size >= limits.in_flight) return undefined;
    const control = this.nextControl();
    if (control) return codec.encodeClient(control);
    const id = this.nextId();
    const next = this.requests.next(id, this.seen, limits, this.effects);
    if (next) {
      this.asked.set(id, { to: 'request', ticket: next.ticket });
      return next.message;
    }
    const bye = this.nextBye();
    return bye && codec.encodeClient(bye);
  }

  /** @private Who we are, with as many subscriptions as go into one frame; the others follow. */
  greet() {
    const id = this.nextId();
    this.hello = id;
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
      const subId = this.nextId();
      slot.subscribed = true;
      subs.push(slot.frame(subId, sub));
      this.asked.set(subId, { to: 'sub', sub });
    }
    const { name: client, session, token, seen, options: { agent }, requests: { since } } = this;
    return { op: 'hello', id, client, session, token, agent, seen, subs, since };
  }

  /** @private @returns {Frame | undefined} */
  nextControl() {
    for (let next = this.control.shift(); next !== undefined; next = this.control.shift()) {
      const { say, sub } = next;
      const slot = this.slots.get(sub);
      if (!slot && say !== 'unsub') continue;
      const id = this.nextId();
      this.asked.set(id, say === 'unsub' ? { to: say } : { to: say, sub });
      if (slot && say === 'sub') {
        slot.subscribed = true;
        return slot.frame(id, sub);
      }
      return { op: say, id, sub };
    }
    if (!this.syncWanted) return undefined;
    this.syncWanted = false;
    const id = this.nextId();
    this.asked.set(id, { to: 'sync', waiting: this.verifying });
    this.verifying = [];
    return { op: 'sync', id };
  }

  /** @private `bye`, when everything else is done. @returns {Frame | undefined} */
  nextBye() {
    const { closing } = this;
    if (!closing?.bye || closing.said || !this.requests.isEmpty) return undefined;
    closing.said = true;
    // It was the application's wish, or an answer, that it has waited for last.
    closing.until = Math.min(closing.until, Math.max(this.heard, closing.asked) + BYE);
    const id = this.nextId();
    this.asked.set(id, { to: 'bye' });
    return { op: 'bye', id };
  }

  /** @private */
  nextId() {
    do this.lastId = (this.lastId + 1) >>> 0; while (this.asked.has(this.lastId));
    return this.lastId;
  }

  // What the broker says.

  /** A frame came. @param {number} now @param {Frame} frame */
  handleFrame(now, frame) {
    this.heard = now;
    if (this.link === 'greeting') {
      if (frame.op === 'welcome' && frame['id'] === this.hello) this.handleWelcome(now, frame);
      else if (frame.op === 'bye' || frame.op === 'error') this.fail(now, OnetreeError.fromFrame(/** @type {any} */ (frame)));
      else this.fail(now, new OnetreeError('protocol', "something came before 'welcome'"));
    } else if (this.link === 'up') {
      this.handleLive(now, frame);
      this.settleUnread(now);
    }
    this.settleClose();
  }

  /** @private @param {number} now @param {Frame} welcome */
  handleWelcome(now, welcome) {
    this.session = welcome['session'];
    // Revisions of two histories are not compared.
    this.seen = welcome['rev'];
    for (const slot of this.slots.values()) slot.state.handleKey(welcome['digest_key']);
    const { session, resumed = false, epoch, rev, heartbeat_ms: heartbeatMs, limits } = welcome;
    this.ever = true;
    this.since = now;
    this.link = 'up';
    this.welcome = welcome;
    this.tellAll({ type: 'online', resumed });
    const connection = /** @type {Connection} */ ({ session, resumed, epoch, rev, heartbeatMs, limits });
    this.effects.push({ do: 'status', status: { status: 'online', connection } });
    // Mirrors that were made between `hello` and `welcome`.
    for (const [sub, slot] of this.slots) if (!slot.subscribed && slot.held === undefined) this.start(sub);
    if (this.requests.isNumbered && this.requests.history !== epoch) this.foreign = true;
    if (this.requests.handleHistory(epoch, this.effects)) this.rename(now);
  }

  /** @private @param {number} now @param {Frame} frame */
  handleLive(now, frame) {
    switch (frame.op) {
      case 'delta': this.handleDelta(now, frame); break;
      case 'done': case 'found':
        this.see(frame['rev']);
        this.handleReply(now, frame);
        break;
      case 'ok': this.handleReply(now, frame); break;
      case 'error':
        if (frame['id'] !== undefined) this.handleReply(now, frame);
        else if (frame['sub'] !== undefined) this.handleSubError(now, frame['sub'], frame);
        else if (frame['code'] === 'bad-frame' && this.asked.size > 0) {
          // A frame of ours, it does not know which: nothing more is said until that is known.
          this.unread = { many: (this.unread?.many ?? 0) + 1, until: now + this.options.requestTimeoutMs, message: frame['message'] };
        }
        break;
      case 'refresh':
        this.parts.delete(frame['sub']);
        // What was asked before the mirror was to start from nothing is not what it waits for.
        if (frame['kind'] === 'delta' && this.isRestarting(frame['sub'])) break;
        this.onMirror(now, frame['sub'], (state) => state.handleRefresh(/** @type {any} */ (frame)));
        break;
      case 'entries': this.onMirror(now, frame['sub'], (state) => state.handleEntries(frame['changes'])); break;
      case 'fresh': {
        const { sub, rev } = frame;
        this.see(rev);
        this.onMirror(now, sub, (state) => state.handleFresh(/** @type {any} */ (frame), this.welcome?.['epoch']));
        const slot = this.slots.get(sub);
        if (slot?.options.once && slot.state.fresh) this.endMirror(sub, undefined);
        break;
      }
      case 'signal':
        for (const [sub, { options, state }] of this.slots) {
          const { path, value } = frame;
          if (options.signals && sees(state.view, path)) this.tell(sub, { type: 'signal', path, value });
        }
        break;
      case 'sync': this.handleSync(now, frame); break;
      case 'bye':
        // What it had accepted before it still answers.
        this.goodbye ??= { error: OnetreeError.fromFrame(/** @type {any} */ (frame)), until: now + BYE };
        break;
      default: this.fail(now, new OnetreeError('protocol', `'${frame.op}' came twice`));
    }
  }

  /** @private @param {number} now @param {Frame} delta */
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
    this.see(rev);
    if (sub !== undefined) {
      this.onMirror(now, sub, (state) => state.handleDelta(since, rev, changes));
      return;
    }
    for (const [each, slot] of this.slots) {
      if (slot.options.everyMs === 0) this.onMirror(now, each, (state) => state.handleDelta(since, rev, changes));
    }
  }

  /** @private @param {number} now @param {Frame} sync */
  handleSync(now, sync) {
    const { id, rev, digests } = sync;
    this.see(rev);
    /** @type {Map<number, Verdict>} */
    const verdicts = new Map();
    for (const [sub, digest] of digests) verdicts.set(sub, this.onMirror(now, sub, (state) => state.handleSync(rev, digest)));
    const asked = id === undefined ? undefined : this.asked.get(id);
    if (asked?.to !== 'sync') return;
    this.asked.delete(id);
    for (const [ticket, sub] of asked.waiting) this.verdict(ticket, verdicts.get(sub) ?? { verdict: 'unknown' });
  }

  /** @private @param {number} now @param {Frame} frame */
  handleReply(now, frame) {
    const asked = this.asked.get(frame['id']);
    this.asked.delete(frame['id']);
    const failed = frame.op === 'error';
    switch (asked?.to) {
      case 'request':
        if (!failed) this.token = this.requests.frame(asked.ticket)?.['token'] ?? this.token;
        if (this.requests.answered(asked.ticket, frame, this.effects)) this.rename(now);
        break;
      case 'sub': case 'resync': {
        if (!failed) break;
        const slot = this.slots.get(asked.sub);
        if (slot) slot.subscribed = asked.to === 'sub' ? frame['code'] === 'sub-in-use' : frame['code'] !== 'no-such-sub';
        this.handleSubError(now, asked.sub, frame);
        break;
      }
      case 'sync':
        for (const [ticket] of asked.waiting) this.verdict(ticket, { verdict: 'unknown' });
        break;
      case 'bye': this.finish(undefined); break;
      default:
    }
  }

  /** @private What is left when all others have been answered, is what the broker could not read. @param {number} now */
  settleUnread(now) {
    if (!this.unread || this.asked.size > this.unread.many) return;
    const { message } = this.unread;
    this.unread = undefined;
    for (const id of [...this.asked.keys()]) this.handleReply(now, { op: 'error', id, code: 'bad-frame', message });
  }

  /** @private The broker cannot serve a subscription, now or as it is. @param {number} now @param {number} sub @param {Frame} frame */
  handleSubError(now, sub, frame) {
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
      this.endMirror(sub, error);
    }
  }

  /**
   * @private Gives a frame to a mirror, and does what comes of it.
   * @param {number} now
   * @param {number} sub
   * @param {(state: MirrorState) => Outcome} handle
   * @returns {Verdict}
   */
  onMirror(now, sub, handle) {
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

  /** @private Starts a mirror again because it is wrong, unless it goes in circles. @param {number} now @param {number} sub @param {Slot} slot */
  restart(now, sub, slot) {
    this.parts.delete(sub);
    const retryInMs = slot.restart(now);
    if (retryInMs === undefined) this.start(sub);
    else this.tell(sub, { type: 'circling', retryInMs });
  }

  /** @private Whether a `resync` of a mirror was not answered yet. @param {number} sub */
  isRestarting(sub) {
    for (const asked of this.asked.values()) if (asked.to === 'resync' && asked.sub === sub) return true;
    return this.control.some((c) => c.say === 'resync' && c.sub === sub);
  }

  /** @private Has a mirror refreshed, when there is a connection; otherwise `hello` will. @param {number} sub */
  start(sub) {
    const slot = this.slots.get(sub);
    if (!slot) return;
    // What `hello` has said already, with a cookie, is to be taken back behind it.
    const said = this.link === 'greeting' && this.hello !== undefined && slot.subscribed;
    if (this.link !== 'up' && !said) return;
    const say = slot.subscribed ? 'resync' : 'sub';
    if (!this.control.some((c) => c.say === say && c.sub === sub)) this.control.push({ say, sub });
  }

  /** @private @param {number} sub @param {OnetreeError | undefined} error */
  endMirror(sub, error) {
    this.tell(sub, error ? { type: 'ended', error } : { type: 'ended' });
    this.slots.delete(sub);
    this.parts.delete(sub);
  }

  /** @private @param {number} sub @param {MirrorEvent | undefined} event */
  tell(sub, event) {
    if (this.slots.has(sub)) this.effects.push({ do: 'mirror', sub, event });
  }

  /** @private @param {MirrorEvent} event */
  tellAll(event) {
    for (const sub of this.slots.keys()) this.tell(sub, event);
  }

  /** @private @param {number} rev */
  see(rev) {
    if (this.seen === undefined || rev > this.seen) this.seen = rev;
  }

  /** @private @param {number} ticket of one who may wait no more @param {Verdict} verdict */
  verdict(ticket, verdict) {
    if (this.verdicts.delete(ticket)) this.effects.push({ do: 'verdict', ticket, verdict });
  }

  /** @private Drops the connection. @param {number} now @param {OnetreeError} error */
  fail(now, error) {
    this.effects.push({ do: 'disconnect' });
    this.handleClosed(now, error);
  }

  /** @private Comes back under another name, at once if that was not so just now. @param {number} now */
  rename(now) {
    this.settleGood(now);
    this.name = this.newName();
    const again = this.renamed !== undefined && now - this.renamed < GOOD;
    this.renamed = now;
    this.effects.push({ do: 'disconnect' });
    // Not the code of a write: of those that it was about, each has an answer of its own, and those that wait are sent.
    const why = this.foreign ? 'the broker has begun another history' : "the broker does not know this client's writes";
    this.foreign = false;
    this.goOffline(now, new OnetreeError('lost', `${why}, so this client comes back under another name`), again ? this.backoff.next() : 0);
  }

  /** @private There is no connection any more. @param {number} until */
  goDown(until) {
    this.link = 'down';
    this.until = until;
    this.goodbye = this.unread = undefined;
    this.parts.clear();
    this.control = [];
    this.syncWanted = false;
    this.requests.handleLost(this.effects);
    const waiting = this.verifying;
    this.verifying = [];
    for (const asked of this.asked.values()) if (asked.to === 'sync') waiting.push(...asked.waiting);
    this.asked.clear();
    for (const [ticket] of waiting) this.verdict(ticket, { verdict: 'unknown' });
    for (const slot of this.slots.values()) {
      slot.subscribed = false;
      slot.state.handleLost();
    }
  }

  /** @private */
  settleClose() {
    if (this.closing && !this.closing.bye && this.requests.isEmpty) this.finish(undefined);
  }

  /** @private @param {OnetreeError | undefined} error */
  finish(error) {
    if (this.isOver) return;
    if (this.link !== 'down') this.effects.push({ do: 'disconnect' });
    this.goDown(Infinity);
    this.link = 'over';
    this.why = error;
    this.requests.end(error, this.effects);
    for (const sub of [...this.slots.keys()]) this.endMirror(sub, error && closedError(error));
    this.effects.push({ do: 'status', status: error ? { status: 'ended', error } : { status: 'ended' } });
  }
}
