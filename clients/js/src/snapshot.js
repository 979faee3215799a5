// Snapshots: a mirror at one revision.

import { U53, must } from './options.js';
import { checkPath, contains, orderKey } from './protocol/paths.js';
import { Value } from './protocol/values.js';
import { Sorted } from './sorted.js';

/**
 * @typedef {import('./protocol/frames.js').Cookie} Cookie
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {{path: string, rev: number, old?: Entry, new?: Entry, trimmed?: string}} Difference a change of one path.
 *   `old` is the entry before it, missing if there was none, and `new` the entry after it, missing if there is none.
 *   `rev` is the revision of the new entry; if there is none, a revision at which the entry was gone. `trimmed` is the
 *   log whose trim removed the entry
 */

/** @param {number} digits @returns {import('./options.js').Rule} */
const hex = (digits) => [(text) => typeof text === 'string' && /^[0-9a-f]*$/.test(text) && text.length === digits, `${digits} hex digits`];
/** @type {import('./options.js').Rule} */
const ENTRIES = [(entries) => typeof entries?.[Symbol.iterator] === 'function', 'a list of entries'];
/** @type {import('./options.js').Rule} */
const VALUE = [(value) => value === undefined || value instanceof Value, 'a Value'];

/**
 * A mirror at one revision, with its cookie. It never changes. Save the entries and the cookie together: they belong
 * together. Taking a snapshot costs O(1).
 */
export class Snapshot {
  /**
   * @param {Sorted<Entry>} map used by nothing else
   * @param {number} rev
   * @param {Cookie | undefined} cookie
   */
  constructor(map, rev, cookie) {
    /** @private */
    this.map = map;
    /** The revision of the snapshot. */
    this.rev = rev;
    /**
     * The cookie of the snapshot; `undefined` before the mirror was whole for the first time, and after it was found to
     * be wrong, until it is fresh again.
     */
    this.cookie = cookie;
  }

  /**
   * A copy that was saved earlier.
   * @param {Cookie} [cookie]
   * @param {Iterable<Entry>} [entries] in any order
   */
  static saved(cookie, entries = []) {
    /** @type {Sorted<Entry>} */
    const map = new Sorted();
    for (const { path, rev, value } of entries) map.set(orderKey(path), entryOf(path, rev, value));
    return new Snapshot(map, cookie?.rev ?? 0, cookie);
  }

  /**
   * A copy that the application has kept. The mirror shows it before the broker has checked its cookie, so what no
   * broker can have sent is refused.
   * @param {Snapshot | {cookie: Cookie, entries: Iterable<Entry>}} kept
   */
  static checked(kept) {
    // A snapshot with a cookie came from the broker.
    if (kept instanceof Snapshot && kept.cookie) return kept;
    const { cookie, entries } = /** @type {{cookie: Cookie, entries: Iterable<Entry>}} */ (kept);
    must(hex(32), 'epoch', cookie?.epoch);
    must(U53, 'rev', cookie?.rev);
    must(hex(16), 'view', cookie?.view);
    const checked = Array.from(must(ENTRIES, 'entries', entries), (entry) => {
      const path = checkPath(entry?.path);
      must(U53, `rev of ${path}`, entry.rev);
      must(VALUE, `value of ${path}`, entry.value);
      return entry;
    });
    return Snapshot.saved(cookie, checked);
  }

  /** The number of entries. */
  get size() {
    return this.map.size;
  }

  /**
   * Returns the entry at `path`. O(log n).
   * @param {string} path
   * @returns {Entry | undefined}
   */
  get(path) {
    return this.map.get(orderKey(checkPath(path)));
  }

  /** Returns all entries in path order. */
  entries() {
    return this.map.from();
  }

  /** Returns all entries, the last path first. */
  reversed() {
    return this.map.reversed();
  }

  [Symbol.iterator]() {
    return this.map.from();
  }

