// The rules of a session, as pure code: commands, frames and the time go in; messages and effects come out. A session
// decides when to connect, what to send, what an answer means, and what to do if there is none. It has no socket and no
// clock.

import { Backoff } from '../backoff.js';
import { OnetreeError, closedError } from '../errors.js';
import { toHex } from '../protocol/texts.js';
import { Asks } from './asked.js';
import { Effects } from './effects.js';
import { Mirrors } from './mirrors.js';
import { Requests, ofHistory } from './requests.js';

/** How long after the broker's heartbeat a silent connection is taken for dead, ms. */
const GRACE = 10_000;
/** A connection that lasted this long was good: the next wait is short again. In ms. */
const GOOD = 10_000;
/** When the host says that the network is back, all clients come back within this time, ms. */
const SPREAD = 1_000;
/** How long an orderly end may take, ms, whether the broker or the client ends the connection. */
const BYE = 5_000;
/** The errors of a connection that leave it open whether the broker will still read what was sent. */
const UNANSWERED = ['lost', 'silent', 'protocol'];

/**
 * @typedef {import('../protocol/frames.js').Frame} Frame
 * @typedef {{codec: import('../json.js').Codec, label?: string | undefined, agent: string,
 *   reconnect: 'never' | 'after-first' | 'always', requestTimeoutMs: number, connectTimeoutMs: number,
 *   backoffMs: readonly [number, number], random?: () => number, newName?: () => string, tokenAgain?: boolean}} SessionOptions
 */

/** Returns 128 random bits in hexadecimal. */
const randomName = () => toHex(crypto.getRandomValues(new Uint8Array(16)));

