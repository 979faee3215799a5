// Keeping a mirror in Node: one file in the format of `onetree watch --state`, always replaced as a whole.

import { AsyncLocalStorage } from 'node:async_hooks';
import { open, readFile, readlink, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { OnetreeError } from './errors.js';
import { InUse, askBy, whoAsks } from './holder.js';
import { cookieText, entryText, readCookie, readEntry } from './json.js';
import { comparePaths } from './protocol/paths.js';
import { utf8 } from './protocol/texts.js';

const ENTRIES = ',"entries":';

/** How many entries are written or read before other code gets a turn. */
const PIECE = 2_000;

/**
 * The mirrors of this thread that are kept in files now, by the real names of the files and by the names that were
 * asked for.
 * @type {Map<string, import('./live.js').Mirror | undefined>}
 */
const inUse = new Map();

/**
 * The mirror that asks, even if a `keep` of the application's own waits for something before it asks.
 * @type {AsyncLocalStorage<{mirror: import('./live.js').Mirror | undefined}>}
 */
const asking = new AsyncLocalStorage();
/** How many mirrors are asking. */
let loads = 0;

askBy({
  async run(mirror, load) {
    const who = { mirror: /** @type {typeof mirror | undefined} */ (mirror) };
    loads += 1;
    try {
      return await asking.run(who, load);
    } finally {
      // What was made meanwhile and lives on must not keep the mirror alive. While nobody asks, promises must not cost
      // more.
      who.mirror = undefined;
      if (--loads === 0) asking.disable();
    }
  },
  getStore: () => asking.getStore()?.mirror,
});

/**
 * A file in which one mirror is kept, for the option `keep` of `client.mirror`.
 *
 * The file is always replaced as a whole, by way of `PATH.N.tmp` beside it (N is the number of the thread), so it is
 * whole even if the process is killed at any moment. If `path` is a symbolic link, its target is replaced.
 *
 * A file that is not whole is reported and never replaced, because it may be the only copy: `state-broken` names the
 * line. The mirror then starts from nothing and is not saved, and `mirror.keepError` says why. The same happens if
 * another mirror of this thread is kept in the file (`state-in-use`), even after that mirror has ended; a mirror that
 * starts after that end has the file. Another process or thread must not write the file meanwhile. If another thread
 * does, the file is whole, and has what was saved last.
 * @param {string} path
 * @returns {import('./live.js').Keep}
 */
export function keepInFile(path) {
  /** The names of the file, while it belongs to this mirror. @type {string[]} */
  let owned = [];
  /** Why the file does not belong to this mirror and must not be replaced. @type {unknown} */
  let unread;
  /** @type {Promise<unknown>} */
  let loaded = Promise.resolve();
  const letGo = () => {
    for (const name of owned) inUse.delete(name);
    owned = [];
  };
  const load = async () => {
    const mirror = whoAsks();
    /** @type {string[]} */
    const taken = [];
    const take = (/** @type {string} */ name) => {
      if (inUse.has(name)) throw new InUse(`${path} is in use by another mirror of this thread`, inUse.get(name));
      inUse.set(name, mirror);
      taken.push(name);
    };
    try {
      // Taken at once, so that the first mirror that asks by a name has the file, however long it takes to find its
      // real name.
      take(path);
      const file = await fileOf(path);
      if (file !== path) take(file);
    } catch (error) {
      for (const name of taken) inUse.delete(name);
      throw (unread = error);
    }
    owned = taken;
    unread = undefined;
    try {
      const bytes = await readFile(path);
      return bytes.length === 0 ? undefined : await read(path, bytes);
    } catch (error) {
      if (/** @type {any} */ (error).code === 'ENOENT') return undefined;
      letGo();
      throw (unread = error instanceof OnetreeError ? error : refused(`cannot read ${path}`, error));
    }
  };
  return {
    load() {
      const loading = load();
      loaded = Promise.allSettled([loaded, loading]);
      return loading;
    },
    async close() {
      // If this mirror is closed while it loads, it must not have the file after its end.
      await loaded;
      letGo();
    },
    async save(snapshot) {
      if (owned.length === 0 && unread !== undefined) throw unread;
      if (!snapshot.cookie) return;
      try {
        await replace(path, snapshot, `${cookieText(snapshot.cookie).slice(0, -1)}${ENTRIES}${snapshot.size}}`);
      } catch (error) {
        throw refused(`cannot write ${path}`, error);
      }
    },
  };
}

/** @param {string} what @param {unknown} cause */
const refused = (what, cause) => new OnetreeError('state', `${what}: ${cause}`, { cause });

/**
 * Returns the real name of a file, without symbolic links, even if the file does not exist yet.
 * @param {string} path
 * @returns {Promise<string>}
 */
async function fileOf(path) {
  try {
    return await realpath(path);
  } catch (error) {
    const folder = await realpath(dirname(path)).catch(() => resolve(dirname(path)));
    const missing = /** @type {any} */ (error).code === 'ENOENT';
    const to = missing ? await readlink(path).catch(() => undefined) : undefined;
    // Neither `resolve` nor `join`: what is before a `..` may be a link, too.
    return to === undefined ? join(folder, basename(path)) : fileOf(isAbsolute(to) ? to : `${folder}/${to}`);
  }
}

/**
 * @param {string} path
 * @param {import('./snapshot.js').Snapshot} snapshot
 * @param {string} head
 */
async function replace(path, snapshot, head) {
  const target = await fileOf(path);
  const mode = await stat(target).then((found) => found.mode & 0o7777, () => 0o666);
  const temporary = `${target}.${threadId}.tmp`;
  try {
    await write(temporary, mode, snapshot, head);
    await rename(temporary, target);
  } catch (error) {
    // On a full disk the temporary file would take up room that others need. If it cannot be removed, the next save
    // overwrites it.
    await unlink(temporary).catch(() => {});
    throw error;
  }
  // The new name is durable only once the directory is synced.
  const directory = await open(dirname(target), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * @param {string} path
 * @param {number} mode
 * @param {import('./snapshot.js').Snapshot} snapshot
 * @param {string} head
 */
async function write(path, mode, snapshot, head) {
  const file = await open(path, 'w', mode);
  try {
    let lines = [head];
    for (const entry of snapshot.entries()) {
      lines.push(entryText(entry));
      if (lines.length < PIECE) continue;
      await file.writeFile(`${lines.join('\n')}\n`);
      lines = [];
    }
    if (lines.length > 0) await file.writeFile(`${lines.join('\n')}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** @param {string} path @param {Uint8Array} bytes */
async function read(path, bytes) {
  /** @param {number} at @param {unknown} why @returns {never} */
  const broken = (at, why) => {
    const left = 'move the file away to start from nothing; it was left as it is';
    throw new OnetreeError('state-broken', `${path}:${at}: ${why}; ${left}`);
  };
  const lines = linesOf(bytes, (at) => broken(at, 'the line is no UTF-8'));
  if (lines.pop() !== '') broken(lines.length + 1, 'the line is cut off');
  const [head = '', ...rest] = lines;
  const found = /^(.*),"entries":([0-9]{1,15})\}$/.exec(head);
  if (!found) return broken(1, 'a state file begins with a cookie, which this is not');
  let at = 1;
  try {
    const cookie = readCookie(`${found[1]}}`);
    const entries = [];
    let before = '';
    for (const line of rest) {
      at += 1;
      if (at % PIECE === 0) await turn();
      const { act, path: name, rev, value } = readEntry(line);
      if (act !== 'put') broken(at, 'the line is no entry');
      if (before !== '' && comparePaths(before, name) >= 0) broken(at, 'the path does not come after the one before');
      before = name;
      entries.push(value === undefined ? { path: name, rev } : { path: name, rev, value });
    }
    if (entries.length !== Number(found[2])) broken(at + 1, `the file ends after ${entries.length} of ${found[2]} entries`);
    return { cookie, entries };
  } catch (error) {
    if (error instanceof OnetreeError && error.code === 'state-broken') throw error;
    return broken(at, error instanceof Error ? error.message : error);
  }
}

/**
 * Returns the lines of a text. Reports the first line that is not UTF-8.
 * @param {Uint8Array} bytes
 * @param {(at: number) => never} broken
 */
function linesOf(bytes, broken) {
  try {
    return utf8(bytes).split('\n');
  } catch (error) {
    let at = 0;
    for (let [from, end] = [0, 0]; end >= 0; from = end + 1) {
      at += 1;
      end = bytes.indexOf(10, from);
      try {
        utf8(bytes.subarray(from, end < 0 ? bytes.length : end));
      } catch {
        return broken(at);
      }
    }
    throw error;
  }
}
