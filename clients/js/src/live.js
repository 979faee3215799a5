// A mirror as the application uses it: a live copy of a part of the tree.

import { Changes, Feed } from './changes.js';
import { INSPECT, OnetreeError, mirrorClosed, throwToHost, wordsOf } from './errors.js';
import { Gaps } from './gaps.js';
import { InUse, askFor } from './holder.js';
import { FUNCTION, U53, must, whole } from './options.js';
import { isLogKey } from './protocol/log-keys.js';
import { below, checkPath } from './protocol/paths.js';
import { Snapshot } from './snapshot.js';
import { transact } from './transact.js';

/** The shortest time between two saves of a mirror, in ms. */
const KEEP = 1_000;
/** The places where mirrors are kept now. Each belongs to one mirror at a time. @type {WeakMap<Keep, Mirror>} */
const inUse = new WeakMap();
/** How many entries a page may have. */
const PAGE = whole(32);

/**
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {{load(): Promise<Snapshot | {cookie: import('./protocol/frames.js').Cookie, entries: Iterable<Entry>} | undefined>,
 *   save(snapshot: Snapshot): Promise<void>, close?(): Promise<void>}} Keep where a mirror survives its process.
 * `save` replaces the cookie and the entries in one step. It is also called if `load` failed: if that would lose
 * something, `save` must fail. `close` is called when the mirror has ended: the place is free for another mirror. If
 * your own `load` calls that of `keepInIndexedDB`, it must do so before it waits for anything. Otherwise a new mirror
 * does not wait for the end of the mirror that is kept there.
 */

/**
 * A live copy of a part of the tree, which the client keeps right: at every moment it is its view of the tree at
 * {@link Mirror#rev}, exactly.
 */
export class Mirror {
  /**
   * @param {import('./client.js').Client} client
   * @param {number} sub
   * @param {import('./mirror.js').MirrorState} state
   * @param {Keep | undefined} keep
   */
  constructor(client, sub, state, keep) {
    this.client = client;
    /** The view of the mirror. */
    this.view = state.view;
    /** @internal */
    this.state = state;
    /** @private */
    this.sub = sub;
    /** @private */
    this.initial = state.snapshot;
    /** @private The gaps for a reader who begins after the mirror was whole. */
    this.gaps = new Gaps(this.initial);
    /** @private */
    this.whole = false;
    /** @private Why there is no connection, while there is none. @type {MirrorEvent | undefined} */
    this.offline = undefined;
    /** @private @type {(MirrorEvent & {type: 'ended'}) | undefined} */
    this.ended = undefined;
    /** @private The readers. The host reports readers that no longer exist. @type {Set<Feed>} */
    this.feeds = new Set();
    /** @private @type {FinalizationRegistry<Feed>} */
    this.readers = new FinalizationRegistry((feed) => this.leave(feed));
    /** @private What the last reader was shown, if all readers have left. @type {Snapshot | undefined} */
    this.lastShown = undefined;
    /** @private @type {Set<() => boolean>} those who wait; true: they are done */
    this.waiters = new Set();
    /** @private Where the mirror is kept, unless the place belongs to another mirror. */
    this.keep = keep;
    /** @private Whether the mirror is to be kept. What readers were shown counts even while it waits for its place. */
    this.toKeep = keep !== undefined;
    /** @private @type {Snapshot | undefined} */
    this.kept = keep ? this.initial : undefined;
    /** @private The cookie of what was saved last. @type {import('./protocol/frames.js').Cookie | undefined} */
    this.keptCookie = undefined;
    /** @private @type {ReturnType<typeof setTimeout> | undefined} */
    this.keepTimer = undefined;
    /** @private @type {Promise<void>} */
    this.keeping = Promise.resolve();
    /** @private */
    this.saving = false;
    /**
     * Why `keep` could not load the kept copy, or failed the last time when it was to save or close. `undefined` if all
     * went well, or if the mirror is not kept. A failed save is tried again.
     * @type {unknown}
     */
    this.keepError = undefined;
    /** @private */
    this.lastKept = -Infinity;
    /** @private Resolves when the mirror has ended and was saved for the last time. @type {Promise<void> | undefined} */
    this.ending = undefined;
    /**
     * @private Resolves when another mirror can have the place: those that wait for it get it in order. @type
     *   {Promise<void>}
     */
    this.free = new Promise((resolve) => {
      /** @private */
      this.freed = resolve;
    });
  }

