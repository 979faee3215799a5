// The MessagePack codec: `connect(url, { codec: msgpack })`. The protocol uses few of MessagePack's types and forbids
// the others. A general library does not tell a float from a whole number once it has read it. So these types are read
// here, strictly, in one pass.

import { refuse } from './errors.js';
import { CLIENT, COOKIE, SERVER, STEPS, VALUE_FIELDS, putChange } from './protocol/frames.js';
import { checkPlain } from './protocol/kinds.js';
import { utf8 } from './protocol/texts.js';
import { JSON_TYPE, Value, makeValue } from './protocol/values.js';

const DEPTH = 127;

/** @param {string} why @returns {never} */
const wrong = (why) => refuse('bad-frame', `not MessagePack: ${why}`);

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  /** @param {number} size a number of so many bytes, big-endian */
  number(size) {
    const { bytes, at } = this;
    if (at + size > bytes.length) return wrong('it is cut off');
    let number = 0;
    for (let i = 0; i < size; i += 1) number = number * 256 + /** @type {number} */ (bytes[at + i]);
    this.at = at + size;
    return number;
  }

  /** @param {number} length */
  take(length) {
    const begin = this.at;
    if (begin + length > this.bytes.length) return wrong('it is cut off');
    this.at = begin + length;
    return this.bytes.subarray(begin, begin + length);
  }

  /** @param {number} length */
  string(length) {
    const { bytes, at } = this;
    if (at + length > bytes.length) return wrong('it is cut off');
    this.at = at + length;
    if (length > 96) return utf8(bytes.subarray(at, at + length));
    let text = '';
    for (let i = at; i < at + length; i += 1) {
      const byte = /** @type {number} */ (bytes[i]);
      if (byte > 0x7f) return utf8(bytes.subarray(at, at + length));
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** @param {number} length @param {number} depth */
  array(length, depth) {
    if (depth >= DEPTH) return wrong('nested too deep');
    if (length > this.bytes.length - this.at) return wrong('it is cut off');
    const list = [];
    for (let i = 0; i < length; i += 1) list.push(this.value(depth + 1));
    return list;
  }

  /** @param {number} size */
  signed(size) {
    const top = /** @type {number} */ (this.bytes[this.at]);
    const number = size === 8 ? this.long() : this.number(size);
    return top >= 0x80 ? -1 : number;
  }

  long() {
    const high = this.number(4);
    const low = this.number(4);
    return high < 0x200000 ? high * 0x100000000 + low : (BigInt(high) << 32n) | BigInt(low);
  }

  /**
   * @param {number} depth
   * @returns {unknown} nil as undefined; a negative number as -1
   */
  value(depth) {
    if (this.at >= this.bytes.length) return wrong('it is cut off');
    const kind = /** @type {number} */ (this.bytes[this.at]);
    this.at += 1;
    if (kind < 0x80) return kind;
    if (kind >= 0xe0) return -1;
    if (kind >= 0xa0 && kind < 0xc0) return this.string(kind & 0x1f);
    if (kind >= 0x90 && kind < 0xa0) return this.array(kind & 0x0f, depth);
    switch (kind) {
      case 0xc0: return undefined;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.take(this.number(1));
      case 0xc5: return this.take(this.number(2));
      case 0xc6: return this.take(this.number(4));
      case 0xcc: return this.number(1);
      case 0xcd: return this.number(2);
      case 0xce: return this.number(4);
      case 0xcf: return this.long();
      case 0xd0: return this.signed(1);
      case 0xd1: return this.signed(2);
      case 0xd2: return this.signed(4);
      case 0xd3: return this.signed(8);
      case 0xd9: return this.string(this.number(1));
      case 0xda: return this.string(this.number(2));
      case 0xdb: return this.string(this.number(4));
      case 0xdc: return this.array(this.number(2), depth);
      case 0xdd: return this.array(this.number(4), depth);
      default: return wrong('a map, an extension, a float, or a reserved byte');
    }
  }
}

/** @param {Uint8Array} bytes */
function readArray(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!Array.isArray(value)) return wrong('a frame is an array');
  if (reader.at !== bytes.length) return wrong('something is behind the end');
  return value;
}

