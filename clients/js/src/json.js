// The JSON codec. It reads frames itself: `JSON.parse` would accept what the protocol forbids (duplicate keys, lone
// surrogates, numbers beyond a double, `1.0` where a whole number is required), and would not keep a value as it came.
// A value is not made into objects here: its text is kept, and parsed when the application asks for it.

import { refuse } from './errors.js';
import { DEPTH, skipJson, space, stringEnd, unescape, wrong } from './json-text.js';
import { CLIENT, COOKIE, SERVER, STEPS, VALUE_FIELDS, putChange } from './protocol/frames.js';
import { checkPlain } from './protocol/kinds.js';
import { toBase64, utf8 } from './protocol/texts.js';
import { JSON_TYPE, Value, makeValue } from './protocol/values.js';

/** From this many characters of a frame on, small pieces of it are copied. The frames of a refresh are smaller. */
const LARGE = 32_768;

/** A JSON value, as text. */
class Raw {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** Stands for a number that is not whole, or is negative. */
const ODD = Symbol('odd');
/** Reads one text. `at` is the place of the next character. */
class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  /**
   * Reads the value that begins here. The value of a field `json` becomes a {@link Raw}.
   * @param {number} depth
   * @returns {unknown}
   */
  value(depth) {
    const { text } = this;
    const c = text.charCodeAt(this.at);
    if (c === 0x22) return this.string();
    if (c === 0x7b) return this.object(depth);
    if (c === 0x5b) {
      if (depth >= DEPTH) return wrong(`nested more than ${DEPTH} deep`);
      /** @type {unknown[]} */
      const list = [];
      this.at = space(text, this.at + 1);
      if (text.charCodeAt(this.at) === 0x5d) {
        this.at += 1;
        return list;
      }
      for (;;) {
        list.push(this.value(depth + 1));
        this.at = space(text, this.at);
        const next = text.charCodeAt(this.at);
        if (next !== 0x2c && next !== 0x5d) return wrong("',' or ']' is missing");
        this.at = next === 0x5d ? this.at + 1 : space(text, this.at + 1);
        if (next === 0x5d) return list;
      }
    }
    const begin = this.at;
    this.at = skipJson(text, begin, depth);
    if (c === 0x74) return true;
    if (c === 0x66) return false;
    if (c === 0x6e) return null;
    let number = 0;
    for (let i = begin; i < this.at; i += 1) {
      const digit = text.charCodeAt(i) - 0x30;
      if (digit < 0 || digit > 9) return ODD;
      number = number * 10 + digit;
    }
    return number < 2 ** 53 && this.at - begin < 17 ? number : BigInt(text.slice(begin, this.at));
  }

  string() {
    const begin = this.at;
    const end = stringEnd(this.text, begin);
    this.at = Math.abs(end);
    return end < 0 ? unescape(this.text, begin, -end) : piece(this.text, begin + 1, end - 1);
  }

  /**
   * @param {number} depth
   * @returns {Record<string, unknown>}
   */
  object(depth) {
    const { text } = this;
    if (depth >= DEPTH) return wrong(`nested more than ${DEPTH} deep`);
    /** @type {Record<string, unknown>} */
    const object = {};
    this.at = space(text, this.at + 1);
    if (text.charCodeAt(this.at) === 0x7d) {
      this.at += 1;
      return object;
    }
    for (;;) {
      if (text.charCodeAt(this.at) !== 0x22) return wrong('a key is missing');
      let key = this.string();
      // No field has this name, and it would set the prototype.
      if (key === '__proto__') key = '\0__proto__';
      if (Object.hasOwn(object, key)) return wrong('a key twice');
      this.at = space(text, this.at);
      if (text.charCodeAt(this.at) !== 0x3a) return wrong("':' is missing");
      this.at = space(text, this.at + 1);
      if (key === 'json') {
        const begin = this.at;
        this.at = skipJson(text, begin, 0);
        object[key] = new Raw(piece(text, begin, this.at));
      } else {
        object[key] = this.value(depth + 1);
      }
      this.at = space(text, this.at);
      const next = text.charCodeAt(this.at);
      if (next === 0x7d) {
        this.at += 1;
        return object;
      }
      if (next !== 0x2c) return wrong("',' or '}' is missing");
      this.at = space(text, this.at + 1);
    }
  }
}

