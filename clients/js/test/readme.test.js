// The README's program, as it stands there, is TypeScript too, as strict as that can be.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

test('the program of the README is strict TypeScript', () => {
  const [, program] = /```js\n([^]*?)```/.exec(readFileSync(here('../README.md'), 'utf8'));
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
