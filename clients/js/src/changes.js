// What happens to a mirror, in order, for an application that reads it at its own pace.

import { Gaps } from './gaps.js';

/** So many events wait for the application, then they are folded: enough for a burst. */
const EVENTS = 256;
/** As EVENTS, for the changes in them. */
const CHANGES = 16 * 1024;

/**
 * @typedef {import('./snapshot.js').Difference} Difference
 * @typedef {import('./mirror.js').MirrorState} MirrorState
 * @typedef {import('./snapshot.js').Snapshot} Snapshot
 * @typedef {import('./protocol/frames.js').Cookie} Cookie
 * @typedef {{type: 'refreshing', kind: 'full' | 'delta', why: string}
 *   | {type: 'fresh', rev: number, changes: Difference[], gaps: string[]}
 *   | {type: 'delta', since: number, rev: number, changes: Difference[], gaps: string[]}
 *   | {type: 'signal', path: string, value: import('./protocol/values.js').Value}
 *   | {type: 'synced', rev: number, verified: boolean}
 *   | {type: 'corrupt', expected: string, found: string}
 *   | {type: 'broken', why: string}
 *   | {type: 'circling', retryInMs: number}
 *   | {type: 'offline', error: import('./errors.js').OnetreeError, retryInMs: number}
 *   | {type: 'online', resumed: boolean}
 *   | {type: 'ended', error?: import('./errors.js').OnetreeError}} MirrorEvent
 * Something happened to a mirror. Who applies the changes of each `fresh` and `delta`, in order, to an empty map (or to
 * what the mirror was started with) has the mirror; `gaps` are the logs of which entries went that he never had. Within
 * one event the changes belong together: each path is there once, and new entries of one log are in their order. Times are milliseconds. `ended` is the last, without an error when it was to end.
 * @typedef {{event: MirrorEvent, rev: number, cookie: Cookie | undefined}} Item an event, and what dates the mirror behind it
 */

/**
 * The events of one mirror: an async iterable, for one reader. Nothing is lost and nothing grows without bound when they
 * are read slowly: what has not been read is folded into one `delta` or `fresh`. Only signals are dropped then, and
 * heartbeats. That the session was lost is told by an `online` that is not `resumed`, whatever came behind it. Neither the connection nor other mirrors wait for a slow reader; but what is kept of this one is saved no
 * further than he was shown. So who calls `next()` himself calls `return()` at the end, as `for await` does, or lets go of
 * this, which is noticed when the host next collects what nobody holds.
 * @implements {AsyncIterableIterator<MirrorEvent>}
 */
export class Changes {
  /** @param {Feed} feed @param {() => void} stop */
  constructor(feed, stop) {
    /** @private */
    this.feed = feed;
    /** @private */
    this.stop = stop;
  }

  /** The next event, when there is one now. @returns {MirrorEvent | undefined} */
  nextNow() {
    return this.feed.nextNow();
  }

  /** @returns {Promise<IteratorResult<MirrorEvent, undefined>>} */
  async next() {
    for (;;) {
      const value = this.feed.nextNow();
      if (value !== undefined) return { value, done: false };
      if (this.feed.over) return { value: undefined, done: true };
      await this.feed.more(this);
    }
  }

