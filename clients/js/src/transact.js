// Transactions that run again: what a function reads is recorded, and what it writes is committed on the condition that
// what it read has not changed.

import { OnetreeError, refuse } from './errors.js';
import { FUNCTION, NONE, known, must } from './options.js';
import { isKeyed } from './protocol/log-keys.js';
import { checkPath, comparePaths, contains } from './protocol/paths.js';
import { sees } from './protocol/views.js';
import * as request from './request.js';

/**
 * @template T
 * @typedef {{result: T, done?: request.Done, runs: number}} Committed the result of a transaction: what its function
 *   returned; the commit, absent if the function wrote nothing; and how often the function ran
 */

/** Thrown by `tx.retry()` to end the run. */
class Retry extends Error {
  /** @param {Transaction} tx the transaction whose run it ends */
  constructor(tx) {
    super('tx.retry() is caught by transact()');
    this.tx = tx;
  }
}

/**
 * The result of an `orElse` whose `first` is asynchronous. It notes whether somebody has waited for it.
 * @template T
 * @extends {Promise<T>}
 */
class Either extends Promise {
  /** @override `then` gives ordinary promises. */
  static get [Symbol.species]() {
    return Promise;
  }

  /** @type {() => void} */
  told = () => {};

  /**
   * Notes that somebody waits. `await` calls this, too, because this is not a promise of the host's own class.
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

/** What `fn` of `transact` works with. It reads one snapshot, and sees its own writes. */
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
    /** @internal Whether `retry` was called. The run then retries, even if `fn` catches the error. */
    this.retried = false;
    /** @internal */
    this.ended = false;
    /** @internal Results of `orElse` that nobody has waited for. @type {Set<Either<unknown>>} */
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

  /** @private Refuses reads and writes after the end of a run, and throws `retry` again if it was caught. */
  goOn() {
    if (this.ended) refuse('ended', 'the transaction has ended; what is done now would be of no run of it');
    if (this.retried) throw new Retry(this);
  }

  /**
   * Returns the entry at `path`, as this run sees it. An entry that the run has written itself has revision 0; it can
   * be read wherever it is, and is no condition. Fails with `outside-view` if the mirror does not see the path.
   * @param {string} path
   * @returns {import('./protocol/frames.js').Entry | undefined}
   */
  get(path) {
    this.goOn();
    checkPath(path);
    const own = this.steps.findLast(({ op, path: at }) => (op === 'drop' ? contains(at, path) : op !== 'append' && at === path));
    if (own) return own.op === 'put' ? { path, rev: 0, value: own['value'] } : undefined;
    const was = this.snapshot.get(path);
    // With a `tail`, an entry that is left out looks like one that is absent.
    const cut = this.view.tail !== undefined && isKeyed(path);
    if (!sees(this.view, path) || (cut && !was)) this.outside(path);
    this.gets.set(path, was?.rev ?? 0);
    return was;
  }

  /**
   * Returns the entries at and under `top` that the mirror sees, as this run sees them, in path order. Entries that the
   * run has written itself have revision 0. What it has appended is left out, because it has no path before the commit.
   * The condition of the read is that nothing changes at or under `top`, whether the mirror sees it or not. Fails with
   * `outside-view` if `top` is outside the base and depth of the view.
   * @param {string} top
   * @returns {import('./protocol/frames.js').Entry[]}
   */
  under(top) {
    this.goOn();
    checkPath(top);
    // Only base and depth count, whatever patterns and tail leave out.
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
    // New paths that the run has put are after the others, so sort.
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

  /**
   * Puts `value` at `path`, which may be outside the mirror's view.
   * @param {string} path
   * @param {unknown} value
   * @param {request.AppendOptions} [options]
   */
  put(path, value, options = {}) {
    this.write(request.put(path, value, known(options, request.WRITTEN)));
  }

  /**
   * Appends `value` to a log.
   * @param {string} log
   * @param {unknown} value
   * @param {request.AppendOptions} [options]
   */
  append(log, value, options) {
    this.write(request.append(log, value, options));
  }

  /** Deletes the entry at `path`. @param {string} path @param {request.NoOptions} [options] */
  delete(path, options = {}) {
    this.write(request.remove(path, known(options, NONE)));
  }

  /** Deletes everything at and under `path`. @param {string} path @param {request.NoOptions} [options] */
  dropTree(path, options = {}) {
    this.write(request.dropTree(path, known(options, NONE)));
  }

  /**
   * Ends the run, even if what this throws is caught. `fn` runs again when something that it read has changed in the
   * mirror.
   * @returns {never}
   */
  retry() {
    this.goOn();
    this.retried = true;
    throw new Retry(this);
  }

  /**
   * Runs `first`. If `first` retries, its writes are forgotten but what it read is not, and `second` runs instead. If
   * both retry, the transaction retries when something that either has read changes. If `first` is asynchronous, await
   * this before you do anything else: what is written while `first` waits counts as its own. If a run ends while this
   * is still under way, it has no effect, and its error is not reported.
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
    // The caller goes on before `first` resumes after an `await` of its own. What the caller wrote meanwhile is not
    // part of `first`.
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
   * @internal Whether something that was read has changed.
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
 * Runs `fn` again until what it read still holds when its writes are committed. See {@link Mirror#transact}.
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
    // Revisions of two histories cannot be compared: a broker that has begun another history may have something else at
    // the same revisions.
    /** @param {import('./live.js').Mirror} now */
    const other = (now) => now.cookie?.epoch !== snapshot.cookie?.epoch;
    /** @param {number} least */
    const past = async (least) => {
      // Without this, a change outside the view would move the mirror only at the next heartbeat.
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
      // A `retry` that reaches this point counts, even if an `orElse` beside it has finished since. A `retry` of an
      // outer transaction does not count, nor does the outcome of an `orElse` that nobody waited for.
      tx.retried = (error instanceof Retry && error.tx === tx) || (tx.retried && tx.untold.size === 0);
      if (!tx.retried) failed = { error };
    } finally {
      tx.ended = true;
      // What is still under way has no effect, and nobody is there to get its error.
      for (const either of tx.untold) either.catch(() => {});
    }
    if (tx.retried) {
      await mirror.until((now) => other(now) || tx.changed(now), false);
      continue;
    }
    const commits = !failed && tx.steps.length > 0;
    if (!commits && mirror.lacks(snapshot, own)) {
      // The broker does not judge such a run. It must have seen what this client has written.
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
