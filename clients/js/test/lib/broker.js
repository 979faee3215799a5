// The real broker, for tests. ONETREE_BIN names the program.

import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export const BINARY = process.env.ONETREE_BIN;

/** Why tests with a broker are skipped. */
export const skip = BINARY ? false : 'ONETREE_BIN does not name a broker';

/** Starts a broker that lives as long as the test, and returns its URL. */
export async function broker(t, ...more) {
  const child = spawn(BINARY, ['serve', '--memory', '--listen', '127.0.0.1:0', ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGTERM'));
  for await (const line of createInterface({ input: child.stdout })) {
    child.stdout.resume();
    return line.split(' ').at(-1);
  }
  throw new Error('the broker did not start');
}

/** Returns the lines of `onetree export`. */
export async function exported(url) {
  const { stdout } = await promisify(execFile)(BINARY, ['export', '/', '--url', url], { maxBuffer: 1 << 28 });
  return stdout.split('\n').slice(0, -1);
}
