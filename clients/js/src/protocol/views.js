// Views: what a subscription sees, and their fingerprints. See section 1.5 of spec/PROTOCOL.md.

import { blake2s } from '../blake2s.js';
import { refuse } from '../errors.js';
import { below, checkPath } from './paths.js';
import { checkWritten, matches } from './patterns.js';
import { byteKey, bytesOf, toHex } from './texts.js';

/**
 * @typedef {'entry' | 'children' | 'tree'} Depth
 * @typedef {{path: string, depth: Depth, match: readonly string[], tail: number | undefined, values: boolean}} View
 * @typedef {{path: string, depth?: Depth, match?: readonly string[], tail?: number, values?: boolean}} ViewOptions
 */

export const DEPTHS = ['entry', 'children', 'tree'];

/**
 * Returns a view with all its members. A string is the whole tree at that path.
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
  return { path: checkPath(view.path), depth, match: Array.from(match, (pattern) => checkWritten(pattern)), tail, values };
}

/**
 * Whether a view sees a path.
 * @param {View} view
 * @param {string} path
 */
export function sees(view, path) {
  const base = view.path;
  if (path !== base) {
    if (view.depth === 'entry' || !path.startsWith(below(base))) return false;
    if (view.depth === 'children' && path.indexOf('/', below(base).length) >= 0) return false;
  }
  if (view.match.length === 0) return true;
  const segments = path === base ? [] : path.slice(below(base).length).split('/');
  return view.match.some((pattern) => matches(pattern, segments));
}

/**
 * Returns the fingerprint of a view, as the broker sends it in `fresh`.
 * @param {View} view
 */
export function fingerprint(view) {
  const patterns = [...new Set(view.match)].sort((a, b) => (byteKey(a) < byteKey(b) ? -1 : 1));
  const parts = [view.path, view.depth, view.tail === undefined ? '' : String(view.tail), view.values ? '1' : '0'];
  return toHex(blake2s(bytesOf([...parts, ...patterns].map((part) => `${part}\0`).join('')), 8));
}
