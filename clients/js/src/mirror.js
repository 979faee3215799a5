// The rules of a mirror, as pure code: it takes frames and returns outcomes.

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
 * The state of one mirror: the copy that it shows, and the copy that a refresh is building.
 *
 * A mirror begins as waiting. A `refresh` makes it refreshing, and `fresh` makes it fresh. A fresh mirror takes deltas
 * and syncs. Any state becomes waiting when the connection is lost or the mirror must start again.
 */
export class MirrorState {
  /**
   * @param {View} view
   * @param {Snapshot} [saved] the copy that it starts with
   */
  constructor(view, saved = Snapshot.saved()) {
    this.view = view;
    /** The revision of the copy that is shown. */
    this.rev = 0;
    /** How many changes have come in the refresh that is under way, or came in the last one. */
    this.received = 0;
    /** Whether the copy that is shown is the view of the tree, as far as this connection has reported it. */
    this.fresh = false;
    /** @private The cookie of the copy, except its revision. @type {{epoch: string, view: string} | undefined} */
    this.dated = undefined;
    /** @private The copy that is shown. It is changed in place. */
    this.copy = new Copy(view, new Sorted(), new Digest(), undefined);
    /** @private The snapshot of the copy, if one was taken since the copy last changed. @type {Snapshot | undefined} */
    this.taken = undefined;
    /** @private @type {string | undefined} */
    this.key = undefined;
    /** @private @type {{copy: Copy, kind: 'full' | 'delta', highest: number} | undefined} */
    this.staged = undefined;
    this.goOnFrom(saved);
  }

  /**
   * Replaces the copy that the mirror starts with, before any frame has come.
   * @param {Snapshot} saved
   */
  goOnFrom(saved) {
    this.copy = new Copy(this.view, saved.edit(), new Digest(), undefined);
    this.rev = saved.rev;
    this.dated = saved.cookie;
    this.taken = saved;
  }

  /**
   * The copy that is shown, as it is now. O(1), but the changes after it cost about twice as much as otherwise, because
   * they must not change the snapshot. So do not take one at each change.
   */
  get snapshot() {
    return (this.taken ??= new Snapshot(this.copy.map.copy(), this.rev, this.cookie));
  }

  /** The history that the mirror shows. @returns {string | undefined} */
  get epoch() {
    return this.dated?.epoch;
  }

  /** The mirror's cookie. @returns {Cookie | undefined} */
  get cookie() {
    const { dated, rev } = this;
    return dated && { epoch: dated.epoch, rev, view: dated.view };
  }

  /** Whether the mirror has not changed since `snapshot` was taken. @param {Snapshot | undefined} snapshot */
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

  /** The digest of the copy that is shown. If the view has a `tail`, it has no digest, and the value means nothing. */
  digestText() {
    return this.copy.digest.toString();
  }

  /**
   * Takes the key of the digests from the `welcome`. Costs nothing if the key is the same as before, otherwise one hash
   * for each entry.
   * @param {string} key
   */
  handleKey(key) {
    if (this.view.tail !== undefined || (this.key === key && this.copy.hasher !== undefined)) return;
    this.key = key;
    this.copy.hashWith(new EntryHasher(fromHex(key)));
  }

  /** The connection was lost. The staged copy is thrown away. */
  handleLost() {
    this.fresh = false;
    this.staged = undefined;
  }

  /** The mirror must start again from nothing. It goes on showing its copy, but without the cookie. */
  handleDistrust() {
    this.handleLost();
    this.dated = undefined;
    this.taken = undefined;
  }

  /**
   * Takes a `refresh`: throws the staged copy away and begins a new one.
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
   * Takes `entries`: a part of the refresh.
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
   * Takes `fresh`: the staged copy is complete, and is shown if its digest is right.
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
   * Takes a complete `delta`, with all its parts. Applies all of it or nothing.
   * @param {number | undefined} since
   * @param {number} rev
   * @param {readonly Change[]} changes
   * @returns {Outcome}
   */
  handleDelta(since, rev, changes) {
    const { rev: before, copy, view } = this;
    if (!this.fresh || rev <= before) return NOTHING;
    if (since !== undefined && since > before) return this.broken("a delta starts at or below the mirror's revision");
    // All changes are checked before the first one is applied.
    for (const change of changes) {
      if (change.rev > rev) return this.broken('a change is newer than the delta that it came with');
      const fault = change.rev > before ? copy.fault(change) : undefined;
      if (fault !== undefined) return this.broken(fault);
    }
    for (const change of changes) {
      // A folded delta may begin below the mirror's revision. The mirror already has the changes up to there.
      if (change.rev > before && concerns(view, change)) copy.apply(change, true);
    }
    this.goTo(rev);
    return { what: 'delta', since: before, ...this.told() };
  }

  /**
   * Takes a `sync` that names this mirror: nothing in the view has changed up to `rev`, and `digest` is what the
   * mirror's must be.
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

  /** @private Returns the changes and gaps that have accumulated, and forgets them. */
  told() {
    const { copy } = this;
    const changes = summed(copy.changes);
    const gaps = [...copy.gaps];
    copy.changes = [];
    copy.gaps.clear();
    return { changes, gaps };
  }

  /** @private Moves to a later revision. @param {number} rev */
  goTo(rev) {
    this.rev = rev;
    this.taken = undefined;
  }

  /**
   * @private A part or the end of a refresh came, but none is under way. If the mirror is waiting, the frame was sent
   *   before the mirror was started again.
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
 * Whether a change can affect what the view sees.
 * @param {View} view
 * @param {Change} change
 */
function concerns(view, change) {
  if (change.act === 'put' || change.act === 'delete') return sees(view, change.path);
  return contains(change.path, view.path) || contains(view.path, change.path);
}