/**
 * @param {unknown} type
 * @param {unknown} bytes
 * @returns {Value | undefined}
 */
function readValue(type, bytes) {
  if (type !== undefined && typeof type !== 'string') return refuse('bad-frame', 'type is a text');
  if (bytes === undefined) return type === undefined ? undefined : refuse('bad-frame', 'a type without a value');
  if (!(bytes instanceof Uint8Array)) return refuse('bad-frame', 'a value is of type bin');
  // A copy: the value may outlive the frame by far. (What `slice` of a Buffer gives, is none.)
  if (type === undefined || type === JSON_TYPE) return makeValue(JSON_TYPE, utf8(bytes));
  return makeValue(type, new Uint8Array(bytes));
}

/** @param {unknown} number */
const whole = (number) => (number === -1 ? -0.5 : number);

/**
 * @param {import('./protocol/kinds.js').Plain} kind
 * @param {unknown} read
 * @param {string} name
 */
function plain(kind, read, name) {
  return read === -1 || read instanceof Uint8Array ? refuse('bad-frame', `${name} is no ${kind}`) : checkPlain(kind, read, name);
}

/**
 * @param {unknown} read
 * @returns {import('./protocol/frames.js').Change}
 */
function readChange(read) {
  if (!Array.isArray(read)) return refuse('bad-frame', 'a change is an array');
  const path = /** @type {string} */ (plain('path', read[0], 'path'));
  const rev = /** @type {number} */ (plain('u53', read[1], 'rev'));
  switch (read[2]) {
    case 0: return putChange(path, rev, readValue(read[3], read[4]));
    case 1: return { path, rev, act: 'delete' };
    case 2: return { path, rev, act: 'drop' };
    case 3: {
      const to = /** @type {string} */ (plain('logkey', read[3], 'trim'));
      return { path, rev, act: 'trim', to, gap: plain('bool', read[4] ?? false, 'gap') === true };
    }
    default: return refuse('bad-frame', 'the act of a change is unknown');
  }
}

/**
 * @param {import('./protocol/frames.js').Kind} kind
 * @param {unknown} read
 * @param {string} name
 * @returns {unknown}
 */
function readKind(kind, read, name) {
  if (typeof kind === 'string') {
    if (kind === 'change') return readChange(read);
    if (kind !== 'condition' && kind !== 'step' && kind !== 'digests') return plain(kind, read, name);
    if (!Array.isArray(read)) return refuse('bad-frame', `${name} is an array`);
    if (kind === 'condition') {
      const [path, tree] = read;
      if ((path === undefined) === (tree === undefined)) return refuse('bad-frame', 'a condition has path or tree');
      const rev = plain('u53', read[2], 'rev');
      return path === undefined ? { tree: plain('path', tree, 'tree'), rev } : { path: plain('path', path, 'path'), rev };
    }
    if (kind === 'step') {
      const step = typeof read[0] === 'number' ? STEPS[read[0]] : undefined;
      return step ? { do: step.op, ...readFields(step.fields, read, 1) } : refuse('bad-frame', 'do is unknown');
    }
    return read.map((pair) => {
      if (!Array.isArray(pair)) return refuse('bad-frame', 'digests are pairs');
      const digest = pair[1] === undefined ? null : plain('digest', pair[1], 'digest');
      return [plain('u32', pair[0], 'sub'), digest];
    });
  }
  if ('words' in kind) {
    if (typeof read !== 'string') return refuse('bad-frame', `${name} is a word`);
    return kind.words.includes(read) ? read : refuse('bad-field', `${name} is one of ${kind.words.join(', ')}`);
  }
  if (!Array.isArray(read)) return refuse('bad-frame', `${name} is an array`);
  if ('record' in kind) return readFields(kind.record, read, 0);
  if (kind.most !== undefined && read.length > kind.most) return refuse('bad-field', `${name} has at most ${kind.most}`);
  return read.map((item) => readKind(kind.list, item, name));
}