/**
 * Cuts a piece out of a frame. An engine makes the piece a view into the frame's text, which then lives as long as the
 * piece. So a small piece of a large frame is copied.
 * @param {string} text
 * @param {number} begin
 * @param {number} end
 * @returns {string}
 */
function piece(text, begin, end) {
  const found = text.slice(begin, end);
  // Below 13 characters no engine makes a view.
  if (text.length < LARGE || end - begin < 13 || end - begin > text.length / 4) return found;
  return ` ${found}`.slice(1);
}

/**
 * @param {string} text
 * @returns {Record<string, unknown>}
 */
function readObject(text) {
  const reader = new Reader(text);
  reader.at = space(text, 0);
  if (text.charCodeAt(reader.at) !== 0x7b) return refuse('bad-frame', 'a frame is a JSON object');
  const object = reader.object(0);
  if (space(text, reader.at) !== text.length) return wrong('something is behind the end');
  return object;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * @param {string} text
 * @returns {Uint8Array}
 */
function fromBase64(text) {
  if (!BASE64.test(text)) return refuse('bad-frame', 'bytes is no base64');
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  // Bits after the end would allow two texts for the same bytes.
  return text.endsWith('=') && toBase64(bytes) !== text ? refuse('bad-frame', 'bytes is no base64') : bytes;
}

/**
 * @param {Record<string, unknown>} object
 * @returns {Value | undefined}
 */
function readValue(object) {
  const { json } = object;
  const [type, text, bytes] = [object['type'] ?? undefined, object['text'] ?? undefined, object['bytes'] ?? undefined];
  const isJson = json instanceof Raw;
  // A null beside another value counts as an absent field.
  if (type !== undefined && typeof type !== 'string') return refuse('bad-frame', 'type is a text');
  if (isJson) {
    if (text !== undefined || bytes !== undefined) {
      return refuse('bad-frame', 'two values');
    }
    if (type !== undefined && type !== JSON_TYPE) return refuse('bad-frame', `json is of type ${JSON_TYPE}`);
    return makeValue(JSON_TYPE, json.text);
  }
  if (text !== undefined) {
    if (bytes !== undefined || typeof text !== 'string') return refuse('bad-frame', 'one value, and text is a text');
    if (type !== undefined && !type.startsWith('text/')) return refuse('bad-frame', 'text is of a type text/…');
    return makeValue(type ?? 'text/plain', text);
  }
  if (bytes !== undefined) {
    if (typeof bytes !== 'string') return refuse('bad-frame', 'bytes is a text');
    const read = fromBase64(bytes);
    return type === JSON_TYPE ? jsonBytes(read) : makeValue(type ?? 'application/octet-stream', read);
  }
  return type === undefined ? undefined : refuse('bad-frame', 'a type without a value');
}

/** @param {Uint8Array} bytes */
function jsonBytes(bytes) {
  return Value.jsonText(utf8(bytes));
}

/**
 * @param {unknown} read
 * @param {string} name
 * @returns {Record<string, unknown>}
 */
function asObject(read, name) {
  if (typeof read !== 'object' || read === null || Array.isArray(read) || read instanceof Raw) {
    return refuse('bad-frame', `${name} is an object`);
  }
  return /** @type {Record<string, unknown>} */ (read);
}

/**
 * @param {unknown} read
 * @returns {import('./protocol/frames.js').Change}
 */
function readChange(read) {
  const object = asObject(read, 'a change');
  const path = /** @type {string} */ (checkPlain('path', object['path'], 'path'));
  const rev = /** @type {number} */ (checkPlain('u53', object['rev'], 'rev'));
  const [gone, drop, trim, gap] = [object['delete'], object['drop'], object['trim'], object['gap']];
  if (gone === undefined && drop === undefined && trim === undefined && gap === undefined) {
    return putChange(path, rev, readValue(object));
  }
  for (const flag of [gone, drop, gap]) checkPlain('bool', flag ?? false, 'delete, drop, gap');
  const trims = trim !== undefined && trim !== null;
  if (Number(gone === true) + Number(drop === true) + Number(trims) > 1) return refuse('bad-frame', 'a change is one');
  if (gone === true) return { path, rev, act: 'delete' };
  if (drop === true) return { path, rev, act: 'drop' };
  if (!trims) return putChange(path, rev, readValue(object));
  const to = /** @type {string} */ (checkPlain('logkey', trim, 'trim'));
  return { path, rev, act: 'trim', to, gap: gap === true };
}

/**
 * @param {import('./protocol/frames.js').Kind} kind
 * @param {unknown} read
 * @param {string} name
 * @returns {unknown}
 */
function readKind(kind, read, name) {
  if (typeof kind === 'string') {
    switch (kind) {
      case 'change': return readChange(read);
      case 'condition': {
        const object = asObject(read, name);
        const [path, tree] = [object['path'] ?? undefined, object['tree'] ?? undefined];
        if ((path === undefined) === (tree === undefined)) return refuse('bad-frame', 'a condition has path or tree');
        const rev = checkPlain('u53', object['rev'], 'rev');
        return path === undefined ? { tree: checkPlain('path', tree, 'tree'), rev }
          : { path: checkPlain('path', path, 'path'), rev };
      }
      case 'step': {
        const object = asObject(read, name);
        const step = STEPS.find((s) => s.op === object['do']);
        if (!step) return refuse('bad-frame', 'do is unknown');
        return { do: step.op, ...readFields(step.fields, object) };
      }
      case 'digests': {
        return Object.entries(asObject(read, name)).map(([sub, digest]) => {
          if (!/^(0|[1-9][0-9]{0,9})$/.test(sub)) return refuse('bad-frame', 'a subscription is a number');
          return [checkPlain('u32', Number(sub), 'sub'), digest === null ? null : checkPlain('digest', digest, 'digest')];
        });
      }
      default: return checkPlain(kind, read, name);
    }
  }
  if ('words' in kind) {
    if (typeof read !== 'string') return refuse('bad-frame', `${name} is a word`);
    return kind.words.includes(read) ? read : refuse('bad-field', `${name} is one of ${kind.words.join(', ')}`);
  }
  if ('record' in kind) return readFields(kind.record, asObject(read, name));
  if (!Array.isArray(read)) return refuse('bad-frame', `${name} is a list`);
  if (kind.most !== undefined && read.length > kind.most) return refuse('bad-field', `${name} has at most ${kind.most}`);
  return read.map((item) => readKind(kind.list, item, name));
}

/**
 * @param {readonly import('./protocol/frames.js').Field[]} fields
 * @param {Record<string, unknown>} object
 */
function readFields(fields, object) {
  /** @type {Record<string, unknown>} */
  const frame = {};
  for (const { name, kind, must } of fields) {
    const read = kind === 'value' ? readValue(object) : object[name];
    if (read === undefined || read === null) {
      if (must) return refuse('bad-frame', `${name} is missing`);
    } else {
      frame[name] = kind === 'value' ? read : readKind(kind, read, name);
    }
  }
  return frame;
}

/**
 * @param {readonly import('./protocol/frames.js').Table[]} tables
 * @param {string} text
 * @returns {import('./protocol/frames.js').Frame}
 */
function decode(tables, text) {
  const object = readObject(text);
  const { op } = object;
  if (typeof op !== 'string') return refuse('bad-frame', 'op is missing');
  const table = tables.find((t) => t.op === op);
  if (!table) return refuse('unknown-op', `op ${JSON.stringify(op)} is not known`);
  return { op, ...readFields(table.fields, object) };
}

/**
 * @param {Value} value
 * @param {boolean} [oneLine] whether there must be no line end in the text; JSON with one then goes as bytes
 */
function valueText(value, oneLine = false) {
  if (value.isJson && !(oneLine && /[\r\n]/.test(value.text))) return `"json":${value.text}`;
  const type = `"type":${JSON.stringify(value.type)},`;
  return value.isText ? `${type}"text":${JSON.stringify(value.text)}` : `${type}"bytes":"${toBase64(value.bytes)}"`;
}

/**
 * @param {import('./protocol/frames.js').Change} change
 * @param {boolean} [oneLine]
 * @returns {string}
 */
function changeText(change, oneLine) {
  const head = `{"path":${JSON.stringify(change.path)},"rev":${change.rev}`;
  switch (change.act) {
    case 'put': return change.value === undefined ? `${head}}` : `${head},${valueText(change.value, oneLine)}}`;
    case 'trim': return `${head},"trim":"${change.to}"${change.gap ? ',"gap":true' : ''}}`;
    default: return `${head},"${change.act}":true}`;
  }
}

/**
 * @param {import('./protocol/frames.js').Kind} kind
 * @param {any} value
 * @returns {string}
 */
function kindText(kind, value) {
  if (kind === 'change') return changeText(value);
  if (kind === 'condition') {
    return value.path === undefined ? `{"tree":${JSON.stringify(value.tree)},"rev":${value.rev}}`
      : `{"path":${JSON.stringify(value.path)},"rev":${value.rev}}`;
  }
  if (kind === 'step') {
    const step = /** @type {typeof STEPS[number]} */ (STEPS.find((s) => s.op === value.do));
    return `{"do":"${step.op}"${fieldsText(step.fields, value)}}`;
  }
  if (kind === 'digests') return `{${value.map((/** @type {any} */ [s, d]) => `"${s}":${JSON.stringify(d)}`).join()}}`;
  if (typeof kind === 'object' && 'record' in kind) return `{${fieldsText(kind.record, value).slice(1)}}`;
  if (typeof kind === 'object' && 'list' in kind) {
    return `[${value.map((/** @type {any} */ item) => kindText(kind.list, item)).join()}]`;
  }
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
}

/**
 * @param {readonly import('./protocol/frames.js').Field[]} fields
 * @param {Record<string, any>} frame
 */
function fieldsText(fields, frame) {
  let text = '';
  for (const { name, kind, must, byDefault } of fields) {
    const value = frame[name];
    if (value === undefined || (!must && (value === byDefault || (Array.isArray(value) && value.length === 0)))) continue;
    text += kind === 'value' ? `,${valueText(value)}` : `,"${name}":${kindText(kind, value)}`;
  }
  return text;
}

/**
 * @param {readonly import('./protocol/frames.js').Table[]} tables
 * @param {import('./protocol/frames.js').Frame} frame
 */
function encode(tables, frame) {
  const table = tables.find((t) => t.op === frame.op);
  if (!table) return refuse('unknown-op', `op ${frame.op} is not known`);
  return `{"op":"${frame.op}"${fieldsText(table.fields, frame)}}`;
}

/**
 * @typedef {{
 *   subprotocol: string, binary: boolean,
 *   encodeClient(frame: import('./protocol/frames.js').Frame): string | Uint8Array,
 *   decodeServer(message: string | Uint8Array): import('./protocol/frames.js').Frame,
 *   encodeServer(frame: import('./protocol/frames.js').Frame): string | Uint8Array,
 *   decodeClient(message: string | Uint8Array): import('./protocol/frames.js').Frame,
 * }} Codec how frames stand in messages
 */

/** @param {string | Uint8Array} message */
const textOf = (message) => (typeof message === 'string' ? message : utf8(message));

/** The JSON codec. @type {Codec} */
export const json = Object.freeze({
  subprotocol: 'onetree.v1.json',
  binary: false,
  encodeClient: (/** @type {any} */ frame) => encode(CLIENT, frame),
  decodeServer: (/** @type {any} */ message) => decode(SERVER, textOf(message)),
  encodeServer: (/** @type {any} */ frame) => encode(SERVER, frame),
  decodeClient: (/** @type {any} */ message) => decode(CLIENT, textOf(message)),
});

/**
 * Writes an entry as a line of `onetree export`, without the line end.
 * @param {import('./protocol/frames.js').Entry} entry
 */
export const entryText = (entry) => changeText({ ...entry, act: 'put' }, true);

/**
 * Reads an entry from a line of `onetree export`.
 * @param {string} text
 * @returns {import('./protocol/frames.js').Change}
 */
export const readEntry = (text) => readChange(readObject(text));

/** @param {string} text */
export const readCookie = (text) => /** @type {import('./protocol/frames.js').Cookie} */ (readFields(COOKIE, readObject(text)));

/** @param {import('./protocol/frames.js').Cookie} cookie */
export const cookieText = (cookie) => kindText({ record: COOKIE }, cookie);

/** @param {string} text */
export const readValueText = (text) => /** @type {Value} */ (readFields(VALUE_FIELDS, readObject(text))['value']);

/** @param {Value} value */
export const valueFields = (value) => `{${valueText(value)}}`;
