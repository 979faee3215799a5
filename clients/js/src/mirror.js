// A mirror's rules, pure: frames in, outcomes out.

import { EntryHasher } from './blake2s.js';
import { below, comparePaths, contains, fromHex, isLogKey, orderKey, sees } from './protocol.js';
import { Sorted } from './sorted.js';

/**
 * @typedef {import('./protocol.js').Change} Change
 * @typedef {import('./protocol.js').Cookie} Cookie
 * @typedef {import('./protocol.js').Entry} Entry
 * @typedef {import('./protocol.js').View} View
 * @typedef {{path: string, rev: number, old?: Entry, new?: Entry, trimmed?: true}} Difference what happened to one entry:
 *   `old` is missing when there was none, `new` when there is none now; `rev` is then one at which it was gone; `trimmed`: it
 *   went with the trim of its log
 * @typedef {{what: 'nothing'}
 *   | {what: 'refreshing', kind: 'full' | 'delta', why: string}
 *   | {what: 'fresh', changes: Difference[], gaps: string[]}
 *   | {what: 'delta', since: number, changes: Difference[], gaps: string[]}
 *   | {what: 'synced', verified: boolean}
 *   | {what: 'corrupt', expected: string, found: string}
 *   | {what: 'broken', why: string}} Outcome what came of a frame
 */

