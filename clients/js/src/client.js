// Joins a session with a socket and a clock, and is the application's side of a connection.

import { INSPECT, OnetreeError, closedError, throwToHost, wordsOf } from './errors.js';
import { json } from './json.js';
import { Mirror } from './live.js';
import { MirrorState } from './mirror.js';
import { CLIENT, FUNCTION, MIRROR, VIEW, known, must, oneOf } from './options.js';
import { viewOf } from './protocol/views.js';
import * as request from './request.js';
import { Room } from './room.js';
import { costOf } from './session/requests.js';
import { Session } from './session/session.js';
import { Snapshot } from './snapshot.js';
import { tokenOf } from './token.js';
import { Link, targetOf } from './transport.js';

export const VERSION = '0.1.0';
/** While so many bytes have not left the socket, nothing more is sent. */
const BUFFERED = 1 << 20;

/**
 * @typedef {import('./protocol/frames.js').Frame} Frame
 * @typedef {import('./session/effects.js').Status} Status
 * @typedef {{codec?: import('./json.js').Codec, label?: string, token?: string | (() => string | Promise<string>),
 *   agent?: string, reconnect?: 'never' | 'after-first' | 'always', requestTimeoutMs?: number, connectTimeoutMs?: number,
 *   queueBytes?: number, backoffMs?: [number, number]}} Options
 *   `codec`: JSON unless told (`msgpack` of `onetree/msgpack`); `label`: what the client's name begins with, at most 31 of
 *   A-Z a-z 0-9 _ -; `token`: asked before each attempt to connect when it is a function; `requestTimeoutMs` 30,000 ms,
 *   for the answer, and before it for room in the queue where there is none;
 *   `connectTimeoutMs` 10,000 ms, from asking for the token to `welcome`; `queueBytes` 16 MiB, each request counted as 512 bytes, 128 for each step, condition
 *   and path in it, and its values; `backoffMs` 100 and 20,000 ms; `reconnect`: `after-first` unless told
 * @typedef {{from?: Snapshot | {cookie: import('./protocol/frames.js').Cookie, entries: Iterable<import('./protocol/frames.js').Entry>},
 *   keep?: import('./live.js').Keep, signals?: boolean, everyMs?: number, once?: boolean}} MirrorOptions
 *   `from`: goes on from a copy that was saved, of one snapshot, or from a snapshot itself; `everyMs`: at most one delta in so many ms, folded; `once`: it
 *   ends when it is fresh
 */

const STATUS = oneOf('connecting', 'online', 'offline', 'ended');

/**
 * A client of one broker. Every request that can fail gives a promise that fails with an {@link OnetreeError}.
 */
