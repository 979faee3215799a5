// The README's program, as it is there, is also TypeScript, checked as strictly as possible.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { client as made } from './lib/socket.js';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const README = readFileSync(here('../README.md'), 'utf8');

test('the program of the README is strict TypeScript', () => {
  const [, program] = /```js\n([^]*?)```/.exec(README);
  const folder = mkdtempSync(join(tmpdir(), 'onetree-readme-'));
  try {
    const file = join(folder, 'hello.mts');
    writeFileSync(file, program.replace("from 'onetree'", `from ${JSON.stringify(here('../src/index.js'))}`));
    const checked = ts.createProgram([file], {
      strict: true, noEmit: true, allowJs: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext, types: ['node'], typeRoots: [here('../node_modules/@types')],
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    });
    const said = ts.getPreEmitDiagnostics(checked).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
    assert.deepEqual(said, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a store that is ahead of what was kept follows the mirror as the README says', async (t) => {
  const [, program] = /```js\n(async function follow[^]*?)```/.exec(README);
  const follow = new Function(`return ${program}`)();
  const { client } = made(t);
  const { rev } = await client.put('/a', 1);
  const before = client.mirror('/');
  await before.at(rev);
  const kept = before.snapshot();
  await before.at((await client.put('/gone', 1)).rev);
  const store = new Map(Array.from(before.entries(), (entry) => [entry.path, entry]));
  await client.delete('/gone');
  const mirror = client.mirror('/', { keep: { load: async () => kept, save: async () => {} } });
  const following = follow(mirror, store);
  await mirror.fresh();
  await client.put('/b', 1);
  await mirror.at((await client.delete('/a')).rev);
  await mirror.close();
  await following;
  assert.deepEqual([...store.values()], [...mirror.entries()]);
});

test('who is here is so again in the next session, and no more when the page goes, as the README says', async (t) => {
  const [, program] = /```js\n((?:(?!```)[^])*pagehide[^]*?)```/.exec(README);
  const world = made(t);
  const { client, broker } = world;
  const page = new EventTarget();
  let reloads = 0;
  const mine = () => broker.history.filter(({ path }) => path === '/here/ada').length;
  new Function('client', 'name', 'doing', 'addEventListener', 'location', program)(
    client, 'ada', { edits: '/doc/1' }, page.addEventListener.bind(page), { reload: () => { reloads += 1; } });
  const again = async (resumes) => {
    broker.resumes = resumes;
    world.cut();
    await client.until('online');
    await client.signal('/x', 1);
  };
  await client.until('online');
  await client.signal('/x', 1);
  assert.equal(mine(), 1);
  await again(true);
  assert.equal(mine(), 1);
  await again(false);
  assert.equal(mine(), 2);
  page.dispatchEvent(new Event('pagehide'));
  assert.ok(client.isClosing);
  for (const persisted of [false, true]) page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted }));
  assert.equal(reloads, 1);
});

test('what is said in the page of the README and cannot be sent stands in its field again', async (t) => {
  const [, program] = /(document\.querySelector\('#text'\)\.onchange[^]*?\n  \};)/.exec(README);
  const world = made(t, { requestTimeoutMs: 20 });
  world.refuses = true;
  const { client } = world;
  const field = { value: 'hello' };
  new Function('client', 'document', 'console', program)(client, { querySelector: () => field }, { warn() {} });
  field.onchange({ target: field });
  assert.equal(field.value, '');
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(field.value, 'hello');
});