/**
 * @param {readonly import('./protocol/frames.js').Field[]} fields
 * @param {unknown[]} read
 * @param {number} at
 */
function readFields(fields, read, at) {
  /** @type {Record<string, unknown>} */
  const frame = {};
  for (const { name, kind, must } of fields) {
    const value = kind === 'value' ? readValue(read[at], read[at + 1]) : read[at];
    at += kind === 'value' ? 2 : 1;
    if (value === undefined) {
      if (must) return refuse('bad-frame', `${name} is missing`);
    } else {
      frame[name] = kind === 'value' ? value : readKind(kind, value, name);
    }
  }
  return frame;
}

/**
 * @param {readonly import('./protocol/frames.js').Table[]} tables
 * @param {string | Uint8Array} message
 * @returns {import('./protocol/frames.js').Frame}
 */
function decode(tables, message) {
  if (typeof message === 'string') return refuse('bad-frame', 'a text message, where frames are MessagePack');
  const read = readArray(message);
  const number = whole(read[0]);
  if (typeof number !== 'number') return refuse('bad-frame', 'op is a number');
  const table = tables[number - 1];
  if (!table) return refuse('unknown-op', `op ${number} is not known`);
  return { op: table.op, ...readFields(table.fields, read, 1) };
}

const encoder = new TextEncoder();

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.at = 0;
  }

  /** @param {number} more */
  room(more) {
    if (this.at + more <= this.bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** @param {number} kind @param {number} size @param {number} number */
  head(kind, size, number) {
    this.room(9);
    this.bytes[this.at] = kind;
    this.at += 1;
    if (size === 1) this.view.setUint8(this.at, number);
    if (size === 2) this.view.setUint16(this.at, number);
    if (size === 4) this.view.setUint32(this.at, number);
    this.at += size;
  }

  /** @param {number} number */
  sized(number, /** @type {number} */ one, /** @type {number} */ two, /** @type {number} */ four) {
    if (number < 0x100 && one > 0) this.head(one, 1, number);
    else if (number < 0x10000) this.head(two, 2, number);
    else this.head(four, 4, number);
  }

  /** @param {unknown} value */
  write(value) {
    if (value === undefined || value === null) this.head(0xc0, 0, 0);
    else if (typeof value === 'boolean') this.head(value ? 0xc3 : 0xc2, 0, 0);
    else if (typeof value === 'number' && value < 0x80) this.head(value, 0, 0);
    else if (typeof value === 'number' && value < 0x100000000) this.sized(value, 0xcc, 0xcd, 0xce);
    else if (typeof value === 'number' || typeof value === 'bigint') {
      this.head(0xcf, 0, 0);
      this.room(8);
      this.view.setBigUint64(this.at, BigInt(value));
      this.at += 8;
    } else if (typeof value === 'string') {
      const bytes = encoder.encode(value);
      if (bytes.length < 32) this.head(0xa0 | bytes.length, 0, 0);
      else this.sized(bytes.length, 0xd9, 0xda, 0xdb);
      this.put(bytes);
    } else if (value instanceof Uint8Array) {
      this.sized(value.length, 0xc4, 0xc5, 0xc6);
      this.put(value);
    } else if (Array.isArray(value)) {
      if (value.length < 16) this.head(0x90 | value.length, 0, 0);
      else this.sized(value.length, 0, 0xdc, 0xdd);
      for (const item of value) this.write(item);
    }
  }

  /** @param {Uint8Array} bytes */
  put(bytes) {
    this.room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }
}

/** @param {Value | undefined} value */
const valuePair = (value) => (value === undefined ? [undefined, undefined] : [value.isJson ? undefined : value.type, value.bytes]);

/** @param {unknown[]} list the same without what is absent at its end */
function trimmed(list) {
  while (list.length > 0 && list[list.length - 1] === undefined) list.pop();
  return list;
}

/**
 * @param {import('./protocol/frames.js').Kind} kind
 * @param {any} value
 * @returns {unknown}
 */
function kindArray(kind, value) {
  if (kind === 'change') {
    const act = ['put', 'delete', 'drop', 'trim'].indexOf(value.act);
    const more = act === 0 ? valuePair(value.value) : act === 3 ? [value.to, value.gap || undefined] : [];
    const list = trimmed([value.path, value.rev, act, ...more]);
    return list;
  }
  if (kind === 'condition') return [value.path, value.tree, value.rev];
  if (kind === 'digests') return value.map((/** @type {any} */ [sub, digest]) => (digest === null ? [sub] : [sub, digest]));
  if (kind === 'step') {
    const number = STEPS.findIndex((s) => s.op === value.do);
    return [number, ...fieldsArray(/** @type {typeof STEPS[number]} */ (STEPS[number]).fields, value)];
  }
  if (typeof kind === 'object' && 'record' in kind) return fieldsArray(kind.record, value);
  if (typeof kind === 'object' && 'list' in kind) return value.map((/** @type {any} */ item) => kindArray(kind.list, item));
  return value;
}

/**
 * @param {readonly import('./protocol/frames.js').Field[]} fields
 * @param {Record<string, any>} frame
 */
function fieldsArray(fields, frame) {
  const list = [];
  for (const { name, kind, must, byDefault } of fields) {
    const value = frame[name];
    if (kind === 'value') list.push(...valuePair(value));
    else if (value === undefined) list.push(undefined);
    else if (!must && (value === byDefault || (Array.isArray(value) && value.length === 0))) list.push(undefined);
    else list.push(kindArray(kind, value));
  }
  return trimmed(list);
}

/** @param {unknown[]} list */
function bytesOf(list) {
  const writer = new Writer();
  writer.write(list);
  return writer.bytes.subarray(0, writer.at);
}

/**
 * @param {readonly import('./protocol/frames.js').Table[]} tables
 * @param {import('./protocol/frames.js').Frame} frame
 */
function encode(tables, frame) {
  const table = tables.find((t) => t.op === frame.op);
  if (!table) return refuse('unknown-op', `op ${frame.op} is not known`);
  return bytesOf([table.number, ...fieldsArray(table.fields, frame)]);
}

/** The MessagePack codec. @type {import('./json.js').Codec} */
export const msgpack = Object.freeze({
  subprotocol: 'onetree.v1.msgpack',
  binary: true,
  encodeClient: (/** @type {any} */ frame) => encode(CLIENT, frame),
  decodeServer: (/** @type {any} */ message) => decode(SERVER, message),
  encodeServer: (/** @type {any} */ frame) => encode(SERVER, frame),
  decodeClient: (/** @type {any} */ message) => decode(CLIENT, message),
});

/** @param {Uint8Array} bytes */
export const readCookie = (bytes) => /** @type {import('./protocol/frames.js').Cookie} */ (readFields(COOKIE, readArray(bytes), 0));
/** @param {import('./protocol/frames.js').Cookie} cookie */
export const cookieBytes = (cookie) => bytesOf(fieldsArray(COOKIE, cookie));

/** @param {Uint8Array} bytes the two elements of a value, without an array around them */
export function readValueBytes(bytes) {
  const array = new Uint8Array(bytes.length + 1);
  array[0] = 0x92;
  array.set(bytes, 1);
  return /** @type {Value} */ (readFields(VALUE_FIELDS, readArray(array), 0)['value']);
}
/** @param {Value} value */
export const valueBytes = (value) => bytesOf(valuePair(value)).subarray(1);
