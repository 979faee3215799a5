// Which broker is tested.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { choose } from './broker.js'

test('of two programs the newer one is tested, and what is named goes before both', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onetree-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [release, debug, nowhere] = ['release', 'debug', 'nowhere'].map((name) => join(folder, name))
  for (const [file, seconds] of [[release, 1000], [debug, 2000]]) {
    writeFileSync(file, '')
    utimesSync(file, seconds, seconds)
  }
  assert.equal(choose(undefined, [release, debug]), debug)
  assert.equal(choose(undefined, [debug, nowhere, release]), debug)
  assert.equal(choose(undefined, [nowhere, release]), release)
  assert.equal(choose(release, [debug]), release)
  assert.throws(() => choose(undefined, [nowhere]), /build it with 'cargo build'/)
  // Testing another one in its place would prove nothing.
  assert.throws(() => choose(nowhere, [release, debug]), /ONETREE names/)
})
