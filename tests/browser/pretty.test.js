// How the console formats a value, tested without a browser.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { oneLine, own } from '../../src/console/pretty.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

test('what is remembered of a frame keeps no frame', () => {
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const before = used()
  const kept = []
  for (let at = 0; at < 2000; at++) {
    const frame = Buffer.alloc(30_000, `/sensors/cellar/camera-${at} `).toString('latin1')
    const value = { type: 'text/plain', bytes: new Uint8Array(), text: frame.slice(0, 100) }
    const long = { ...value, text: frame.slice(0, 1000) }
    kept.push(own(frame.slice(0, 20)), oneLine(value), oneLine(long))
  }
  const more = used() - before
  assert.ok(more < 10_000_000, `${more} bytes more for ${kept.length} texts`)
  assert.equal(kept[1], kept[2].slice(0, 100))
})
