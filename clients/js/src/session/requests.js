// Requests: what waits to be sent, what waits for its answer, and the numbers with which a write that is sent again
// takes effect once.
//
// A write gets its `seq` when it is sent for the first time, in the order in which the writes were requested. It keeps
// the `seq` over reconnects. The broker takes `last + 1` only. A write that was refused before it reached the tree uses
// up no number. So the writes sent after it come back as `seq-gap`, and none of them was executed. Then no new write is
// sent until all writes that are on their way have been answered ("settling"). Those that came back get new numbers, in
// their order.

import { OnetreeError, closedError } from '../errors.js';
import { Line } from '../line.js';
import { isKeyed } from '../protocol/log-keys.js';
import { byteLength } from '../protocol/texts.js';

/** How often one write may get a new number while no write is answered. Then it is given up. */
const RENUMBERED = 3;
const WRITES = new Set(['put', 'append', 'delete', 'drop', 'trim', 'txn']);

/**
 * @typedef {import('../protocol/frames.js').Frame} Frame
 * @typedef {{frame: Frame, of: string | undefined, seq: number | undefined, sent: number, replied: boolean, inFlight: boolean, renumbered: number}}
 * Request `of`: the history that it is about, if it is about one; `sent`: how often it was sent under this number;
 * `replied`: whether the application has its answer already, or a timeout
 */

/**
 * Returns the paths at which a write names a revision, in a condition or by the key of a log. Another history may have
 * something else at that revision. The condition that an entry is absent (revision 0) is not listed: it names no
 * revision.
 * @param {Frame} frame
 * @returns {string[]} paths
 */
export function ofHistory({ op, path, if: only, do: steps = [] }) {
  if (!WRITES.has(op)) return [];
  /** @param {{path?: string, tree?: string}[]} list */
  const paths = (list) => list.map((one) => one.path ?? /** @type {string} */ (one.tree));
  if (op === 'txn') return paths([...(only ?? []).filter((/** @type {any} */ one) => one.rev > 0), ...steps.filter(names)]);
  return only?.rev > 0 || names({ do: op, path }) ? [path] : [];
}

/** @param {{do: string, path: string}} step */
const names = ({ do: what, path }) => what === 'trim' || isKeyed(path);

/** Whether a request makes an ephemeral entry, which belongs to the session. @param {Frame} frame */
const isEphemeral = ({ ephemeral, do: steps = [] }) => ephemeral || steps.some((/** @type {Frame} */ step) => step['ephemeral']);

/**
 * Returns the values of a request, each with its path.
 * @param {Frame} frame
 * @returns {{path: string, value: import('../protocol/values.js').Value}[]}
 */
function valuesOf(frame) {
  const parts = frame.op === 'txn' ? frame['do'] ?? [] : [frame];
  return parts.filter((/** @type {any} */ { value }) => value !== undefined);
}

/**
 * Returns how many bytes a request counts in the queue: its values, and an estimate of everything else.
 * @param {Frame} frame
 */
export function costOf(frame) {
  let parts = 0;
  for (const list of ['if', 'do', 'paths']) if (Array.isArray(frame[list])) parts += frame[list].length;
  return valuesOf(frame).reduce((sum, { value }) => sum + value.size, 512 + parts * 128);
}

export class Requests {
  /**
   * @param {number} timeout ms
   * @param {import('../json.js').Codec} codec
   * @param {import('./effects.js').Effects} effects
   */
  constructor(timeout, codec, effects) {
    this.timeout = timeout;
    this.codec = codec;
    this.effects = effects;
    /** @type {Map<number, Request>} */
    this.all = new Map();
    /** The tickets of the requests to be sent, in the order of the requests. @type {Line<number>} */
    this.queue = new Line();
    /** @type {Line<[number, number]>} */
    this.deadlines = new Line();
    /** The broker's history, from its last `welcome`. @type {string | undefined} */
    this.history = undefined;
    /** The highest revision in that history at which the application was told that a write is done. */
    this.lastDone = 0;
    this.nextSeq = 1;
    /** The highest `seq` that the broker is known to have used up. */
    this.floor = 0;
    /** The highest revision that was known when number 1 was given. @type {number | undefined} */
    this.began = undefined;
    /** The present revision when the current session began: what the session owns is above it. */
    this.session = 0;
    /** Whether a write was answered since numbers were last settled. */
    this.progress = false;
    /** The tickets of the writes that came back while numbers are being settled. @type {number[]} */
    this.back = [];
    this.settling = false;
    this.renaming = false;
    /** How many requests have a number. */
    this.numbered = 0;
  }

