// A live copy of a part of the tree.

import { Changes, Feed } from './changes.js';
import { INSPECT, OnetreeError, mirrorClosed, throwToHost, wordsOf } from './errors.js';
import { Gaps } from './gaps.js';
import { InUse, askFor } from './holder.js';
import { FUNCTION, U53, must, whole } from './options.js';
import { isLogKey } from './protocol/log-keys.js';
import { below, checkPath } from './protocol/paths.js';
import { Snapshot } from './snapshot.js';
import { transact } from './transact.js';

/** A mirror is kept at most so often while changes come, ms. */
const KEEP = 1_000;
/** Where mirrors are kept now: each is of one mirror at a time. @type {WeakMap<Keep, Mirror>} */
const inUse = new WeakMap();
/** How many entries a page may have. */
const PAGE = whole(32);

/**
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {{load(): Promise<Snapshot | {cookie: import('./protocol/frames.js').Cookie, entries: Iterable<Entry>} | undefined>,
 *   save(snapshot: Snapshot): Promise<void>, close?(): Promise<void>}} Keep where a mirror survives its process; `save`
 *   replaces both in one step, also where `load` failed: whoever has something to lose refuses it; `close`: the mirror has ended, it is free for another;
 *   a `load` that asks `keepInIndexedDB` in its turn does so before it waits for anything, or the end of the mirror that is kept there is not waited for
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
    /** What it sees. */
    this.view = state.view;
    /** @internal */
    this.state = state;
    /** @private */
    this.sub = sub;
    /** @private */
    this.initial = state.snapshot;
    /** @private For who begins to read when it is whole. */
    this.gaps = new Gaps(this.initial);
    /** @private */
    this.whole = false;
    /** @private While there is no connection: why. @type {MirrorEvent | undefined} */
    this.offline = undefined;
    /** @private @type {(MirrorEvent & {type: 'ended'}) | undefined} */
    this.ended = undefined;
    /** @private Those who read; of who is not there any more it is told by the host. @type {Set<Feed>} */
    this.feeds = new Set();
    /** @private @type {FinalizationRegistry<Feed>} */
    this.readers = new FinalizationRegistry((feed) => this.leave(feed));
    /** @private What the last reader was shown, when all have left. @type {Snapshot | undefined} */
    this.lastShown = undefined;
    /** @private @type {Set<() => boolean>} those who wait; true: they are done */
    this.waiters = new Set();
    /** @private Where it is kept, unless that is another's. */
    this.keep = keep;
    /** @private Whether it is to be kept: what readers were shown counts also while it waits for that. */
    this.toKeep = keep !== undefined;
    /** @private @type {Snapshot | undefined} */
    this.kept = keep ? this.initial : undefined;
    /** @private What dates what was saved last. @type {import('./protocol/frames.js').Cookie | undefined} */
    this.keptCookie = undefined;
    /** @private @type {ReturnType<typeof setTimeout> | undefined} */
    this.keepTimer = undefined;
    /** @private @type {Promise<void>} */
    this.keeping = Promise.resolve();
    /** @private */
    this.saving = false;
    /** Why `keep` did not give what was kept, or failed the last time it was to save or to close. @type {unknown} */
    this.keepError = undefined;
    /** @private */
    this.lastKept = -Infinity;
    /** @private Done when it has ended and was saved for the last time. @type {Promise<void> | undefined} */
    this.ending = undefined;
    /** @private Done when another can have what it was kept in: those who wait for it have their turns in order. @type {Promise<void>} */
    this.free = new Promise((resolve) => {
      /** @private */
      this.freed = resolve;
    });
  }

  /** @internal Goes on from what is kept, where that can be had: behind the end of one that is ending. @param {Keep} keep */
  async load(keep) {
    // As long as it is another's, it is not even to be closed by this one.
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

  /** @internal Whether it has ended, or is to with its client. */
  get isEnding() {
    return this.ended !== undefined || this.client.isClosing;
  }

  /** @private What it was started with turned out to be kept. @param {Snapshot} snapshot */
  begin(snapshot) {
    this.state.goOnFrom(snapshot);
    this.initial = this.kept = snapshot;
    this.gaps = new Gaps(snapshot);
    this.keptCookie = snapshot.cookie;
    // Who has left before was shown no more than what it was started with.
    if (this.lastShown) this.lastShown = snapshot;
    for (const feed of this.feeds) feed.begin();
  }

  /** @internal The mirror went on; `undefined`: only its revision did. @param {MirrorEvent | undefined} event */
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

  /** The revision that it is at. */
  get rev() {
    return this.state.rev;
  }

  /**
   * Whether it is whole and the connection is there that keeps it so. One that has ended, as one of mode `once` does, is not:
   * it stays what it was.
   */
  get isFresh() {
    return this.state.fresh && !this.ended;
  }

  /** How many changes have come of the refresh that is under way, or came of the last one: for progress. */
  get received() {
    return this.state.received;
  }

  /** The number of entries. */
  get size() {
    return this.state.size;
  }

  /** The entry at a path. @param {string} path */
  get(path) {
    this.look();
    return this.state.get(checkPath(path));
  }

  /** All entries, in path order, as they are now. */
  entries() {
    return this.snapshot().entries();
  }

  /** The entries at and under a path, in path order, as they are now. @param {string} top */
  under(top) {
    return this.snapshot().under(checkPath(top));
  }

  /**
   * All of it as it is now, with its cookie; costs O(1), and never changes. Who reads {@link Mirror#changes} and saves
   * takes `changes.snapshot()` instead, which is never ahead of what was read.
   */
  snapshot() {
    this.look();
    return this.state.snapshot;
  }

  /** Where it stands; absent before it was whole for the first time. */
  get cookie() {
    return this.state.cookie;
  }

  /**
   * What happens to it, from the beginning: if it is whole already, the first event is `fresh` with all that differs from
   * what it was started with, and all gaps since; if there is no connection now, `offline` comes behind that. An async iterable for one reader;
   * leaving its loop ends the reading, not the mirror. Who calls `next()` himself calls `return()` at the end, or lets go of it: a mirror
   * that is kept is not saved ahead of who still reads.
   */
  changes() {
    /** @type {MirrorEvent[]} */
    const past = this.whole ? [{ type: 'fresh', rev: this.rev, changes: [], gaps: [...this.gaps.logs] }] : [];
    for (const event of [this.offline, this.ended]) if (event) past.push(event);
    const feed = new Feed(this.state, this.initial, past);
    const changes = new Changes(feed, () => this.leave(feed));
    // Behind the end nothing comes that was not there when he began.
    if (this.ended) return changes;
    this.feeds.add(feed);
    this.readers.register(changes, feed);
    // Otherwise what was not shown yet when it was to be saved would be saved behind the next event only.
    if (this.toKeep) feed.taken = () => this.keepLater();
    return changes;
  }

  /**
   * Calls `listener` with each event, in order, from the beginning as {@link Mirror#changes}; between two calls others have
   * their turn. What it throws is thrown to the host, and it is called again.
   * @param {(event: MirrorEvent) => void} listener
   * @returns {() => void} to be called to hear no more
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
   * Waits until it is as `reached` says; fails with what that throws.
   * @param {(now: Mirror) => boolean} reached
   * @param {boolean} [onlyFresh] whether it must be fresh, too
   * @returns {Promise<number>} its revision then
   */
  until(reached, onlyFresh = true) {
    return new Promise((resolve, reject) => {
      must(FUNCTION, 'reached', reached);
      const waiter = () => {
        try {
          // One that has ended was fresh to its end if that was the aim of it.
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

  /** Waits until it is fresh; one of mode `once`: until it was. Fails when the mirror has ended. @returns {Promise<number>} its revision then */
  fresh() {
    return this.until(() => true);
  }

  /**
   * Waits until it is fresh and at `rev` or later: with the revision of a write, until it shows that write. A revision is of one
   * history: where the broker has begun another (the `epoch` of `cookie`), one of before may be far ahead.
   * @param {number} rev
   * @returns {Promise<number>} its revision then
   */
  async at(rev) {
    must(U53, 'rev', rev);
    await this.fresh();
    // Otherwise a write that the view does not see would show at the next heartbeat only.
    if (this.rev < rev) this.client.wantSync();
    return this.until((now) => now.rev >= rev);
  }

  /** Starts again from nothing, and waits until it is whole. What it shows stays until then. Fails when the mirror has ended. */
  async resync() {
    if (this.ended) throw this.ended.error ?? mirrorClosed();
    this.client.resyncMirror(this.sub);
    return this.fresh();
  }

  /**
   * Compares it with the tree now, by digest. When it differs it starts again by itself. `unknown`: there is no connection, it
   * is not fresh, it has gone on before the answer was there, the broker could not count it, or its view has a `tail`: there is no
   * digest of what depends on when it began.
   * Fails with `timeout` when no answer comes within `requestTimeoutMs`; it may be asked again.
   * @returns {Promise<import('./session/effects.js').Verdict>}
   */
  verify() {
    return this.client.verifyMirror(this.sub);
  }

  /**
   * The page of a log in front of the oldest of its entries that the mirror shows, or in front of `before`: the oldest
   * first. `rev` is of the broker's last answer. It does not become part of the mirror.
   * @param {string} log
   * @param {number} limit at most so many entries; 0: as many as the broker likes
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
    // A broker may send fewer than asked for, and among the children may be others: there are more when one more was seen.
    for (;;) {
      const wanted = most === 0 ? 0 : Math.min(most + 1 - logged.length, 2 ** 32 - 1);
      const { rev, entries, more } = await this.client.list(log, {
        depth: 'children', after: log, before: from, limit: wanted, reverse: true, values: this.view.values,
      });
      logged.push(...entries.filter(isLogged));
      // The broker has said how many it likes.
      if (most === 0) most = logged.length;
      from = entries.at(-1)?.path;
      const isFull = logged.length > most;
      if (isFull || !more || from === undefined) return { rev, entries: logged.slice(0, most).reverse(), more: isFull };
    }
  }

  /**
   * Runs `fn` against one snapshot, records what it reads, and commits what it writes on the condition that none of that has
   * changed; otherwise runs it again. `fn` must have no effects of its own. `tx.retry()` waits until something that it read
   * has changed; `tx.orElse(first, second)` tries the second when the first retries. A run that fails or writes nothing is judged by
   * its snapshot alone: that has all writes of this client which were answered before `transact` was called, and may be behind those
   * of others. Who must know more asks `client.get`, or writes.
   * @template T
   * @param {(tx: import('./transact.js').Transaction) => T | Promise<T>} fn
   * @returns {Promise<import('./transact.js').Committed<T>>}
   */
  transact(fn) {
    return transact(this, fn);
  }

  /**
   * @internal Whether a snapshot of it is before this revision of a history, and it gets there.
   * @param {Snapshot} snapshot
   * @param {{epoch: string | undefined, rev: number}} done
   */
  lacks({ rev, cookie }, done) {
    return !this.ended && rev < done.rev && cookie?.epoch === done.epoch;
  }

  /** Ends it; the client lives on. What is kept is saved once more. */
  async close() {
    if (!this.ended) {
      this.client.dropMirror(this.sub);
      this.state.handleLost();
      this.publish({ type: 'ended' });
    }
    await this.ending;
  }

  /** How it is told as JSON, and printed: how it stands. */
  toJSON() {
    const { view, rev, isFresh, size } = this;
    return { view, rev, isFresh, size };
  }

  [INSPECT]() {
    return `Mirror ${JSON.stringify(this)}`;
  }

  /** @private Behind its end nothing is: another may have what it was kept in. */
  keepLater() {
    if (!this.keep || this.ended || this.keepTimer !== undefined || this.state.isStill(this.kept) || !this.cookie) return;
    this.keepTimer = setTimeout(() => {
      this.keepTimer = undefined;
      this.saveNow();
    }, Math.max(0, Math.min(KEEP, this.lastKept + KEEP - Date.now())));
    /** @type {any} */ (this.keepTimer).unref?.();
  }

  /** @private A reader leaves, or is not there any more. @param {Feed} feed */
  leave(feed) {
    if (!this.feeds.delete(feed) || !this.toKeep) return;
    if (this.feeds.size === 0) this.lastShown = feed.snapshot();
    // He may have been the one that was furthest behind.
    this.keepLater();
  }

  /** @private The application looks at the mirror itself: where all who read have left, it goes by that from now on. */
  look() {
    if (this.lastShown === undefined) return;
    this.lastShown = undefined;
    this.keepLater();
  }

  /** @private What the application was shown: the reader that is furthest behind, or the last who left. */
  shown() {
    const now = this.state.snapshot;
    if (this.feeds.size === 0) return this.lastShown ?? now;
    // Revisions of two histories say nothing of one another: who is in another than now is further behind.
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
    // One at a time: when it is done, what has come meanwhile is saved, once.
    if (!keep || this.saving) return;
    const snapshot = this.shown();
    const { cookie } = snapshot;
    if (snapshot === this.kept || !cookie) return;
    // A reader that has not read may be behind what was saved.
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

  /** @internal Saves what is to be kept, and waits for it. */
  async saved() {
    clearTimeout(this.keepTimer);
    this.keepTimer = undefined;
    // What is being saved may be older than what is there now.
    await this.keeping;
    this.saveNow();
    await this.keeping;
  }

  /** @private What it was kept in is free for another. */
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
