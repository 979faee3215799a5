// Paths: `/a/b/c`. They are plain texts; this says which are right, and their order: 1.1 of spec/PROTOCOL.md.

import { refuse } from '../errors.js';
import { byteKey, byteLength, wellFormed } from './texts.js';

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
 * What is ordered as paths are when compared as JavaScript compares texts: `/` as NUL, which no path has, and by bytes. A plain
 * path costs one look and one replacement.
 * @param {string} path
 * @returns {string}
 */
export const orderKey = (path) => byteKey(path === '/' ? '' : path.replace(/\//g, '\0'));

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
