// Paths, such as `/a/b/c`. They are plain strings; this module checks and compares them. See section 1.1 of
// spec/PROTOCOL.md.

import { refuse } from '../errors.js';
import { byteKey, byteLength, wellFormed } from './texts.js';

// eslint-disable-next-line no-control-regex
const SEGMENTS = /^(?:\/[^/\u0000-\u001f\u007f-\u009f]+)+$/;

/**
 * Returns why a text is no path; `undefined` if it is one.
 * @param {string} path
 * @returns {string | undefined}
 */
export function pathFault(path) {
  if (path === '/') return undefined;
  if (!SEGMENTS.test(path)) {
    return "a path is '/', or segments with '/' before each and nothing behind the last, without control characters";
  }
  // A UTF-16 unit has three bytes at most, so shorter texts need no counting.
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
 * Returns the path itself; fails with `bad-path` if it is none.
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
 * Returns what all paths below `top`, and no others, begin with.
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
 * Returns a text that JavaScript's comparison of strings orders as paths are ordered: `/` is NUL, which no path has,
 * and the order is that of the bytes. A plain path costs one test and one replacement.
 * @param {string} path
 * @returns {string}
 */
export const orderKey = (path) => byteKey(path === '/' ? '' : path.replace(/\//g, '\0'));

/**
 * Compares paths as the broker orders them: by their bytes, with `/` below every other byte.
 * @param {string} a
 * @param {string} b
 * @returns {number} below, equal to, or above 0
 */
export function comparePaths(a, b) {
  const [x, y] = [orderKey(a), orderKey(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}
