// What the application asks for, as frames.

import { known, refuse } from './errors.js';
import { Value, checkPath, parseLogKey } from './protocol.js';

/**
 * @typedef {import('./protocol.js').Frame} Frame
 * @typedef {{ttlMs?: number | undefined, ephemeral?: boolean | undefined}} AppendOptions `ttlMs`: it is deleted so much
 *   later; `ephemeral`: it is deleted when the session is over
 * @typedef {{ifRev?: number | undefined}} IfOptions `ifRev`: the entry must be at this revision, 0: absent; of `dropTree`:
 *   nothing at or under the path has changed since
 * @typedef {AppendOptions & IfOptions} PutOptions
 * @typedef {{rev: number, durable: boolean, paths: string[]}} Done `rev` of the commit; whether it survives power loss; the
 *   paths that appends made, in order
 * @typedef {{rev: number, entries: import('./protocol.js').Entry[], more: boolean}} Found entries at one revision
 * @typedef {{path: string, rev: number} | {tree: string, rev: number}} Condition an entry is at this revision, 0: absent; or
 *   nothing at or under the path has changed since this revision, deletes included
 * @typedef {({do: 'put' | 'append', path: string, value: unknown} & AppendOptions) | {do: 'delete' | 'dropTree', path: string}
 *   | {do: 'trim', path: string, to: string}} Step
 * @typedef {{if?: readonly Condition[], do?: readonly Step[]}} Txn what is to be done, all or nothing, and on which conditions
 */

const WRITTEN = Object.freeze(['ttlMs', 'ephemeral']);
const ONLY = Object.freeze(['ifRev']);
const PUT = Object.freeze([...ONLY, ...WRITTEN]);
const TXN = Object.freeze(['if', 'do']);
/** What stands in a step, by what it does. @type {ReadonlyMap<string, readonly string[]>} */
const STEPS = new Map([
  ['put', ['do', 'path', 'value', ...WRITTEN]], ['append', ['do', 'path', 'value', ...WRITTEN]],
  ['delete', ['do', 'path']], ['dropTree', ['do', 'path']], ['trim', ['do', 'path', 'to']],
]);

/** @param {AppendOptions} options */
const written = ({ ttlMs, ephemeral }) => ({ ttl_ms: ttlMs, ephemeral });

/** @param {IfOptions} options */
const only = ({ ifRev }) => (ifRev === undefined ? {} : { if: { rev: checkRev(ifRev) } });

/** @param {unknown} rev @returns {number} */
function checkRev(rev) {
  if (typeof rev === 'number' && Number.isSafeInteger(rev) && rev >= 0) return rev;
  return refuse('bad-field', 'a revision is a whole number, 0 or more');
}

/** @param {string} path @param {unknown} value @param {PutOptions} [options] @returns {Frame} */
export const put = (path, value, options = {}) => (
  { op: 'put', path: checkPath(path), value: Value.from(value), ...only(known(options, PUT)), ...written(options) });

/** @param {string} log @param {unknown} value @param {AppendOptions} [options] @returns {Frame} */
export const append = (log, value, options = {}) => (
  { op: 'append', path: checkPath(log), value: Value.from(value), ...written(known(options, WRITTEN)) });

/** @param {string} path @param {IfOptions} [options] @returns {Frame} */
export const remove = (path, options = {}) => ({ op: 'delete', path: checkPath(path), ...only(known(options, ONLY)) });

/** @param {string} path @param {IfOptions} [options] @returns {Frame} */
export const dropTree = (path, options = {}) => ({ op: 'drop', path: checkPath(path), ...only(known(options, ONLY)) });

/** @param {string} log @param {string} to @returns {Frame} */
export function trim(log, to) {
  parseLogKey(to);
  return { op: 'trim', path: checkPath(log), to };
}

/** A request as a step of a transaction. @param {Frame} frame @returns {Frame} */
export const step = (frame) => ({ ...frame, do: frame.op });

/** @param {Step} told @returns {Frame} */
function request(told) {
  const names = STEPS.get(told.do);
  if (names) known(told, names);
  switch (told.do) {
    case 'put': return put(told.path, told.value, { ttlMs: told.ttlMs, ephemeral: told.ephemeral });
    case 'append': return append(told.path, told.value, { ttlMs: told.ttlMs, ephemeral: told.ephemeral });
    case 'delete': return remove(told.path);
    case 'dropTree': return dropTree(told.path);
    case 'trim': return trim(told.path, told.to);
    default: return refuse('bad-field', 'do is one of put, append, delete, dropTree, trim');
  }
}

/** @param {Condition} condition @returns {Condition} */
function condition(condition) {
  const rev = checkRev(condition.rev);
  known(condition, ['tree' in condition ? 'tree' : 'path', 'rev']);
  return 'tree' in condition ? { tree: checkPath(condition.tree), rev } : { path: checkPath(condition.path), rev };
}

/** @param {Txn} txn @returns {Frame} */
export function txn(txn) {
  const { if: conditions = [], do: steps = [] } = known(txn, TXN);
  return { op: 'txn', if: conditions.map(condition), do: steps.map((told) => step(request(told))) };
}
