// The same application in Node, Deno and Bun, whichever is on PATH. Its broker is killed and comes back with its data.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BINARY, broker as memory, skip } from './lib/broker.js';

const smoke = fileURLToPath(new URL('./lib/smoke.js', import.meta.url));
const adapter = fileURLToPath(new URL('../conformance/adapter.js', import.meta.url));
const RUNTIMES = {
  node: [process.execPath],
  deno: ['deno', 'run', '--quiet', '--no-prompt', '--allow-net=127.0.0.1', `--allow-read`, '--allow-write', '--allow-env'],
  bun: ['bun', 'run'],
};

/** Returns the runtime's version, or why it is skipped. */
function version([command]) {
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}

/**
 * Returns a port that is free now. It is below the ports that the system assigns by itself, so that no connection of
 * another test takes it meanwhile.
 */
async function freePort() {
  for (;;) {
    const server = createServer().listen(20_000 + Math.floor(Math.random() * 12_000), '127.0.0.1');
    const port = await new Promise((resolve) => {
      server.once('listening', () => resolve(server.address().port)).once('error', () => resolve(undefined));
    });
    if (port === undefined) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** A broker that keeps its data in `folder`. */
async function serve(folder, port) {
  const child = spawn(BINARY, ['serve', '--data', join(folder, 'data'), '--listen', `127.0.0.1:${port}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(createInterface({ input: child.stdout }), 'line');
  child.stdout.resume();
  return child;
}

/** Commands for the adapter of the scenarios, each with its expected answer. `$rev` is the revision of the last answer. */
const TOLD = [
  [{ op: 'sub', mirror: 'm', path: '/a' }, {}],
  [{ op: 'put', path: '/a/b', json: { x: [1, 'ä'] } }, { rev: '$rev', durable: false, paths: [] }],
  [{ op: 'at', mirror: 'm', rev: '$rev' }, { rev: '$rev' }],
  [{ op: 'verify', mirror: 'm' }, { verdict: 'same', rev: '$rev' }],
  [{ op: 'get', paths: ['/a/b', '/a/c'] }, { rev: '$rev', entries: [{ path: '/a/b', rev: '$rev', json: { x: [1, 'ä'] } }], more: false }],
  [{ op: 'put', path: '/a/b', json: 2, if: { rev: 77 } }, 'conflict'],
  [{ op: 'transact', mirror: 'm', program: 'increment', path: '/a/n' }, undefined],
  [{ op: 'close' }, {}],
];

/** Sends lines to a program, one after another, and yields its answer to each. */
async function* talk(child, lines) {
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (const line of lines) {
    child.stdin.write(`${JSON.stringify(line())}\n`);
    yield JSON.parse((await answers.next()).value);
  }
  child.stdin.end();
}

for (const [name, command] of Object.entries(RUNTIMES)) {
  const found = skip === false ? version(command) : undefined;
  for (const codec of ['json', 'msgpack']) {
    const why = skip || (found === undefined && `there is no ${name} on PATH`);
    test(`it works in ${name}: ${codec}`, { skip: why, timeout: 60_000 }, async (t) => {
      t.diagnostic(`${name} ${found}`);
      const folder = await mkdtemp(join(tmpdir(), 'onetree-'));
      const port = await freePort();
      let broker = await serve(folder, port);
      t.after(async () => {
        broker.kill('SIGKILL');
        await rm(folder, { recursive: true });
      });
      const app = spawn(command[0], [...command.slice(1), smoke, `ws://127.0.0.1:${port}`, codec, join(folder, 'state')], { stdio: ['ignore', 'pipe', 'inherit'] });
      t.after(() => app.kill('SIGKILL'));
      const said = [];
      const exited = once(app, 'exit');
      for await (const line of createInterface({ input: app.stdout })) {
        said.push(line);
        if (line !== 'ready') continue;
        broker.kill('SIGKILL');
        await once(broker, 'exit');
        broker = await serve(folder, port);
      }
      assert.deepEqual([said, await exited], [['ready', 'right'], [0, null]]);
    });
    test(`the adapter of the scenarios answers in ${name}: ${codec}`, { skip: why, timeout: 60_000 }, async (t) => {
      const url = await memory(t);
      const app = spawn(command[0], [...command.slice(1), adapter], { stdio: ['pipe', 'pipe', 'inherit'] });
      t.after(() => app.kill('SIGKILL'));
      let rev;
      const filled = (what) => JSON.parse(JSON.stringify(what), (_, one) => (one === '$rev' ? rev : one));
      const lines = [[{ op: 'connect', url, codec }, {}], ...TOLD];
      let id = 0;
      for await (const answer of talk(app, lines.map(([line], i) => () => filled({ id: i, ...line })))) {
        const [line, want] = lines[id];
        assert.equal(answer.id, id, JSON.stringify(answer));
        rev = answer.ok?.rev ?? rev;
        if (typeof want === 'string') assert.equal(answer.error?.code, want, JSON.stringify(line));
        else assert.deepEqual(answer, { id, ok: want === undefined ? answer.ok : filled(want) }, JSON.stringify(line));
        id += 1;
      }
      assert.equal(id, lines.length);
    });
  }
}
