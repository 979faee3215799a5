// Keeping a mirror in a page: a database of IndexedDB. One transaction replaces the cookie and the entries.

import { OnetreeError, refuse } from './errors.js';
import { InUse, whoAsks } from './holder.js';
import { makeValue } from './protocol/values.js';
import { Snapshot } from './snapshot.js';

const HEAD = 'head';
const ENTRIES = 'entries';
const DATED = /** @type {const} */ (['epoch', 'rev', 'view']);

/**
 * The mirrors of this page that are kept in databases now, by the names of the databases.
 * @type {Map<string, import('./live.js').Mirror | undefined>}
 */
const inUse = new Map();

/**
 * A database in which one mirror is kept, for the option `keep` of `client.mirror`. A save writes only what has
 * changed.
 *
 * One page at a time saves to the database. A mirror of another page begins with what is kept, and is not saved
 * (`state-in-use`) until the first mirror has ended. A second mirror of the same page starts from nothing.
 *
 * If the browser refuses (there is no room, say), the code is `state`. If what is kept is no mirror, the code is
 * `state-broken`; the next save replaces it, because all of it is in the tree. A database that is not of this client is
 * left as it is. In each case the mirror goes on, and `mirror.keepError` says why it was not loaded or saved.
 * @param {string} name the name of the database; use it for one view only
 * @returns {import('./live.js').Keep}
 */
export function keepInIndexedDB(name) {
  /** @type {Promise<IDBDatabase> | undefined} */
  let opening;
  /** @type {Snapshot | undefined} what is in it */
  let kept;
  /** @type {Promise<() => Promise<void>> | undefined} */
  let taking;
  /** Resolves when the lock was released. @type {Promise<void>} */
  let freed = Promise.resolve();
  /** The mirror that the database belongs to. @type {import('./live.js').Mirror | undefined} */
  let mirror;

  /** Takes the database for this page, if no page has it. */
  const take = () => (taking ??= freed.then(() => lock(name, mirror)).catch((error) => {
    taking = undefined;
    throw error;
  }));

  const letGo = async () => {
    const taken = taking;
    taking = undefined;
    if (taken) freed = taken.then((release) => release(), () => {});
    await freed;
  };

  const database = () => (opening ??= open(name).then((db) => {
    // Somebody deletes the database: do not block that, and make it anew.
    db.onversionchange = db.onclose = () => {
      db.close();
      opening = kept = undefined;
    };
    return db;
  }).catch(async (error) => {
    opening = undefined;
    await letGo();
    throw error;
  }));

  return {
    async load() {
      mirror = whoAsks();
      try {
        await take();
      } catch (error) {
        // What another page keeps is whole at any time, so it can be read. It only must not be replaced.
        if (!(error instanceof InUse) || inUse.has(name)) throw error;
      }
      const db = await database();
      const transaction = begin(db, 'readonly');
      const head = asked(transaction.objectStore(HEAD).get(HEAD));
      const rows = asked(transaction.objectStore(ENTRIES).getAll());
      const [cookie, found] = await Promise.all([head, rows]);
      if (cookie === undefined) return undefined;
      try {
        const entries = found.map(entryOf);
        kept = Snapshot.checked({ cookie, entries });
        return { cookie, entries };
      } catch (cause) {
        throw new OnetreeError('state-broken', `${db.name}: ${cause}; it is replaced when the mirror is saved`, { cause });
      }
    },

    async save(snapshot) {
      if (!snapshot.cookie) return;
      await take();
      const db = await database();
      const transaction = begin(db, 'readwrite');
      const done = finished(transaction);
      try {
        const [heads, store] = [transaction.objectStore(HEAD), transaction.objectStore(ENTRIES)];
        const there = await asked(heads.get(HEAD));
        // Without locks, another page may have written.
        const base = kept?.cookie && DATED.every((part) => there?.[part] === kept?.cookie?.[part]) ? kept : undefined;
        if (base === undefined) store.clear();
        for (const { path, new: entry } of snapshot.since(base ?? Snapshot.saved())) {
          if (entry) store.put(row(entry));
          else store.delete(path);
        }
        heads.put(snapshot.cookie, HEAD);
      } catch (error) {
        // Without the abort, the writes before the error would stay.
        done.catch(() => {});
        try {
          transaction.abort();
        } catch {
          // The transaction has ended by itself.
        }
        throw error instanceof OnetreeError ? error : refused(error);
      }
      await done;
      kept = snapshot;
    },

    async close() {
      const db = await opening?.catch(() => undefined);
      opening = kept = mirror = undefined;
      db?.close();
      await letGo();
    },
  };
}

/** @param {IDBDatabase} db @param {'readonly' | 'readwrite'} mode */
function begin(db, mode) {
  const names = [HEAD, ENTRIES];
  if (names.some((store) => !db.objectStoreNames.contains(store))) {
    throw new OnetreeError('state-broken', `${db.name} is a database of somebody else's; it was left as it is`);
  }
  try {
    return db.transaction(names, mode);
  } catch (error) {
    throw refused(error);
  }
}

/** @param {any} row @returns {import('./protocol/frames.js').Entry} */
function entryOf({ path, rev, type, raw }) {
  if (raw === undefined) return { path, rev };
  const isValue = typeof type === 'string' && (typeof raw === 'string' || raw instanceof Uint8Array);
  return isValue ? { path, rev, value: makeValue(type, raw) } : refuse('bad-field', `the value of ${path} is no value`);
}

/** @param {import('./protocol/frames.js').Entry} entry */
function row({ path, rev, value }) {
  if (!value) return { path, rev };
  const { type } = value;
  return { path, rev, type, raw: value.isJson || value.isText ? value.text : value.bytes };
}

/**
 * Takes the database for this page, and returns a function that releases it. Fails with `state-in-use` if another page
 * has it. In a browser without locks (as for pages of plain http from another machine), nothing is checked.
 * @param {string} name
 * @param {import('./live.js').Mirror | undefined} mirror
 * @returns {Promise<() => Promise<void>>} a function whose promise resolves when another page can take the database
 */
function lock(name, mirror) {
  if (typeof navigator !== 'object' || !navigator.locks) return Promise.resolve(async () => {});
  return new Promise((resolve, reject) => {
    /** @type {Promise<any>} */
    const over = navigator.locks.request(`onetree:${name}`, { ifAvailable: true }, (mine) => {
      if (!mine) throw new InUse(`${name} is in use by another page`, inUse.get(name));
      inUse.set(name, mirror);
      return new Promise((free) => resolve(() => {
        free(undefined);
        return over.then(() => {
          if (inUse.get(name) === mirror) inUse.delete(name);
        });
      }));
    });
    over.catch(reject);
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
    transaction.onabort = () => reject(refused(transaction.error ?? 'the browser refuses'));
  });
}

/** @param {unknown} cause */
const refused = (cause) => new OnetreeError('state', `the mirror cannot be kept: ${cause}`, { cause });
