// The words of the protocol: paths, patterns, log keys, values, views, cookies, digests, and the tables that frames
// are read and written by. Sections are those of spec/PROTOCOL.md.

import { blake2s } from './blake2s.js';
import { CODES } from './codes.js';
import { OnetreeError, refuse, wordsOf } from './errors.js';
import { skipJson } from './json-text.js';

/**
 * @typedef {{epoch: string, rev: number, view: string}} Cookie where a mirror stands
 * @typedef {{path: string, rev: number, value?: Value}} Entry a topic that holds a value; none in a view without values
 * @typedef {{path: string, rev: number, act: 'put' | 'delete' | 'drop' | 'trim', value?: Value | undefined, to?: string,
 *   gap?: boolean}} Change one change on the wire; `to` and `gap` are of a trim
 * @typedef {'entry' | 'children' | 'tree'} Depth
 * @typedef {{path: string, depth: Depth, match: readonly string[], tail: number | undefined, values: boolean}} View
 * @typedef {{path: string, depth?: Depth, match?: readonly string[], tail?: number, values?: boolean}} ViewOptions
 */

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Bytes as text; `bad-frame` when they are not UTF-8.
 * @param {Uint8Array} bytes
 */
export function utf8(bytes) {
  try {
    return strict.decode(bytes);
  } catch {
    return refuse('bad-frame', 'a text is not UTF-8');
  }
}

/** Whether no surrogate is alone in it. @param {string} text */
export function wellFormed(text) {
  return !/[\ud800-\udfff]/.test(text) || !/\p{Surrogate}/u.test(text);
}

/** @param {string} text */
export const byteLength = (text) => encoder.encode(text).length;

// 1.1 Paths

// eslint-disable-next-line no-control-regex
const SEGMENTS = /^(?:\/[^/\u0000-\u001f\u007f-\u009f]+)+$/;

/**
 * Why a text is no path; `undefined` when it is one.
 * @param {string} path
 * @returns {string | undefined}
 */
export function pathFault(path) {
  if (path === '/') return undefined;
  if (!SEGMENTS.test(path)) {
    return "a path is '/', or segments with '/' before each and nothing behind the last, without control characters";
  }
  // Three bytes to a unit at most: shorter ones need no counting.
  if (path.length > 85 || path.includes('/.')) {
    const segments = path.slice(1).split('/');
    if (segments.length > 32) return 'a path has at most 32 segments';
    for (const segment of segments) {
      if (segment === '.' || segment === '..') return "'.' and '..' are no segments";
      if (segment.length > 85 && byteLength(segment) > 255) return 'a segment has at most 255 bytes';
    }
    if (path.length > 341 && byteLength(path) > 1024) return 'a path has at most 1,024 bytes';
  } else if (path.length > 64 && path.split('/').length > 33) {
    return 'a path has at most 32 segments';
  }
  return wellFormed(path) ? undefined : 'a path has no lone surrogates';
}

/**
 * The path itself; `bad-path` when it is none.
 * @param {unknown} path
 * @returns {string}
 */
export function checkPath(path) {
  if (typeof path !== 'string') return refuse('bad-path', 'a path is a text');
  const fault = pathFault(path);
  return fault === undefined ? path : refuse('bad-path', `${JSON.stringify(path)}: ${fault}`);
}

/** @param {string} path */
export const segmentsOf = (path) => (path === '/' ? [] : path.slice(1).split('/'));

/**
 * What is below a top: nothing but that top begins with this.
 * @param {string} top
 */
export const below = (top) => (top === '/' ? '/' : `${top}/`);

/**
 * Whether `path` is at or under `top`.
 * @param {string} top
 * @param {string} path
 */
export const contains = (top, path) => path === top || path.startsWith(below(top));

/**
 * What is ordered as paths are when compared as JavaScript compares texts: `/` as NUL, which no path has, and UTF-16
 * units moved so that those of four-byte characters come last. A plain path costs one look and one replacement.
 * @param {string} path
 * @returns {string}
 */