  /**
   * @internal Starts with the kept copy, if the place can be had. If the mirror that has it is ending, waits for that.
   * @param {Keep} keep
   */
  async load(keep) {
    // While the place belongs to another mirror, this one must not even close it.
    this.keep = undefined;
    /** @type {Mirror | undefined} */
    let before;
    while (!this.ended) {
      try {
        return await this.take(keep);
      } catch (error) {
        const holder = error instanceof InUse ? error.holder : undefined;
        if (!holder?.isEnding || holder === before) {
          this.keepError = error;
          return;
        }
        before = holder;
      }
      await before.free;
    }
  }

  /** @private @param {Keep} keep */
  async take(keep) {
    const holder = inUse.get(keep) ?? this;
    if (holder !== this) throw new InUse('another mirror is kept there: a `keep` is of one at a time', holder);
    inUse.set(keep, this);
    this.keep = keep;
    const saved = await askFor(this, () => keep.load());
    if (saved && !this.ended) this.begin(checked(saved));
  }

  /** @internal Whether the mirror has ended, or ends with its client. */
  get isEnding() {
    return this.ended !== undefined || this.client.isClosing;
  }

  /** @private Replaces the copy that the mirror was started with by the kept one. @param {Snapshot} snapshot */
  begin(snapshot) {
    this.state.goOnFrom(snapshot);
    this.initial = this.kept = snapshot;
    this.gaps = new Gaps(snapshot);
    this.keptCookie = snapshot.cookie;
    // A reader that has left by now was shown no more than the copy that the mirror was started with.
    if (this.lastShown) this.lastShown = snapshot;
    for (const feed of this.feeds) feed.begin();
  }

  /** @internal Reports an event, or `undefined` if only the revision has moved. @param {MirrorEvent | undefined} event */
  publish(event) {
    if (event) this.gaps.fold(event, this.state);
    if (event?.type === 'fresh') this.whole = true;
    if (event?.type === 'offline') this.offline = event;
    if (event?.type === 'online') this.offline = undefined;
    if (event?.type === 'ended') this.ended = event;
    for (const feed of this.feeds) feed.push(event);
    if (this.waiters.size > 0) for (const waiter of [...this.waiters]) if (waiter()) this.waiters.delete(waiter);
    if (!this.ended) this.keepLater();
    else if (this.keep) this.client.outlast(this.ending = this.saved().then(() => this.letGo()));
    else this.feeds.clear();
  }

  /** The revision that the mirror is at. */
  get rev() {
    return this.state.rev;
  }

  /**
   * Whether the mirror is whole and has the connection that keeps it up to date. A mirror that has ended, as one of
   * mode `once` does, is not fresh: it stays as it is.
   */
  get isFresh() {
    return this.state.fresh && !this.ended;
  }

  /** How many changes have come in the refresh that is under way, or came in the last one. Use it to show progress. */
  get received() {
    return this.state.received;
  }

  /** The number of entries. */
  get size() {
    return this.state.size;
  }

  /** Returns the entry at `path`. @param {string} path */
  get(path) {
    this.look();
    return this.state.get(checkPath(path));
  }

  /** Returns all entries as they are now, in path order. */
  entries() {
    return this.snapshot().entries();
  }

  /** Returns the entries at and under `top` as they are now, in path order. @param {string} top */
  under(top) {
    return this.snapshot().under(checkPath(top));
  }

  /**
   * Returns the mirror as it is now, with its cookie. O(1). A snapshot never changes. If you read
   * {@link Mirror#changes} and save, use `changes.snapshot()` instead: it is never ahead of the events that you have read.
   */
  snapshot() {
    this.look();
    return this.state.snapshot;
  }