/** @type {Outcome} */
const NOTHING = Object.freeze({ what: 'nothing' });

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
    return this.map.get(orderKey(path));
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
  *under(top) {
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
function same(was, is) {
  if (was === undefined || is === undefined || was.rev !== is.rev) return false;
  if (was.value === undefined || is.value === undefined) return was.value === is.value;
  return was.value.equals(is.value);
}

/**
 * @param {Entry | undefined} was
 * @param {Entry | undefined} is
 * @param {number} rev
 * @returns {Difference}
 */
function difference(was, is, rev) {
  /** @type {Difference} */
  const change = { path: (is ?? was)?.path ?? '', rev: is?.rev ?? rev };
  if (was !== undefined) change.old = was;
  if (is !== undefined) change.new = is;
  return change;
}

/**
 * @param {string} path
 * @param {number} rev
 * @param {import('./protocol.js').Value | undefined} value
 * @returns {Entry}
 */
function entryOf(path, rev, value) {
  return value === undefined ? { path, rev } : { path, rev, value };
}

/** The digest of a set of entries: their number, and the sum of their hashes modulo 2^128. */
class Digest {
  constructor() {
    this.count = 0;
    /** The sum, in four words, the highest first. */
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
 * The digest of entries, for tests and for who wants to compare copies.
 * @param {string} key `digest_key` of `welcome`
 * @param {Iterable<Entry>} entries
 */
export function digestOf(key, entries) {
  const [hasher, digest] = [new EntryHasher(fromHex(key)), new Digest()];
  for (const { path, rev } of entries) {
    hasher.hash(path, rev);
    digest.insert(hasher.words);
  }
  return digest.toString();
}

/** Entries and their digest, to be changed in place, and what has changed. */
class Copy {
  /**
   * @param {View} view
   * @param {Sorted<Entry>} map nobody else's
   * @param {Digest} digest nobody else's
   * @param {EntryHasher | undefined} hasher
   */
  constructor(view, map, digest, hasher) {
    this.view = view;
    this.map = map;
    this.digest = digest;
    this.hasher = hasher;
    /** @type {Difference[]} */
    this.changes = [];
    /** @type {string[]} */
    this.gaps = [];
  }

  /** Another one with the same. Costs O(1). */
  copy() {
    return new Copy(this.view, this.map.copy(), this.digest.copy(), this.hasher);
  }

  /** Hashes all that is there. @param {EntryHasher} hasher */
  hashWith(hasher) {
    this.hasher = hasher;
    this.digest.clear();
    for (const { path, rev } of this.map.from()) {
      hasher.hash(path, rev);
      this.digest.insert(hasher.words);
    }
  }

  /**
   * The rule that a change breaks, when it breaks one.
   * @param {Change} change
   */
  fault({ act, path, value }) {
    const bare = act === 'put' && value === undefined && this.view.values;
    return bare && sees(this.view, path) ? 'a put has its value' : undefined;
  }

  /**
   * @param {Change} change one without a fault; a put that the view sees
   * @param {boolean} note whether it goes into `changes`
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
        if (change.gap && !this.gaps.includes(path)) this.gaps.push(path);
        for (const gone of this.logged(path, change.to ?? '')) this.remove(gone, rev, note, true);
      }
    }
  }

  /** @private The paths at and under `top`. @param {string} top */
  at(top) {
    const found = [];
    for (const { path } of this.map.from(orderKey(top))) {
      if (!contains(top, path)) break;
      found.push(path);
    }
    return found;
  }

  /**
   * @private The entries of a log up to and including the key `to`, and what is under them; other children of the log may
   * lie between them.
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

  /** @private @param {string} path @param {number} rev @param {boolean} note @param {true} [trimmed] */
  remove(path, rev, note, trimmed) {
    const old = this.map.delete(orderKey(path));
    if (old === undefined) return;
    this.forget(old);
    if (note) this.changes.push(trimmed === true ? { path, rev, old, trimmed } : { path, rev, old });
  }

  /** @private @param {Entry | undefined} old */
  forget(old) {
    if (old === undefined || this.hasher === undefined) return;
    this.hasher.hash(old.path, old.rev);
    this.digest.remove(this.hasher.words);
  }
}

/**
 * A mirror: the copy that is shown, and the one that is being made.
 *
 * Starts waiting. Waiting -> refreshing at `refresh`; refreshing -> fresh at `fresh`; fresh takes deltas and syncs. Any ->
 * waiting when the connection is lost, or it has to be started again.
 */
export class MirrorState {
  /**
   * @param {View} view
   * @param {Snapshot} [saved] what it goes on from
   */
  constructor(view, saved = Snapshot.saved()) {
    this.view = view;
    /** The revision that what is shown is at. */
    this.rev = 0;
    /** How many changes have come of the refresh that is under way, or came of the last one. */
    this.received = 0;
    /** Whether what is shown is the view of the tree, as far as this connection has told. */
    this.fresh = false;
    /** @private What dates it, but for the revision. @type {{epoch: string, view: string} | undefined} */
    this.dated = undefined;
    /** @private What is shown: changed in place. */
    this.copy = new Copy(view, new Sorted(), new Digest(), undefined);
    /** @private What is shown as a snapshot, when it was asked for since it changed. @type {Snapshot | undefined} */
    this.taken = undefined;
    /** @private @type {string | undefined} */
    this.key = undefined;
    /** @private @type {{copy: Copy, kind: 'full' | 'delta', highest: number} | undefined} */
    this.staged = undefined;
    this.goOnFrom(saved);
  }

  /**
   * What it shows at first; before anything came.
   * @param {Snapshot} saved
   */
  goOnFrom(saved) {
    this.copy = new Copy(this.view, saved.edit(), new Digest(), undefined);
    this.rev = saved.rev;
    this.dated = saved.cookie;
    this.taken = saved;
  }

  /**
   * What is shown, as it is now. Costs O(1), and the changes that come next about twice what they cost otherwise: they
   * leave it as it is. So nothing should ask for it at each change.
   */
  get snapshot() {
    return (this.taken ??= new Snapshot(this.copy.map.copy(), this.rev, this.cookie));
  }

  /** What dates it. @returns {Cookie | undefined} */
  get cookie() {
    const { dated, rev } = this;
    return dated && { epoch: dated.epoch, rev, view: dated.view };
  }

  /** Whether it is what it was when this snapshot of it was taken. @param {Snapshot | undefined} snapshot */
  isStill(snapshot) {
    return snapshot !== undefined && this.taken === snapshot;
  }

  /** The number of entries that are shown. */
  get size() {
    return this.copy.map.size;
  }

  /** The entry that is shown at a path. @param {string} path */
  get(path) {
    return this.copy.map.get(orderKey(path));
  }

  /** The digest of what is shown; without meaning where the view has a tail. */
  digestText() {
    return this.copy.digest.toString();
  }

  /**
   * `welcome` told the key of the digests. Costs nothing when it is the one of before, else a hash for each entry.
   * @param {string} key
   */
  handleKey(key) {
    if (this.view.tail !== undefined || (this.key === key && this.copy.hasher !== undefined)) return;
    this.key = key;
    this.copy.hashWith(new EntryHasher(fromHex(key)));
  }

  /** The connection was lost: what was staged is thrown away. */
  handleLost() {
    this.fresh = false;
    this.staged = undefined;
  }

  /** It is to be started again from nothing. What is shown stays, without its cookie. */
  handleDistrust() {
    this.handleLost();
    this.dated = undefined;
    this.taken = undefined;
  }

  /**
   * `refresh`: throws away what was staged, and stages anew.
   * @param {{kind: 'full' | 'delta' | 'repair', why: string, from?: number}} refresh
   * @returns {Outcome}
   */
  handleRefresh({ kind, why, from }) {
    if (kind === 'repair') return this.broken('a repair that nobody asked for');
    this.handleLost();
    this.received = 0;
    if (kind === 'delta' && (from === undefined || this.dated === undefined || from > this.rev)) {
      return this.broken("a delta refresh starts at or below the mirror's revision");
    }
    const copy = kind === 'delta' ? this.copy.copy() : new Copy(this.view, new Sorted(), new Digest(), this.copy.hasher);
    this.staged = { copy, kind, highest: 0 };
    return { what: 'refreshing', kind, why };
  }

  /**
   * `entries`: a piece of the refresh.
   * @param {Change[]} changes
   * @returns {Outcome}
   */
  handleEntries(changes) {
    const { staged } = this;
    if (staged === undefined) return NOTHING;
    this.received += changes.length;
    for (const change of changes) {
      const fault = staged.copy.fault(change);
      if (fault !== undefined) return this.broken(fault);
      if (change.act !== 'put' || sees(this.view, change.path)) staged.copy.apply(change, staged.kind === 'delta');
      if (change.rev > staged.highest) staged.highest = change.rev;
    }
    return NOTHING;
  }

  /**
   * `fresh`: the staged copy is whole, and is shown when it is what it should be.
   * @param {{rev: number, view: string, digest?: string}} fresh
   * @param {string} epoch the connection's
   * @returns {Outcome}
   */
  handleFresh({ rev, view, digest }, epoch) {
    const { staged } = this;
    if (staged === undefined) return NOTHING;
    this.staged = undefined;
    const { copy, kind, highest } = staged;
    if (highest > rev) return this.broken('an entry is newer than the refresh that it came with');
    if (kind === 'delta' && rev < this.rev) {
      return this.broken("a delta refresh ends at or above the mirror's revision");
    }
    if (digest !== undefined && copy.hasher !== undefined && digest !== copy.digest.toString()) {
      this.handleDistrust();
      return { what: 'corrupt', expected: digest, found: copy.digest.toString() };
    }
    const before = kind === 'delta' ? undefined : this.snapshot;
    this.copy = copy;
    this.dated = { epoch, view };
    this.goTo(rev);
    this.fresh = true;
    const { changes, gaps } = this.told();
    return { what: 'fresh', changes: before === undefined ? changes : this.snapshot.since(before), gaps };
  }

  /**
   * A whole `delta`, all its parts: applied altogether or not at all.
   * @param {number | undefined} since
   * @param {number} rev
   * @param {readonly Change[]} changes
   * @returns {Outcome}
   */
  handleDelta(since, rev, changes) {
    const { rev: before, copy, view } = this;
    if (!this.fresh || rev <= before) return NOTHING;
    if (since !== undefined && since > before) return this.broken("a delta starts at or below the mirror's revision");
    // All are looked at before the first is applied.
    for (const change of changes) {
      if (change.rev > rev) return this.broken('a change is newer than the delta that it came with');
      const fault = change.rev > before ? copy.fault(change) : undefined;
      if (fault !== undefined) return this.broken(fault);
    }
    for (const change of changes) {
      // What is not above the mirror's revision, the mirror has: a folded delta may begin below it.
      if (change.rev > before && concerns(view, change)) copy.apply(change, true);
    }
    this.goTo(rev);
    return { what: 'delta', since: before, ...this.told() };
  }

  /**
   * `sync` names this mirror: nothing changed up to `rev`, and this is what it must be.
   * @param {number} rev
   * @param {string | null} digest
   * @returns {Outcome}
   */
  handleSync(rev, digest) {
    if (!this.fresh || rev < this.rev) return NOTHING;
    const compared = digest !== null && this.copy.hasher !== undefined;
    if (compared && digest !== this.digestText()) {
      this.handleDistrust();
      return { what: 'corrupt', expected: digest, found: this.digestText() };
    }
    if (rev > this.rev) this.goTo(rev);
    return { what: 'synced', verified: compared };
  }

  /** @private Takes what has changed. */
  told() {
    const { copy } = this;
    const { changes, gaps } = copy;
    copy.changes = [];
    copy.gaps = [];
    return { changes, gaps };
  }

  /** @private What is shown is at this revision now. @param {number} rev */
  goTo(rev) {
    this.rev = rev;
    this.taken = undefined;
  }

  /** @private @param {string} why @returns {Outcome} */
  broken(why) {
    this.handleDistrust();
    return { what: 'broken', why };
  }
}

/**
 * Whether a change can touch what the view sees.
 * @param {View} view
 * @param {Change} change
 */
function concerns(view, change) {
  if (change.act === 'put' || change.act === 'delete') return sees(view, change.path);
  return contains(change.path, view.path) || contains(view.path, change.path);
}
