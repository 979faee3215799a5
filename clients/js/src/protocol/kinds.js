// Kinds of fields that both codecs check alike: numbers, words, names, paths. The codecs know the others. See sections
// 2 and 3 of spec/PROTOCOL.md.

import { CODES } from '../codes.js';
import { refuse } from '../errors.js';
import { isDigest } from './digests.js';
import { isLogKey } from './log-keys.js';
import { checkPath } from './paths.js';
import { checkPattern } from './patterns.js';

/**
 * @typedef {'u32' | 'u53' | 'text' | 'bool' | 'name' | 'path' | 'pattern' | 'epoch' | 'fingerprint' | 'digest'
 *   | 'logkey' | 'code' | 'value' | 'change' | 'step' | 'condition' | 'digests'} Plain
 */

/**
 * Checks what a codec has read as a field of a plain kind. Numbers are whole and not negative, or something that is no
 * number.
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
