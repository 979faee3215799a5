// Where a mirror survives its process, in Node: one file in the format of `onetree watch --state`, replaced as a whole.

import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { OnetreeError } from './errors.js';
import { cookieText, entryText, readCookie, readEntry } from './json.js';

const ENTRIES = ',"entries":';

/**
 * A file that one mirror is kept in, for the option `keep`. Nobody else must write it meanwhile.
 * @param {string} path
 * @returns {import('./live.js').Keep}
 */
export function keepInFile(path) {
  return {
    async load() {
      let text;
      try {
        text = await readFile(path, 'utf8');
      } catch (error) {
        if (/** @type {any} */ (error).code === 'ENOENT') return undefined;
        throw error;
      }
      return text === '' ? undefined : read(path, text);
    },
    async save(snapshot) {
      if (!snapshot.cookie) return;
      const lines = [`${cookieText(snapshot.cookie).slice(0, -1)}${ENTRIES}${snapshot.size}}`];
      for (const entry of snapshot.entries()) lines.push(entryText(entry));
      const file = await open(`${path}.tmp`, 'w');
      try {
        await file.writeFile(`${lines.join('\n')}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.tmp`, path);
      // The new name is durable only with its directory.
      const directory = await open(dirname(path), 'r');
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    },
  };
}

/** @param {string} path @param {string} text */
function read(path, text) {
  const lines = text.split('\n');
  /** @param {number} at @param {string} why @returns {never} */
  const broken = (at, why) => {
    throw new OnetreeError('broken-file', `${path}:${at}: ${why}`);
  };
  if (lines.pop() !== '') broken(lines.length, 'the line is cut off');
  const [head = '', ...rest] = lines;
  const at = head.lastIndexOf(ENTRIES);
  if (at < 0) broken(1, 'the file begins with a cookie, which this is not');
  const expected = Number(head.slice(at + ENTRIES.length, -1));
  if (rest.length !== expected) broken(lines.length, `the file ends after ${rest.length} of ${expected} entries`);
  return { cookie: readCookie(`${head.slice(0, at)}}`), entries: rest.map(readEntry) };
}