  /**
   * The mirror's cookie; `undefined` until the mirror is whole for the first time, and from the moment it was found to
   * be wrong until it is fresh again.
   */
  get cookie() {
    return this.state.cookie;
  }

  /**
   * Returns the events of the mirror, in order, each once, from the beginning, as an async iterable for one reader. If
   * the mirror is whole already, the first event is `fresh` with everything that differs from the copy that the mirror
   * was started with, and with all gaps since then. If there is no connection now, `offline` comes after that.
   *
   * When you leave the `for await` loop, the reading ends, not the mirror. If you call `next()` yourself, call
   * `return()` at the end, or let go of what this returned: `keep` saves nothing that a reader who is still there was
   * not shown.
   */
  changes() {
    /** @type {MirrorEvent[]} */
    const past = this.whole ? [{ type: 'fresh', rev: this.rev, changes: [], gaps: [...this.gaps.logs] }] : [];
    for (const event of [this.offline, this.ended]) if (event) past.push(event);
    const feed = new Feed(this.state, this.initial, past);
    const changes = new Changes(feed, () => this.leave(feed));
    // After the end of the mirror there is nothing that was not there when the reader began.
    if (this.ended) return changes;
    this.feeds.add(feed);
    this.readers.register(changes, feed);
    // Otherwise what the reader was not yet shown when it was time to save would be saved only after the next event.
    if (this.toKeep) feed.taken = () => this.keepLater();
    return changes;
  }

  /**
   * Calls `listener` with each event, in order, each once, from the beginning as {@link Mirror#changes} does. Other
   * code runs between two calls. An error that `listener` throws goes to the host, and `listener` is called for the
   * next event all the same.
   * @param {(event: MirrorEvent) => void} listener
   * @returns {() => void} a function that removes the listener
   */
  onEvent(listener) {
    must(FUNCTION, 'listener', listener);
    const changes = this.changes();
    (async () => {
      for await (const event of changes) {
        try {
          listener(event);
        } catch (error) {
          throwToHost(error);
        }
      }
    })();
    return () => void changes.return();
  }

  /**
   * Waits until the mirror is fresh and `reached(mirror)` is true. If `reached` throws, this fails with that error.
   * @param {(now: Mirror) => boolean} reached
   * @param {boolean} [onlyFresh] whether the mirror must be fresh, which is the default
   * @returns {Promise<number>} the revision that the mirror is at then
   */
  until(reached, onlyFresh = true) {
    return new Promise((resolve, reject) => {
      must(FUNCTION, 'reached', reached);
      const waiter = () => {
        try {
          // A mirror that ended as it should, such as one of mode `once`, still counts as fresh if it was.
          const fresh = this.state.fresh && !this.ended?.error;
          if ((fresh || !onlyFresh) && reached(this)) resolve(this.rev);
          else if (this.ended) reject(this.ended.error ?? mirrorClosed());
          else return false;
        } catch (error) {
          reject(error);
        }
        return true;
      };
      if (!waiter()) this.waiters.add(waiter);
    });
  }

  /**
   * Waits until the mirror is fresh, that is, whole. For a mirror of mode `once` that has ended, it is enough that it
   * was fresh. Fails if the mirror has ended.
   * @returns {Promise<number>} the revision that the mirror is at then
   */
  fresh() {
    return this.until(() => true);
  }

  /**
   * Waits until the mirror is fresh and at revision `rev` or later. With the revision of your own write, this waits
   * until the mirror shows the write. A revision belongs to one history. If the broker has begun another history
   * (`cookie` has another `epoch`), a revision of the former one may be far ahead. Fails if the mirror has ended.
   * @param {number} rev
   * @returns {Promise<number>} the revision that the mirror is at then
   */
  async at(rev) {
    must(U53, 'rev', rev);
    await this.fresh();
    // Without this, a write outside the view would move the mirror only at the next heartbeat.
    if (this.rev < rev) this.client.wantSync();
    return this.until((now) => now.rev >= rev);
  }

