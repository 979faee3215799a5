// The token that a function of the application gives.

import { wellFormed } from './protocol/texts.js';

/**
 * What it gives: a text, and before long.
 * @param {() => string | Promise<string>} ask
 * @param {number} patience ms
 */
export async function tokenOf(ask, patience) {
  const asked = ask();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${patience} ms`)), patience);
  });
  try {
    const token = await Promise.race([asked, late]);
    if (typeof token !== 'string' || !wellFormed(token)) throw new TypeError('a token is a text');
    return token;
  } finally {
    clearTimeout(timer);
  }
}
