// Starts a broker for a test: the real program, on a free port, in memory or in a directory.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

const PLACES = [`${ROOT}target/release/onetree`, `${ROOT}target/debug/onetree`]

/**
 * Returns the program to test: the one that is named, otherwise the newest of those that exist.
 * Throws what is missing.
 */
export function choose(named, places) {
  if (named && !existsSync(named)) throw new Error(`there is no broker at ${named}, which ONETREE names`)
  if (named) return named
  const [newest] = places.filter((place) => existsSync(place)).sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs)
  if (newest) return newest
  throw new Error(`there is no broker to test: build it with 'cargo build', or name one in ONETREE (looked in ${places.join(', ')})`)
}

let program

// A test that fails does not stop its broker.
const running = new Set()
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/**
 * Returns a port that is free now, so that a broker can be started there again. It lies below the
 * ports that the system assigns by itself, so that no connection of another test takes it
 * meanwhile.
 */
export async function freePort() {
  for (;;) {
    const server = createServer().listen(20_000 + Math.floor(Math.random() * 12_000), '127.0.0.1')
    const port = await new Promise((resolve) => {
      server.once('listening', () => resolve(server.address().port)).once('error', () => resolve(undefined))
    })
    if (port === undefined) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

/** Starts a broker. `stop()` ends it politely, `kill()` at once; both wait until it is gone. */
export async function startBroker(port, args = ['--memory']) {
  if (!program) {
    program = choose(process.env.ONETREE, PLACES)
    console.log(`the broker that is tested: ${program}`)
  }
  const child = spawn(program, ['serve', ...args, '--listen', `127.0.0.1:${port}`, '--set', 'heartbeat_ms=1000'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const lines = []
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line))
  const gone = new Promise((resolve) => child.once('exit', resolve))
  running.add(child)
  void gone.then(() => running.delete(child))
  const end = (signal) => async () => {
    child.kill(signal)
    await gone
  }
  const until = Date.now() + 20_000
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined)
    if (answer?.ok) break
    if (child.exitCode !== null || Date.now() > until) throw new Error(`the broker did not start:\n${lines.join('\n')}`)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  return { port, url: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}`, pid: child.pid, stop: end('SIGTERM'), kill: end('SIGKILL') }
}
