// How many bytes a client's queue takes.

import { OnetreeError } from './errors.js';
import { Line } from './line.js';

/** The room in a queue. Whoever asked first gets room first, even if a later request needs less. */
export class Room {
  /** @param {number} size bytes @param {number} patience how long a request waits for room, ms */
  constructor(size, patience) {
    /** @private */
    this.size = size;
    /** @private */
    this.patience = patience;
    /** @private */
    this.used = 0;
    /** @private @type {Line<{cost: number, go: () => void, refuse: (error: OnetreeError) => void, timer: ReturnType<typeof setTimeout>}>} */
    this.outside = new Line();
  }

  /**
   * Takes room: at once if there is enough and nobody waits, otherwise once there is.
   * @param {number} cost
   * @param {() => void} go called when the room is taken
   * @param {(error: OnetreeError) => void} refuse called if there was no room in time
   */
  enter(cost, go, refuse) {
    if (this.outside.isEmpty && this.has(cost)) {
      this.used += cost;
      go();
      return;
    }
    const waiter = { cost, go, refuse, timer: setTimeout(() => {
      this.outside.take((other) => other === waiter);
      refuse(new OnetreeError('timeout', `no room in the queue within ${this.patience} ms; it was never sent`, { sent: false }));
      // There may be enough for the next one.
      this.admit();
    }, this.patience) };
    this.outside.push(waiter);
  }

  /** A request leaves the queue. @param {number} cost */
  leave(cost) {
    this.used -= cost;
    this.admit();
  }

  /** Refuses everything that waits. @param {OnetreeError} why */
  close(why) {
    for (const { refuse, timer } of this.outside.clear()) {
      clearTimeout(timer);
      refuse(why);
    }
  }

  /** @private A request that is larger than the whole queue gets room when the queue is empty. @param {number} cost */
  has(cost) {
    return this.used === 0 || this.used + cost <= this.size;
  }

  /** @private Admits what waits, in order, as far as there is room. */
  admit() {
    for (let next = this.outside.first; next !== undefined && this.has(next.cost); next = this.outside.first) {
      this.outside.shift();
      clearTimeout(next.timer);
      this.used += next.cost;
      next.go();
    }
  }
}