  /**
   * Starts the mirror again from nothing, and waits until it is whole. Until then the mirror shows what it had. Fails
   * if the mirror has ended.
   * @returns {Promise<number>} the revision that the mirror is at then
   */
  async resync() {
    if (this.ended) throw this.ended.error ?? mirrorClosed();
    this.client.resyncMirror(this.sub);
    return this.fresh();
  }

  /**
   * Compares the mirror with the broker's digest now. If they differ, the mirror starts again from nothing by itself.
   *
   * The verdict is `unknown` if nothing could be compared: there is no connection, the mirror has ended or is not fresh,
   * its view has a `tail`, a change waits for its interval (`everyMs`), the mirror moved on before the answer came, or the
   * broker could not compute the digest. (A view with a `tail` has no digest, because what it shows depends on when the
   * mirror began.)
   *
   * Fails with `timeout` if no answer comes within `requestTimeoutMs`. You may ask again.
   * @returns {Promise<import('./session/effects.js').Verdict>}
   */
  verify() {
    return this.client.verifyMirror(this.sub);
  }

  /**
   * Reads the page of a log before what the mirror shows of it, or before the entry `before`. The entries come oldest
   * first. `rev` is the revision of the broker's last answer. A page does not become part of the mirror.
   * @param {string} log
   * @param {number} limit at most this many entries; 0: as many as the broker likes
   * @param {string} [before] the path of an entry of the log
   * @returns {Promise<import('./request.js').Found>}
   */
  async earlier(log, limit, before) {
    checkPath(log);
    must(PAGE, 'limit', limit);
    const inside = below(log);
    /** @param {Entry} entry */
    const isLogged = ({ path, rev }) => rev > 0 && path.startsWith(inside) && isLogKey(path.slice(inside.length));
    let from = before;
    for (const entry of before === undefined ? this.state.snapshot.under(log) : []) {
      if (!isLogged(entry)) continue;
      from = entry.path;
      break;
    }
    /** @type {Entry[]} */
    const logged = [];
    let most = limit;
    // A broker may send fewer entries than requested, and a log may have other children. So ask for one entry more than
    // wanted: if it comes, there are more.
    for (;;) {
      const wanted = most === 0 ? 0 : Math.min(most + 1 - logged.length, 2 ** 32 - 1);
      const { rev, entries, more } = await this.client.list(log, {
        depth: 'children', after: log, before: from, limit: wanted, reverse: true, values: this.view.values,
      });
      logged.push(...entries.filter(isLogged));
      // The broker has chosen how many to send.
      if (most === 0) most = logged.length;
      from = entries.at(-1)?.path;
      const isFull = logged.length > most;
      if (isFull || !more || from === undefined) return { rev, entries: logged.slice(0, most).reverse(), more: isFull };
    }
  }

  /**
   * Runs `fn` and commits what it writes, on the condition that nothing that it read has changed. If something has
   * changed meanwhile, runs `fn` again. Each run reads one snapshot of the fresh mirror. `fn` must have no effects of
   * its own, because it may run any number of times.
   *
   * `tx.retry()` waits until something that was read changes, and runs `fn` again. `tx.orElse(first, second)` runs
   * `second` if `first` retries.
   *
   * A run that fails or writes nothing is judged by its snapshot alone. The snapshot has all writes of this client that
   * were answered before you called `transact`. It may be behind the writes of others. To know more, use `client.get`,
   * or write.
   * @template T
   * @param {(tx: import('./transact.js').Transaction) => T | Promise<T>} fn
   * @returns {Promise<import('./transact.js').Committed<T>>}
   */
  transact(fn) {
    return transact(this, fn);
  }

  /**
   * @internal Whether a snapshot of the mirror is below revision `done.rev` of its history, and the mirror will reach
   *   it.
   * @param {Snapshot} snapshot
   * @param {{epoch: string | undefined, rev: number}} done
   */
  lacks({ rev, cookie }, done) {
    return !this.ended && rev < done.rev && cookie?.epoch === done.epoch;
  }