export function orderKey(path) {
  const key = path === '/' ? '' : path.replace(/\//g, '\0');
  return /[\ud800-\uffff]/.test(key) ? key.replace(/[\ud800-\uffff]/g, shift) : key;
}

/** @param {string} char */
function shift(char) {
  const unit = char.charCodeAt(0);
  return String.fromCharCode(unit < 0xe000 ? unit + 0x2000 : unit - 0x800);
}

/**
 * The order of paths: by their bytes, with `/` below every other.
 * @param {string} a
 * @param {string} b
 * @returns {number} below, equal to, above 0
 */
export function comparePaths(a, b) {
  const [x, y] = [orderKey(a), orderKey(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

// 1.2 Patterns

/**
 * @param {unknown} pattern
 * @returns {string}
 */
export function checkPattern(pattern) {
  if (typeof pattern !== 'string') return refuse('bad-pattern', 'a pattern is a text');
  const fault = pattern === '' ? 'no segment' : byteLength(pattern) > 1024 ? 'a pattern has at most 1,024 bytes'
    : segmentFault(pattern);
  return fault === undefined ? pattern : refuse('bad-pattern', `${JSON.stringify(pattern)}: ${fault}`);
}

/**
 * A pattern that somebody wrote. Also a `*` within a segment is refused: on the wire it is a character like others, but who writes
 * `user-*` means what begins so, of which it would match nothing.
 * @param {unknown} pattern
 */
function writtenPattern(pattern) {
  const checked = checkPattern(pattern);
  const within = checked.split('/').find((segment) => segment.includes('*') && segment !== '*' && segment !== '**');
  return within === undefined ? checked : refuse('bad-pattern', `${JSON.stringify(checked)}: '*' stands for a whole segment, and `
    + `'**' for any number of them, not for a part of one ('${within}')`);
}

/** @param {string} pattern */
function segmentFault(pattern) {
  const segments = pattern.split('/');
  if (segments.length > 32) return 'a pattern has at most 32 segments';
  for (const segment of segments) {
    if (segment === '') return 'a segment is not empty';
    const fault = pathFault(`/${segment}`);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/**
 * Whether a pattern matches the segments below the base of a view.
 * @param {string} pattern
 * @param {readonly string[]} segments
 * @returns {boolean}
 */
export function matches(pattern, segments) {
  const parts = pattern.split('/');
  // `reach[j]`: the parts so far match the first j segments.
  let reach = segments.map(() => false);
  reach.unshift(true);
  for (const part of parts) {
    const next = reach.map(() => false);
    for (let j = 0; j <= segments.length; j += 1) {
      if (part === '**') {
        next[j] = reach[j] === true || (j > 0 && next[j - 1] === true);
      } else {
        next[j] = j > 0 && reach[j - 1] === true && (part === '*' || part === segments[j - 1]);
      }
    }
    reach = next;
  }
  return reach[segments.length] === true;
}

// 1.3 Log keys

const LOG_KEY = /^[01][0-9a-f]{17}$/;

/** @param {string} text */
export const isLogKey = (text) => LOG_KEY.test(text);

/** Whether a path is at or under the entry of a log. @param {string} path */
export const isKeyed = (path) => path.split('/').some((name) => isLogKey(name));

/**
 * The revision and the place that a log key says; `bad-field` when it is none.
 * @param {string} text
 */
export function parseLogKey(text) {
  if (!isLogKey(text)) return refuse('bad-field', `${JSON.stringify(String(text))} is no log key`);
  return { rev: Number.parseInt(text.slice(0, 14), 16), index: Number.parseInt(text.slice(14), 16) };
}

/**
 * @param {number} rev
 * @param {number} index
 */
export const logKey = (rev, index) => rev.toString(16).padStart(14, '0') + index.toString(16).padStart(4, '0');

// 1.4 Values

export const JSON_TYPE = 'application/json';
const TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*[ \t]*(?:;[\x20-\x7e]*)?$/;

/**
 * @param {string} type
 * @returns {string}
 */
export function checkType(type) {
  if (typeof type !== 'string' || type.length > 127 || !TYPE.test(type) || /\s$|\s;/.test(type)) {
    return refuse('bad-field', `${JSON.stringify(String(type))} is no media type`);
  }
  return type;
}

/**
 * The bytes of what is bytes: of a buffer, or of a view of one.
 * @param {unknown} content
 * @returns {Uint8Array | undefined}
 */
function bytesIn(content) {
  if (content instanceof Uint8Array) return content;
  if (ArrayBuffer.isView(content)) return new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  return content instanceof ArrayBuffer ? new Uint8Array(content) : undefined;
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
}

/** What `JSON.stringify` makes of something that it has no JSON for, and of a few things more. */
const LOST = ['null', '{}', '{"0":', '"type":"Buffer"'];
/** Of these `{}` says all. */
const WHOLE = /^\[object (?:Object|Array|Number|String|Boolean)\]$/;

/**
 * Refuses what would be stored as less than it is.
 * @this {any} what it is in
 * @param {string} key
 * @param {unknown} value what its `toJSON` made of it, if it has one
 */
function lossless(key, value) {
  const was = this[key];
  if (typeof was === 'number' || was instanceof Number) {
    return Number.isFinite(+was) ? value : refuse('bad-value', `${was} has no JSON`);
  }
  if (typeof was !== 'object' || was === null) return value;
  const what = Object.prototype.toString.call(was);
  const lost = ArrayBuffer.isView(was) || value === null || was instanceof Map || was instanceof Set
    || (!WHOLE.test(what) && was === value && Object.keys(was).length === 0);
  return lost ? refuse('bad-value', `${what} has no JSON`) : value;
}

/** @param {unknown} content */
function jsonOf(content) {
  try {
    const text = JSON.stringify(content);
    // To look at each part costs twice the text itself or more, and few have what must be looked at.
    return text !== undefined && LOST.some((sign) => text.includes(sign)) ? JSON.stringify(content, lossless) : text;
  } catch (error) {
    throw error instanceof OnetreeError ? error : new OnetreeError('bad-value', `this has no JSON: ${error}`, { cause: error });
  }
}

/** Says that a value needs no look: it was looked at, or a codec has read it. Nobody else has this. */
const SURE = Symbol('sure');

/**
 * What a value of this type is kept as.
 * @param {string} type
 * @param {unknown} content
 * @returns {string | Uint8Array}
 */
function checkRaw(type, content) {
  const raw = typeof content === 'string' ? content : bytesIn(content);
  if (raw === undefined) return refuse('bad-value', 'a value is a text, or bytes: a Uint8Array, say');
  checkType(type);
  if (type === JSON_TYPE) return jsonText(raw);
  return typeof raw !== 'string' || wellFormed(raw) ? raw : refuse('bad-value', 'a text has no lone surrogates');
}

/**
 * A JSON text without the space around it.
 * @param {string | Uint8Array} raw
 */
function jsonText(raw) {
  try {
    const trimmed = (typeof raw === 'string' ? raw : utf8(raw)).replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
    if (!wellFormed(trimmed)) refuse('bad-value', 'a text has no lone surrogates');
    return skipJson(trimmed, 0) === trimmed.length ? trimmed : refuse('bad-value', 'more than one JSON text');
  } catch (error) {
    return refuse('bad-value', wordsOf(error));
  }
}

/** Bytes and a media type. What is read of it is made when it is asked for first. It never changes. */
export class Value {
  /**
   * `bad-value` when it is not what its type says.
   * @param {string} type
   * @param {string | Uint8Array | ArrayBufferView | ArrayBuffer} content its text, where it is UTF-8, or its bytes, which are not
   *   copied
   * @param {symbol} [sure] of the codecs, which have looked already
   */
  constructor(type, content, sure) {
    /** @readonly */
    this.type = type;
    /** @private */
    this.raw = sure === SURE ? /** @type {string | Uint8Array} */ (content) : checkRaw(type, content);
    /** @private @type {{json: unknown} | undefined} */
    this.parsed = undefined;
  }

  /**
   * A value of type `application/json`: whatever has JSON. As `JSON.stringify` does it, what is undefined and functions are left
   * out of objects and are null in lists, and -0 is 0. `bad-value` for what it would make something else of: NaN and Infinity, a
   * Map, a Set, a Promise, bytes inside of something.
   * @param {unknown} content
   */
  static json(content) {
    const text = jsonOf(content);
    if (text === undefined) return refuse('bad-value', 'this has no JSON');
    return Value.jsonText(text);
  }

  /**
   * As {@link Value.json}, of a JSON text that is there already and is kept as it is.
   * @param {string} text
   */
  static jsonText(text) {
    if (typeof text !== 'string') return refuse('bad-value', 'a JSON text is a text');
    return new Value(JSON_TYPE, text);
  }

  /**
   * @param {string} text
   * @param {string} [type] one of `text/…`
   */
  static text(text, type = 'text/plain') {
    if (typeof text !== 'string' || !wellFormed(text)) refuse('bad-value', 'a text is one, without lone surrogates');
    if (!checkType(type).startsWith('text/')) refuse('bad-field', `${type} is no type of a text`);
    return new Value(type, text, SURE);
  }

  /**
   * A value of any type: `Value.of('image/png', bytes)`. The bytes are not copied, and not to be changed afterwards.
   * @param {string} type
   * @param {Uint8Array | ArrayBufferView | ArrayBuffer} content
   */
  static of(type, content) {
    const bytes = bytesIn(content);
    if (bytes === undefined) return refuse('bad-value', 'Value.of takes a type, and bytes: a Uint8Array, say');
    return new Value(type, bytes);
  }

  /**
   * What requests take: a value as it is; bytes (a `Uint8Array`, another view, an `ArrayBuffer`) as `application/octet-stream`;
   * everything else as {@link Value.json}.
   * @param {unknown} content
   * @returns {Value}
   */
  static from(content) {
    if (content instanceof Value) return content;
    const bytes = bytesIn(content);
    return bytes === undefined ? Value.json(content) : new Value('application/octet-stream', bytes, SURE);
  }

  /** Whether it is JSON. */
  get isJson() {
    return this.type === JSON_TYPE;
  }

  /** Whether a JSON frame shows it as text: `text/…` and UTF-8. */
  get isText() {
    if (!this.type.startsWith('text/')) return false;
    if (typeof this.raw === 'string') return true;
    try {
      strict.decode(this.raw);
      return true;
    } catch {
      return false;
    }
  }

  /** Its text, also of JSON; `bad-value` when it is not UTF-8. */
  get text() {
    if (typeof this.raw === 'string') return this.raw;
    try {
      return strict.decode(this.raw);
    } catch {
      return refuse('bad-value', 'the value is not UTF-8');
    }
  }

  /** Its bytes. */
  get bytes() {
    return typeof this.raw === 'string' ? encoder.encode(this.raw) : this.raw;
  }

  /**
   * What its JSON says, made once and shared: not to be changed. `bad-value` when it is not JSON. Numbers are doubles; `text` has
   * all digits.
   */
  get json() {
    if (!this.isJson) return refuse('bad-value', `the value is ${this.type}, not ${JSON_TYPE}`);
    this.parsed ??= { json: JSON.parse(this.text) };
    return this.parsed.json;
  }

  /** What its JSON says, or its text, or its bytes, by its type. */
  get content() {
    return this.isJson ? this.json : this.isText ? this.text : this.bytes;
  }

  /**
   * How it is told as JSON, in the words of the protocol: `{"json"}`, `{"type","text"}`, or `{"type","bytes"}` with base64. To store
   * a value of this, it is given as it is.
   */
  toJSON() {
    const { type } = this;
    if (this.isJson) return { json: this.json };
    return this.isText ? { type, text: this.text } : { type, bytes: toBase64(this.bytes) };
  }

  /** Its size in bytes. */
  get size() {
    return typeof this.raw === 'string' ? byteLength(this.raw) : this.raw.length;
  }

  /**
   * Whether both have the same type and bytes.
   * @param {Value} other
   */
  equals(other) {
    if (this.type !== other.type) return false;
    if (typeof this.raw === 'string' && typeof other.raw === 'string') return this.raw === other.raw;
    const [a, b] = [this.bytes, other.bytes];
    return a.length === b.length && a.every((byte, i) => byte === b[i]);
  }
}

// 1.5 Views

export const DEPTHS = ['entry', 'children', 'tree'];

/**
 * A view with everything said; a text is the tree at that path.
 * @param {string | ViewOptions} view
 * @returns {View}
 */
export function viewOf(view) {
  if (typeof view === 'string') view = { path: view };
  const depth = view.depth ?? 'tree';
  const match = view.match ?? [];
  const tail = view.tail ?? undefined;
  const values = view.values ?? true;
  if (!DEPTHS.includes(depth)) refuse('bad-field', `depth is one of ${DEPTHS.join(', ')}`);
  if (!Array.isArray(match)) refuse('bad-field', 'match is a list of patterns');
  if (match.length > 32) refuse('bad-field', 'a view has at most 32 patterns');
  if (tail !== undefined && !(Number.isInteger(tail) && tail >= 0 && tail < 2 ** 32)) {
    refuse('bad-field', 'tail is a whole number, 0 or more and below 2^32');
  }
  if (typeof values !== 'boolean') refuse('bad-field', 'values is true or false');
  return { path: checkPath(view.path), depth, match: Array.from(match, (pattern) => writtenPattern(pattern)), tail, values };
}

/**
 * Whether a view sees a path.
 * @param {View} view
 * @param {string} path
 */
export function sees(view, path) {
  const base = view.path;
  if (path !== base) {
    if (view.depth === 'entry' || !path.startsWith(base === '/' ? base : `${base}/`)) return false;
    if (view.depth === 'children' && path.indexOf('/', below(base).length) >= 0) return false;
  }
  if (view.match.length === 0) return true;
  const segments = path === base ? [] : path.slice(below(base).length).split('/');
  return view.match.some((pattern) => matches(pattern, segments));
}

/**
 * The fingerprint of a view, as the broker says it in `fresh`.
 * @param {View} view
 */
export function fingerprint(view) {
  const patterns = [...new Set(view.match)].sort((a, b) => {
    const [x, y] = [a, b].map((t) => t.replace(/[\ud800-\uffff]/g, shift));
    return /** @type {string} */ (x) < /** @type {string} */ (y) ? -1 : 1;
  });
  const parts = [view.path, view.depth, view.tail === undefined ? '' : String(view.tail), view.values ? '1' : '0'];
  return toHex(blake2s(encoder.encode([...parts, ...patterns].map((part) => `${part}\0`).join('')), 8));
}

/** @param {Uint8Array} bytes */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {string} hex */
export const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

// The tables of frames (3, 4): fields in the order of MessagePack. The kinds of fields are what codecs know.

/**
 * @typedef {'u32' | 'u53' | 'text' | 'bool' | 'name' | 'path' | 'pattern' | 'epoch' | 'fingerprint' | 'digest'
 *   | 'logkey' | 'code' | 'value' | 'change' | 'puts' | 'step' | 'condition' | 'digests'} Plain
 * @typedef {Plain | {words: readonly string[]} | {record: readonly Field[]} | {list: Kind, most?: number}} Kind
 * @typedef {{name: string, kind: Kind, must: boolean, byDefault?: unknown}} Field
 * @typedef {{op: string, number: number, fields: readonly Field[]}} Table
 * @typedef {{op: string, [field: string]: any}} Frame
 */

/**
 * @param {string} name with `?` behind it when it may be absent
 * @param {Kind} kind
 * @param {unknown} [byDefault] what is not written
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

/** What a transaction does, by the number in MessagePack. */
export const STEPS = [
  { op: 'put', fields: [PATH, VALUE, TTL, EPHEMERAL] }, { op: 'append', fields: [PATH, VALUE, TTL, EPHEMERAL] },
  { op: 'delete', fields: [PATH] }, { op: 'drop', fields: [PATH] }, { op: 'trim', fields: [PATH, f('to', 'logkey')] },
];

/**
 * @param {[string, Field[]][]} tables
 * @returns {readonly Table[]}
 */
const numbered = (tables) => tables.map(([op, fields], i) => ({ op, number: i + 1, fields }));

/** Frames of a client. */
export const CLIENT = numbered([
  ['hello', [ID, f('client?', 'name'), f('session?', 'name'), f('token?', 'text'), f('agent?', 'text'), f('seen?', 'u53'),
    f('subs?', { list: { record: SUB } }), f('since?', 'u53')]],
  ['auth', [ID, f('token', 'text')]],
  ['sub', SUB],
  ['unsub', [ID, f('sub', 'u32')]],
  ['resync', [ID, f('sub', 'u32')]],
  ['sync', [ID]],
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

/** Frames of a broker. */
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

/** @type {Record<string, (value: unknown) => boolean>} whether something is of a plain kind */
const IS = {
  u32: (v) => typeof v === 'number' && v < 2 ** 32,
  u53: (v) => typeof v === 'number',
  text: (v) => typeof v === 'string',
  bool: (v) => typeof v === 'boolean',
  name: (v) => typeof v === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(v),
  epoch: (v) => typeof v === 'string' && /^[0-9a-f]{32}$/.test(v),
  fingerprint: (v) => typeof v === 'string' && /^[0-9a-f]{16}$/.test(v),
  digest: (v) => typeof v === 'string' && isDigest(v),
  logkey: (v) => typeof v === 'string' && isLogKey(v),
  code: (v) => typeof v === 'string' && Object.hasOwn(CODES, v),
};

/**
 * Whether a text is a digest: `count:sum`, count below 2^64.
 * @param {string} text
 */
export function isDigest(text) {
  const parts = /^(0|[1-9][0-9]{0,19}):([0-9a-f]{32})$/.exec(text);
  return parts !== null && BigInt(/** @type {string} */ (parts[1])) < 2n ** 64n;
}

/**
 * What a codec has read as a field of a plain kind; numbers are whole and not negative, or no numbers at all.
 * @param {Plain} kind
 * @param {unknown} value
 * @param {string} name
 * @returns {unknown}
 */
export function checkPlain(kind, value, name) {
  if (kind === 'path' && typeof value === 'string') return checkPath(value);
  if (kind === 'pattern' && typeof value === 'string') return checkPattern(value);
  if (IS[kind]?.(value)) return value;
  const wrongType = typeof value !== 'string' && !(kind.startsWith('u') && (typeof value === 'bigint' || typeof value === 'number'));
  return refuse(wrongType || kind.startsWith('u') && typeof value === 'string' ? 'bad-frame' : 'bad-field', `${name} is no ${kind}`);
}

/**
 * The parts of a change, put together and checked.
 * @param {string} path
 * @param {number} rev
 * @param {Value | undefined} value
 * @returns {Change}
 */
export function putChange(path, rev, value) {
  return { path, rev, act: 'put', value };
}

/**
 * A value as a codec found it: of JSON it has read the text, or the broker has.
 * @param {string | undefined} type
 * @param {string | Uint8Array} raw
 */
export function makeValue(type, raw) {
  return new Value(type === undefined || type === JSON_TYPE ? JSON_TYPE : checkType(type), raw, SURE);
}