  get isEmpty() {
    return this.all.size === 0;
  }

  /** Whether a write has had a number under the present client name. */
  get isNumbered() {
    return this.nextSeq > 1;
  }

  /**
   * Adds a request.
   * @param {number} now
   * @param {number} ticket
   * @param {Frame} frame
   * @param {string | undefined} history the history that it is about; undefined: the present one
   */
  add(now, ticket, frame, history) {
    const of = ofHistory(frame).length > 0 ? history ?? this.history : undefined;
    this.all.set(ticket, { frame, of, seq: undefined, sent: 0, replied: false, inFlight: false, renumbered: 0 });
    this.queue.push(ticket);
    this.deadlines.push([now + this.timeout, ticket]);
    this.refuseForeign(ticket);
  }

  /**
   * Takes from `welcome` whether the session of before goes on. If another has begun, the former one is over, and its
   * ephemeral entries are gone. To be called before {@link Requests#handleHistory}.
   * @param {boolean} resumed
   * @param {string} epoch
   * @param {number} rev
   */
  handleSession(resumed, epoch, rev) {
    if (!resumed) this.session = rev;
    else if (this.history !== epoch) this.session = 0;
  }

  /**
   * Takes from `welcome` which history the broker has. A write that is about another history is not sent in this one,
   * because something else may be at the same revision. A write that was sent in another history is not sent again
   * either: it may be in this history already, if this one was made from the other.
   * @param {string} epoch
   * @returns {boolean} whether the session must come back under another name
   */
  handleHistory(epoch) {
    if (this.history === epoch) return false;
    this.history = epoch;
    this.lastDone = 0;
    // This history may know the numbers, so they must not be given to other writes.
    if (this.numbered > 0) this.settling = this.renaming = true;
    for (const ticket of [...this.all.keys()].sort((a, b) => a - b)) this.refuseForeign(ticket);
    return this.settle();
  }

  /** @private @param {number} ticket */
  refuseForeign(ticket) {
    const request = this.all.get(ticket);
    if (request === undefined) return;
    // Nothing was sent in the present history yet, so a number is of another one.
    const sent = request.seq !== undefined;
    const about = request.of !== undefined && this.history !== undefined && request.of !== this.history;
    if (!sent && !about) return;
    const error = sent
      ? new OnetreeError('outcome-unknown', 'it was sent, and the broker has begun another history without an answer')
      : new OnetreeError('conflict', "it is about a history that is no longer the broker's");
    this.finish(ticket, { error });
  }

  /** Returns the frame of a request, as long as it waits. @param {number} ticket */
  frame(ticket) {
    return this.all.get(ticket)?.frame;
  }

  /** @private @param {number[]} tickets */
  requeue(tickets) {
    if (tickets.length === 0) return;
    this.queue = new Line([...new Set([...this.queue.clear(), ...tickets])].sort((a, b) => a - b));
  }

  /** @private @param {Request} request @param {number | undefined} seq */
  number(request, seq) {
    this.numbered += Number(seq !== undefined) - Number(request.seq !== undefined);
    request.seq = seq;
  }

  /**
   * Returns `since` for `hello`: a revision before all writes that were sent, if no write under this name was answered.
   * Otherwise a broker that has forgotten the name meanwhile could take the first of them for a new write.
   * @returns {number | undefined}
   */
  get since() {
    return this.floor === 0 && this.numbered > 0 ? this.began : undefined;
  }

