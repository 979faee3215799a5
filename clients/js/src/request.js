// What the application asks for, as frames.

import { Value, checkPath, parseLogKey } from './protocol.js';

/**
 * @typedef {import('./protocol.js').Frame} Frame
 * @typedef {{if?: {rev: number}, ttlMs?: number, ephemeral?: boolean}} PutOptions `if`: the entry must be at this revision,
 *   0: absent; `ttlMs`: it is deleted so much later; `ephemeral`: it is deleted when the session is over
 * @typedef {{rev: number, durable: boolean, paths: string[]}} Done `rev` of the commit; whether it survives power loss; the
 *   paths that appends made, in order
 * @typedef {{rev: number, entries: import('./protocol.js').Entry[], more: boolean}} Found entries at one revision
 * @typedef {{path: string, rev: number} | {tree: string, rev: number}} Condition
 */

/** @param {PutOptions} options */
const written = ({ if: condition, ttlMs, ephemeral }) => ({ if: condition, ttl_ms: ttlMs, ephemeral });

/** @param {string} path @param {unknown} value @param {PutOptions} [options] @returns {Frame} */
export const put = (path, value, options = {}) => ({ op: 'put', path: checkPath(path), value: Value.of(value), ...written(options) });

/** @param {string} log @param {unknown} value @param {Omit<PutOptions, 'if'>} [options] @returns {Frame} */
export const append = (log, value, options = {}) => ({ op: 'append', path: checkPath(log), value: Value.of(value), ...written(options) });

/** @param {string} path @param {{if?: {rev: number}}} [options] @returns {Frame} */
export const remove = (path, options = {}) => ({ op: 'delete', path: checkPath(path), if: options.if });

/** @param {string} path @param {{if?: {rev: number}}} [options] @returns {Frame} */
export const dropTree = (path, options = {}) => ({ op: 'drop', path: checkPath(path), if: options.if });

/** @param {string} log @param {string} to @returns {Frame} */
export function trim(log, to) {
  parseLogKey(to);
  return { op: 'trim', path: checkPath(log), to };
}

/** What a transaction is to do, all or nothing, and on which conditions. Its methods give it back. */
export class Txn {
  constructor() {
    /** @type {Condition[]} */
    this.conditions = [];
    /** @type {Frame[]} */
    this.steps = [];
  }

  /** The entry is at this revision; 0: absent. @param {string} path @param {number} rev */
  ifAt(path, rev) {
    this.conditions.push({ path: checkPath(path), rev });
    return this;
  }

  /** Nothing at or under this path has changed since this revision, deletes included. @param {string} tree @param {number} rev */
  ifUnchanged(tree, rev) {
    this.conditions.push({ tree: checkPath(tree), rev });
    return this;
  }

  /** @private @param {Frame} frame */
  step(frame) {
    this.steps.push({ ...frame, do: frame.op });
    return this;
  }

  /** @param {string} path @param {unknown} value @param {Omit<PutOptions, 'if'>} [options] */
  put(path, value, options) {
    return this.step(put(path, value, options));
  }

  /** @param {string} log @param {unknown} value @param {Omit<PutOptions, 'if'>} [options] */
  append(log, value, options) {
    return this.step(append(log, value, options));
  }

  /** @param {string} path */
  delete(path) {
    return this.step(remove(path));
  }

  /** @param {string} path */
  dropTree(path) {
    return this.step(dropTree(path));
  }

  /** @param {string} log @param {string} to */
  trim(log, to) {
    return this.step(trim(log, to));
  }

  /** @returns {Frame} */
  frame() {
    return { op: 'txn', if: this.conditions, do: this.steps };
  }
}
