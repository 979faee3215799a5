// A mirror's rules, pure: frames in, outcomes out.

import { EntryHasher } from './blake2s.js';
import { Copy } from './copy.js';
import { Digest } from './protocol/digests.js';
import { contains, orderKey } from './protocol/paths.js';
import { fromHex } from './protocol/texts.js';
import { sees } from './protocol/views.js';
import { Snapshot, summed } from './snapshot.js';
import { Sorted } from './sorted.js';

/**
 * @typedef {import('./protocol/frames.js').Change} Change
 * @typedef {import('./protocol/frames.js').Cookie} Cookie
 * @typedef {import('./protocol/views.js').View} View
 * @typedef {import('./snapshot.js').Difference} Difference
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

  /** The history that it shows. @returns {string | undefined} */
  get epoch() {
    return this.dated?.epoch;
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
    if (staged === undefined) return this.stray();
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
    if (staged === undefined) return this.stray();
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
    const changes = summed(copy.changes);
    const gaps = [...copy.gaps];
    copy.changes = [];
    copy.gaps.clear();
    return { changes, gaps };
  }

  /** @private What is shown is at this revision now. @param {number} rev */
  goTo(rev) {
    this.rev = rev;
    this.taken = undefined;
  }

  /**
   * @private A piece or the end of a refresh, and none is under way: where the mirror waits it is from before it was
   * started again.
   */
  stray() {
    return this.fresh ? this.broken('a piece of a refresh came without a refresh') : NOTHING;
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
