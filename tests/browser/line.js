// A network line between a page and a broker that can be made slow, to look at short moments.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

// A slow line passes data on in pieces of this duration, ms.
const PIECE_MS = 50

/**
 * Opens a loopback port, `own`, that leads to `port`. `line.rate` limits what goes to the page, in
 * bytes/s for each connection. While `line.down` is set, new connections are cut off.
 */
export async function openLine(own, port) {
  const line = { rate: Infinity, down: false, close: () => server.close() }
  const server = createServer(async (page) => {
    if (line.down) return page.destroy()
    const broker = connect(port, '127.0.0.1')
    const end = () => [page, broker].forEach((socket) => socket.destroy())
    for (const socket of [page, broker]) socket.on('error', end).on('close', end)
    page.pipe(broker)
    try {
      for await (let bytes of broker) {
        while (bytes.length > 0) {
          const most = Math.max(1, Math.floor(line.rate * PIECE_MS / 1000))
          page.write(bytes.subarray(0, most))
          if (bytes.length > most || line.rate < Infinity) await wait(PIECE_MS)
          bytes = bytes.subarray(most)
        }
      }
    } catch {
      // The broker is gone, so the page's connection is too.
    }
  })
  server.listen(own, '127.0.0.1')
  await once(server, 'listening')
  return line
}
