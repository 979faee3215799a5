// How the broker goes, once a second.

const EVERY_MS = 1000

/** Asks `/v1/stats` and makes rates of what it counts. */
export class Stats {
  last
  #link
  #listeners = new Set()

  constructor(link) {
    this.#link = link
    this.#ask()
  }

  /** Calls `listener(stats, rates)` with each answer; both are absent when there was none. */
  onStats(listener) {
    this.#listeners.add(listener)
  }

  async #ask() {
    const began = performance.now()
    let [stats, rates] = []
    if (!document.hidden) {
      try {
        // Without a connection nothing would answer, but for a line in the browser's log.
        if (!this.#link.online) throw new Error('offline')
        stats = await this.#link.ask('/v1/stats')
        stats.at = performance.now()
        rates = this.#rates(stats)
        this.#link.see(stats.revision)
      } catch {
        // There is no broker: the connection says so.
      }
      this.last = stats
      for (const listener of this.#listeners) listener(stats, rates)
    }
    setTimeout(() => this.#ask(), Math.max(100, EVERY_MS - (performance.now() - began)))
  }

  #rates(stats) {
    const { last } = this
    // A broker that was started again counts from nothing.
    if (!last || stats.uptime_ms < last.uptime_ms) return undefined
    const seconds = (stats.at - last.at) / 1000
    const rate = (name) => Math.max(0, (stats[name] - last[name]) / seconds)
    return { commits: rate('commits'), deliveries: rate('deliveries') }
  }
}
