// A copy: entries with their digest, and what each change does to them.

import { isLogKey } from './protocol/log-keys.js';
import { below, comparePaths, contains, orderKey } from './protocol/paths.js';
import { fromHex } from './protocol/texts.js';
import { sees } from './protocol/views.js';
import { difference, entryOf } from './snapshot.js';
import { Sorted } from './sorted.js';

/**
 * @typedef {import('./blake2s.js').EntryHasher} EntryHasher
 * @typedef {import('./protocol/digests.js').Digest} Digest
 * @typedef {import('./protocol/frames.js').Change} Change
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {import('./protocol/views.js').View} View
 * @typedef {import('./snapshot.js').Difference} Difference
 */

/** Entries and their digest, which are changed in place, and the changes that were made. */
export class Copy {
  /**
   * @param {View} view
   * @param {Sorted<Entry>} map used by nothing else
   * @param {Digest} digest used by nothing else
   * @param {EntryHasher | undefined} hasher
   */
  constructor(view, map, digest, hasher) {
    this.view = view;
    this.map = map;
    this.digest = digest;
    this.hasher = hasher;
    /** @type {Difference[]} */
    this.changes = [];
    /** @type {Set<string>} */
    this.gaps = new Set();
  }

  /** Returns another copy with the same entries. O(1). */
  copy() {
    return new Copy(this.view, this.map.copy(), this.digest.copy(), this.hasher);
  }

  /** Computes the digest of all entries anew. @param {EntryHasher} hasher */
  hashWith(hasher) {
    this.hasher = hasher;
    this.digest.clear();
    for (const { path, rev } of this.map.from()) {
      hasher.hash(path, rev);
      this.digest.insert(hasher.words);
    }
  }

  /**
   * Returns the rule that a change breaks; `undefined` if it breaks none.
   * @param {Change} change
   */
  fault({ act, path, value }) {
    const bare = act === 'put' && value === undefined && this.view.values;
    return bare && sees(this.view, path) ? 'a put has its value' : undefined;
  }

  /**
   * @param {Change} change without a fault; a put only if the view sees it
   * @param {boolean} note whether to add it to `changes`
   */
  apply(change, note) {
    const { path, rev } = change;
    switch (change.act) {
      case 'put': {
        const entry = entryOf(path, rev, this.view.values ? change.value : undefined);
        const old = this.map.set(orderKey(path), entry);
        if (this.hasher !== undefined) {
          this.hasher.hash(path, rev);
          this.digest.insert(this.hasher.words);
          this.forget(old);
        }
        if (note) this.changes.push(difference(old, entry, rev));
        return;
      }
      case 'delete':
        this.remove(path, rev, note);
        return;
      case 'drop': {
        if (contains(path, this.view.path)) {
          if (note) for (const entry of this.map.from()) this.changes.push({ path: entry.path, rev, old: entry });
          this.map.clear();
          this.digest.clear();
          return;
        }
        for (const gone of this.at(path)) this.remove(gone, rev, note);
        return;
      }
      default: {
        if (change.gap) this.gaps.add(path);
        for (const gone of this.logged(path, change.to ?? '')) this.remove(gone, rev, note, path);
      }
    }
  }

  /** @private Returns the paths at and under `top`. @param {string} top */
  at(top) {
    const found = [];
    for (const { path } of this.map.from(orderKey(top))) {
      if (!contains(top, path)) break;
      found.push(path);
    }
    return found;
  }

  /**
   * @private Returns the paths of the entries of a log up to and including the key `to`, and everything under them.
   *   Other children of the log may lie between them in path order; they are left out.
   * @param {string} log
   * @param {string} to
   */
  logged(log, to) {
    const inside = below(log);
    const last = inside + to;
    const found = [];
    for (const { path } of this.map.from(orderKey(`${inside}${'0'.repeat(18)}`))) {
      if (comparePaths(path, last) > 0 && !contains(last, path)) break;
      if (!path.startsWith(inside)) break;
      const end = path.indexOf('/', inside.length);
      const name = path.slice(inside.length, end < 0 ? undefined : end);
      if (isLogKey(name) && name <= to) found.push(path);
    }
    return found;
  }

  /** @private @param {string} path @param {number} rev @param {boolean} note @param {string} [trimmed] the log */
  remove(path, rev, note, trimmed) {
    const old = this.map.delete(orderKey(path));
    if (old === undefined) return;
    this.forget(old);
    if (note) this.changes.push(trimmed === undefined ? { path, rev, old } : { path, rev, old, trimmed });
  }

  /** @private @param {Entry | undefined} old */
  forget(old) {
    if (old === undefined || this.hasher === undefined) return;
    this.hasher.hash(old.path, old.rev);
    this.digest.remove(this.hasher.words);
  }
}
