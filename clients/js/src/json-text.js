// Checks the text of a JSON value as the protocol requires: no duplicate key, no lone surrogate, no number beyond a
// double, not too deep. Makes nothing of it.

import { refuse } from './errors.js';

/** How deep lists and objects may be nested. */
export const DEPTH = 127;

/**
 * @param {string} why
 * @returns {never}
 */
export const wrong = (why) => refuse('bad-frame', `not JSON: ${why}`);

/**
 * @param {string} text
 * @param {number} at
 */
export function space(text, at) {
  for (;;) {
    const c = text.charCodeAt(at);
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return at;
    at += 1;
  }
}

/**
 * Returns the end of the string that begins at `at`: the place after its closing quote.
 * @param {string} text
 * @param {number} at
 * @returns {number} negative if there are escapes in the string
 */
export function stringEnd(text, at) {
  let escaped = false;
  for (let i = at + 1; ; i += 1) {
    const c = text.charCodeAt(i);
    if (c === 0x22) return escaped ? -(i + 1) : i + 1;
    if (c === 0x5c) {
      escaped = true;
      i += 1;
    } else if (!(c >= 0x20)) {
      return wrong('a control character in a string, or its end is missing');
    }
  }
}

/**
 * Returns the string with escapes that goes from `at` to `end`.
 * @param {string} text
 * @param {number} at
 * @param {number} end
 * @returns {string}
 */
export function unescape(text, at, end) {
  let result;
  try {
    result = JSON.parse(text.slice(at, end));
  } catch {
    return wrong('a wrong escape');
  }
  return /\p{Surrogate}/u.test(result) ? wrong('a lone surrogate') : result;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

/**
 * Returns the end of a short whole number that begins at `at`; `at` if there is none, or if there may be more to it.
 * @param {string} text
 * @param {number} at
 */
function digitsEnd(text, at) {
  let end = at;
  let c = text.charCodeAt(end);
  if (c === 0x30) c = text.charCodeAt(end += 1);
  else for (; c >= 0x30 && c <= 0x39; c = text.charCodeAt(end)) end += 1;
  const more = (c >= 0x30 && c <= 0x39) || c === 0x2e || c === 0x65 || c === 0x45;
  return more || end - at > 15 ? at : end;
}

/**
 * Returns the end of the number that begins at `at`.
 * @param {string} text
 * @param {number} at
 */
function numberEnd(text, at) {
  // Most numbers are whole and short, and need no pattern.
  const plain = digitsEnd(text, at);
  if (plain > at) return plain;
  NUMBER.lastIndex = at;
  const found = NUMBER.exec(text);
  if (found === null) return wrong(`unexpected ${JSON.stringify(text.slice(at, at + 8))}`);
  const number = found[0];
  if (number.length > 15 && !Number.isFinite(Number(number))) return wrong('a number beyond a double');
  if (/[eE]/.test(number) && !Number.isFinite(Number(number))) return wrong('a number beyond a double');
  return NUMBER.lastIndex;
}

/**
 * Checks the JSON value that begins at `at`, and returns its end. Makes nothing of it.
 * @param {string} text
 * @param {number} at
 * @param {number} [depth] how deep it is nested already
 * @returns {number}
 */
export function skipJson(text, at, depth = 0) {
  const c = text.charCodeAt(at);
  if (c === 0x22) {
    const end = stringEnd(text, at);
    if (end < 0) unescape(text, at, -end);
    return Math.abs(end);
  }
  if (c === 0x7b) {
    if (depth >= DEPTH) return wrong(`nested more than ${DEPTH} deep`);
    at = space(text, at + 1);
    if (text.charCodeAt(at) === 0x7d) return at + 1;
    /** @type {string[]} */
    const keys = [];
    /** @type {Set<string> | undefined} */
    let many;
    for (;;) {
      if (text.charCodeAt(at) !== 0x22) return wrong('a key is missing');
      const end = stringEnd(text, at);
      const key = end < 0 ? unescape(text, at, -end) : text.slice(at + 1, end - 1);
      if (many === undefined && keys.length === 8) many = new Set(keys);
      if (many === undefined ? keys.includes(key) : many.has(key)) return wrong('a key twice');
      if (many === undefined) keys.push(key);
      else many.add(key);
      at = space(text, Math.abs(end));
      if (text.charCodeAt(at) !== 0x3a) return wrong("':' is missing");
      at = space(text, skipJson(text, space(text, at + 1), depth + 1));
      const next = text.charCodeAt(at);
      if (next === 0x7d) return at + 1;
      if (next !== 0x2c) return wrong("',' or '}' is missing");
      at = space(text, at + 1);
    }
  }
  if (c === 0x5b) {
    if (depth >= DEPTH) return wrong(`nested more than ${DEPTH} deep`);
    at = space(text, at + 1);
    if (text.charCodeAt(at) === 0x5d) return at + 1;
    for (;;) {
      at = space(text, skipJson(text, at, depth + 1));
      const next = text.charCodeAt(at);
      if (next === 0x5d) return at + 1;
      if (next !== 0x2c) return wrong("',' or ']' is missing");
      at = space(text, at + 1);
    }
  }
  if (c === 0x74 && text.startsWith('true', at)) return at + 4;
  if (c === 0x66 && text.startsWith('false', at)) return at + 5;
  if (c === 0x6e && text.startsWith('null', at)) return at + 4;
  return numberEnd(text, at);
}
