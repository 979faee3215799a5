// The broker's statistics, once a second.

const EVERY_MS = 1000

/** Requests `/v1/stats`, and computes rates from its counters. */
export class Stats {
  last
  #link
  #listeners = new Set()

  constructor(link) {
    this.#link = link
    this.#ask()
  }

  /** Calls `listener(stats, rates)` with each answer. Both are absent if there was no answer. */
  onStats(listener) {
    this.#listeners.add(listener)
  }

  async #ask() {
    const began = performance.now()
    let [stats, rates] = []
    if (!document.hidden) {
      try {
        // Without a connection there would be no answer, only a line in the browser's log.
        if (!this.#link.online) throw new Error('offline')
        stats = await this.#link.ask('/v1/stats')
        stats.at = performance.now()
        rates = this.#rates(stats)
        this.#link.see(stats.revision)
      } catch {
        // The broker is away; the state of the connection shows that.
      }
      this.last = stats
      for (const listener of this.#listeners) listener(stats, rates)
    }
    setTimeout(() => this.#ask(), Math.max(100, EVERY_MS - (performance.now() - began)))
  }

  #rates(stats) {
    const { last } = this
    // The counters of a restarted broker begin at zero.
    if (!last || stats.uptime_ms < last.uptime_ms) return undefined
    const seconds = (stats.at - last.at) / 1000
    const rate = (name) => Math.max(0, (stats[name] - last[name]) / seconds)
    return { commits: rate('commits'), deliveries: rate('deliveries') }
  }
}
