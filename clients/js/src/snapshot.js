// A mirror at one moment.

import { U53, must } from './options.js';
import { checkPath, contains, orderKey } from './protocol/paths.js';
import { Value } from './protocol/values.js';
import { Sorted } from './sorted.js';

/**
 * @typedef {import('./protocol/frames.js').Cookie} Cookie
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {{path: string, rev: number, old?: Entry, new?: Entry, trimmed?: string}} Difference what happened to one entry:
 *   `old` is missing when there was none, `new` when there is none now; `rev` is then one at which it was gone; `trimmed`: the
 *   log with whose trim it went
 */

/** @param {number} digits @returns {import('./options.js').Rule} */
const hex = (digits) => [(text) => typeof text === 'string' && /^[0-9a-f]*$/.test(text) && text.length === digits, `${digits} hex digits`];
/** @type {import('./options.js').Rule} */
const ENTRIES = [(entries) => typeof entries?.[Symbol.iterator] === 'function', 'a list of entries'];
/** @type {import('./options.js').Rule} */
const VALUE = [(value) => value === undefined || value instanceof Value, 'a Value'];

/**
 * A mirror at one moment, with the cookie that dates it: the two belong together and are saved together. Taking one
 * costs O(1); it never changes.
 */
export class Snapshot {
  /**
   * @param {Sorted<Entry>} map nobody else's
   * @param {number} rev
   * @param {Cookie | undefined} cookie
   */
  constructor(map, rev, cookie) {
    /** @private */
    this.map = map;
    /** The revision that it is at. */
    this.rev = rev;
    /** What dates it; absent before the mirror was whole for the first time, and after it was found to be wrong. */
    this.cookie = cookie;
  }

  /**
   * A copy from an earlier time.
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
   * A copy that the application has kept. It is shown before the broker has seen its cookie: what no broker has told is refused.
   * @param {Snapshot | {cookie: Cookie, entries: Iterable<Entry>}} kept
   */
  static checked(kept) {
    // One that is dated was told by the broker.
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
   * The entry at a path. Costs O(log n).
   * @param {string} path
   * @returns {Entry | undefined}
   */
  get(path) {
    return this.map.get(orderKey(checkPath(path)));
  }

  /** All entries in path order. */
  entries() {
    return this.map.from();
  }

  /** All entries, the last path first. */
  reversed() {
    return this.map.reversed();
  }

  [Symbol.iterator]() {
    return this.map.from();
  }

  /**
   * The entries at and under `top`, in path order.
   * @param {string} top
   * @returns {Generator<Entry, void, undefined>}
   */
  under(top) {
    checkPath(top);
    return this.from(top);
  }

  /** @private Behind a check that is not put off until it is read. @param {string} top */
  *from(top) {
    for (const entry of this.map.from(orderKey(top))) {
      if (!contains(top, entry.path)) return;
      yield entry;
    }
  }

  /**
   * What takes an earlier snapshot to this one, in path order. Costs about what differs in memory: of a refresh from
   * nothing that is all, and what is the same is left out.
   * @param {Snapshot} before
   * @returns {Difference[]}
   */
  since(before) {
    // From nothing, all is new and there is nothing to compare: of many entries, that is half the time.
    if (before.size === 0) return Array.from(this.map.from(), (entry) => difference(undefined, entry, this.rev));
    const differing = this.map.since(before.map).filter(([, was, is]) => !same(was, is));
    return differing.map(([, was, is]) => difference(was, is, this.rev));
  }

  /** @internal One to change. */
  edit() {
    return this.map.copy();
  }

  /**
   * @internal As it was before these changes were made: what was there, is in them.
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
 * Whether two entries of one path are the same: a revision names one content, but only within one history.
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
 * What changes come to: each path once, at the place of its first change, from what was there before all of them to what is there
 * behind them. What has become what it was is left out.
 * @param {Difference[]} changes in the order in which they were made
 */
export function summed(changes) {
  /** @type {Map<string, Difference>} */
  const sums = new Map();
  // Of one alone, as most are, there is nothing to be found.
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
