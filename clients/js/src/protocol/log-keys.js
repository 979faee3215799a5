// Log keys: the names of the entries of a log. See section 1.3 of spec/PROTOCOL.md.

import { refuse } from '../errors.js';

const LOG_KEY = /^[01][0-9a-f]{17}$/;

/** @param {string} text */
export const isLogKey = (text) => LOG_KEY.test(text);

/** Whether a path is at or under the entry of a log. @param {string} path */
export const isKeyed = (path) => path.split('/').some((name) => isLogKey(name));

/**
 * Reads the key of a log's entry: the revision of the commit, and the place in it. Fails with `bad-field` if `text` is
 * no key.
 * @param {string} text
 */
export function parseLogKey(text) {
  if (!isLogKey(text)) return refuse('bad-field', `${JSON.stringify(String(text))} is no log key`);
  return { rev: Number.parseInt(text.slice(0, 14), 16), index: Number.parseInt(text.slice(14), 16) };
}

/**
 * Makes the key of a log's entry.
 * @param {number} rev the revision of the commit
 * @param {number} index the place in the commit
 */
export const logKey = (rev, index) => rev.toString(16).padStart(14, '0') + index.toString(16).padStart(4, '0');