  /**
   * Returns the next request to send, with the number `id`. Refuses requests that can never be sent.
   * @param {number} id
   * @param {number | undefined} seen the highest revision that is known
   * @param {import('./effects.js').Limits} limits
   */
  next(id, seen, limits) {
    for (let ticket = this.take(); ticket !== undefined; ticket = this.take()) {
      const request = this.all.get(ticket);
      if (request === undefined) continue;
      const write = WRITES.has(request.frame.op);
      const seq = request.seq ?? (write ? this.nextSeq : undefined);
      try {
        const message = this.encode({ ...request.frame, id, seq }, limits);
        if (write && request.seq === undefined) {
          if (this.nextSeq === 1) this.began = seen;
          this.nextSeq += 1;
        }
        this.number(request, seq);
        request.sent += 1;
        request.inFlight = true;
        return { ticket, message };
      } catch (error) {
        this.finish(ticket, { error: asError(error) });
      }
    }
    return undefined;
  }

  /**
   * @private Takes the next ticket. While settling, a write without a number waits for the answers to those that have
   *   one. These go first: if the connection was lost meanwhile, they must be sent again.
   * @returns {number | undefined}
   */
  take() {
    const ticket = this.queue.first;
    if (ticket === undefined) return undefined;
    const request = this.all.get(ticket);
    if (this.settling && request !== undefined && request.seq === undefined && WRITES.has(request.frame.op)) {
      return this.queue.take((other) => this.all.get(other)?.seq !== undefined);
    }
    this.queue.shift();
    return ticket;
  }

  /** @private @param {Frame} frame @param {import('./effects.js').Limits} limits */
  encode(frame, limits) {
    for (const { path, value } of valuesOf(frame)) {
      if (value.size > limits.value_bytes) {
        throw new OnetreeError('value-too-large', `a value has at most ${limits.value_bytes} bytes, this one has ${value.size}`, { path });
      }
    }
    const message = this.codec.encodeClient(frame);
    const bytes = typeof message === 'string' ? (message.length * 3 > limits.frame_bytes ? byteLength(message) : 0) : message.length;
    if (bytes > limits.frame_bytes) {
      throw new OnetreeError('frame-too-large', `a frame has at most ${limits.frame_bytes} bytes, this one has ${bytes}`);
    }
    return message;
  }

  /**
   * The answer to a request came.
   * @param {number} ticket
   * @param {Frame} frame
   * @returns {boolean} whether the session must come back under another name
   */
  answered(ticket, frame) {
    const request = this.all.get(ticket);
    if (request === undefined) return this.settle();
    request.inFlight = false;
    if (frame.op !== 'error') {
      this.floor = Math.max(this.floor, request.seq ?? 0);
      this.progress ||= request.seq !== undefined;
      const done = frame.op === 'done' ? frame['rev'] : 0;
      const isGone = done > 0 && done <= this.session && isEphemeral(request.frame);
      if (!isGone) this.lastDone = Math.max(this.lastDone, done);
      this.finish(ticket, isGone ? { error: gone() } : { frame });
      return this.settle();
    }
    const error = OnetreeError.fromFrame(/** @type {any} */ (frame));
    if (request.seq === undefined) {
      this.finish(ticket, { error });
      return false;
    }
    if (!this.refused(ticket, request, request.seq, error.code)) this.finish(ticket, { error });
    return this.settle();
  }

  /**
   * @private A write came back with an error.
   * @param {number} ticket
   * @param {Request} request
   * @param {number} seq
   * @param {string} code
   * @returns {boolean} whether it is to be sent again
   */
  refused(ticket, request, seq, code) {
    // Refusals by the tree itself use the number up. For others that shows at the next write.
    if (code === 'conflict' || code === 'log-key' || code === 'tree-full') this.floor = Math.max(this.floor, seq);
    if (code !== 'seq-gap' && code !== 'outcome-unknown') {
      this.progress = true;
      return false;
    }
    // `outcome-unknown` for a write that was sent only once means that it was not executed. `seq-gap` always means
    // that.
    const harmless = code === 'seq-gap' || request.sent === 1;
    this.settling = true;
    // The write was the next in order and was not taken, so the broker does not know this client's numbers.
    const expected = seq === this.floor + 1;
    const forgotten = code === 'outcome-unknown' && this.floor > 0;
    this.renaming ||= expected || forgotten || !harmless;
    if (!harmless || request.renumbered >= RENUMBERED || request.replied) return false;
    request.renumbered += 1;
    this.number(request, undefined);
    request.sent = 0;
    // All that came back are put into the queue together: to do it one by one would cost the whole queue each time.
    this.back.push(ticket);
    return true;
  }

