// How long to wait before the next attempt.

/**
 * Exponential backoff with full jitter: each wait is random between nothing and a bound that doubles, so that
 * clients which lost their broker together do not come back together.
 */
export class Backoff {
  /**
   * Waits of up to `base`, then up to twice that, and so on, up to `cap`, in milliseconds.
   * @param {number} base
   * @param {number} cap
   * @param {() => number} random gives numbers from 0 to below 1
   */
  constructor(base, cap, random) {
    this.base = base;
    this.cap = Math.max(base, cap);
    this.random = random;
    this.failures = 0;
  }

  /**
   * The next wait, milliseconds. One that the broker asked for is kept to: it has spread its clients itself. A wait of
   * zero is none that anybody asked for: all would come back at once, for ever.
   * @param {number} [asked]
   * @returns {number}
   */
  next(asked) {
    const bound = Math.min(this.base * 2 ** Math.min(this.failures, 30), this.cap);
    this.failures += 1;
    const jitter = bound * this.random();
    return asked || jitter;
  }

  /** The connection proved good: the next wait is short again. */
  reset() {
    this.failures = 0;
  }
}
