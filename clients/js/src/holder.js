// Whose a place is that mirrors are kept in: each is of one mirror at a time.

import { OnetreeError } from './errors.js';

/** @typedef {import('./live.js').Mirror} Mirror */

/** @type {Mirror | undefined} */
let asking;

/**
 * Asks what a mirror is kept in for what is there.
 * @template T
 * @param {Mirror} mirror
 * @param {() => T} load
 */
export function askFor(mirror, load) {
  asking = mirror;
  try {
    return load();
  } finally {
    asking = undefined;
  }
}

/** Who asks, in a `load` before it waits for anything: also where a `keep` of the application's own asks another one. */
export const whoAsks = () => asking;

/** The place is another's. */
export class InUse extends OnetreeError {
  /** @param {string} message @param {Mirror | undefined} holder where it is one of here */
  constructor(message, holder) {
    super('state-in-use', message);
    this.holder = holder;
  }
}
