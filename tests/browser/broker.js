// A broker of a test's own: the real program, on a free port, in memory or in a directory.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** The program, or what is missing. */
export function program() {
  const places = [process.env.ONETREE, `${ROOT}target/release/onetree`, `${ROOT}target/debug/onetree`]
  const found = places.filter(Boolean).find((place) => existsSync(place))
  if (found) return found
  throw new Error(`there is no broker to test: build it with 'cargo build', or name one in ONETREE (looked in ${places.filter(Boolean).join(', ')})`)
}

/** A port that nobody listens on, so that a broker can be started there again. */
export async function freePort() {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a broker; `stop()` ends it politely, `kill()` at once. Both wait until it is gone. */
export async function startBroker(port, args = ['--memory']) {
  const child = spawn(program(), ['serve', ...args, '--listen', `127.0.0.1:${port}`, '--set', 'heartbeat_ms=1000'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const lines = []
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line))
  const gone = new Promise((resolve) => child.once('exit', resolve))
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
