// The requests of the application, as frames.

import { refuse } from './errors.js';
import { ANY, BOOLEAN, LIST, NONE, TEXT, U53, known, must, oneOf, whole } from './options.js';
import { parseLogKey } from './protocol/log-keys.js';
import { checkPath } from './protocol/paths.js';
import { Value } from './protocol/values.js';
import { DEPTHS } from './protocol/views.js';

/**
 * @typedef {import('./protocol/frames.js').Frame} Frame
 * @typedef {{ttlMs?: number | undefined, ephemeral?: boolean | undefined}} AppendOptions
 * - `ttlMs`: how long the entry lives. Then the broker deletes it
 * - `ephemeral`: binds the entry to the session. The broker deletes the entry when the session is over: when the client
 *   closes, or when there was no connection for longer than the broker's grace (30 s, unless its `session_grace_ms`
 *   says something else). The client does not put the entry again when a session was lost. The application may do that,
 *   at an `online` that is not `resumed`. If the put happened, but its session was over before the answer came, it
 *   fails with `outcome-unknown`: the entry is gone. With `ifRev: 0` such an entry is a lock, or elects a leader, and
 *   `rev` of the answer is the fencing token. A holder that is offline must step down before the grace is over
 * @typedef {{ifRev?: number | undefined}} IfOptions `ifRev`: the entry must be at this revision; 0: there must be none.
 *   For `dropTree`: nothing at or under the path may have changed after this revision
 * @typedef {AppendOptions & IfOptions} PutOptions
 * @typedef {{depth?: import('./protocol/views.js').Depth | undefined, after?: string | undefined, before?: string | undefined,
 *   limit?: number | undefined, reverse?: boolean | undefined, values?: boolean | undefined}} ListOptions
 * @typedef {Record<string, never>} NoOptions
 * @typedef {{rev: number, durable: boolean, paths: string[]}} Done the revision of the commit; whether it survives
 *   power loss; and the paths that the broker assigned, one for each append, in their order
 * @typedef {{rev: number, entries: import('./protocol/frames.js').Entry[], more: boolean}} Found entries, all read at
 *   `rev`, and whether there are more after the last one
 * @typedef {{path: string, rev: number} | {tree: string, rev: number}} Condition the entry at `path` is at this
 *   revision (0: there is none), or nothing at or under `tree` has changed after this revision, deletes included
 * @typedef {({do: 'put' | 'append', path: string, value: unknown} & AppendOptions) | {do: 'delete' | 'dropTree', path: string}
 *   | {do: 'trim', path: string, to: string}} Step
 * @typedef {{if?: readonly Condition[], do?: readonly Step[]}} Txn the steps of a transaction, all or nothing, and its
 *   conditions
 */

/** @typedef {import('./options.js').Rules} Rules */
/** @type {Rules} */
export const WRITTEN = Object.freeze({ ttlMs: U53, ephemeral: BOOLEAN });
/** @type {Rules} */
const ONLY = Object.freeze({ ifRev: U53 });
/** @type {Rules} */
const PUT = Object.freeze({ ...ONLY, ...WRITTEN });
/** @type {Rules} */
const LISTED = Object.freeze({
  depth: oneOf(...DEPTHS), after: ANY, before: ANY, limit: whole(32), reverse: BOOLEAN, values: BOOLEAN,
});
/** @type {Rules} */
const TXN = Object.freeze({ if: LIST, do: LIST });
/** @type {Rules} */
const CONDITION = Object.freeze({ path: ANY, tree: ANY, rev: ANY });
const TOPIC = { do: ANY, path: ANY };
/** The members of a step, by what the step does. @type {ReadonlyMap<string, Rules>} */
const STEPS = new Map(Object.entries({
  put: { ...TOPIC, value: ANY, ...WRITTEN }, append: { ...TOPIC, value: ANY, ...WRITTEN },
  delete: TOPIC, dropTree: TOPIC, trim: { ...TOPIC, to: ANY },
}));

const DO = oneOf(...STEPS.keys());

/** @param {AppendOptions} options */
const written = ({ ttlMs, ephemeral }) => ({ ttl_ms: ttlMs, ephemeral });

/** @param {IfOptions} options */
const only = ({ ifRev }) => (ifRev === undefined ? {} : { if: { rev: ifRev } });

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

/** @param {string} log @param {string} to @param {NoOptions} [options] @returns {Frame} */
export function trim(log, to, options = {}) {
  known(options, NONE);
  parseLogKey(to);
  return { op: 'trim', path: checkPath(log), to };
}

/** @param {string} path @param {unknown} value @param {NoOptions} [options] @returns {Frame} */
export function signal(path, value, options = {}) {
  known(options, NONE);
  return { op: 'signal', path: checkPath(path), value: Value.from(value) };
}

/** @param {readonly string[]} paths @returns {Frame} */
export const get = (paths) => ({ op: 'get', paths: Array.from(must(LIST, 'paths', paths), (path) => checkPath(path)) });

/** @param {string} path @param {ListOptions} [options] @returns {Frame} */
export function list(path, options = {}) {
  const frame = { op: 'list', path: checkPath(path), ...known(options, LISTED) };
  for (const end of [options.after, options.before]) if (end !== undefined) checkPath(end);
  return frame;
}

/** @param {string} token @returns {Frame} */
export const auth = (token) => ({ op: 'auth', token: must(TEXT, 'token', token) });

/** Makes a step of a transaction from a request. @param {Frame} frame @returns {Frame} */
export const step = (frame) => ({ ...frame, do: frame.op });

/** @param {Step} told @returns {Frame} */
function request(told) {
  known(told, /** @type {Rules} */ (STEPS.get(must(DO, 'do', told?.do))));
  switch (told.do) {
    case 'put': return put(told.path, told.value, { ttlMs: told.ttlMs, ephemeral: told.ephemeral });
    case 'append': return append(told.path, told.value, { ttlMs: told.ttlMs, ephemeral: told.ephemeral });
    case 'delete': return remove(told.path);
    case 'dropTree': return dropTree(told.path);
    case 'trim': return trim(told.path, told.to);
  }
}

/** @param {Condition} condition @returns {Condition} */
function condition(condition) {
  const { path, tree, rev } = /** @type {{path?: string, tree?: string, rev: number}} */ (known(condition, CONDITION));
  must(U53, 'rev', rev);
  if ((path === undefined) === (tree === undefined)) refuse('bad-field', 'a condition has path or tree');
  return tree === undefined ? { path: checkPath(path), rev } : { tree: checkPath(tree), rev };
}

/** @param {Txn} txn @returns {Frame} */
export function txn(txn) {
  const { if: conditions = [], do: steps = [] } = known(txn, TXN);
  return { op: 'txn', if: Array.from(conditions, condition), do: Array.from(steps, (told) => step(request(told))) };
}