  /** Ends the reading; the mirror lives on. @returns {Promise<IteratorResult<MirrorEvent, undefined>>} */
  async return() {
    this.feed.end();
    this.stop();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /**
   * The mirror as of the last event that was taken, with its cookie: what is to be saved once that event has been dealt
   * with. {@link Mirror#snapshot} may be ahead of it. Costs about what the changes do that have not been taken.
   */
  snapshot() {
    return this.feed.snapshot();
  }
}

/** @internal What a mirror holds of a reader: what waits for him, and how far he has got. It does not hold him, but while he waits. */
export class Feed {
  /**
   * @param {MirrorState} state of the mirror
   * @param {Snapshot} initial what the reader knows
   * @param {readonly MirrorEvent[]} past what has brought the mirror from there to where it is
   */
  constructor(state, initial, past) {
    /** @private */
    this.state = state;
    /** @private @type {Item[]} */
    this.queue = [];
    /** @private */
    this.head = 0;
    /** @private */
    this.waiting = 0;
    /** @private What dates what the reader was shown, while there is more. */
    this.rev = initial.rev;
    /** @private @type {Cookie | undefined} */
    this.cookie = initial.cookie;
    /** @private What `snapshot` gave since something was taken last. @type {Snapshot | undefined} */
    this.position = undefined;
    /** @private What dated the mirror when something was pushed last. */
    this.lastRev = state.rev;
    /** @private @type {Cookie | undefined} */
    this.lastCookie = state.cookie;
    /** Whether nothing comes any more. */
    this.over = false;
    /** Told to who keeps the mirror: what the reader was shown has moved. @type {(() => void) | undefined} */
    this.taken = undefined;
    /** @private @type {(() => void)[]} */
    this.wakers = [];
    /** @private @type {Behind | undefined} */
    this.behind = undefined;
    /**
     * @private The past, worked out when it is read, and what the mirror was behind it, once that is another than now. What
     * comes behind it comes whole.
     * @type {{past: Behind, now: Snapshot | undefined} | undefined}
     */
    this.start = undefined;
    for (const event of past) (this.start ??= { past: new Behind(initial), now: undefined }).past.fold(event, state);
  }

  /** What the mirror goes on from turned out to be another. */
  begin() {
    const { rev, cookie } = this.state;
    this.rev = this.lastRev = rev;
    this.cookie = this.lastCookie = cookie;
    this.position = undefined;
  }

  /**
   * Something happened, and the mirror is as it is behind it; `undefined`: only the revision moved.
   * @param {MirrorEvent | undefined} event
   */
  push(event) {
    const { rev, cookie } = this.state;
    const [beforeRev, beforeCookie] = [this.lastRev, this.lastCookie];
    this.lastRev = rev;
    this.lastCookie = cookie;
    const { queue } = this;
    if (event === undefined) {
      const back = queue[queue.length - 1];
      if (this.behind !== undefined || back === undefined || this.head === queue.length) return;
      back.rev = rev;
      back.cookie = cookie;
      return;
    }
    const waiting = queue.length - this.head;
    const before = () => this.state.snapshot.before(changesOf(event), beforeRev, beforeCookie);
    if (this.start !== undefined) this.start.now ??= before();
    else if (this.behind === undefined && waiting === 0) {
      this.rev = beforeRev;
      this.cookie = beforeCookie;
    }
    if (this.behind === undefined && (waiting >= EVENTS || this.waiting >= CHANGES)) this.behind = new Behind(before());
    if (this.behind !== undefined) {
      this.behind.fold(event, this.state);
    } else {
      this.waiting += weight(event);
      queue.push({ event, rev, cookie });
    }
    this.wake();
  }

  /** The next event, when there is one now. @returns {MirrorEvent | undefined} */
  nextNow() {
    if (this.over) return undefined;
    if (this.start !== undefined) {
      const { past, now } = this.start;
      this.start = undefined;
      this.queue = [...this.unfolded(past, now), ...this.queue];
    }
    if (this.head === this.queue.length) {
      this.queue = [];
      this.head = 0;
      this.waiting = 0;
      if (this.behind === undefined) return undefined;
      this.queue = this.unfolded(this.behind);
      this.behind = undefined;
      if (this.queue.length === 0) return undefined;
    }
    const { event, rev, cookie } = /** @type {Item} */ (this.queue[this.head]);
    this.queue[this.head] = /** @type {any} */ (undefined);
    this.head += 1;
    // One that is never quite read to its end does not grow for ever.
    if (this.head > EVENTS) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    this.waiting -= weight(event);
    this.rev = rev;
    this.cookie = cookie;
    this.position = undefined;
    if (event.type === 'ended') this.over = true;
    this.taken?.();
    return event;
  }

  /** @private What was folded, as far as the mirror has come since. @param {Behind} folded @param {Snapshot} now */
  unfolded(folded, now = this.state.snapshot) {
    const items = folded.unfold(now);
    for (const { event } of items) this.waiting += weight(event);
    return items;
  }