  /** Ends the mirror, and waits for its last save. The client goes on. */
  async close() {
    if (!this.ended) {
      this.client.dropMirror(this.sub);
      this.state.handleLost();
      this.publish({ type: 'ended' });
    }
    await this.ending;
  }

  /** The view and the state of the mirror, for JSON and for printing. */
  toJSON() {
    const { view, rev, isFresh, size } = this;
    return { view, rev, isFresh, size };
  }

  [INSPECT]() {
    return `Mirror ${JSON.stringify(this)}`;
  }

  /** @private Schedules a save. Not after the end of the mirror: then another mirror may have the place. */
  keepLater() {
    if (!this.keep || this.ended || this.keepTimer !== undefined || this.state.isStill(this.kept) || !this.cookie) return;
    this.keepTimer = setTimeout(() => {
      this.keepTimer = undefined;
      this.saveNow();
    }, Math.max(0, Math.min(KEEP, this.lastKept + KEEP - Date.now())));
    /** @type {any} */ (this.keepTimer).unref?.();
  }

  /** @private A reader has left, or does not exist any more. @param {Feed} feed */
  leave(feed) {
    if (!this.feeds.delete(feed) || !this.toKeep) return;
    if (this.feeds.size === 0) this.lastShown = feed.snapshot();
    // That reader may have been the slowest.
    this.keepLater();
  }

  /**
   * @private The application looks at the mirror itself. If all readers have left, everything that the mirror shows
   *   counts as shown from now on.
   */
  look() {
    if (this.lastShown === undefined) return;
    this.lastShown = undefined;
    this.keepLater();
  }

  /** @private What the application was shown: what the slowest reader was shown, or the last one that left. */
  shown() {
    const now = this.state.snapshot;
    if (this.feeds.size === 0) return this.lastShown ?? now;
    // Revisions of two histories cannot be compared. A reader that is still in a former history is the slower one.
    const isNow = (/** @type {Snapshot} */ { cookie }) => cookie?.epoch === now.cookie?.epoch;
    let shown = now;
    for (const feed of this.feeds) {
      const at = feed.snapshot();
      const behind = isNow(at) === isNow(shown) ? at.rev < shown.rev : !isNow(at);
      if (behind || (at !== now && shown === now)) shown = at;
    }
    return shown;
  }

  /** @private */
  saveNow() {
    const { keep } = this;
    // One save at a time. When it is done, what has come meanwhile is saved, once.
    if (!keep || this.saving) return;
    const snapshot = this.shown();
    const { cookie } = snapshot;
    if (snapshot === this.kept || !cookie) return;
    // A reader that has not read anything may be behind what was saved.
    if (cookie.epoch === this.keptCookie?.epoch && cookie.rev < this.keptCookie.rev) return;
    this.kept = snapshot;
    this.saving = true;
    this.keeping = this.keeping.then(() => keep.save(snapshot)).then(
      () => {
        this.keepError = undefined;
        this.keptCookie = cookie;
      }, (error) => {
        this.keepError = error;
        this.kept = undefined;
      }).then(() => {
      this.saving = false;
      this.lastKept = Date.now();
      this.keepLater();
    });
  }

  /** @internal Saves what is to be saved, and waits for that. */
  async saved() {
    clearTimeout(this.keepTimer);
    this.keepTimer = undefined;
    // A save that is under way may be of an older state than the present one.
    await this.keeping;
    this.saveNow();
    await this.keeping;
  }

  /** @private Frees the place for another mirror. */
  async letGo() {
    const { keep } = this;
    this.feeds.clear();
    if (!keep) return;
    try {
      await keep.close?.();
    } catch (error) {
      this.keepError = error;
    }
    inUse.delete(keep);
    this.freed();
  }
}

/** @param {Snapshot | {cookie: import('./protocol/frames.js').Cookie, entries: Iterable<Entry>}} saved */
function checked(saved) {
  try {
    return Snapshot.checked(saved);
  } catch (cause) {
    throw new OnetreeError('state-broken', `what was kept is no mirror: ${wordsOf(cause)}`, { cause });
  }
}