  /** @private Once everything that was on its way has been answered, numbers continue after the last one that was used up. */
  settle() {
    if (!this.settling || this.numbered > 0) return false;
    this.settling = false;
    this.requeue(this.back.splice(0));
    if (this.progress) for (const request of this.all.values()) request.renumbered = 0;
    this.progress = false;
    this.nextSeq = this.floor + 1;
    if (!this.renaming) return false;
    this.renaming = false;
    this.floor = 0;
    this.nextSeq = 1;
    return true;
  }

  /** The connection was lost. What has no answer is sent again, except signals. */
  handleLost() {
    const again = [];
    for (const [ticket, request] of this.all) {
      if (!request.inFlight) continue;
      request.inFlight = false;
      if (request.frame.op === 'signal') {
        const error = new OnetreeError('lost', 'the connection was lost; the signal may or may not have been delivered', { sent: true, again: true });
        this.finish(ticket, { error });
      } else {
        again.push(ticket);
      }
    }
    this.requeue([...this.back.splice(0), ...again]);
  }

  nextTimeout() {
    return this.deadlines.first?.[0] ?? Infinity;
  }

  /** @param {number} now */
  handleTimeout(now) {
    for (let first = this.deadlines.first; first !== undefined; first = this.deadlines.first) {
      const [at, ticket] = first;
      const request = this.all.get(ticket);
      const waiting = request !== undefined && !request.replied;
      if (waiting && at > now) break;
      this.deadlines.shift();
      if (!waiting) continue;
      const [sent, again] = [wasSent(request), changesNothing(request)];
      const fate = again ? '' : '; it may still happen, once';
      const what = `no answer within ${this.timeout} ms${sent ? fate : '; it was never sent'}`;
      const error = new OnetreeError('timeout', what, { sent, again });
      if (request.seq !== undefined) {
        // The number is taken, so the write is sent again until the broker has answered.
        request.replied = true;
        this.effects.push({ do: 'reply', ticket, error });
      } else {
        this.finish(ticket, { error });
      }
    }
  }

  /** The client has ended. @param {OnetreeError | undefined} cause why it ended by itself */
  end(cause) {
    for (const [ticket, request] of [...this.all].sort(([a], [b]) => a - b)) {
      this.finish(ticket, { error: closedError(cause, wasSent(request), changesNothing(request)) });
    }
  }

  /** @private @param {number} ticket @param {{frame?: Frame, error?: OnetreeError}} result */
  finish(ticket, result) {
    const request = this.all.get(ticket);
    if (request === undefined) return;
    this.number(request, undefined);
    this.all.delete(ticket);
    if (!request.replied) this.effects.push({ do: 'reply', ticket, ...result });
    this.effects.push({ do: 'release', ticket });
  }
}

const gone = () => new OnetreeError('outcome-unknown', 'it happened in a session that is over, and what was ephemeral went with it');

/** Whether the broker may have the request. @param {Request} request */
const wasSent = ({ seq, sent }) => seq !== undefined || sent > 0;

/** Whether it does no harm to request it again, even if the broker has it: it is a read or a token. @param {Request} request */
const changesNothing = ({ frame: { op } }) => !WRITES.has(op) && op !== 'signal';

/** @param {unknown} error */
function asError(error) {
  return error instanceof OnetreeError ? error : new OnetreeError('bad-field', String(error), { cause: error });
}
