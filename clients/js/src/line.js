// Those who wait, in order. An array whose first is taken away is moved as a whole, which costs the more the more wait.

/** @template T */
export class Line {
  /** @param {T[]} all those who wait, the first in front; it is the line's from now on */
  constructor(all = []) {
    /** @private */
    this.all = all;
    /** @private */
    this.head = 0;
  }

  get isEmpty() {
    return this.head === this.all.length;
  }

  /** Who is next. @returns {T | undefined} */
  get first() {
    return this.all[this.head];
  }

  /** @param {T} one */
  push(one) {
    this.all.push(one);
  }

  /** The next one leaves. */
  shift() {
    // What he had is not kept until the array is cut.
    this.all[this.head] = /** @type {any} */ (undefined);
    this.head += 1;
    if (!this.isEmpty && (this.head < 1024 || this.head * 2 < this.all.length)) return;
    this.all = this.all.slice(this.head);
    this.head = 0;
  }

  /** The first of whom `is` is true leaves before his turn; costs as many as there are before him. @param {(one: T) => boolean} is */
  take(is) {
    // From the head: all in front of it have left, and of a line that times out those are many.
    for (let at = this.head; at < this.all.length; at += 1) {
      const one = /** @type {T} */ (this.all[at]);
      if (!is(one)) continue;
      if (at === this.head) this.shift();
      else this.all.splice(at, 1);
      return one;
    }
    return undefined;
  }

  /** All leave. */
  clear() {
    const all = this.all.slice(this.head);
    this.all = [];
    this.head = 0;
    return all;
  }
}
