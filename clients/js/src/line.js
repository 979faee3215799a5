// Those who wait, in order. An array whose first is taken away is moved as a whole, which costs the more the more wait.

/** @template T */
export class Line {
  constructor() {
    /** @private @type {T[]} */
    this.all = [];
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
    this.head += 1;
    if (this.head < 1024 || this.head * 2 < this.all.length) return;
    this.all = this.all.slice(this.head);
    this.head = 0;
  }

  /** One leaves before his turn; costs as many as there are before him. @param {T} one */
  remove(one) {
    const at = this.all.indexOf(one, this.head);
    if (at === this.head) this.shift();
    else if (at > 0) this.all.splice(at, 1);
  }

  /** All leave. */
  clear() {
    const all = this.all.slice(this.head);
    this.all = [];
    this.head = 0;
    return all;
  }
}
