// Values: bytes and a media type: 1.4 of spec/PROTOCOL.md.

import { OnetreeError, refuse, wordsOf } from '../errors.js';
import { skipJson } from '../json-text.js';
import { byteLength, bytesOf, textOf, toBase64, utf8, wellFormed } from './texts.js';

export const JSON_TYPE = 'application/json';
/** Says that a value needs no look: it was looked at, or a codec has read it. Nobody else has this. */
const SURE = Symbol('sure');

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
   * What requests take: a value as it is; bytes (a `Uint8Array`, another view, an `ArrayBuffer`) as `application/octet-stream`,
   * copied, as a request may wait; everything else as {@link Value.json}.
   * @param {unknown} content
   * @returns {Value}
   */
  static from(content) {
    if (content instanceof Value) return content;
    const bytes = bytesIn(content);
    return bytes === undefined ? Value.json(content) : new Value('application/octet-stream', new Uint8Array(bytes), SURE);
  }

  /** Whether it is JSON. */
  get isJson() {
    return this.type === JSON_TYPE;
  }

  /** Whether a JSON frame shows it as text: `text/…` and UTF-8. */
  get isText() {
    return this.type.startsWith('text/') && (typeof this.raw === 'string' || textOf(this.raw) !== undefined);
  }

  /** Its text, also of JSON; `bad-value` when it is not UTF-8. */
  get text() {
    return typeof this.raw === 'string' ? this.raw : textOf(this.raw) ?? refuse('bad-value', 'the value is not UTF-8');
  }

  /**
   * Its bytes, shared where it is no text: not to be changed. Nothing can freeze them, and a copy each time would cost as much as
   * they are large: `value.bytes.slice()` is one.
   */
  get bytes() {
    return typeof this.raw === 'string' ? bytesOf(this.raw) : this.raw;
  }

  /**
   * What its JSON says, made once and shared, so frozen: `structuredClone`, or `{...}`, is what can be changed. `bad-value` when it
   * is not JSON. Numbers are doubles; `text` has all digits.
   */
  get json() {
    if (!this.isJson) {
      const where = this.isText ? 'text' : 'bytes';
      return refuse('bad-value', `the value is ${this.type}, not ${JSON_TYPE}: it is in \`${where}\`; \`content\` has whichever there is`);
    }
    this.parsed ??= { json: frozen(JSON.parse(this.text)) };
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

/**
 * A value as a codec found it: of JSON it has read the text, or the broker has.
 * @param {string | undefined} type
 * @param {string | Uint8Array} raw
 */
export function makeValue(type, raw) {
  return new Value(type === undefined || type === JSON_TYPE ? JSON_TYPE : checkType(type), raw, SURE);
}

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

/**
 * Freezes all of what a JSON text says: a mirror shows it to many, and who could change it would make the mirror wrong. Without
 * recursion: it may be nested deeply.
 * @param {any} json
 */
function frozen(json) {
  const open = isCompound(json) ? [json] : [];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    for (const part of Array.isArray(one) ? one : Object.values(one)) if (isCompound(part)) open.push(part);
    Object.freeze(one);
  }
  return json;
}

/** @param {unknown} part @returns {part is object} */
const isCompound = (part) => typeof part === 'object' && part !== null;

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
