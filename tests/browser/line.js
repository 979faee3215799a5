// A line between a page and a broker that can be made slow, so that what takes a moment can be looked at.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

// A slow line hands over in pieces of this time, ms.
const PIECE_MS = 50

/**
 * A port of loopback, `own`, that leads to `port`. `line.rate` limits what comes to the page, in bytes/s for each
 * connection; while `line.down`, who connects is cut off.
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
      // The broker is gone; so is the page's connection.
    }
  })
  server.listen(own, '127.0.0.1')
  await once(server, 'listening')
  return line
}
