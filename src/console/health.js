// Rates, latencies and memory: small charts in the header, larger ones on their own page.

import { Chart } from './chart.js'
import { h, say } from './dom.js'
import { bytes, count, micros, short, span } from './format.js'

const rate = (number) => `${short(number)}/s`
const latency = (stats) => stats.commit_latency

// For each chart: its name, the values of its lines, how they are written, and what is shown beside
// them.
const CHARTS = [
  { name: 'Commits', of: (_, rates) => [rates?.commits], text: ([now]) => rate(now), head: true },
  { name: 'Deliveries', of: (_, rates) => [rates?.deliveries], text: ([now]) => rate(now), head: true },
  {
    name: 'Commit latency, median',
    lines: 2,
    of: (stats) => [latency(stats).p50_us ?? undefined, latency(stats).p99_us ?? undefined],
    text: ([half]) => micros(half),
    more: ([, most]) => `p99 ${micros(most)}`,
    head: true,
    none: 'no commits',
  },
  { name: 'Memory', of: (stats) => [stats.memory_bytes ?? undefined], text: ([now]) => bytes(now), head: true },
  { name: 'Connections', of: (stats) => [stats.connections], text: ([now]) => count(now), more: (_, stats) => `${count(stats.subscriptions)} subscriptions` },
  { name: 'Queue of the owner', of: (stats) => [stats.queue], text: ([now]) => count(now), more: (_, stats) => `of ${count(stats.queue_limit)}` },
]

/** Shows the broker's statistics. */
export class Health {
  #shown = []
  #table = h('dl', { class: 'table' })

  constructor(page, head, stats) {
    const grid = h('div', { class: 'charts' })
    for (const chart of CHARTS) {
      const large = { chart: new Chart(chart.lines), now: h('p', { class: 'now' }), side: h('span'), top: h('span') }
      grid.append(h('section', { class: 'chart', 'aria-label': chart.name },
        h('p', { class: 'name' }, chart.name), large.now, large.chart.element,
        h('p', { class: 'legend' }, large.side, large.top)))
      const small = chart.head && { chart: new Chart(chart.lines), now: h('div', { class: 'now' }) }
      if (small) head.append(h('div', { class: 'meter', title: chart.name }, h('div', {}, h('div', { class: 'name' }, chart.name), small.now), small.chart.element))
      this.#shown.push({ ...chart, large, small })
    }
    page.append(grid, this.#table)
    stats.onStats((stats, rates) => this.#show(stats, rates))
  }

  #show(stats, rates) {
    for (const { of, text, more, none, large, small } of this.#shown) {
      const values = stats ? of(stats, rates) : [undefined]
      const there = values[0] !== undefined
      const now = there ? text(values) : (stats && none) || '–'
      for (const one of [large, small]) {
        if (!one) continue
        one.chart.push(values)
        say(one.now, now)
      }
      say(large.side, there && more ? more(values, stats) : '')
      say(large.top, large.chart.highest > 0 ? `top ${text([large.chart.highest])}` : '')
    }
    if (stats) this.#tell(stats)
  }

  #tell(stats) {
    const facts = {
      Revision: count(stats.revision),
      Entries: `${count(stats.entries)}, ${bytes(stats.bytes)}`,
      Sessions: count(stats.sessions),
      'Commits since the start': count(stats.commits),
      'Deliveries since the start': count(stats.deliveries),
      'Runs for': span(stats.uptime_ms),
      Version: stats.version + (stats.read_only ? ', read-only: its disk is full, or fails' : ''),
      'Deletes remembered from': `revision ${count(stats.horizon)}`,
      Epoch: stats.epoch,
    }
    if (this.#table.children.length === 0) {
      for (const name of Object.keys(facts)) this.#table.append(h('dt', {}, name), h('dd'))
    }
    Object.values(facts).forEach((text, at) => say(this.#table.children[2 * at + 1], text))
  }
}
