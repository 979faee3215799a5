// The programs of `transact`.

import { plain } from './told.js';

function take(tx, path) {
  const entry = tx.get(path);
  if (!entry) return tx.retry();
  tx.delete(path);
  return plain(entry);
}

export const programs = {
  increment(tx, { path }) {
    const entry = tx.get(path);
    const count = (entry ? plain(entry) : 0) + 1;
    tx.put(path, count);
    return count;
  },
  take: (tx, { path }) => take(tx, path),
  'take-either': (tx, { paths }) => tx.orElse(() => take(tx, paths[0]), () => take(tx, paths[1])),
  move(tx, { paths: [from, to] }) {
    const entry = [...tx.under(from)].find((one) => one.path !== from);
    if (!entry) return tx.retry();
    tx.delete(entry.path);
    tx.put(to + entry.path.slice(entry.path.lastIndexOf('/')), entry.value);
    return plain(entry);
  },
  fail(tx, { path }) {
    tx.put(path, 1);
    throw new Error('the application throws');
  },
};
