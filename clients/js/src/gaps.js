// The logs that have a gap for a reader: entries were trimmed which the reader never had.

import { same } from './snapshot.js';

/** How many gaps are kept before those of logs without any entries are forgotten. */
const GAPS = 1024;
const LOGGED = /\/[01][0-9a-f]{17}$/;

/**
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {import('./mirror.js').MirrorState} MirrorState
 * @typedef {import('./snapshot.js').Snapshot} Snapshot
 */

/** The gaps for a reader who knows what a mirror once was, and has read nothing since. */
export class Gaps {
  /** @param {Snapshot} from what the reader knows */
  constructor(from) {
    /** @private */
    this.from = from;
    /** @private Whether the last refresh began from nothing. */
    this.full = false;
    /** @type {Set<string>} */
    this.logs = new Set();
    /** @private At this many gaps, those of logs without any entries are forgotten. */
    this.most = GAPS;
  }

  /**
   * Folds in the next event.
   * @param {MirrorEvent} event
   * @param {MirrorState} state the state after the event
   */
  fold(event, state) {
    if (event.type === 'refreshing') this.full = event.kind === 'full';
    if (event.type !== 'fresh' && event.type !== 'delta') return;
    // What the refresh brought is there, whatever was trimmed before.
    if (event.type === 'fresh' && this.full) this.logs.clear();
    for (const log of event.gaps) this.logs.add(log);
    // If a log's entry came and was trimmed meanwhile, the reader never saw it: that is a gap. A deleted entry was
    // meant to be gone.
    for (const { path, old, trimmed } of event.changes) {
      if (trimmed === undefined || this.logs.has(trimmed) || !LOGGED.test(path)) continue;
      // The entries are compared, because another history may have other entries at the same revision.
      if (!same(this.from.get(path), old)) this.logs.add(trimmed);
    }
    if (this.logs.size >= this.most) this.forget(state.snapshot);
  }

  /**
   * @private Forgets the gaps of logs that had nothing before and have nothing now. The application does not know these
   *   logs. Without this, such gaps would accumulate for as long as nothing is read.
   * @param {Snapshot} now
   */
  forget(now) {
    const all = [this.from, now];
    for (const log of this.logs) if (all.every((each) => each.under(log).next().done)) this.logs.delete(log);
    this.most = Math.max(GAPS, 2 * this.logs.size);
  }
}
