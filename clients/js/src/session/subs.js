// A mirror's place on the connection, and how often it may start again.

/** So many starts from nothing within WINDOW ms are a misfortune; one more is a circle. */
const RESTARTS = 3;
const WINDOW = 60_000;
/** The wait of one that goes in circles: this, then twice that, up to HOLD_MOST, ms. */
const HOLD = 10_000;
const HOLD_MOST = 300_000;
/** The wait before a subscription that was refused for now is tried again, ms. */
export const AGAIN = 1_000;

/** @typedef {{once: boolean, signals: boolean, everyMs: number}} SubOptions */

/** A subscription. */
export class Slot {
  /**
   * @param {import('../mirror.js').MirrorState} state
   * @param {SubOptions} options
   */
  constructor(state, options) {
    this.state = state;
    this.options = options;
    /** Whether the broker has, or is about to get, the subscription. */
    this.subscribed = false;
    /** Until when it waits before it starts again. @type {number | undefined} */
    this.held = undefined;
    /** @private @type {number[]} */
    this.restarts = [];
    /** @private */
    this.holds = 0;
  }

  /**
   * How it subscribes.
   * @param {number} id
   * @param {number} sub
   * @returns {import('../protocol/frames.js').Frame}
   */
  frame(id, sub) {
    const { once, signals, everyMs } = this.options;
    const { view, cookie } = this.state;
    return { op: 'sub', id, sub, ...view, cookie, mode: once ? 'once' : 'stay', signals, every_ms: everyMs };
  }

  /**
   * It has to start again from nothing: the wait before that, when it goes in circles, ms.
   * @param {number} now
   * @returns {number | undefined}
   */
  restart(now) {
    this.restarts = this.restarts.filter((at) => now - at <= WINDOW);
    if (this.restarts.length === 0) this.holds = 0;
    this.restarts.push(now);
    if (this.restarts.length <= RESTARTS) return undefined;
    const wait = Math.min(HOLD * 2 ** Math.min(this.holds, 5), HOLD_MOST);
    this.holds += 1;
    this.held = now + wait;
    return wait;
  }
}
