// Long work in pieces, so that the page answers meanwhile.

// A piece takes so long, ms: half a frame.
const PIECE_MS = 8

const { port1, port2 } = new MessageChannel()
const waiting = []
port1.onmessage = () => waiting.shift()()

/** Lets others have their turn. A message and no timer: timers of a page that is not in sight come once a second. */
const others = () => new Promise((resolve) => {
  waiting.push(resolve)
  port2.postMessage(undefined)
})

/** Gives all items to `work`, in order and in pieces; ends before the next piece when `over()`. */
export async function inPieces(items, work, over) {
  await others()
  let end = performance.now() + PIECE_MS
  let count = 0
  for (const item of items) {
    // To look at the clock costs more than most work.
    if (++count % 64 === 0 && performance.now() > end) {
      await others()
      if (over()) return
      end = performance.now() + PIECE_MS
    }
    work(item)
  }
}
