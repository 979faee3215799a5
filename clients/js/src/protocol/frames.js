// The frames of both sides, as tables from which the codecs read and write them. See sections 3 and 4 of
// spec/PROTOCOL.md.

import { DEPTHS } from './views.js';

/**
 * @typedef {{epoch: string, rev: number, view: string}} Cookie the history, the revision and the view of a mirror's
 *   copy
 * @typedef {{path: string, rev: number, value?: import('./values.js').Value}} Entry what the tree has at one path;
 *   without `value` if the view has no values
 * @typedef {{path: string, rev: number, act: 'put' | 'delete' | 'drop' | 'trim', value?: import('./values.js').Value | undefined,
 *   to?: string, gap?: boolean}} Change one change on the wire; `to` and `gap` are of a trim
 * @typedef {import('./kinds.js').Plain | {words: readonly string[]} | {record: readonly Field[]} | {list: Kind, most?: number}} Kind
 * @typedef {{name: string, kind: Kind, must: boolean, byDefault?: unknown}} Field
 * @typedef {{op: string, number: number, fields: readonly Field[]}} Table
 * @typedef {{op: string, [field: string]: any}} Frame
 */

/**
 * @param {string} name with `?` after it if the field may be absent
 * @param {Kind} kind
 * @param {unknown} [byDefault] the value that is not written
 * @returns {Field}
 */
const f = (name, kind, byDefault) => ({ name: name.replace('?', ''), kind, must: !name.endsWith('?'), byDefault });
const ID = f('id', 'u32');
const SEQ = f('seq?', 'u53');
const PATH = f('path', 'path');
const VALUE = f('value', 'value');
const TTL = f('ttl_ms?', 'u53');
const EPHEMERAL = f('ephemeral?', 'bool', false);
const IF = f('if?', { record: [f('rev', 'u53')] });
const DEPTH = f('depth?', { words: DEPTHS }, 'tree');

/** The fields of a cookie. */
export const COOKIE = [f('epoch', 'epoch'), f('rev', 'u53'), f('view', 'fingerprint')];
/** The fields of a value alone. */
export const VALUE_FIELDS = [VALUE];
const SUB = [ID, f('sub', 'u32'), PATH, DEPTH, f('match?', { list: 'pattern', most: 32 }), f('tail?', 'u32'),
  f('values?', 'bool', true), f('cookie?', { record: COOKIE }), f('mode?', { words: ['stay', 'once'] }, 'stay'),
  f('signals?', 'bool', false), f('every_ms?', 'u32', 0), f('copy?', 'bool', false)];
const LIMITS = [f('frame_bytes', 'u32'), f('value_bytes', 'u32'), f('subscriptions', 'u32'), f('in_flight', 'u32')];

/** The steps of a transaction, in the order of their numbers in MessagePack. */
export const STEPS = [
  { op: 'put', fields: [PATH, VALUE, TTL, EPHEMERAL] }, { op: 'append', fields: [PATH, VALUE, TTL, EPHEMERAL] },
  { op: 'delete', fields: [PATH] }, { op: 'drop', fields: [PATH] }, { op: 'trim', fields: [PATH, f('to', 'logkey')] },
];

/**
 * @param {[string, Field[]][]} tables
 * @returns {readonly Table[]}
 */
const numbered = (tables) => tables.map(([op, fields], i) => ({ op, number: i + 1, fields }));

/** The frames of a client. */
export const CLIENT = numbered([
  ['hello', [ID, f('client?', 'name'), f('session?', 'name'), f('token?', 'text'), f('agent?', 'text'), f('seen?', 'u53'),
    f('subs?', { list: { record: SUB } }), f('since?', 'u53')]],
  ['auth', [ID, f('token', 'text')]],
  ['sub', SUB],
  ['unsub', [ID, f('sub', 'u32')]],
  ['resync', [ID, f('sub', 'u32')]],
  ['sync', [ID, f('all?', 'bool', false)]],
  ['put', [ID, SEQ, PATH, VALUE, IF, TTL, EPHEMERAL]],
  ['append', [ID, SEQ, PATH, VALUE, TTL, EPHEMERAL]],
  ['delete', [ID, SEQ, PATH, IF]],
  ['drop', [ID, SEQ, PATH, IF]],
  ['trim', [ID, SEQ, PATH, f('to', 'logkey')]],
  ['signal', [f('id?', 'u32'), PATH, VALUE]],
  ['txn', [ID, SEQ, f('if?', { list: 'condition' }), f('do?', { list: 'step' })]],
  ['get', [ID, f('paths', { list: 'path' })]],
  ['list', [ID, PATH, DEPTH, f('after?', 'path'), f('before?', 'path'), f('limit?', 'u32', 0),
    f('reverse?', 'bool', false), f('values?', 'bool', true)]],
  ['bye', [ID]],
]);

/** The frames of a broker. */
export const SERVER = numbered([
  ['welcome', [ID, f('session', 'name'), f('resumed?', 'bool', false), f('epoch', 'epoch'), f('rev', 'u53'),
    f('heartbeat_ms', 'u32'), f('digest_key', 'epoch'), f('limits', { record: LIMITS })]],
  ['ok', [ID]],
  ['error', [f('id?', 'u32'), f('code', 'code'), f('message', 'text'), f('path?', 'path'), f('rev?', 'u53'),
    f('sub?', 'u32'), f('retry_ms?', 'u32')]],
  ['refresh', [f('sub', 'u32'), f('kind', { words: ['full', 'delta', 'repair'] }),
    f('why', { words: ['no-cookie', 'cookie', 'epoch', 'view', 'future', 'horizon', 'resync', 'outrun'] }),
    f('from?', 'u53')]],
  ['entries', [f('sub', 'u32'), f('changes', { list: 'change' })]],
  ['fresh', [f('sub', 'u32'), f('rev', 'u53'), f('view', 'fingerprint'), f('digest?', 'digest')]],
  ['delta', [f('rev', 'u53'), f('since?', 'u53'), f('sub?', 'u32'), f('part?', 'bool', false),
    f('changes?', { list: 'change' })]],
  ['signal', [PATH, VALUE]],
  ['sync', [f('id?', 'u32'), f('rev', 'u53'), f('digests', 'digests')]],
  ['done', [ID, f('rev', 'u53'), f('durable', 'bool'), f('paths?', { list: 'path' })]],
  ['found', [ID, f('rev', 'u53'), f('entries?', { list: 'change' }), f('more?', 'bool', false)]],
  ['bye', [f('code', 'code'), f('retry_ms?', 'u32'), f('message', 'text')]],
]);

/**
 * Makes a put.
 * @param {string} path
 * @param {number} rev
 * @param {import('./values.js').Value | undefined} value
 * @returns {Change}
 */
export function putChange(path, rev, value) {
  return { path, rev, act: 'put', value };
}
