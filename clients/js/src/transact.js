// Transactions that run again: what a function reads is recorded, and what it writes is committed on the condition that it
// has not changed.

import { OnetreeError, refuse } from './errors.js';
import { FUNCTION, NONE, known, must } from './options.js';
import { isKeyed } from './protocol/log-keys.js';
import { checkPath, comparePaths, contains } from './protocol/paths.js';
import { sees } from './protocol/views.js';
import * as request from './request.js';

/**
 * @template T
 * @typedef {{result: T, done?: request.Done, runs: number}} Committed what a transaction came to: without `done` where nothing
 *   was written; `runs`: how often its function ran
 */

/** Thrown by `tx.retry()`: the run is over. */
class Retry extends Error {
  /** @param {Transaction} tx whose run it ends */
  constructor(tx) {
    super('tx.retry() is caught by transact()');
    this.tx = tx;
  }
}

/**
 * What an `orElse` comes to whose first is asynchronous, and whether somebody has been told.
 * @template T
 * @extends {Promise<T>}
 */
class Either extends Promise {
  /** @override What comes of it is a promise like any other. */
  static get [Symbol.species]() {
    return Promise;
  }

  /** @type {() => void} */
  told = () => {};

  /**
   * Also what `await` calls, as this is none of the host's own promises.
   * @override
   * @template A, B
   * @param {((value: T) => A | PromiseLike<A>) | null} [done]
   * @param {((error: any) => B | PromiseLike<B>) | null} [failed]
   * @returns {Promise<A | B>}
   */
  then(done, failed) {
    return super.then((value) => {
      this.told();
      return /** @type {A} */ (done ? done(value) : value);
    }, (error) => {
      this.told();
      if (failed) return failed(error);
      throw error;
    });
  }
}

/**
 * What `fn` of `transact` works with: reads of one snapshot, which see its own writes.
 */
export class Transaction {
  /**
   * @param {import('./snapshot.js').Snapshot} snapshot
   * @param {import('./protocol/views.js').View} view
   */
  constructor(snapshot, view) {
    /** @private */
    this.snapshot = snapshot;
    /** @private */
    this.view = view;
    /** @internal @type {import('./protocol/frames.js').Frame[]} */
    this.steps = [];
    /** @internal Whether `retry` was said: it holds whoever catches what that throws. */
    this.retried = false;
    /** @internal */
    this.ended = false;
    /** @internal What `orElse` gave and nobody has been told the end of. @type {Set<Either<unknown>>} */
    this.untold = new Set();
    /** @private @type {Map<string, number>} */
    this.gets = new Map();
    /** @private @type {Set<string>} */
    this.unders = new Set();
  }

  /** The revision of the snapshot. */
  get rev() {
    return this.snapshot.rev;
  }

  /** @private Nothing is read or written behind the end of a run; what caught a `retry` and goes on is told it again. */
  goOn() {
    if (this.ended) refuse('ended', 'the transaction has ended; what is done now would be of no run of it');
    if (this.retried) throw new Retry(this);
  }

  /**
   * The entry at a path, as this transaction sees it. One that it wrote itself has the revision 0, wherever it is, and is no
   * condition.
   * @param {string} path
   * @returns {import('./protocol/frames.js').Entry | undefined}
   */
  get(path) {
    this.goOn();
    checkPath(path);
    const own = this.steps.findLast(({ op, path: at }) => (op === 'drop' ? contains(at, path) : op !== 'append' && at === path));
    if (own) return own.op === 'put' ? { path, rev: 0, value: own['value'] } : undefined;
    const was = this.snapshot.get(path);
    // What a tail has left out cannot be told from what is absent.
    const cut = this.view.tail !== undefined && isKeyed(path);
    if (!sees(this.view, path) || (cut && !was)) this.outside(path);
    this.gets.set(path, was?.rev ?? 0);
    return was;
  }

  /**
   * The entries at and under a path that the mirror sees, as this transaction sees them, in path order. Those that it wrote itself
   * have the revision 0; what it appended is not there, as it has no path yet. Its condition is that nothing changes at or under
   * the path, seen or not.
   * @param {string} top
   * @returns {import('./protocol/frames.js').Entry[]}
   */
  under(top) {
    this.goOn();
    checkPath(top);
    // Within base and depth, whatever patterns and tail leave out.
    if (!sees({ ...this.view, match: [] }, top)) this.outside(top);
    if (!this.steps.some(({ op, path }) => op === 'drop' && contains(path, top))) this.unders.add(top);
    /** @type {Map<string, import('./protocol/frames.js').Entry>} */
    const found = new Map();
    for (const entry of this.snapshot.under(top)) found.set(entry.path, entry);
    for (const { op, path, value } of this.steps) {
      if (op === 'put' && contains(top, path)) found.set(path, { path, rev: 0, value });
      if (op === 'delete') found.delete(path);
      if (op === 'drop') for (const at of [...found.keys()]) if (contains(path, at)) found.delete(at);
    }
    const entries = [...found.values()];
    // What it put itself stands behind the others, where it was not there before.
    return this.steps.length > 0 ? entries.sort((a, b) => comparePaths(a.path, b.path)) : entries;
  }

  /** @private @param {string} path @returns {never} */
  outside(path) {
    throw new OnetreeError('outside-view', `${path} is outside of the mirror's view`, { path });
  }

  /** @private @param {import('./protocol/frames.js').Frame} frame */
  write(frame) {
    this.goOn();
    this.steps.push(request.step(frame));
  }

  /** @param {string} path @param {unknown} value @param {request.AppendOptions} [options] */
  put(path, value, options = {}) {
    this.write(request.put(path, value, known(options, request.WRITTEN)));
  }

