// Random numbers that can be repeated: a test that fails prints its seed, and ONETREE_SEED replays it.

/** How often each random test runs, each time with another seed. ONETREE_SEED names the only one. */
export function seeds(times) {
  const named = process.env.ONETREE_SEED;
  return named ? [Number(named)] : Array.from({ length: times }, () => Math.floor(Math.random() * 2 ** 32));
}

/** Gives numbers from 0 to below 1 (mulberry32). */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
    this.next = () => {
      this.state = (this.state + 0x6d2b79f5) >>> 0;
      let t = this.state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  below(n) {
    return Math.floor(this.next() * n);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  chance(p) {
    return this.next() < p;
  }
}
