// Values: bytes with a media type. See section 1.4 of spec/PROTOCOL.md.

import { OnetreeError, refuse, wordsOf } from '../errors.js';
import { skipJson } from '../json-text.js';
import { byteLength, bytesOf, textOf, toBase64, utf8, wellFormed } from './texts.js';

export const JSON_TYPE = 'application/json';
/** Marks a value that needs no check, because it was checked or a codec has read it. Only this module has the symbol. */
const SURE = Symbol('sure');

/** Bytes with a media type. A value never changes. What you read of it is made at the first read. */
export class Value {
  /**
   * Fails with `bad-value` if the content is not what the type says.
   * @param {string} type
   * @param {string | Uint8Array | ArrayBufferView | ArrayBuffer} content its text, if it is UTF-8, or its bytes, which
   *   are not copied
   * @param {symbol} [sure] given by codecs, which have checked the content
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
   * A value of type `application/json`, of anything that has JSON. The JSON is what `JSON.stringify` makes: members
   * that are undefined or functions are left out, such elements of lists are null, and -0 is 0. Fails with `bad-value`
   * for what `JSON.stringify` would turn into something else: NaN and Infinity, a Map, a Set, a Promise, bytes inside
   * of something.
   * @param {unknown} content
   */
  static json(content) {
    const text = jsonOf(content);
    if (text === undefined) return refuse('bad-value', 'this has no JSON');
    return Value.jsonText(text);
  }

  /**
   * A value of type `application/json`, of a JSON text, which is kept as it is.
   * @param {string} text
   */
  static jsonText(text) {
    if (typeof text !== 'string') return refuse('bad-value', 'a JSON text is a text');
    return new Value(JSON_TYPE, text);
  }

  /**
   * A value that is text.
   * @param {string} text
   * @param {string} [type] one of `text/…`
   */
  static text(text, type = 'text/plain') {
    if (typeof text !== 'string' || !wellFormed(text)) refuse('bad-value', 'a text is one, without lone surrogates');
    if (!checkType(type).startsWith('text/')) refuse('bad-field', `${type} is no type of a text`);
    return new Value(type, text, SURE);
  }

  /**
   * A value of any type: `Value.of('image/png', bytes)`. The bytes are not copied, so do not change them afterwards.
   * @param {string} type
   * @param {Uint8Array | ArrayBufferView | ArrayBuffer} content
   */
  static of(type, content) {
    const bytes = bytesIn(content);
    if (bytes === undefined) return refuse('bad-value', 'Value.of takes a type, and bytes: a Uint8Array, say');
    return new Value(type, bytes);
  }

  /**
   * Makes a value as requests do. A `Value` stays as it is. Bytes (a `Uint8Array`, another view, an `ArrayBuffer`)
   * become `application/octet-stream`; they are copied, because a request may wait. Anything else becomes JSON, as in
   * {@link Value.json}.
   * @param {unknown} content
   * @returns {Value}
   */
  static from(content) {
    if (content instanceof Value) return content;
    const bytes = bytesIn(content);
    return bytes === undefined ? Value.json(content) : new Value('application/octet-stream', new Uint8Array(bytes), SURE);
  }

  /** Whether the value is JSON. */
  get isJson() {
    return this.type === JSON_TYPE;
  }

  /** Whether a JSON frame shows the value as text: its type is `text/…`, and it is UTF-8. */
  get isText() {
    return this.type.startsWith('text/') && (typeof this.raw === 'string' || textOf(this.raw) !== undefined);
  }

  /** The value as text; of JSON, its text. Fails with `bad-value` if the value is not UTF-8. */
  get text() {
    return typeof this.raw === 'string' ? this.raw : textOf(this.raw) ?? refuse('bad-value', 'the value is not UTF-8');
  }

  /**
   * The value as bytes. Bytes of a value that is no text are shared, so do not change them. Nothing can freeze bytes,
   * and a copy at each read would cost too much: `value.bytes.slice()` is a copy of your own.
   */
  get bytes() {
    return typeof this.raw === 'string' ? bytesOf(this.raw) : this.raw;
  }

  /**
   * The value of the JSON. It is parsed once, shared and frozen: `structuredClone`, or `{...}`, gives a copy that you
   * can change. Fails with `bad-value` if the value is not JSON. Numbers are doubles; `text` has all digits.
   */
  get json() {
    if (!this.isJson) {
      const where = this.isText ? 'text' : 'bytes';
      return refuse('bad-value', `the value is ${this.type}, not ${JSON_TYPE}: it is in \`${where}\`; \`content\` has whichever there is`);
    }
    this.parsed ??= { json: frozen(JSON.parse(this.text)) };
    return this.parsed.json;
  }

  /** Whichever of `json`, `text` and `bytes` fits the type. */
  get content() {
    return this.isJson ? this.json : this.isText ? this.text : this.bytes;
  }

  /**
   * The value as JSON, in the words of the protocol: `{"json"}`, `{"type","text"}`, or `{"type","bytes"}` with base64.
   * To write the value again, give the `Value` itself to a request.
   */
  toJSON() {
    const { type } = this;
    if (this.isJson) return { json: this.json };
    return this.isText ? { type, text: this.text } : { type, bytes: toBase64(this.bytes) };
  }

  /** The size of the value in bytes. */
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
 * A value as a codec found it. The broker has checked its type; if it is JSON, the codec or the broker has checked the
 * text.
 * @param {string | undefined} type
 * @param {string | Uint8Array} raw
 */
export function makeValue(type, raw) {
  return new Value(type ?? JSON_TYPE, raw, SURE);
}

const TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?: *;[ -~]*)?$/;

/**
 * @param {string} type
 * @returns {string}
 */
function checkType(type) {
  if (typeof type !== 'string' || type.length > 127 || !TYPE.test(type)) {
    return refuse('bad-field', `${JSON.stringify(String(type))} is no media type`);
  }
  return type;
}

/**
 * Returns the bytes of a buffer or of a view of one; `undefined` if `content` is neither.
 * @param {unknown} content
 * @returns {Uint8Array | undefined}
 */
function bytesIn(content) {
  if (content instanceof Uint8Array) return content;
  if (ArrayBuffer.isView(content)) return new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  return content instanceof ArrayBuffer ? new Uint8Array(content) : undefined;
}

/**
 * Checks the content of a value of this type, and returns it in the form in which it is kept.
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
 * Checks a JSON text, and returns it without the white space around it.
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
 * Freezes everything in a JSON value. A mirror shows it to many readers, and one that changed it would make the mirror
 * wrong. Not recursive, because the value may be nested deeply.
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

/** Signs that `JSON.stringify` met something that has no JSON. A few harmless things give these signs, too. */
const LOST = ['null', '{}', '{"0":', '"type":"Buffer"'];
/** For objects of these classes, `{}` is the whole truth. */
const WHOLE = /^\[object (?:Object|Array|Number|String|Boolean)\]$/;

/**
 * Refuses what would be stored as less than it is.
 * @this {any} the object that contains it
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
    // Checking each part costs at least twice as much as making the text, and few contents have anything to check.
    return text !== undefined && LOST.some((sign) => text.includes(sign)) ? JSON.stringify(content, lossless) : text;
  } catch (error) {
    throw error instanceof OnetreeError ? error : new OnetreeError('bad-value', `this has no JSON: ${error}`, { cause: error });
  }
}
