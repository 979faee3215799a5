// The errors of a client. Each has a `code`: a code of the protocol, or a word of the client's own.

import { actionOf, isCode } from './codes.js';

/**
 * The client's own words are `timeout`, `closed`, `lost` (the connection was lost before the answer to a signal came),
 * `queue-full`, `ended` (the client has ended by itself for a reason without a code, or the run of a transaction has
 * ended), `outside-view`, `unreachable`, `not-a-broker`, `protocol` (the broker broke the protocol), `url`,
 * `no-websocket`, `state`, `state-in-use` and `state-broken` (all three of `keep`).
 * @typedef {import('./codes.js').Action} Action
 */

/** The longest wait that the client accepts, in ms: a day. With more than 2^31-1 ms a host's timer would fire at once. */
export const RETRY_MOST = 86_400_000;

/** @type {Record<string, Action>} */
const OWN = {
  timeout: 'retry', lost: 'retry', 'queue-full': 'retry', unreachable: 'retry', protocol: 'retry',
  state: 'fix', 'state-in-use': 'fix', 'state-broken': 'fix',
  // For a transaction. For a client that has ended, the action is that of the error that ended it.
  ended: 'fix',
  'outside-view': 'fix', url: 'fix', 'no-websocket': 'fix', 'not-a-broker': 'fix',
};

/** Why a request failed, why there is no connection, or why a mirror has ended. */
export class OnetreeError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{path?: string, rev?: number, retryInMs?: number, sent?: boolean, again?: boolean, cause?: unknown}} [more]
   */
  constructor(code, message, more = {}) {
    super(`${code}: ${message}`, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'OnetreeError';
    /** The word of the error: what is wrong. */
    this.code = code;
    /** The path that the error is about. */
    this.path = more.path;
    /** The revision that the broker has, instead of the expected one. */
    this.rev = more.rev;
    /** How long to wait before the next attempt, in ms, if the broker said so; at most a day. */
    this.retryInMs = more.retryInMs === undefined ? undefined : Math.min(more.retryInMs, RETRY_MOST);
    /**
     * Whether the request was sent, if it has no answer because of `timeout`, `lost` or the end of the client. A write
     * that was sent may still happen or have happened, once. A write that was not sent never happens.
     */
    this.sent = more.sent;
    /** @private Whether the request may be made again although it was sent. */
    this.again = more.again;
  }

  /** Whether a condition did not hold. `path` says which entry, and `rev` which revision the broker has. */
  get isConflict() {
    return this.code === 'conflict';
  }

  /**
   * What to do next. After `retry` of an error about a connection, the client reconnects by itself. A write that was
   * sent and has no answer must not be requested again: the client itself sends it until it is answered. A read may be
   * requested again, and so may a signal that is `lost`.
   * @returns {Action}
   */
  get action() {
    if (this.sent && !this.again) return 'stop';
    // If the client has ended, what helps is what helps against the error that ended it.
    if (this.code === 'ended' && this.cause instanceof OnetreeError) return this.cause.action;
    return isCode(this.code) ? actionOf(this.code) : (OWN[this.code] ?? 'stop');
  }

  /** The error as JSON, in the words of the protocol: `code` and `message`, and `path` and `rev` if it has them. */
  toJSON() {
    const { code, path, rev } = this;
    return { code, message: wordsOf(this), ...(path !== undefined && { path }), ...(rev !== undefined && { rev }) };
  }

  /**
   * Makes the error of an `error` or `bye` frame.
   * @param {{code: string, message: string, path?: string, rev?: number, retry_ms?: number}} frame
   */
  static fromFrame(frame) {
    const { path, rev, retry_ms: retryInMs } = frame;
    return new OnetreeError(frame.code, frame.message, { path, rev, retryInMs });
  }
}

/** The error of a mirror that ended as it should: it or its client was closed, or a mirror of mode `once` is fresh. */
export const mirrorClosed = () => new OnetreeError('closed', 'the mirror is closed');

/**
 * The error of a client that has ended: with the code of what ended it, `ended` if that has no code, or `closed`.
 * @param {OnetreeError} [cause] why the client ended by itself; absent if it was closed
 * @param {boolean} [sent] for a request: whether it was sent
 * @param {boolean} [again] whether the request may be made again although it was sent
 */
export function closedError(cause, sent, again = false) {
  const fate = again ? '' : '; it was sent, and may have happened';
  const what = sent === undefined ? '' : sent ? fate : '; it was never sent';
  const more = sent === undefined ? {} : { sent, again };
  if (cause) {
    const [code, why] = isCode(cause.code) ? [cause.code, wordsOf(cause)] : ['ended', cause.message];
    return new OnetreeError(code, `the client has ended: ${why}${what}`, { ...more, cause });
  }
  return new OnetreeError('closed', `the client is closed${what}`, more);
}

/** What an error says, without its code. Takes any error of the application. @param {unknown} error */
export function wordsOf(error) {
  try {
    return error instanceof OnetreeError ? error.message.slice(error.code.length + 2) : String(error);
  } catch {
    return 'something that says nothing';
  }
}

/** The name of the method that Node, Deno and Bun call to print an object. */
export const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * Throws an error of the application's listener to the host, as an error in a timer: no code of the client is
 * interrupted.
 * @param {unknown} error
 */
export function throwToHost(error) {
  queueMicrotask(() => {
    throw error;
  });
}

/**
 * @param {string} code
 * @param {string} message
 * @returns {never}
 */
export function refuse(code, message) {
  throw new OnetreeError(code, message);
}
