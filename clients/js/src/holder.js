// Whose a place is that mirrors are kept in: each is of one mirror at a time.

import { OnetreeError } from './errors.js';

/** @typedef {import('./live.js').Mirror} Mirror */

/**
 * @typedef {{run<T>(mirror: Mirror, load: () => Promise<T>): Promise<T>, getStore(): Mirror | undefined}} Asking as an
 *   `AsyncLocalStorage`
 */

/** What every host can tell: who asks, as long as `load` has not waited for anything. @type {Asking & {now?: Mirror}} */
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

/** The host can tell more. @param {Asking} by */
export const askBy = (by) => void (asking = by);

/**
 * Asks what a mirror is kept in for what is there.
 * @template T
 * @param {Mirror} mirror
 * @param {() => Promise<T>} load
 */
export const askFor = (mirror, load) => asking.run(mirror, load);

/** Who asks, also where a `keep` of the application's own asks another one. */
export const whoAsks = () => asking.getStore();

/** The place is another's. */
export class InUse extends OnetreeError {
  /** Neither what prints the error shows it, nor does the error hold it behind its end. @type {WeakRef<Mirror> | undefined} */
  #holder;

  /** @param {string} message @param {Mirror | undefined} holder where it is one of here */
  constructor(message, holder) {
    super('state-in-use', message);
    this.#holder = holder && new WeakRef(holder);
  }

  /** As long as it is there. */
  get holder() {
    return this.#holder?.deref();
  }
}
