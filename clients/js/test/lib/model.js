// What a change does to a tree according to PROTOCOL.md, implemented without regard to cost.

import { contains } from '../../src/protocol/paths.js';

/**
 * @param {Map<string, {path: string, rev: number, value?: any}>} tree by path
 * @param {import('../../src/protocol/frames.js').Change} change
 */
export function apply(tree, { path, rev, act, value, to }) {
  for (const at of [...tree.keys()]) {
    const key = at.startsWith(`${path}/`) ? at.slice(path.length + 1).split('/')[0] : '';
    const gone = act === 'delete' ? at === path : act === 'drop' ? contains(path, at)
      : act === 'trim' && /^[01][0-9a-f]{17}$/.test(key) && key <= to;
    if (gone) tree.delete(at);
  }
  if (act === 'put') tree.set(path, { path, rev, value });
}
