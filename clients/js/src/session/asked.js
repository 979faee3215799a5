// What waits for an answer of the broker, by the number that the answer will have.

/**
 * @typedef {{to: 'request', ticket: number} | {to: 'sub' | 'resync', sub: number} | {to: 'unsub' | 'bye'}
 *   | {to: 'sync', waiting: [number, number][]}} Asked what a reply will be to; of a `sync`: the tickets that wait for it, each with
 *   its subscription
 */

/** Everything that was sent on this connection and has no answer. */
export class Asks {
  constructor() {
    /** @private */
    this.lastId = 0;
    /** @private @type {Map<number, Asked>} */
    this.asked = new Map();
  }

  get size() {
    return this.asked.size;
  }

  /** The numbers of everything that waits. */
  get ids() {
    return [...this.asked.keys()];
  }

  /** Returns a number that nothing waits under. */
  nextId() {
    do this.lastId = (this.lastId + 1) >>> 0; while (this.asked.has(this.lastId));
    return this.lastId;
  }

  /** Notes what was sent under a number of `nextId`. @param {number} id @param {Asked} asked */
  put(id, asked) {
    this.asked.set(id, asked);
  }

  /** Notes what is sent, and returns a number for it. @param {Asked} asked @returns {number} its number */
  add(asked) {
    const id = this.nextId();
    this.put(id, asked);
    return id;
  }

  /** Removes and returns what was answered. @param {number} id */
  take(id) {
    const asked = this.asked.get(id);
    this.asked.delete(id);
    return asked;
  }

  /** Removes and returns what was answered, if it is a `sync`. @param {number | undefined} id */
  takeSync(id) {
    const asked = id === undefined ? undefined : this.asked.get(id);
    if (id === undefined || asked?.to !== 'sync') return undefined;
    this.asked.delete(id);
    return asked;
  }

  /** Whether a `resync` of a mirror has no answer yet. @param {number} sub */
  hasResync(sub) {
    for (const asked of this.asked.values()) if (asked.to === 'resync' && asked.sub === sub) return true;
    return false;
  }

  /** Forgets everything: no answer will come. @returns {[number, number][]} who waited for a `sync` */
  clear() {
    /** @type {[number, number][]} */
    const waiting = [];
    for (const asked of this.asked.values()) if (asked.to === 'sync') waiting.push(...asked.waiting);
    this.asked.clear();
    return waiting;
  }
}
