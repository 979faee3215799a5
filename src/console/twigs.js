// Whether something lies under the visible rows.

// The number of requests that are sent together, and how long an answer stays valid, ms.
const TOGETHER = 64
const BELIEVED_MS = 4000

/** Asks for each visible entry whether something lies below it: one small page each. */
export class Twigs {
  #link
  #changed
  #running = false
  #asked = new WeakMap()

  constructor(link, changed) {
    this.#link = link
    this.#changed = changed
  }

  async want(kids) {
    if (this.#running || !this.#link.online) return
    const now = performance.now()
    const old = (kid) => {
      const asked = this.#asked.get(kid)
      return asked === undefined || (now - asked.at > BELIEVED_MS && asked.rev !== this.#link.rev)
    }
    const ask = kids.filter((kid) => kid.entry && kid.path !== '/' && old(kid)).slice(0, TOGETHER)
    if (ask.length === 0) return
    this.#running = true
    let different = false
    await Promise.allSettled(ask.map(async (kid) => {
      const { path } = kid
      const page = await this.#link.list({ path, after: path, depth: 'tree', limit: 1, values: false })
      this.#asked.set(kid, { at: now, rev: page.rev })
      const below = page.entries.length > 0
      different ||= kid.below !== below
      kid.below = below
    }))
    this.#running = false
    // More rows may be visible than are asked for together.
    if (different || ask.length === TOGETHER) this.#changed()
  }
}