  /** @param {string} log @param {unknown} value @param {request.AppendOptions} [options] */
  append(log, value, options) {
    this.write(request.append(log, value, options));
  }

  /** @param {string} path @param {request.NoOptions} [options] */
  delete(path, options = {}) {
    this.write(request.remove(path, known(options, NONE)));
  }

  /** @param {string} path @param {request.NoOptions} [options] */
  dropTree(path, options = {}) {
    this.write(request.dropTree(path, known(options, NONE)));
  }

  /**
   * Ends the run, also when what this throws is caught: it runs again when something that it read has changed.
   * @returns {never}
   */
  retry() {
    this.goOn();
    this.retried = true;
    throw new Retry(this);
  }

  /**
   * Runs `first`; when that retries, its writes are forgotten, what it read is not, and `second` runs. Where `first` is
   * asynchronous, this is to be awaited before anything else is: what is written while it waits counts as its own, and what is under
   * way when the run ends comes to nothing, untold.
   * @template A, B
   * @param {(tx: Transaction) => A} first
   * @param {(tx: Transaction) => B} second
   * @returns {A | B | Promise<A | B>}
   */
  orElse(first, second) {
    must(FUNCTION, 'first', first);
    must(FUNCTION, 'second', second);
    this.goOn();
    const kept = new Set(this.steps);
    /** @param {() => A} end of the first */
    const settle = (end) => {
      if (!this.retried) return end();
      this.retried = false;
      this.steps = this.steps.filter((step) => kept.has(step));
      return second(this);
    };
    // Before `first` goes on behind an `await` of its own, the caller comes to his: what he did meanwhile is not of `first`.
    let begun = Infinity;
    let retried = false;
    queueMicrotask(() => {
      for (const step of this.steps.slice(begun)) kept.add(step);
      this.retried ||= retried;
    });
    /** @param {unknown} error */
    const failed = (error) => settle(() => {
      throw error;
    });
    /** @type {A} */
    let result;
    try {
      result = first(this);
    } catch (error) {
      return failed(error);
    }
    if (!(result instanceof Promise)) return settle(() => result);
    begun = this.steps.length;
    [retried, this.retried] = [this.retried, false];
    const end = result.then((value) => settle(() => value), failed);
    /** @type {Either<A | B>} */
    const either = new Either((resolve) => resolve(end));
    this.untold.add(either);
    either.told = () => void this.untold.delete(either);
    return either;
  }

  /** @internal @returns {import('./protocol/frames.js').Frame} */
  frame() {
    const conditions = [
      ...Array.from(this.gets, ([path, rev]) => ({ path, rev })),
      ...Array.from(this.unders, (tree) => ({ tree, rev: this.snapshot.rev })),
    ];
    return { op: 'txn', if: conditions, do: this.steps };
  }

  /**
   * @internal Whether something that was read is different now.
   * @param {import('./live.js').Mirror} mirror
   */
  changed(mirror) {
    for (const [path, rev] of this.gets) if ((mirror.state.get(path)?.rev ?? 0) !== rev) return true;
    if (this.unders.size === 0) return false;
    const tops = [...this.unders];
    return mirror.state.snapshot.since(this.snapshot).some(({ path }) => tops.some((top) => contains(top, path)));
  }
}

/**
 * Runs `fn` until what it read still holds when its writes are committed. See {@link Mirror#transact}.
 * @template T
 * @param {import('./live.js').Mirror} mirror
 * @param {(tx: Transaction) => T | Promise<T>} fn
 * @returns {Promise<Committed<T>>}
 */
export async function transact(mirror, fn) {
  must(FUNCTION, 'fn', fn);
  const own = mirror.client.lastDone;
  for (let runs = 1; ; runs++) {
    await mirror.fresh();
    const snapshot = mirror.snapshot();
    // Revisions of two histories are not compared: a broker that has begun another one meanwhile may have something else at
    // the same ones.
    /** @param {import('./live.js').Mirror} now */
    const other = (now) => now.cookie?.epoch !== snapshot.cookie?.epoch;
    /** @param {number} least */
    const past = async (least) => {
      // Otherwise what the view does not see would show at the next heartbeat only.
      if (mirror.rev < least) mirror.client.wantSync();
      await mirror.until((now) => other(now) || now.rev >= least, true);
    };
    const tx = new Transaction(snapshot, mirror.view);
    /** @type {T | undefined} */
    let result;
    /** @type {{error: unknown} | undefined} */
    let failed;
    try {
      result = await fn(tx);
    } catch (error) {
      // What reaches this is one, also where an `orElse` beside it has had its answer since; one of a transaction around it is
      // not, nor is what an `orElse` says that this did not wait for.
      tx.retried = (error instanceof Retry && error.tx === tx) || (tx.retried && tx.untold.size === 0);
      if (!tx.retried) failed = { error };
    } finally {
      tx.ended = true;
      // What is under way still comes to nothing, and nobody is there to be told.
      for (const either of tx.untold) either.catch(() => {});
    }
    if (tx.retried) {
      await mirror.until((now) => other(now) || tx.changed(now), false);
      continue;
    }
    const commits = !failed && tx.steps.length > 0;
    if (!commits && mirror.lacks(snapshot, own)) {
      // No broker judges it: it is to have seen what its client knows.
      await past(own.rev);
      continue;
    }
    if (failed) throw failed.error;
    if (!commits) return { result: /** @type {T} */ (result), runs };
    try {
      const done = await mirror.client.write(tx.frame(), snapshot.cookie?.epoch);
      return { result: /** @type {T} */ (result), done, runs };
    } catch (error) {
      if (!(error instanceof OnetreeError && error.code === 'conflict')) throw error;
      const rev = error.rev ?? 0;
      await past(rev > snapshot.rev ? rev : snapshot.rev + 1);
    }
  }
}
