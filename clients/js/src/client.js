// The client: it drives a session with a socket and a clock, and is the application's handle to the connection.

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
/** While more than this many bytes are in the socket's buffer, nothing more is sent. */
const BUFFERED = 1 << 20;
/** How long what is overdue waits at most for a socket that always has something, ms. */
const BUSY = 1_000;

/**
 * @typedef {import('./protocol/frames.js').Frame} Frame
 * @typedef {import('./session/effects.js').Status} Status
 * @typedef {{codec?: import('./json.js').Codec, label?: string, token?: string | (() => string | Promise<string>),
 *   agent?: string, reconnect?: 'never' | 'after-first' | 'always', requestTimeoutMs?: number, connectTimeoutMs?: number,
 *   queueBytes?: number, backoffMs?: [number, number]}} Options
 * - `codec`: JSON by default, or `msgpack` of `onetree/msgpack`
 * - `label`: what the client's name begins with, for the broker's log: 1 to 31 of A-Z a-z 0-9 _ -
 * - `token`: a text, or a function that gives one. The client calls the function before each attempt to connect
 * - `agent`: the name of the program, for the broker's log. The default is `onetree-js/<version>`
 * - `reconnect`: when the client reconnects by itself. The default is `after-first`
 * - `requestTimeoutMs`: how long a request waits for its answer, including the time without a connection. The default
 *   is 30,000. A request that must wait for room in the queue first may wait as long again
 * - `connectTimeoutMs`: how long one attempt to connect may take, from the call for the token to `welcome`. The default
 *   is 10,000
 * - `queueBytes`: how many bytes of requests may wait for their answers. The default is 16 MiB. Each request counts as
 *   512 bytes, plus 128 for each step, condition and path in it, plus its values. Further requests wait for room
 * - `backoffMs`: the longest first wait between attempts to connect, and the longest of all. The default is 100 and
 *   20,000
 * @typedef {{from?: Snapshot | {cookie: import('./protocol/frames.js').Cookie, entries: Iterable<import('./protocol/frames.js').Entry>},
 *   keep?: import('./live.js').Keep, signals?: boolean, everyMs?: number, once?: boolean}} MirrorOptions
 * - `from`: the mirror starts with this copy: a snapshot, or the cookie and the entries of one snapshot
 * - `keep`: where the mirror survives the process. What is kept there takes precedence over `from`
 * - `signals`: whether the mirror receives signals
 * - `everyMs`: at most one delta in this time; changes are folded meanwhile
 * - `once`: the mirror ends when it is fresh
 */

const STATUS = oneOf('connecting', 'online', 'offline', 'ended');

