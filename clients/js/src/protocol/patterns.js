// Patterns such as `*/log/**`. They match what is below the base of a view. See section 1.2 of spec/PROTOCOL.md.

import { refuse } from '../errors.js';
import { pathFault } from './paths.js';
import { byteLength } from './texts.js';

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
 * Checks a pattern of the application. Unlike {@link checkPattern}, refuses a `*` inside a segment. On the wire such a
 * `*` is a character like any other, but an application that writes `user-*` means every name that begins with `user-`,
 * and the pattern would match none of them.
 * @param {unknown} pattern
 */
export function checkWritten(pattern) {
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
