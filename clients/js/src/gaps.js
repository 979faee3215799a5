// The logs of which entries went that a reader never had.

import { same } from './snapshot.js';

/** So many gaps are remembered of logs of which there is nothing. */
const GAPS = 1024;
const LOGGED = /\/[01][0-9a-f]{17}$/;

/**
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {import('./mirror.js').MirrorState} MirrorState
 * @typedef {import('./snapshot.js').Snapshot} Snapshot
 */

/** Gaps, for one who knows what a mirror was once and is told of nothing since. */
export class Gaps {
  /** @param {Snapshot} from what he knows */
  constructor(from) {
    /** @private */
    this.from = from;
    /** @private Whether the last refresh began from nothing. */
    this.full = false;
    /** @type {Set<string>} */
    this.logs = new Set();
    /** @private When there are so many of them, those that are for nobody are forgotten. */
    this.most = GAPS;
  }

  /**
   * @param {MirrorEvent} event the next one that happened
   * @param {MirrorState} state as it is behind that
   */
  fold(event, state) {
    if (event.type === 'refreshing') this.full = event.kind === 'full';
    if (event.type !== 'fresh' && event.type !== 'delta') return;
    // What it brings is there, whatever was trimmed before.
    if (event.type === 'fresh' && this.full) this.logs.clear();
    for (const log of event.gaps) this.logs.add(log);
    // A log entry that came and was trimmed meanwhile was never seen: there was something. One that was deleted, was
    // to be gone.
    for (const { path, old, trimmed } of event.changes) {
      if (trimmed === undefined || this.logs.has(trimmed) || !LOGGED.test(path)) continue;
      // Its revision does not say it: another history may have others at the same.
      if (!same(this.from.get(path), old)) this.logs.add(trimmed);
    }
    if (this.logs.size >= this.most) this.forget(state.snapshot);
  }

  /**
   * @private Of a log that came and went the application knows nothing, and is told nothing: otherwise such logs would add
   * up for as long as nothing is read.
   * @param {Snapshot} now
   */
  forget(now) {
    const all = [this.from, now];
    for (const log of this.logs) if (all.every((each) => each.under(log).next().done)) this.logs.delete(log);
    this.most = Math.max(GAPS, 2 * this.logs.size);
  }
}
