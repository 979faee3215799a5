// How long to wait before the next attempt to connect.

/**
 * Exponential backoff with full jitter: each wait is a random time below a bound that doubles. So clients that lost
 * their broker together do not come back together.
 */
export class Backoff {
  /**
   * Waits of up to `base` ms, then up to twice that, and so on up to `cap` ms.
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
   * Returns the next wait, in ms. If the broker `asked` for one, that is the wait: the broker has spread its clients
   * itself. A wait of zero does not count: with it all clients would come back at once, for ever.
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
