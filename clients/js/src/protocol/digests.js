// Digests: fingerprints of sets of entries, of constant size. See section 1.6 of spec/PROTOCOL.md.

import { EntryHasher } from '../blake2s.js';
import { fromHex } from './texts.js';

/** The digest of a set of entries: their number, and the sum of their hashes modulo 2^128. */
export class Digest {
  constructor() {
    this.count = 0;
    /** The sum, as four words, the highest first. */
    this.sum = new Uint32Array(4);
  }

  copy() {
    const copy = new Digest();
    copy.count = this.count;
    copy.sum.set(this.sum);
    return copy;
  }

  clear() {
    this.count = 0;
    this.sum.fill(0);
  }

  /** @param {Uint32Array} hash */
  insert(hash) {
    const { sum } = this;
    this.count += 1;
    let carry = 0;
    for (let i = 3; i >= 0; i -= 1) {
      carry += /** @type {number} */ (sum[i]) + /** @type {number} */ (hash[i]);
      sum[i] = carry;
      carry = carry >= 0x100000000 ? 1 : 0;
    }
  }

  /** @param {Uint32Array} hash */
  remove(hash) {
    const { sum } = this;
    this.count -= 1;
    let carry = 0;
    for (let i = 3; i >= 0; i -= 1) {
      carry += /** @type {number} */ (sum[i]) - /** @type {number} */ (hash[i]);
      sum[i] = carry;
      carry = carry < 0 ? -1 : 0;
    }
  }

  toString() {
    return `${this.count}:${Array.from(this.sum, (word) => word.toString(16).padStart(8, '0')).join('')}`;
  }
}

/**
 * Computes the digest of entries, for tests and for comparing copies.
 * @param {string} key `digest_key` of `welcome`
 * @param {Iterable<{path: string, rev: number}>} entries
 */
export function digestOf(key, entries) {
  const [hasher, digest] = [new EntryHasher(fromHex(key)), new Digest()];
  for (const { path, rev } of entries) {
    hasher.hash(path, rev);
    digest.insert(hasher.words);
  }
  return digest.toString();
}

/**
 * Whether a text is a digest: `count:sum`, with the count below 2^64.
 * @param {string} text
 */
export function isDigest(text) {
  const parts = /^(0|[1-9][0-9]{0,19}):([0-9a-f]{32})$/.exec(text);
  return parts !== null && BigInt(/** @type {string} */ (parts[1])) < 2n ** 64n;
}
