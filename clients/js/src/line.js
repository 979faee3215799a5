// A queue. An array from which the first element is taken is moved as a whole, which costs more the longer it is.

/** @template T */
export class Line {
  /** @param {T[]} all those who wait, the first in front; the array belongs to the line from now on */
  constructor(all = []) {
    /** @private */
    this.all = all;
    /** @private */
    this.head = 0;
  }

  get isEmpty() {
    return this.head === this.all.length;
  }

  /** The one that is next. @returns {T | undefined} */
  get first() {
    return this.all[this.head];
  }

  /** @param {T} one */
  push(one) {
    this.all.push(one);
  }

  /** Removes the one that is next. */
  shift() {
    // What it refers to must not stay alive until the array is cut.
    this.all[this.head] = /** @type {any} */ (undefined);
    this.head += 1;
    if (!this.isEmpty && (this.head < 1024 || this.head * 2 < this.all.length)) return;
    this.all = this.all.slice(this.head);
    this.head = 0;
  }

  /**
   * Removes and returns the first for which `is` is true, even if it is not next. Costs as much as there are before it.
   * @param {(one: T) => boolean} is
   */
  take(is) {
    // From the head: everything before it has left, which is much in a line whose members time out.
    for (let at = this.head; at < this.all.length; at += 1) {
      const one = /** @type {T} */ (this.all[at]);
      if (!is(one)) continue;
      if (at === this.head) this.shift();
      else this.all.splice(at, 1);
      return one;
    }
    return undefined;
  }

  /** Removes all, and returns them. */
  clear() {
    const all = this.all.slice(this.head);
    this.all = [];
    this.head = 0;
    return all;
  }
}
