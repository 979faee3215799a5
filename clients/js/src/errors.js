// What goes wrong. Every error has a `code`: one of the protocol's, or a word of this client's own.

import { actionOf, isCode } from './codes.js';

/**
 * The words of this client's own: `timeout`, `closed`, `lost` (a signal whose connection was lost), `queue-full`,
 * `ended` (the client by itself without a code, a transaction), `outside-view`, `unreachable`, `not-a-broker`, `protocol` (the
 * broker broke it), `url`, `no-websocket`.
 * @typedef {import('./codes.js').Action} Action
 */

/** The longest wait that is heeded, ms: a day. With more than 2^31-1 ms a host's timer would go off at once. */
export const RETRY_MOST = 86_400_000;

/** @type {Record<string, Action>} */
const OWN = {
  timeout: 'retry', lost: 'retry', 'queue-full': 'retry', unreachable: 'retry', protocol: 'retry',
  state: 'fix', 'state-in-use': 'fix', 'state-broken': 'fix',
  // Of a transaction; of a client it is what helps against that which ended it.
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
    /** What is wrong, one word. */
    this.code = code;
    /** The path that it is about. */
    this.path = more.path;
    /** The revision that is there instead of the one that was expected. */
    this.rev = more.rev;
    /** Milliseconds after which to try again, where the broker said so; a day at most. */
    this.retryInMs = more.retryInMs === undefined ? undefined : Math.min(more.retryInMs, RETRY_MOST);
    /**
     * Of a request that has no answer, because of `timeout`, `lost` or the end of the client: whether it was sent. A write that
     * was may still happen, once, or has happened; one that was not never will.
     */
    this.sent = more.sent;
    /** @private Whether it may be asked again though it was sent. */
    this.again = more.again;
  }

  /** Whether a condition did not hold: `path` and `rev` say which, and what is there. */
  get isConflict() {
    return this.code === 'conflict';
  }

  /**
   * What to do next. `retry` is what the client does by itself when the error is about a connection. A write that was sent and
   * has no answer is not to be asked again: the client sends it until it has one. A read may be, and a signal that is `lost`.
   * @returns {Action}
   */
  get action() {
    if (this.sent && !this.again) return 'stop';
    // What helps against the end of a client is what helps against that which ended it.
    if (this.code === 'ended' && this.cause instanceof OnetreeError) return this.cause.action;
    return isCode(this.code) ? actionOf(this.code) : (OWN[this.code] ?? 'stop');
  }

  /** How it is told as JSON: with `path` and `rev` where it has them. */
  toJSON() {
    const { code, path, rev } = this;
    return { code, message: wordsOf(this), ...(path !== undefined && { path }), ...(rev !== undefined && { rev }) };
  }

  /**
   * The error that a frame of the broker is.
   * @param {{code: string, message: string, path?: string, rev?: number, retry_ms?: number}} frame
   */
  static fromFrame(frame) {
    const { path, rev, retry_ms: retryInMs } = frame;
    return new OnetreeError(frame.code, frame.message, { path, rev, retryInMs });
  }
}

/** A mirror has ended because it was to: closed, with its client, or fresh, where that was the aim of it. */
export const mirrorClosed = () => new OnetreeError('closed', 'the mirror is closed');

/**
 * The client has ended: with the code that it ended with, `ended` where that is none of the protocol's, or `closed`.
 * @param {OnetreeError} [cause] why it ended by itself; absent when it was closed
 * @param {boolean} [sent] of a request: whether it was
 * @param {boolean} [again] whether it may be asked again though it was
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

/** What an error says, without its code; of the application's, whatever that is. @param {unknown} error */
export function wordsOf(error) {
  try {
    return error instanceof OnetreeError ? error.message.slice(error.code.length + 2) : String(error);
  } catch {
    return 'something that says nothing';
  }
}

/** What prints in Node, Deno and Bun asks for. */
export const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * Throws what an application's listener threw where nobody of ours is in the way: to the host, as what a timer throws.
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
