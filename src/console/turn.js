// Splits long work into pieces, so that the page stays responsive.

// The duration of a piece, ms: half a frame.
const PIECE_MS = 8

const { port1, port2 } = new MessageChannel()
const waiting = []
port1.onmessage = () => waiting.shift()()

/**
 * Gives other work its turn. Uses a message and not a timer, because timers of a hidden page run
 * only once a second.
 */
const others = () => new Promise((resolve) => {
  waiting.push(resolve)
  port2.postMessage(undefined)
})

/** Calls `work` with all items, in order and in pieces. Ends before the next piece if `over()`. */
export async function inPieces(items, work, over) {
  await others()
  let end = performance.now() + PIECE_MS
  let count = 0
  for (const item of items) {
    // Looking at the clock costs more than most work.
    if (++count % 64 === 0 && performance.now() > end) {
      await others()
      if (over()) return
      end = performance.now() + PIECE_MS
    }
    work(item)
  }
}