/** A client of one broker. A request that fails rejects its promise with an {@link OnetreeError}. */
export class Client {
  /**
   * Creates a client; see {@link start}.
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
    /** @private Counts the attempts to connect: results of an earlier attempt are ignored. */
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
    /** @private The last saves of mirrors that have ended, while they are under way. @type {Set<Promise<void>>} */
    this.endings = new Set();
    /** @private */
    this.onNetwork = () => {
      this.session.handleNetwork(this.now());
      this.turn();
    };
    // Pages and hosts like them fire `online`. Other hosts do not, and their clients wait for the backoff.
    globalThis.addEventListener?.('online', this.onNetwork);
    this.turn();
  }

  /** The state of the connection: `connecting`, `online`, `offline` or `ended`. @returns {Status['status']} */
  get status() {
    return this.current.status;
  }

  /** What the broker said in its `welcome`; `undefined` if there is no connection. */
  get connection() {
    return this.current.status === 'online' ? this.current.connection : undefined;
  }

  /** Why the client is offline, or has ended by itself; otherwise `undefined`. */
  get error() {
    return this.current.status === 'offline' || this.current.status === 'ended' ? this.current.error : undefined;
  }

  /**
   * Calls `listener` with each change of the state of the connection from now on. An error that `listener` throws goes
   * to the host, and `listener` is called for the next change all the same.
   * @param {(status: Status) => void} listener
   * @returns {() => void} a function that removes the listener
   */
  onStatus(listener) {
    this.listeners.add(must(FUNCTION, 'listener', listener));
    return () => void this.listeners.delete(listener);
  }

  /**
   * Waits until the state of the connection is `wanted`. Fails if the client has ended without reaching it.
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

  // Writes. If the answer to a write is lost, the client sends the write again until it is answered. It takes effect
  // once.

  /**
   * Puts `value` at `path`. The value may be a {@link Value}, bytes, or anything that has JSON.
   * @param {string} path
   * @param {unknown} value
   * @param {request.PutOptions} [options] a condition, a time to live, or ephemeral
   * @returns {Promise<request.Done>}
   */
  async put(path, value, options) {
    return this.write(request.put(path, value, options));
  }

  /**
   * Appends `value` to a log. `paths` of the answer has the path that the broker assigned.
   * @param {string} log
   * @param {unknown} value
   * @param {request.AppendOptions} [options]
   * @returns {Promise<request.Done>}
   */
  async append(log, value, options) {
    return this.write(request.append(log, value, options));
  }

  /** Deletes the entry at `path`. @param {string} path @param {request.IfOptions} [options] */
  async delete(path, options) {
    return this.write(request.remove(path, options));
  }

  /** Deletes everything at and under `path`. @param {string} path @param {request.IfOptions} [options] */
  async dropTree(path, options) {
    return this.write(request.dropTree(path, options));
  }

  /**
   * Deletes the entries of a log up to and including the key `to`.
   * @param {string} log
   * @param {string} to
   * @param {request.NoOptions} [options]
   */
  async trim(log, to, options) {
    return this.write(request.trim(log, to, options));
  }

  /**
   * Commits several writes as one, all or nothing, at one revision: `{if: [{path, rev}, {tree, rev}], do: [{do: 'put',
   * path, value}, …]}`. Fails with `conflict` if a condition does not hold.
   * @param {request.Txn} txn
   * @returns {Promise<request.Done>}
   */
  async txn(txn) {
    return this.write(request.txn(txn));
  }

  /**
   * @internal
   * @param {Frame} frame
   * @param {string} [of] the history that the write is about; it is sent in no other
   * @returns {Promise<request.Done>}
   */
  async write(frame, of) {
    const { rev, durable, paths = [] } = await this.ask(frame, 'done', of);
    return { rev, durable, paths };
  }

  /**
   * Sends a signal, which is never stored, to the subscribers that are connected now. The answer says that the broker
   * has the signal. Without a connection the signal waits for one, as a write does, and arrives that much later. If a
   * signal must not come late, send it only while `status` is `online`.
   * @param {string} path
   * @param {unknown} value
   * @param {request.NoOptions} [options]
   */
  async signal(path, value, options) {
    await this.ask(request.signal(path, value, options), 'ok');
  }

  // Reads.

  /** Reads the entry at `path` from the broker; `undefined` if there is none. @param {string} path */
  async get(path) {
    return (await this.getMany([path])).entries[0];
  }

  /**
   * Reads the entries at `paths` from the broker, all at one revision. Paths without an entry are left out.
   * @param {string[]} paths
   * @returns {Promise<request.Found>}
   */
  async getMany(paths) {
    return found(await this.ask(request.get(paths), 'found'));
  }

  /**
   * Reads one page of the entries at and under `path` from the broker, in path order.
   * @param {string} path
   * @param {request.ListOptions} [options]
   * @returns {Promise<request.Found>}
   */
  async list(path, options) {
    return found(await this.ask(request.list(path, options), 'found'));
  }

  /** Gives the broker a later token. Once the broker has taken it, later connections use it, too. @param {string} token */
  async auth(token) {
    await this.ask(request.auth(token), 'ok');
  }

  /**
   * Starts a live copy of a view, and returns it at once. `await mirror.fresh()` waits until it is whole. A string is
   * the whole tree at that path.
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
    // The kept copy takes precedence over `from`. If it cannot be read, `keepError` says so, and `keep` decides whether
    // a save replaces it.
    if (keep) void mirror.load(keep).then(begin);
    else begin();
    return mirror;
  }

  /**
   * Ends the client and its session, whose ephemeral entries the broker deletes at once. With a connection, earlier
   * requests that had room in the queue are done first. Without one, they fail with `closed`, and `sent` of the error
   * says whether they may have happened. When the promise resolves, what mirrors keep is saved, also that of mirrors
   * whose own `close` nobody awaited.
   */
  close() {
    return this.end(true);
  }

  /**
   * Ends the client as {@link Client#close} does, but the session lives on for its grace: the broker keeps the client's
   * ephemeral entries that long.
   */
  leave() {
    return this.end(false);
  }

  /** The broker's address and the state of the connection, for JSON and for printing. */
  toJSON() {
    const { protocol, host, pathname } = new URL(this.target);
    return { url: `${protocol}//${host}${pathname}`, status: this.status };
  }

  /** Printing shows no private fields: they contain the token. */
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
   * @private Makes a request once there is room in the queue. Waits for room at most `requestTimeoutMs`.
   * @param {Frame} frame
   * @param {string} op the `op` of the expected answer
   * @param {string} [of] the history that the request is about, however long it waits
   * @returns {Promise<any>}
   */
  async ask(frame, op, of = this.session.historyOf(frame)) {
    const cost = costOf(frame);
    const answer = await /** @type {Promise<Frame>} */ (new Promise((resolve, reject) => {
      this.room.enter(cost, () => this.enqueue(frame, of, cost, resolve, reject), reject);
    }));
    // A write may have happened, so it must not be requested again.
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

  /** @internal See {@link Session#lastDone}. */
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

  /** @internal Whether the client has ended, or is doing earlier requests before it ends. */
  get isClosing() {
    return this.session.isOver || this.session.closing !== undefined;
  }

  /**
   * @internal Makes the end of the client wait for `ending`, too. @param {Promise<void>} ending a promise that does not
   *   fail
   */
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

  /** @private Schedules a turn after the code that is running: requests that are made together are sent together. */
  soon() {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      this.turn();
    });
  }

  /** @private Does what there is to do, and sets the timer for the rest. */
  turn() {
    if (this.turning) return;
    this.turning = true;
    try {
      // With a connection, the clock has a turn of its own.
      if (!this.link) this.session.handleTimeout(this.now());
      this.effects();
      while (this.link) {
        if (this.link.buffered > BUFFERED) {
          // One timer, however often this is reached meanwhile.
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
      this.session.settleClose(this.now());
      this.effects();
    } finally {
      this.turning = false;
      this.setClock();
    }
  }

  /** @private */
  setClock() {
    const at = this.session.nextTimeout();
    // A timer that is early only checks again. To move it at each request would cost more.
    if (at < this.timerAt || this.timer === undefined) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.timerAt = at;
      if (at < Infinity && !this.session.isOver) {
        const wait = Math.min(Math.max(at - this.now(), 0) + 1, 2 ** 31 - 1);
        this.timer = setTimeout(() => this.ring(this.now()), wait);
      }
    }
    if (this.session.isOver) clearTimeout(this.timer);
  }

  /**
   * @private The time of the session has come. What has arrived is not late, but a host that was busy runs its timers
   * before it reads its sockets. So with a connection, this looks again until nothing has come since it last looked.
   * @param {number} since when it looked first
   * @param {number} [heard] when something had come last when it last looked
   */
  ring(since, heard) {
    const now = this.now();
    const last = this.session.heard;
    if (this.link && heard !== last && now - since < BUSY) {
      this.timerAt = -Infinity;
      this.timer = setTimeout(() => this.ring(since, last));
      return;
    }
    this.timer = undefined;
    this.timerAt = Infinity;
    this.session.handleTimeout(now);
    this.turn();
  }

  /** @private */
  effects() {
    for (let effects = this.session.takeEffects(); effects.length > 0; effects = this.session.takeEffects()) {
      for (const effect of effects) {
        // If one effect throws, the effects after it must still be carried out: some are answers to requests.
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

  /** @private The client has ended: whoever waits for something gets an answer. */
  finish() {
    globalThis.removeEventListener?.('online', this.onNetwork);
    this.room.close(closedError(this.error, false));
    // Mirrors whose kept copy is still being loaded.
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
    // The whole attempt has one deadline.
    let until = this.now() + connectTimeoutMs;
    if (typeof token === 'function') {
      try {
        const asked = tokenOf(token, connectTimeoutMs);
        // The time of a function that blocks is not counted: it has also held up this client's clock.
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
 * Creates a client and returns at once. What you request meanwhile waits for the connection. If there is no broker at
 * first, the client ends, unless `reconnect` is `always`.
 * @param {string | URL} url such as `ws://host:port`; if it has no path, the path is `/v1/sync`
 * @param {Options} [options]
 */
export function start(url, options) {
  return new Client(url, options);
}

/**
 * Creates a client and waits for the broker's `welcome`.
 * @param {string | URL} url such as `ws://host:port`; if it has no path, the path is `/v1/sync`
 * @param {Options} [options]
 * @returns {Promise<Client>}
 */
export async function connect(url, options) {
  const client = start(url, options);
  try {
    await client.until('online');
  } catch (error) {
    // Nobody has the client yet, so all that can be reported is why it ended.
    throw client.error ?? error;
  }
  return client;
}
