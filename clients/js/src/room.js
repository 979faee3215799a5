// How much a client's queue takes, in bytes.

import { OnetreeError } from './errors.js';
import { Line } from './line.js';

/** The room in a queue. Who comes first has his first, however little another one needs. */
export class Room {
  /** @param {number} size bytes @param {number} patience how long is waited for room, ms */
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
   * Takes room: at once where there is some and nobody waits, or when there is.
   * @param {number} cost
   * @param {() => void} go called when it is taken
   * @param {(error: OnetreeError) => void} refuse called when there was none for too long
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
      // There may be enough for who comes next.
      this.admit();
    }, this.patience) };
    this.outside.push(waiter);
  }

  /** This is no longer in the queue. @param {number} cost */
  leave(cost) {
    this.used -= cost;
    this.admit();
  }

  /** Nobody waits any more: who does is told why. @param {OnetreeError} why */
  close(why) {
    for (const { refuse, timer } of this.outside.clear()) {
      clearTimeout(timer);
      refuse(why);
    }
  }

  /** @private One that is larger than all of it has it alone. @param {number} cost */
  has(cost) {
    return this.used === 0 || this.used + cost <= this.size;
  }

  /** @private Who waits, in order, as far as there is room. */
  admit() {
    for (let next = this.outside.first; next !== undefined && this.has(next.cost); next = this.outside.first) {
      this.outside.shift();
      clearTimeout(next.timer);
      this.used += next.cost;
      next.go();
    }
  }
}
