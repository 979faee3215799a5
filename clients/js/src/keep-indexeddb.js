// Where a mirror survives its page: a database of the browser.

import { OnetreeError } from './errors.js';
import { cookieText, entryText, readCookie, readEntry } from './json.js';

const STORE = 'mirror';

/**
 * Keeps a mirror in IndexedDB: `client.mirror(view, { keep: keepInIndexedDB('room') })`. Cookie and entries are one record, put
 * in one transaction: a save costs about the size of the mirror. Two pages with one name overwrite each other, whole.
 * @param {string} name of the database; one for each view
 * @returns {import('./live.js').Keep}
 */
export function keepInIndexedDB(name) {
  return {
    async load() {
      const saved = await run(name, 'readonly', (store) => store.get(0));
      if (saved === undefined) return undefined;
      const entries = saved.entries.map((/** @type {string} */ text) => {
        const { path, rev, value } = readEntry(text);
        return value === undefined ? { path, rev } : { path, rev, value };
      });
      return { cookie: readCookie(saved.cookie), entries };
    },
    async save(snapshot) {
      if (snapshot.cookie === undefined) return;
      const record = { cookie: cookieText(snapshot.cookie), entries: Array.from(snapshot.entries(), entryText) };
      await run(name, 'readwrite', (store) => store.put(record, 0));
    },
  };
}

/**
 * One transaction; its result once it is complete.
 * @param {string} name
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} ask
 * @returns {Promise<any>}
 */
async function run(name, mode, ask) {
  const database = await new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => void opening.result.createObjectStore(STORE);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(new OnetreeError('state', `cannot open ${name}: ${opening.error}`));
  });
  try {
    return await new Promise((resolve, reject) => {
      const transaction = /** @type {IDBDatabase} */ (database).transaction(STORE, mode);
      const request = ask(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(new OnetreeError('state', `cannot keep in ${name}: ${transaction.error}`));
    });
  } finally {
    database.close();
  }
}