  /**
   * Returns the entries at and under `top`, in path order.
   * @param {string} top
   * @returns {Generator<Entry, void, undefined>}
   */
  under(top) {
    checkPath(top);
    return this.from(top);
  }

  /**
   * @private A generator apart from `under`, so that the path is checked at the call and not at the first read. @param
   *   {string} top
   */
  *from(top) {
    for (const entry of this.map.from(orderKey(top))) {
      if (!contains(top, entry.path)) return;
      yield entry;
    }
  }

  /**
   * Returns what leads from an earlier snapshot to this one, in path order. Costs about as much as what differs in
   * memory. After a refresh from nothing that is everything, but entries that are equal are left out.
   * @param {Snapshot} before
   * @returns {Difference[]}
   */
  since(before) {
    // If there was nothing before, everything is new and nothing need be compared. With many entries this saves half
    // the time.
    if (before.size === 0) return Array.from(this.map.from(), (entry) => difference(undefined, entry, this.rev));
    const differing = this.map.since(before.map).filter(([, was, is]) => !same(was, is));
    return differing.map(([, was, is]) => difference(was, is, this.rev));
  }

  /** @internal A copy of the entries, to be changed. */
  edit() {
    return this.map.copy();
  }

  /**
   * @internal The snapshot from before these changes, whose `old` entries say what was there.
   * @param {readonly Difference[]} changes in the order in which they were made
   * @param {number} rev
   * @param {Cookie | undefined} cookie of that time
   */
  before(changes, rev, cookie) {
    const map = this.edit();
    for (let i = changes.length - 1; i >= 0; i -= 1) {
      const { path, old } = /** @type {Difference} */ (changes[i]);
      if (old === undefined) map.delete(orderKey(path));
      else map.set(orderKey(path), old);
    }
    return new Snapshot(map, rev, cookie);
  }
}

/**
 * Whether two entries of one path are the same. The values are compared, too: a revision names one content only within
 * one history.
 * @param {Entry | undefined} was
 * @param {Entry | undefined} is
 */
export function same(was, is) {
  if (was === undefined || is === undefined) return was === is;
  if (was.rev !== is.rev) return false;
  if (was.value === undefined || is.value === undefined) return was.value === is.value;
  return was.value.equals(is.value);
}

/**
 * @param {Entry | undefined} was
 * @param {Entry | undefined} is
 * @param {number} rev
 * @returns {Difference}
 */
export function difference(was, is, rev) {
  /** @type {Difference} */
  const change = { path: (is ?? was)?.path ?? '', rev: is?.rev ?? rev };
  if (was !== undefined) change.old = was;
  if (is !== undefined) change.new = is;
  return change;
}

/**
 * Sums changes up: each path once, at the place of its first change, with the entry before all of them and the entry
 * after all of them. A path whose entry is again what it was is left out.
 * @param {Difference[]} changes in the order in which they were made
 */
export function summed(changes) {
  /** @type {Map<string, Difference>} */
  const sums = new Map();
  // A single change, the most frequent case, needs no summing.
  if (changes.length > 1) for (const change of changes) sums.set(change.path, joined(sums.get(change.path), change));
  const all = sums.size < changes.length && sums.size > 0 ? [...sums.values()] : changes;
  return all.some(isNothing) ? all.filter((change) => !isNothing(change)) : all;
}

/** @param {Difference | undefined} first @param {Difference} last */
function joined(first, last) {
  if (first === undefined) return last;
  const { old, ...rest } = last;
  return first.old === undefined ? rest : { ...rest, old: first.old };
}

/** @param {Difference} change */
const isNothing = ({ old, new: now }) => same(old, now);

/**
 * @param {string} path
 * @param {number} rev
 * @param {import('./protocol/values.js').Value | undefined} value
 * @returns {Entry}
 */
export function entryOf(path, rev, value) {
  return value === undefined ? { path, rev } : { path, rev, value };
}
