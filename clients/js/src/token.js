// Getting the token from a function of the application.

import { wellFormed } from './protocol/texts.js';

/**
 * Returns the token, which must be a text and come in time.
 * @param {() => string | Promise<string>} ask
 * @param {number} patience how long to wait, ms
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
