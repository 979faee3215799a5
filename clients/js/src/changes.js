// The events of a mirror, in order, for an application that reads them at its own pace.

import { Gaps } from './gaps.js';

/** How many events wait for the application before further ones are folded. This is enough for a burst. */
const EVENTS = 256;
/** As EVENTS, but for the number of changes in the waiting events. */
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
 * Something that happened to a mirror. If you apply the changes of each `fresh` and `delta`, in order, to an empty map
 * (or to the copy that the mirror was started with), you have the mirror. `gaps` are the logs that have a gap: entries
 * were trimmed which the reader never had. The changes of one event belong together: each path is there once, and new
 * entries of one log are in their order. Times are milliseconds. `ended` is the last event; it has no error if the
 * mirror ended as it should.
 * @typedef {{event: MirrorEvent, rev: number, cookie: Cookie | undefined}} Item an event, with the revision and the
 *   cookie of the mirror after it
 */

/**
 * The events of one mirror: an async iterable, for one reader.
 *
 * If you read them slowly, they are folded, not dropped: events that wait beyond a limit are folded into one `delta` or
 * `fresh`. Only signals and heartbeats are dropped. The loss of a session is always reported, by an `online` that is
 * not `resumed`, whatever came after it. The connection and other mirrors never wait for a slow reader.
 *
 * But `keep` saves nothing that a reader who is still there was not shown. So if you call `next()` yourself, call
 * `return()` at the end, as `for await` does, or let go of this object. The client notices that when the host next
 * collects garbage.
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

  /** Returns the next event, if there is one now. @returns {MirrorEvent | undefined} */
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

  /** Ends the reading. The mirror goes on. @returns {Promise<IteratorResult<MirrorEvent, undefined>>} */
  async return() {
    this.feed.end();
    this.stop();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /**
   * Returns the mirror as of the last event that was taken, with its cookie. This is what to save once you have dealt
   * with that event. {@link Mirror#snapshot} may be ahead of it. Costs about as much as the changes that have not been
   * taken.
   */
  snapshot() {
    return this.feed.snapshot();
  }
}

/**
 * @internal What a mirror has of a reader: the events that wait for it, and how far it has come. It refers to the
 *   reader only while the reader waits for an event.
 */
export class Feed {
  /**
   * @param {MirrorState} state of the mirror
   * @param {Snapshot} initial what the reader knows
   * @param {readonly MirrorEvent[]} past the events that brought the mirror from there to where it is
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
    /** @private The revision, and below the cookie, of what the reader was shown, while more events wait. */
    this.rev = initial.rev;
    /** @private @type {Cookie | undefined} */
    this.cookie = initial.cookie;
    /** @private What `snapshot` returned since an event was last taken. @type {Snapshot | undefined} */
    this.position = undefined;
    /** @private The revision, and below the cookie, of the mirror when an event was last added. */
    this.lastRev = state.rev;
    /** @private @type {Cookie | undefined} */
    this.lastCookie = state.cookie;
    /** Whether nothing comes any more. */
    this.over = false;
    /** Tells the keeper of the mirror that the reader was shown more. @type {(() => void) | undefined} */
    this.taken = undefined;
    /** @private @type {(() => void)[]} */
    this.wakers = [];
    /** @private @type {Behind | undefined} */
    this.behind = undefined;
    /**
     * @private The past, which is folded out when it is read, and the mirror after it, once the mirror has moved on.
     *   What comes after the past is not folded with it.
     * @type {{past: Behind, now: Snapshot | undefined} | undefined}
     */
    this.start = undefined;
    for (const event of past) (this.start ??= { past: new Behind(initial), now: undefined }).past.fold(event, state);
  }

  /** The copy that the mirror starts with was replaced. */
  begin() {
    const { rev, cookie } = this.state;
    this.rev = this.lastRev = rev;
    this.cookie = this.lastCookie = cookie;
    this.position = undefined;
  }

  /**
   * Adds an event. The state of the mirror is the one after it. `undefined`: only the revision has moved.
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

  /** Returns the next event, if there is one now. @returns {MirrorEvent | undefined} */
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
    // A queue that is never quite read to its end must not grow for ever.
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

  /**
   * @private Returns the events that the folded ones amount to, up to the mirror as of `now`.
   * @param {Behind} folded
   * @param {Snapshot} now
   */
  unfolded(folded, now = this.state.snapshot) {
    const items = folded.unfold(now);
    for (const { event } of items) this.waiting += weight(event);
    return items;
  }

  /** Waits until there is more. While the reader waits, nothing else may refer to it. @param {Changes} reader */
  more(reader) {
    return new Promise((resolve) => this.wakers.push(() => resolve(reader)));
  }

  /** The reader takes no more events. */
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

  /** See {@link Changes#snapshot}. */
  snapshot() {
    if (this.start !== undefined) return (this.position = this.start.past.from);
    const waits = this.head < this.queue.length;
    const last = this.behind?.from ?? this.state.snapshot;
    // If nothing changed at a revision, there is no event, but the cookie follows the revision.
    if (!waits) return (this.position = last);
    // The same object as before as long as no event was taken: if it was saved, it need not be saved again.
    if (this.position !== undefined && this.isDated(this.position)) return this.position;
    const changes = this.queue.slice(this.head).flatMap(({ event }) => changesOf(event));
    this.position = changes.length === 0 && this.isDated(last) ? last : last.before(changes, this.rev, this.cookie);
    return this.position;
  }

  /**
   * @private Whether a snapshot has the revision and the cookie of what the reader was shown, while more events wait.
   * @param {Snapshot} snapshot
   */
  isDated({ rev, cookie }) {
    return rev === this.rev && cookie?.epoch === this.cookie?.epoch && cookie?.view === this.cookie?.view;
  }
}

/** @param {MirrorEvent} event @returns {readonly Difference[]} */
const changesOf = (event) => (event.type === 'fresh' || event.type === 'delta' ? event.changes : []);

/** @param {MirrorEvent} event */
const weight = (event) => changesOf(event).length;

/** The events that come after a full queue, folded. */
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

  /** @param {MirrorEvent} event @param {MirrorState} state the state after the event */
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
        // What is gone with a session does not come back when the next connection is resumed.
        this.online = this.online?.resumed === false ? { ...event, resumed: false } : event;
        this.offline = undefined;
        break;
      case 'ended': this.ended = event; break;
      default:
    }
  }

  /**
   * Returns the events that the folded ones amount to.
   * @param {Snapshot} now
   * @returns {Item[]}
   */
  unfold(now) {
    // Events that come before the change carry the mirror as it was before: what is saved then must not contain the
    // change.
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
    // `offline` comes last: otherwise an application that shows whether the mirror is live would show that it is.
    if (this.offline) events.push(this.offline);
    if (this.ended) events.push(this.ended);
    for (const event of events) items.push({ event, rev: now.rev, cookie: now.cookie });
    return items;
  }
}