  /** Waits until there is more. Nothing else may hold who does. @param {Changes} reader */
  more(reader) {
    return new Promise((resolve) => this.wakers.push(() => resolve(reader)));
  }

  /** Nothing is read any more. */
  end() {
    this.over = true;
    this.wake();
  }

  /** @private */
  wake() {
    const { wakers } = this;
    this.wakers = [];
    for (const wake of wakers) wake();
  }

  /** As {@link Changes#snapshot}. */
  snapshot() {
    if (this.start !== undefined) return (this.position = this.start.past.from);
    const waits = this.head < this.queue.length;
    const last = this.behind?.from ?? this.state.snapshot;
    // A revision at which nothing changed makes no event, but the cookie follows it.
    if (!waits) return (this.position = last);
    // The same as before, as long as nothing was taken: who has saved it need not do so again.
    if (this.position !== undefined && this.isDated(this.position)) return this.position;
    const changes = this.queue.slice(this.head).flatMap(({ event }) => changesOf(event));
    this.position = changes.length === 0 && this.isDated(last) ? last : last.before(changes, this.rev, this.cookie);
    return this.position;
  }

  /** @private Whether a snapshot is dated as what the reader was shown, while there is more. @param {Snapshot} snapshot */
  isDated({ rev, cookie }) {
    return rev === this.rev && cookie?.epoch === this.cookie?.epoch && cookie?.view === this.cookie?.view;
  }
}

/** @param {MirrorEvent} event @returns {readonly Difference[]} */
const changesOf = (event) => (event.type === 'fresh' || event.type === 'delta' ? event.changes : []);

/** @param {MirrorEvent} event */
const weight = (event) => changesOf(event).length;

/** What comes behind a queue that is full, folded. */
class Behind {
  /** @param {Snapshot} from */
  constructor(from) {
    this.from = from;
    this.fresh = false;
    this.gaps = new Gaps(from);
    /** @type {MirrorEvent | undefined} */
    this.trouble = undefined;
    /** @type {(MirrorEvent & {type: 'online'}) | undefined} */
    this.online = undefined;
    /** @type {MirrorEvent | undefined} */
    this.offline = undefined;
    /** @type {MirrorEvent | undefined} */
    this.ended = undefined;
  }

  /** @param {MirrorEvent} event @param {MirrorState} state as it is behind that */
  fold(event, state) {
    this.gaps.fold(event, state);
    switch (event.type) {
      case 'fresh': this.fresh = true; break;
      case 'corrupt': case 'broken': case 'circling': this.trouble = event; break;
      case 'offline':
        this.offline = event;
        if (this.online?.resumed) this.online = undefined;
        break;
      case 'online':
        // What went with a session does not come back with the next connection.
        this.online = this.online?.resumed === false ? { ...event, resumed: false } : event;
        this.offline = undefined;
        break;
      case 'ended': this.ended = event; break;
      default:
    }
  }

  /**
   * The events that it comes to.
   * @param {Snapshot} now
   * @returns {Item[]}
   */
  unfold(now) {
    // What comes before the change is dated before it: who saves then must not save what it has not seen.
    const { rev } = this.from;
    const wrong = this.trouble?.type === 'corrupt' || this.trouble?.type === 'broken';
    const cookie = wrong ? undefined : this.from.cookie;
    /** @type {Item[]} */
    const items = [];
    if (this.trouble) items.push({ event: this.trouble, rev, cookie });
    if (this.online) items.push({ event: this.online, rev, cookie });
    /** @type {MirrorEvent[]} */
    const events = [];
    const [changes, gaps] = [now.since(this.from), [...this.gaps.logs]];
    if (this.fresh) events.push({ type: 'fresh', rev: now.rev, changes, gaps });
    else if (changes.length > 0 || gaps.length > 0) {
      events.push({ type: 'delta', since: rev, rev: now.rev, changes, gaps });
    }
    // Last is how it stands: who shows that it is live would go on doing so.
    if (this.offline) events.push(this.offline);
    if (this.ended) events.push(this.ended);
    for (const event of events) items.push({ event, rev: now.rev, cookie: now.cookie });
    return items;
  }
}
