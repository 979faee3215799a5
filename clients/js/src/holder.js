// Which mirror has a place where mirrors are kept: each place belongs to one mirror at a time.

import { OnetreeError } from './errors.js';

/** @typedef {import('./live.js').Mirror} Mirror */

/**
 * @typedef {{run<T>(mirror: Mirror, load: () => Promise<T>): Promise<T>, getStore(): Mirror | undefined}} Asking with
 *   the methods of an `AsyncLocalStorage`
 */

/** What works on every host: it knows the mirror that asks until `load` waits for something. @type {Asking & {now?: Mirror}} */
const atOnce = {
  run(mirror, load) {
    this.now = mirror;
    try {
      return load();
    } finally {
      delete this.now;
    }
  },
  getStore() {
    return this.now;
  },
};

/** @type {Asking} */
let asking = atOnce;

/** Replaces the way to know the mirror that asks, on a host that has a better one. @param {Asking} by */
export const askBy = (by) => void (asking = by);

/**
 * Calls `load` of the place for a mirror.
 * @template T
 * @param {Mirror} mirror
 * @param {() => Promise<T>} load
 */
export const askFor = (mirror, load) => asking.run(mirror, load);

/** Returns the mirror that asks, even if a `keep` of the application's own calls another one. */
export const whoAsks = () => asking.getStore();

/** The place belongs to another mirror. */
export class InUse extends OnetreeError {
  /** Printing the error does not show the mirror, and the error does not keep it alive. @type {WeakRef<Mirror> | undefined} */
  #holder;

  /** @param {string} message @param {Mirror | undefined} holder the other mirror, if it is of this page or process */
  constructor(message, holder) {
    super('state-in-use', message);
    this.#holder = holder && new WeakRef(holder);
  }

  /** The other mirror, as long as it exists. */
  get holder() {
    return this.#holder?.deref();
  }
}