export class Client {
  /**
   * Begins to connect; see {@link start}.
   * @param {string | URL} url
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    const {
      codec = json, label, token, agent = `onetree-js/${VERSION}`, reconnect = 'after-first', requestTimeoutMs = 30_000,
      connectTimeoutMs = 10_000, queueBytes = 16 << 20, backoffMs = [100, 20_000],
    } = known(options, CLIENT);
    /** @private */
    this.options = { codec, label, token, agent, reconnect, requestTimeoutMs, connectTimeoutMs, backoffMs };
    /** @private */
    this.target = targetOf(url);
    const tokenAgain = typeof token === 'function';
    /** @private */
    this.session = new Session({ ...this.options, tokenAgain });
    /** @private @type {Link | undefined} */
    this.link = undefined;
    /** @private @type {ReturnType<typeof setTimeout> | undefined} runs while the link takes nothing */
    this.draining = undefined;
    /** @private Counts the attempts to connect: what comes of an earlier one is nobody's. */
    this.attempt = 0;
    /** @private @type {Status} */
    this.current = { status: 'connecting' };
    /** @private @type {Set<(status: Status) => void>} */
    this.listeners = new Set();
    /** @private @type {Map<number, {resolve: (frame: any) => void, reject: (error: OnetreeError) => void, cost: number}>} */
    this.waiting = new Map();
    /** @private */
    this.room = new Room(queueBytes, requestTimeoutMs);
    /** @private */
    this.lastTicket = 0;
    /** @private */
    this.lastSub = 0;
    /** @private @type {Map<number, Mirror>} */
    this.mirrors = new Map();
    /** @private @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @private */
    this.timerAt = Infinity;
    /** @private */
    this.turning = false;
    /** @private */
    this.scheduled = false;
    /** @private The last saves of mirrors that have ended, as long as they take. @type {Set<Promise<void>>} */
    this.endings = new Set();
    /** @private */
    this.onNetwork = () => {
      this.session.handleNetwork(this.now());
      this.turn();
    };
    // Pages, and what works for them, are told; who is not, waits as long as he does.
    globalThis.addEventListener?.('online', this.onNetwork);
    this.turn();
  }

  /** How the client stands: `connecting`, `online`, `offline` or `ended`. @returns {Status['status']} */
  get status() {
    return this.current.status;
  }

  /** What the broker said when the connection that is there was made; absent when there is none. */
  get connection() {
    return this.current.status === 'online' ? this.current.connection : undefined;
  }

  /** Why the client is offline, or has ended by itself. */
  get error() {
    return this.current.status === 'offline' || this.current.status === 'ended' ? this.current.error : undefined;
  }

  /**
   * Calls `listener` with each status from now on. What it throws is thrown to the host, and it is called again.
   * @param {(status: Status) => void} listener
   * @returns {() => void} to be called to hear no more
   */
  onStatus(listener) {
    this.listeners.add(must(FUNCTION, 'listener', listener));
    return () => void this.listeners.delete(listener);
  }

  /**
   * Waits until the client stands so; fails when it has ended otherwise.
   * @param {Status['status']} wanted
   * @returns {Promise<Status>}
   */
  until(wanted) {
    return new Promise((resolve, reject) => {
      must(STATUS, 'status', wanted);
      /** @param {Status} status */
      const look = (status) => {
        if (status.status === wanted) resolve(status);
        else if (status.status === 'ended') reject(closedError(status.error));
        else return false;
        return true;
      };
      if (look(this.current)) return;
      const stop = this.onStatus((status) => {
        if (look(status)) stop();
      });
    });
  }

  // Writes. A write that was sent and whose answer was lost is sent again until it has one, and takes effect once.

  /**
   * Puts a value at a path: a {@link Value}, bytes, or anything that has JSON.
   * @param {string} path
   * @param {unknown} value
   * @param {request.PutOptions} [options]
   * @returns {Promise<request.Done>}
   */
  async put(path, value, options) {
    return this.write(request.put(path, value, options));
  }

  /**
   * Appends to a log; `paths` of the answer has the path that the broker assigned.
   * @param {string} log
   * @param {unknown} value
   * @param {request.AppendOptions} [options]
   * @returns {Promise<request.Done>}
   */
  async append(log, value, options) {
    return this.write(request.append(log, value, options));
  }

  /** Deletes the entry at a path. @param {string} path @param {request.IfOptions} [options] */
  async delete(path, options) {
    return this.write(request.remove(path, options));
  }

  /** Drops everything at and under a path. @param {string} path @param {request.IfOptions} [options] */
  async dropTree(path, options) {
    return this.write(request.dropTree(path, options));
  }

  /** Trims a log up to and including a log key. @param {string} log @param {string} to @param {request.NoOptions} [options] */
  async trim(log, to, options) {
    return this.write(request.trim(log, to, options));
  }

  /**
   * Commits a transaction, all of it at one revision; `conflict` when a condition does not hold:
   * `{if: [{path, rev}, {tree, rev}], do: [{do: 'put', path, value}, …]}`.
   * @param {request.Txn} txn
   * @returns {Promise<request.Done>}
   */
  async txn(txn) {
    return this.write(request.txn(txn));
  }

  /**
   * @internal
   * @param {Frame} frame
   * @param {string} [of] the history that it is about, and no other
   * @returns {Promise<request.Done>}
   */
  async write(frame, of) {
    const { rev, durable, paths = [] } = await this.ask(frame, 'done', of);
    return { rev, durable, paths };
  }

  /**
   * Sends a signal, which is never stored. Without a connection it waits for one, as a write does: one that must not come late is
   * sent while `status` is `online` only.
   * @param {string} path
   * @param {unknown} value
   * @param {request.NoOptions} [options]
   */
  async signal(path, value, options) {
    await this.ask(request.signal(path, value, options), 'ok');
  }

  // Reads.

  /** The entry at a path, as the broker has it now. @param {string} path */
  async get(path) {
    return (await this.getMany([path])).entries[0];
  }

  /** The entries at paths, read at one revision; what is absent is missing. @param {string[]} paths @returns {Promise<request.Found>} */
  async getMany(paths) {
    return found(await this.ask(request.get(paths), 'found'));
  }

  /**
   * A page of the entries at and under a path, in path order.
   * @param {string} path
   * @param {request.ListOptions} [options]
   * @returns {Promise<request.Found>}
   */
  async list(path, options) {
    return found(await this.ask(request.list(path, options), 'found'));
  }

  /** Shows a later token. @param {string} token */
  async auth(token) {
    await this.ask(request.auth(token), 'ok');
  }

  /**
   * A live copy of a view; a text is the tree at that path. It is there at once; `await mirror.fresh()` waits until it is
   * whole.
   * @param {string | import('./protocol/views.js').ViewOptions} view
   * @param {MirrorOptions} [options]
   * @returns {Mirror}
   */
  mirror(view, options = {}) {
    const { from, keep, signals = false, everyMs = 0, once = false } = known(options, MIRROR);
    if (typeof view !== 'string') known(view, VIEW);
    const state = new MirrorState(viewOf(view), from && Snapshot.checked(from));
    this.lastSub += 1;
    const sub = this.lastSub;
    const mirror = new Mirror(this, sub, state, keep);
    this.mirrors.set(sub, mirror);
    const begin = () => {
      if (!this.mirrors.has(sub)) return;
      this.session.mirror(sub, state, { once, signals, everyMs });
      this.soon();
    };
    // What is kept goes before `from`; where that cannot be read it is named, and `keep` says whether it is replaced.
    if (keep) void mirror.load(keep).then(begin);
    else begin();
    return mirror;
  }

  /**
   * Ends the session at once, with its ephemeral entries, and the client with it. What was asked before, and had room in the queue,
   * is done first, when there is a connection; otherwise it fails with `closed`, and `sent` of the error says whether it may have
   * happened. What mirrors keep is saved when this returns, also of those whose own `close` nobody waited for.
   */
  close() {
    return this.end(true);
  }

  /** As {@link Client#close}, but the session lives on for its grace: the broker keeps its ephemeral entries that long. */
  leave() {
    return this.end(false);
  }

  /** How it is told as JSON, and printed: how it stands. */
  toJSON() {
    const { protocol, host, pathname } = new URL(this.target);
    return { url: `${protocol}//${host}${pathname}`, status: this.status };
  }

  /** Its innards are nobody's, and have the token in them. */
  [INSPECT]() {
    return `Client ${JSON.stringify(this)}`;
  }

  // Inside.

  /** @private @param {boolean} bye */
  async end(bye) {
    this.session.close(this.now(), bye);
    this.soon();
    await this.until('ended');
    await Promise.all(this.endings);
  }

  /**
   * @private Asks, when there is room; waits for it at most `requestTimeoutMs`.
   * @param {Frame} frame
   * @param {string} op of the answer
   * @param {string} [of] the history that it is about, however long it waits
   * @returns {Promise<any>}
   */
  async ask(frame, op, of = this.session.historyOf(frame)) {
    const cost = costOf(frame);
    const answer = await /** @type {Promise<Frame>} */ (new Promise((resolve, reject) => {
      this.room.enter(cost, () => this.enqueue(frame, of, cost, resolve, reject), reject);
    }));
    // A write may have happened: it is not to be asked again.
    if (answer.op !== op) throw new OnetreeError('outcome-unknown', `the broker answered '${answer.op}' instead of '${op}'`);
    return answer;
  }

  /** @private @param {Frame} frame @param {string | undefined} of @param {number} cost @param {(frame: any) => void} resolve @param {(error: OnetreeError) => void} reject */
  enqueue(frame, of, cost, resolve, reject) {
    this.lastTicket += 1;
    this.waiting.set(this.lastTicket, { resolve, reject, cost });
    this.session.request(this.now(), this.lastTicket, frame, of);
    this.soon();
  }

  /** @internal */
  wantSync() {
    this.session.wantSync();
    this.soon();
  }

  /** @internal As {@link Session#lastDone}. */
  get lastDone() {
    return this.session.lastDone;
  }

  /** @internal @param {number} sub */
  resyncMirror(sub) {
    this.session.resync(sub);
    this.effects();
    this.soon();
  }

  /** @internal @param {number} sub @returns {Promise<import('./session/effects.js').Verdict>} */
  verifyMirror(sub) {
    return new Promise((resolve, reject) => {
      this.lastTicket += 1;
      this.waiting.set(this.lastTicket, { resolve, reject, cost: 0 });
      this.session.verify(this.now(), this.lastTicket, sub);
      this.soon();
    });
  }

  /** @internal Whether it has ended, or does what was asked before its end. */
  get isClosing() {
    return this.session.isOver || this.session.closing !== undefined;
  }

  /** @internal The end of the client waits for this, too. @param {Promise<void>} ending which does not fail */
  outlast(ending) {
    this.endings.add(ending);
    void ending.then(() => this.endings.delete(ending));
  }

  /** @internal @param {number} sub */
  dropMirror(sub) {
    this.session.dropMirror(sub);
    this.mirrors.delete(sub);
    this.soon();
  }

  /** @private */
  now() {
    return performance.now();
  }

  /** @private A turn when what is running is done: what is asked together is sent together. */
  soon() {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      this.turn();
    });
  }

  /** @private Does what there is to do, and sets the clock for the rest. */
  turn() {
    if (this.turning) return;
    this.turning = true;
    try {
      this.session.handleTimeout(this.now());
      this.effects();
      while (this.link) {
        if (this.link.buffered > BUFFERED) {
          // One clock, however often it comes by here meanwhile.
          this.draining ??= setTimeout(() => {
            this.draining = undefined;
            this.soon();
          }, 5);
          break;
        }
        const message = this.session.pollTransmit();
        if (message === undefined) break;
        this.link.send(message);
      }
      this.effects();
    } finally {
      this.turning = false;
      this.setClock();
    }
  }

  /** @private */
  setClock() {
    const at = this.session.nextTimeout();
    // A timer that is early only looks again; moving it at each request would cost more.
    if (at < this.timerAt || this.timer === undefined) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.timerAt = at;
      if (at < Infinity && !this.session.isOver) {
        const wait = Math.min(Math.max(at - this.now(), 0) + 1, 2 ** 31 - 1);
        this.timer = setTimeout(() => {
          this.timer = undefined;
          this.timerAt = Infinity;
          this.turn();
        }, wait);
      }
    }
    if (this.session.isOver) clearTimeout(this.timer);
  }

  /** @private */
  effects() {
    for (let effects = this.session.takeEffects(); effects.length > 0; effects = this.session.takeEffects()) {
      for (const effect of effects) {
        // Those behind one that fails are somebody's answers.
        try {
          this.effect(effect);
        } catch (error) {
          throwToHost(error);
        }
      }
    }
  }

  /** @private @param {import('./session/effects.js').Effect} effect */
  effect(effect) {
    switch (effect.do) {
      case 'connect': void this.connect(); break;
      case 'disconnect':
        this.attempt += 1;
        this.link?.close();
        this.link = undefined;
        break;
      case 'reply': {
        const waiting = this.waiting.get(effect.ticket);
        if (effect.error) waiting?.reject(effect.error);
        else waiting?.resolve(effect.frame);
        break;
      }
      case 'release': {
        const cost = this.waiting.get(effect.ticket)?.cost ?? 0;
        this.waiting.delete(effect.ticket);
        this.room.leave(cost);
        break;
      }
      case 'verdict': {
        const waiting = this.waiting.get(effect.ticket);
        this.waiting.delete(effect.ticket);
        if ('error' in effect) waiting?.reject(effect.error);
        else waiting?.resolve(effect.verdict);
        break;
      }
      case 'mirror': {
        const mirror = this.mirrors.get(effect.sub);
        mirror?.publish(effect.event);
        if (effect.event?.type === 'ended') this.mirrors.delete(effect.sub);
        break;
      }
      default:
        this.current = effect.status;
        if (effect.status.status === 'ended') this.finish();
        for (const listener of [...this.listeners]) {
          try {
            listener(effect.status);
          } catch (error) {
            throwToHost(error);
          }
        }
    }
  }

  /** @private The client has ended: nobody waits in vain. */
  finish() {
    globalThis.removeEventListener?.('online', this.onNetwork);
    this.room.close(closedError(this.error, false));
    // Mirrors whose copy was still being loaded.
    const why = this.error && { error: closedError(this.error) };
    for (const mirror of this.mirrors.values()) mirror.publish({ type: 'ended', ...why });
    this.mirrors.clear();
  }

  /** @private */
  async connect() {
    this.attempt += 1;
    const { attempt } = this;
    const { token, codec, connectTimeoutMs } = this.options;
    let shown = this.session.token === undefined && typeof token === 'string' ? token : undefined;
    // All of the attempt has one deadline.
    let until = this.now() + connectTimeoutMs;
    if (typeof token === 'function') {
      try {
        const asked = tokenOf(token, connectTimeoutMs);
        // Of a function that did not give way no time is taken: it has held up this clock, too.
        until = this.now() + connectTimeoutMs;
        shown = await asked;
      } catch (cause) {
        if (attempt !== this.attempt) return;
        this.session.handleClosed(this.now(), new OnetreeError('unreachable', `there is no token: ${wordsOf(cause)}`, { cause }));
        this.turn();
        return;
      }
      if (attempt !== this.attempt) return;
    }
    const mine = () => attempt === this.attempt;
    this.link = new Link(this.target, codec, Math.max(until - this.now(), 0), {
      open: () => {
        if (!mine()) return;
        this.session.handleOpen(this.now(), shown, until);
        this.turn();
      },
      heard: () => {
        if (mine()) this.session.heard = this.now();
      },
      message: (data) => {
        if (!mine()) return;
        let frame;
        try {
          frame = codec.decodeServer(data);
        } catch (cause) {
          this.attempt += 1;
          this.link?.close();
          this.link = undefined;
          const error = new OnetreeError('protocol', `a frame of the broker cannot be read: ${cause}`, { cause });
          this.session.handleClosed(this.now(), error);
          this.turn();
          return;
        }
        this.session.handleFrame(this.now(), frame);
        this.effects();
        this.soon();
      },
      closed: (error) => {
        if (!mine()) return;
        this.link = undefined;
        this.session.handleClosed(this.now(), error);
        this.turn();
      },
    });
  }
}

/** @param {Frame} frame @returns {request.Found} */
function found({ rev, entries = [], more = false }) {
  const plain = entries.map((/** @type {any} */ { path, rev: at, value }) => (value ? { path, rev: at, value } : { path, rev: at }));
  return { rev, entries: plain, more };
}

/**
 * Begins to connect and returns at once; what is asked meanwhile waits for the connection.
 * @param {string | URL} url `ws://host:port`, with `/v1/sync` as the path when there is none
 * @param {Options} [options]
 */
export function start(url, options) {
  return new Client(url, options);
}

/**
 * Connects, and waits for the broker's `welcome`.
 * @param {string | URL} url
 * @param {Options} [options]
 * @returns {Promise<Client>}
 */
export async function connect(url, options) {
  const client = start(url, options);
  try {
    await client.until('online');
  } catch (error) {
    // Nobody has had it yet: there is only why.
    throw client.error ?? error;
  }
  return client;
}
