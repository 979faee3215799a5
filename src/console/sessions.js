// Shows who is connected, and at which revisions their mirrors are.

import { h } from './dom.js'
import { bytes, count, span } from './format.js'
import { spelled, spelling } from './spell.js'

const EVERY_MS = 2000
// The number of lines on the page; a button shows more.
const PAGE = 200
// The worst cursor first: the worst one of its mirrors is shown for a connection.
const ORDER = ['behind', 'refreshing', 'paced', 'live']

/** Lists the connections while its page is open. */
export class SessionsPage {
  #host
  #link
  #lines = new Map()
  #after = 0
  #told = h('p', { class: 'muted' })
  #next = h('button', { type: 'button', onclick: () => this.#go(this.#last) }, 'Further ones')
  #first = h('button', { type: 'button', onclick: () => this.#go(0) }, 'From the first')
  #list
  #last = 0

  constructor(host, link) {
    this.#host = host
    this.#link = link
    const names = h('div', { class: 'line names', 'aria-hidden': 'true' },
      h('span', {}, 'Agent and address'), h('span', {}, 'Cursor'), h('span', { class: 'num' }, 'Lag'),
      h('span', { class: 'num wide' }, 'Waiting'), h('span', { class: 'num wide' }, 'Mirrors'), h('span', { class: 'num wide' }, 'Since'))
    this.#list = h('div', { class: 'sessions' }, names)
    host.append(h('div', { class: 'head' }, this.#told, h('div', { class: 'buttons' }, this.#first, this.#next)), this.#list)
    this.#turn()
  }

  /** Called when the page is opened. */
  look() {
    return this.#ask()
  }

  async #turn() {
    if (!this.#host.hidden && !document.hidden && this.#link.online) await this.#ask()
    setTimeout(() => this.#turn(), EVERY_MS)
  }

  #go(after) {
    this.#after = after
    this.#ask()
  }

  async #ask() {
    try {
      this.#show(await this.#link.ask(`/v1/sessions?limit=${PAGE}&after=${this.#after}`))
    } catch (error) {
      this.#told.textContent = `The sessions could not be read: ${error.message}`
    }
  }

  #show({ revision, connections, silent, more }) {
    const here = `${count(connections.length)} ${connections.length === 1 ? 'connection' : 'connections'} at revision ${count(revision)}`
    this.#told.textContent = here + (silent > 0 ? `, and ${count(silent)} that did not answer` : '')
    this.#last = connections.at(-1)?.id ?? 0
    this.#next.hidden = !more
    this.#first.hidden = this.#after === 0
    const ids = new Set(connections.map(({ id }) => id))
    for (const [id, line] of this.#lines) {
      if (ids.has(id)) continue
      line.remove()
      this.#lines.delete(id)
    }
    for (const one of connections) {
      let line = this.#lines.get(one.id)
      if (!line) {
        line = h('details', {}, h('summary', { class: 'line' }), h('div', { class: 'mirrors' }))
        this.#lines.set(one.id, line)
        this.#list.append(line)
      }
      line.firstChild.replaceChildren(...summary(one))
      line.lastChild.replaceChildren(...details(one))
    }
  }
}

function summary(one) {
  const cursors = one.mirrors.map(({ cursor }) => cursor)
  const worst = ORDER.find((cursor) => cursors.includes(cursor))
  const lag = Math.max(0, ...one.mirrors.map(({ lag }) => lag ?? 0))
  const waiting = one.outbox_bytes + one.unsent_bytes
  return [
    h('span', { class: 'who', title: one.agent ?? '' }, one.agent ?? 'no name', h('small', {}, one.peer)),
    h('span', {}, worst ? h('span', { class: `tag ${worst}` }, worst) : h('span', { class: 'muted' }, one.welcomed ? '–' : 'no hello')),
    h('span', { class: 'num', title: 'revisions behind, the mirror that is furthest' }, cursors.length > 0 ? count(lag) : '–'),
    h('span', { class: 'num wide', title: `outbox ${bytes(one.outbox_bytes)}, not taken by the socket ${bytes(one.unsent_bytes)}` }, waiting > 0 ? bytes(waiting) : '0'),
    h('span', { class: 'num wide' }, count(one.subscriptions)),
    h('span', { class: 'num wide', title: `last heard of ${span(one.heard_ms)} ago` }, span(one.connected_ms)),
  ]
}

function details(one) {
  const mirrors = one.mirrors.map((mirror) => {
    const parts = [mirror.depth !== 'tree' && mirror.depth, mirror.match && `match ${mirror.match.map(spelling).join(' ')}`, mirror.tail !== undefined && `tail ${mirror.tail}`,
      !mirror.values && 'no values', mirror.every_ms > 0 && `every ${mirror.every_ms} ms`, mirror.signals && 'signals', mirror.once && 'once'].filter(Boolean)
    return h('div', { class: 'mirror' },
      h('span', { class: `tag ${mirror.cursor}` }, mirror.cursor),
      h('code', {}, spelled(mirror.path)),
      h('span', { class: 'muted' }, parts.join(', ')),
      h('span', { class: 'muted' }, mirror.rev === null ? 'from nothing' : `r${count(mirror.rev)}`))
  })
  const left = one.subscriptions - one.mirrors.length
  if (left > 0) mirrors.push(h('p', { class: 'muted' }, `and ${count(left)} more`))
  if (one.mirrors.length === 0) mirrors.push(h('p', { class: 'muted' }, one.subscriptions === 0 ? 'It follows nothing.' : ''))
  mirrors.push(h('p', { class: 'muted' }, `${one.codec}, connection ${one.id}, ${one.peer}, ${count(one.in_flight)} requests in flight`))
  return mirrors
}