/**
 * The client's side of the protocol, across its connections. Times are milliseconds since some moment, the same for all
 * calls.
 */
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
    /** How many `hello`s that name this session have no answer. Each may still arrive, and take the session. */
    this.late = 0;
    /** @type {number | undefined} */
    this.seen = undefined;
    /** @type {'down' | 'opening' | 'greeting' | 'up' | 'over'} */
    this.link = 'opening';
    /** The end of the wait while down; the deadline of `welcome` while greeting. */
    this.until = 0;
    /** Whether the broker has said when to come back. */
    this.told = false;
    this.since = 0;
    this.ever = false;
    this.heard = 0;
    /** @type {number | undefined} */
    this.hello = undefined;
    /** @type {Frame | undefined} */
    this.welcome = undefined;
    /** @type {number | undefined} */
    this.renamed = undefined;
    /** Whether some numbers under this client name were given in another history than the broker's present one. */
    this.foreign = false;
    /** Whether a new token was already asked for since a token was last good. */
    this.reauthed = false;
    /** @type {OnetreeError | undefined} why it ended by itself */
    this.why = undefined;
    /** @type {{bye: boolean, said: boolean, until: number} | undefined} */
    this.closing = undefined;
    /**
     * The broker's `bye`, and when the broker must have closed the connection. @type {{error: OnetreeError, until:
     * number} | undefined}
     */
    this.goodbye = undefined;
    /**
     * How many frames the broker could not read, when the answers to all others must have come, and the message of the
     * last refusal.
     * @type {{many: number, until: number, message: string} | undefined}
     */
    this.unread = undefined;
    this.asks = new Asks();
    this.effects = new Effects();
    this.effects.push({ do: 'connect' });
    this.requests = new Requests(options.requestTimeoutMs, options.codec, this.effects);
    this.mirrors = new Mirrors(options.requestTimeoutMs, this.asks, this.effects);
  }

  /** @private */
  newName() {
    const name = this.options.newName?.() ?? randomName();
    return this.options.label ? `${this.options.label}-${name}` : name;
  }

  /** Whether the client has ended. */
  get isOver() {
    return this.link === 'over';
  }

  /** Returns what is to be done since the last call. */
  takeEffects() {
    return this.effects.take();
  }

  // Commands of the application.

  /**
   * Returns the history that a write is about. If the write names a revision and a mirror near its paths shows another
   * history than the present one, this is the mirror's history: the application read the revision there. Otherwise it
   * is the present history.
   * @param {Frame} frame
   * @returns {string | undefined}
   */
  historyOf(frame) {
    const now = this.requests.history;
    const named = ofHistory(frame);
    return (named.length > 0 ? this.mirrors.otherHistory(now, named) : undefined) ?? now;
  }

  /** The present history, and the highest revision in it at which the application was told that a write is done. */
  get lastDone() {
    return { epoch: this.requests.history, rev: this.requests.lastDone };
  }

  /**
   * Requests something. The session sets the `id` and `seq` of the frame. There will be exactly one reply.
   * @param {number} now
   * @param {number} ticket above all earlier ones
   * @param {Frame} frame
   * @param {string} [of] the history of the revisions that the frame names, by default the present one. The frame is
   *   sent in no other history
   */
  request(now, ticket, frame, of) {
    if (this.isOver || this.closing) {
      this.effects.push({ do: 'reply', ticket, error: closedError(this.why, false) });
      this.effects.push({ do: 'release', ticket });
      return;
    }
    this.requests.add(now, ticket, frame, of);
  }

  /**
   * Starts a mirror as subscription `sub`. No other subscription may have this number.
   * @param {number} sub
   * @param {import('../mirror.js').MirrorState} state
   * @param {import('./subs.js').SubOptions} options
   */
  mirror(sub, state, options) {
    this.mirrors.add(sub, state, options);
    if (this.isOver || this.closing) this.mirrors.end(sub, closedError(this.why));
    else this.mirrors.start(sub);
  }

  /** Ends a mirror; no further effect is about it. @param {number} sub */
  dropMirror(sub) {
    this.mirrors.drop(sub);
  }

  /** Starts a mirror again from nothing, because the application asked for it. @param {number} sub */
  resync(sub) {
    this.mirrors.resync(sub);
  }

  /** Asks the broker for a `sync`, which brings all fresh mirrors to the present. */
  wantSync() {
    this.mirrors.wantSync();
  }

  /**
   * Compares a mirror with the broker's digest; a verdict follows. @param {number} now @param {number} ticket @param
   * {number} sub
   */
  verify(now, ticket, sub) {
    this.mirrors.verify(now, ticket, sub);
  }

  /**
   * Ends the client. With `bye` the session ends at once, without it after its grace. If there is a connection, earlier
   * requests are done first.
   * @param {number} now
   * @param {boolean} bye
   */
  close(now, bye) {
    if (this.link !== 'up') {
      this.finish(undefined);
      return;
    }
    this.closing ??= { bye, said: false, until: now + Math.max(this.options.requestTimeoutMs, BYE) };
    this.settleClose(now);
  }

  // Reports about the connection.

  /**
   * The connection is open.
   * @param {number} now
   * @param {string} [token] the token to show; absent: the same as before
   * @param {number} [until] when `welcome` must have come
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
    let error = this.goodbye?.error ?? cause;
    if (this.closing) {
      this.finish(undefined);
      return;
    }
    const greeted = this.link === 'greeting' && this.hello !== undefined && this.session !== undefined;
    if (greeted && UNANSWERED.includes(error.code)) this.late += 1;
    if (error.code === 'session-taken' && this.late > 0) {
      this.late -= 1;
      error = new OnetreeError('lost', 'another connection has the session now, perhaps an earlier one of this client');
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
    this.told = Boolean(error.retryInMs);
  }

  /** The host says that the network is back. Failures without a network no longer count. @param {number} now */
  handleNetwork(now) {
    if (this.link !== 'down' || this.told) return;
    this.backoff.reset();
    // Not all pages in the same moment.
    this.until = Math.min(this.until, now + SPREAD * this.backoff.random());
  }

  /** @private The connection ends. If it was good, earlier failures no longer count. @param {number} now */
  settleGood(now) {
    if (this.link !== 'up' || now - this.since < GOOD) return;
    this.backoff.reset();
    // A token that is refused right after `welcome` is no better than one that is refused before it.
    this.reauthed = false;
  }

  /** @private @param {number} now @param {OnetreeError} error @param {number} retryInMs */
  goOffline(now, error, retryInMs) {
    this.goDown(now + retryInMs);
    this.mirrors.tellAll({ type: 'offline', error, retryInMs });
    this.effects.push({ do: 'status', status: { status: 'offline', error, retryInMs } });
  }

  /** The time of `nextTimeout` has come. Calling this at other times does no harm. @param {number} now */
  handleTimeout(now) {
    this.requests.handleTimeout(now);
    this.mirrors.handleTimeout(now);
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
    this.settleClose(now);
  }

  /** Returns when to call `handleTimeout` next; Infinity: never. */
  nextTimeout() {
    const { requests, mirrors, closing, unread } = this;
    const next = Math.min(this.deadAt(), requests.nextTimeout(), mirrors.nextTimeout(), closing?.until ?? Infinity, unread?.until ?? Infinity);
    return this.link === 'down' ? Math.min(next, this.until) : next;
  }

  /** @private */
  deadAt() {
    if (this.link === 'greeting') return this.until;
    if (this.link !== 'up') return Infinity;
    return this.goodbye?.until ?? this.heard + this.welcome?.['heartbeat_ms'] + GRACE;
  }

  /**
   * Returns the next message to send, if there is one and the broker's limits allow it now.
   * @returns {string | Uint8Array | undefined}
   */
  pollTransmit() {
    const { codec } = this.options;
    if (this.link === 'greeting' && this.hello === undefined) return codec.encodeClient(this.greet());
    if (this.link !== 'up' || this.goodbye || this.unread) return undefined;
    const limits = /** @type {import('./effects.js').Limits} */ (this.welcome?.['limits']);
    if (this.asks.size >= limits.in_flight) return undefined;
    const control = this.mirrors.next();
    if (control) return codec.encodeClient(control);
    const id = this.asks.nextId();
    const next = this.requests.next(id, this.seen, limits);
    if (next) {
      this.asks.put(id, { to: 'request', ticket: next.ticket });
      return next.message;
    }
    const bye = this.nextBye();
    return bye && codec.encodeClient(bye);
  }

  /** @private Returns the `hello`, with as many subscriptions as fit into one frame. The others follow it. */
  greet() {
    const id = this.asks.nextId();
    this.hello = id;
    const { name: client, session, token, seen, options: { agent }, requests: { since } } = this;
    return { op: 'hello', id, client, session, token, agent, seen, subs: this.mirrors.greet(), since };
  }

  /** @private Returns `bye` once everything else is done. @returns {Frame | undefined} */
  nextBye() {
    const { closing } = this;
    if (!closing?.bye || closing.said || !this.requests.isEmpty) return undefined;
    closing.said = true;
    return { op: 'bye', id: this.asks.add({ to: 'bye' }) };
  }

  // Frames of the broker.

  /** Takes a frame of the broker. @param {number} now @param {Frame} frame */
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
    this.settleClose(now);
  }

  /** @private @param {number} now @param {Frame} welcome */
  handleWelcome(now, welcome) {
    this.session = welcome['session'];
    if (!welcome['resumed']) this.late = 0;
    // Revisions of two histories cannot be compared.
    this.seen = welcome['rev'];
    const { session, resumed = false, epoch, rev, heartbeat_ms: heartbeatMs, limits } = welcome;
    this.ever = true;
    this.since = now;
    this.link = 'up';
    this.welcome = welcome;
    this.mirrors.handleWelcome(welcome);
    const connection = { session, resumed, epoch, rev, heartbeatMs, limits };
    this.effects.push({ do: 'status', status: { status: 'online', connection } });
    this.requests.handleSession(resumed, epoch, rev);
    if (this.requests.isNumbered && this.requests.history !== epoch) this.foreign = true;
    if (this.requests.handleHistory(epoch)) this.rename(now);
  }

  /** @private @param {number} now @param {Frame} frame */
  handleLive(now, frame) {
    switch (frame.op) {
      case 'delta':
        if (!frame['part']) this.see(frame['rev']);
        this.mirrors.handleDelta(now, frame);
        break;
      case 'done': case 'found':
        this.see(frame['rev']);
        this.handleReply(now, frame);
        break;
      case 'ok': this.handleReply(now, frame); break;
      case 'error':
        if (frame['id'] !== undefined) this.handleReply(now, frame);
        else if (frame['sub'] !== undefined) this.mirrors.handleError(now, frame['sub'], frame);
        else if (frame['code'] === 'bad-frame' && this.asks.size > 0) {
          // The broker could not read one of the client's frames and does not know which. Nothing more is sent until
          // that is known.
          this.unread = { many: (this.unread?.many ?? 0) + 1, until: now + this.options.requestTimeoutMs, message: frame['message'] };
        }
        break;
      case 'refresh': this.mirrors.handleRefresh(now, frame); break;
      case 'entries': this.mirrors.handleEntries(now, frame); break;
      case 'fresh':
        this.see(frame['rev']);
        this.mirrors.handleFresh(now, frame);
        break;
      case 'signal': this.mirrors.handleSignal(frame); break;
      case 'sync':
        this.see(frame['rev']);
        this.mirrors.handleSync(now, frame);
        break;
      case 'bye':
        // The broker still answers what it had accepted before.
        this.goodbye ??= { error: OnetreeError.fromFrame(/** @type {any} */ (frame)), until: now + BYE };
        break;
      default: this.fail(now, new OnetreeError('protocol', `'${frame.op}' came twice`));
    }
  }

  /** @private @param {number} now @param {Frame} frame */
  handleReply(now, frame) {
    const asked = this.asks.take(frame['id']);
    const failed = frame.op === 'error';
    switch (asked?.to) {
      case 'request':
        if (!failed) this.token = this.requests.frame(asked.ticket)?.['token'] ?? this.token;
        if (this.requests.answered(asked.ticket, frame)) this.rename(now);
        break;
      case 'sub': case 'resync':
        if (failed) this.mirrors.handleRefused(now, asked.to, asked.sub, frame);
        break;
      case 'sync': this.mirrors.handleUnverified(asked.waiting); break;
      case 'bye': this.finish(undefined); break;
      default:
    }
  }

  /**
   * @private If all others have been answered, the requests that are left are those that the broker could not read.
   * @param {number} now
   */
  settleUnread(now) {
    if (!this.unread || this.asks.size > this.unread.many) return;
    const { message } = this.unread;
    this.unread = undefined;
    for (const id of this.asks.ids) this.handleReply(now, { op: 'error', id, code: 'bad-frame', message });
  }

  /** @private @param {number} rev */
  see(rev) {
    if (this.seen === undefined || rev > this.seen) this.seen = rev;
  }

  /** @private Drops the connection. @param {number} now @param {OnetreeError} error */
  fail(now, error) {
    this.effects.push({ do: 'disconnect' });
    this.handleClosed(now, error);
  }

  /** @private Comes back under another client name: at once, unless the client did so shortly before. @param {number} now */
  rename(now) {
    this.settleGood(now);
    this.name = this.newName();
    const again = this.renamed !== undefined && now - this.renamed < GOOD;
    this.renamed = now;
    this.effects.push({ do: 'disconnect' });
    // `lost`, and not the code of a write: each write that this is about has its answer already, or is sent again.
    const why = this.foreign ? 'the broker has begun another history' : "the broker does not know this client's writes";
    this.foreign = false;
    this.goOffline(now, new OnetreeError('lost', `${why}, so this client comes back under another name`), again ? this.backoff.next() : 0);
  }

  /** @private There is no connection any more. @param {number} until */
  goDown(until) {
    this.link = 'down';
    this.told = false;
    this.until = until;
    this.goodbye = this.unread = undefined;
    this.requests.handleLost();
    this.mirrors.handleLost(this.asks.clear());
  }

  /**
   * Ends a client that is closing once its requests are done; one that says `bye` waits for the answer first. To be
   * called after `pollTransmit`, too: it may have refused the last request. @param {number} now
   */
  settleClose(now) {
    const { closing } = this;
    if (!closing || !this.requests.isEmpty) return;
    if (closing.bye) closing.until = Math.min(closing.until, now + BYE);
    else this.finish(undefined);
  }

  /** @private @param {OnetreeError | undefined} error */
  finish(error) {
    if (this.isOver) return;
    if (this.link !== 'down') this.effects.push({ do: 'disconnect' });
    this.goDown(Infinity);
    this.link = 'over';
    this.why = error;
    this.requests.end(error);
    this.mirrors.endAll(error && closedError(error));
    this.effects.push({ do: 'status', status: error ? { status: 'ended', error } : { status: 'ended' } });
  }
}
