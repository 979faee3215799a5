// The subscription of a mirror, and how often the mirror may start again.

/** How many starts from nothing within WINDOW ms happen without a wait. The next one waits. */
const RESTARTS = 3;
const WINDOW = 60_000;
/**
 * How long a mirror waits that starts again too often, ms: this long at first, then twice as long each time, up to
 * HOLD_MOST.
 */
const HOLD = 10_000;
const HOLD_MOST = 300_000;
/** How long to wait before a subscription that was refused for now is tried again, ms. */
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
    /** Whether the broker has the subscription, or is about to get it. */
    this.subscribed = false;
    /** Until when the mirror waits before it starts again. @type {number | undefined} */
    this.held = undefined;
    /** @private @type {number[]} */
    this.restarts = [];
    /** @private */
    this.holds = 0;
  }

  /**
   * Returns the `sub` frame.
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
   * The mirror must start again from nothing. Returns how long it waits first, in ms, if it has started again too
   * often.
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
    // It cannot start while it waits, so the wait is no part of the window.
    this.restarts = this.restarts.map((at) => at + wait);
    return wait;
  }
}
