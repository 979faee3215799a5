// What a session asks its driver to do.

/**
 * @typedef {import('../errors.js').OnetreeError} OnetreeError
 * @typedef {{session: string, resumed: boolean, epoch: string, rev: number, heartbeatMs: number, limits: Limits}} Connection
 * @typedef {{frame_bytes: number, value_bytes: number, subscriptions: number, in_flight: number}} Limits
 * @typedef {{status: 'connecting'} | {status: 'online', connection: Connection}
 *   | {status: 'offline', error: OnetreeError, retryInMs: number} | {status: 'ended', error?: OnetreeError}} Status
 * @typedef {{verdict: 'same' | 'differs' | 'unknown', rev?: number, expected?: string, found?: string}} Verdict
 *   where it is the same; the broker's digest and the mirror's, where they differ
 * @typedef {{do: 'connect'} | {do: 'disconnect'}
 *   | {do: 'reply', ticket: number, frame?: import('../protocol/frames.js').Frame, error?: OnetreeError}
 *   | {do: 'release', ticket: number} | {do: 'verdict', ticket: number, verdict: Verdict} | {do: 'verdict', ticket: number, error: OnetreeError}
 *   | {do: 'mirror', sub: number, event: import('../changes.js').MirrorEvent | undefined}
 *   | {do: 'status', status: Status}} Effect what a session wants done; `connect` is answered by `handleOpen` or
 *   `handleClosed`; a `release` comes once for each request, behind its reply; a `mirror` is about its state as it is then, so
 *   that effects are to be taken before the next frame is handled
 */

/** What is to be done, in order. */
export class Effects {
  constructor() {
    /** @private @type {Effect[]} */
    this.all = [];
  }

  /** @param {Effect} effect */
  push(effect) {
    this.all.push(effect);
  }

  /** Returns everything since the last call. */
  take() {
    const { all } = this;
    if (all.length > 0) this.all = [];
    return all;
  }
}
