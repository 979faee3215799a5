// Where a mirror survives its page: a database of IndexedDB, whose transactions replace cookie and entries in one step.

import { OnetreeError } from './errors.js';
import { Snapshot } from './mirror.js';
import { Value } from './protocol.js';

const HEAD = 'head';
const ENTRIES = 'entries';

/**
 * A database in which one mirror is kept, for the option `keep` of `client.mirror`. It is of one page at a time: the mirror of
 * another one starts from nothing and is not kept (`state-in-use`) until the first has ended. A save writes what differs from
 * what is there. What the browser refuses (no room, say) has the code `state`. Either way the mirror goes on without, and
 * `mirror.keepError` says why.
 * @param {string} name of the database; of one view only
 * @returns {import('./live.js').Keep}
 */
export function keepInIndexedDB(name) {
  /** @type {Promise<IDBDatabase> | undefined} */
  let opening;
  /** @type {Snapshot | undefined} what is in it */
  let kept;
  /** @type {(() => void) | undefined} */
  let release;

  const own = () => (opening ??= lock(name).then((free) => {
    release = free;
    return open(name);
  }).catch((error) => {
    opening = undefined;
    release?.();
    throw error;
  }));

  return {
    async load() {
      const db = await own();
      const transaction = db.transaction([HEAD, ENTRIES], 'readonly');
      const head = asked(transaction.objectStore(HEAD).get(HEAD));
      const rows = asked(transaction.objectStore(ENTRIES).getAll());
      const [cookie, found] = await Promise.all([head, rows]);
      if (!cookie) return undefined;
      const entries = found.map(({ path, rev, type, raw }) => (
        raw === undefined ? { path, rev } : { path, rev, value: new Value(type, raw) }));
      kept = Snapshot.saved(cookie, entries);
      return { cookie, entries };
    },

    async save(snapshot) {
      if (!snapshot.cookie) return;
      const db = await own();
      const transaction = db.transaction([HEAD, ENTRIES], 'readwrite');
      const done = finished(transaction);
      const store = transaction.objectStore(ENTRIES);
      if (kept === undefined) store.clear();
      for (const { path, new: entry } of snapshot.since(kept ?? Snapshot.saved())) {
        if (entry) store.put(row(entry));
        else store.delete(path);
      }
      transaction.objectStore(HEAD).put(snapshot.cookie, HEAD);
      await done;
      kept = snapshot;
    },

    async close() {
      const db = await opening?.catch(() => undefined);
      opening = undefined;
      kept = undefined;
      db?.close();
      release?.();
    },
  };
}

/** @param {import('./protocol.js').Entry} entry */
function row({ path, rev, value }) {
  if (!value) return { path, rev };
  const { type } = value;
  return { path, rev, type, raw: value.isJson || value.isText ? value.text : value.bytes };
}

/**
 * Takes the database for this page; gives what is called to let it go. `state-in-use` when another one has it. A browser
 * without locks is not asked.
 * @param {string} name
 * @returns {Promise<() => void>}
 */
function lock(name) {
  if (typeof navigator !== 'object' || !navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve, reject) => {
    navigator.locks.request(`onetree:${name}`, { ifAvailable: true }, (mine) => {
      if (!mine) throw new OnetreeError('state-in-use', `${name} is in use by another page`);
      return new Promise((free) => resolve(() => free(undefined)));
    }).catch(reject);
  });
}

/** @param {string} name @returns {Promise<IDBDatabase>} */
function open(name) {
  if (typeof indexedDB !== 'object') return Promise.reject(new OnetreeError('state', 'there is no IndexedDB here'));
  const request = indexedDB.open(`onetree:${name}`, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(HEAD);
    request.result.createObjectStore(ENTRIES, { keyPath: 'path' });
  };
  return asked(request);
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(refused(request.error));
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(refused(transaction.error));
  });
}

/** @param {unknown} cause */
const refused = (cause) => new OnetreeError('state', `the mirror cannot be kept: ${cause}`, { cause });
