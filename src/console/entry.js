// The page of one entry, kept up to date.

import { h, say } from './dom.js'
import { bytes, count, span } from './format.js'
import { nameOf, parent } from './paths.js'
import { pretty } from './pretty.js'
import { spelled } from './spell.js'

// At most this many entries under a topic are counted. They are counted again after AGAIN_MS, or
// after MORE_AGAIN_MS if there are more: those stay many.
const MOST = 1000
const AGAIN_MS = 10_000
const MORE_AGAIN_MS = 60_000

/** Shows the entry at a path, live. `act(letter, path)` does what the buttons do. */
export class EntryPage {
  path = '/'
  entry
  #host
  #link
  #act
  #mirror
  #at
  #state = 'loading'
  /**
   * For a path without a value: how much is under it, at which revision that was, and when it may
   * be asked again.
   */
  #under = { text: '', rev: -1, next: 0 }
  #age = h('span')
  #put
  #body
  #asked = false

  constructor(host, link, act) {
    this.#host = host
    this.#link = link
    this.#act = act
    setInterval(() => this.#tick(), 1000)
  }

  show(path) {
    if (this.#mirror && path === this.path) return
    this.#mirror?.close()
    Object.assign(this, { path, entry: undefined })
    this.#at = undefined
    this.#state = 'loading'
    this.#under = { text: '', rev: -1, next: 0 }
    this.#body = h('div')
    this.#host.replaceChildren(this.#head(), this.#body)
    this.#mirror = this.#link.mirror({ path, depth: 'entry' }, {}, (event, mirror) => {
      if (this.path !== path || (event.type !== 'fresh' && event.type !== 'delta')) return
      const entry = mirror.get(path)
      // A delta may be about other entries. After `fresh`, the same revision may belong to another
      // history.
      if (event.type === 'delta' && entry?.rev === this.entry?.rev) return
      this.#at = event.type === 'delta' ? Date.now() : undefined
      this.entry = entry
      this.#state = 'whole'
      this.#show()
    })
    this.#show()
  }

  #head() {
    const { path } = this
    const up = parent(path)
    const title = h('h2', { class: 'long' }, h('span', {}, up && h('span', { class: 'up' }, spelled(up === '/' ? '/' : `${up}/`)), up ? spelled(nameOf(path)) : '/'))
    const button = (letter, text, title) => h('button', { type: 'button', title: `${title} (${letter})`, onclick: () => this.#act(letter, path) }, text)
    this.#put = button('e', 'Put', 'Change the value, or put one here')
    return h('div', { class: 'head' }, title, h('div', { class: 'buttons' },
      this.#put,
      button('a', 'Append', 'Append to the log at this path'),
      button('f', 'Follow', 'Watch what changes at and under this path'),
      button('d', 'Delete', 'Delete the entry, or everything under it')))
  }

  /**
   * Shows the present state in the next frame, because an entry may change more often than that.
   * The buttons stay, and the focus stays where it is.
   */
  #show() {
    if (this.#asked) return
    this.#asked = true
    requestAnimationFrame(() => {
      this.#asked = false
      const within = this.#body.contains(document.activeElement)
      say(this.#put, this.entry ? 'Edit' : 'Put')
      this.#body.replaceChildren(...this.#parts())
      if (within) this.#body.querySelector('pre')?.focus({ preventScroll: true })
      this.#tick()
    })
  }

  #parts() {
    const { entry } = this
    if (this.#state === 'loading') return [h('p', { class: 'empty' }, 'Reading…')]
    if (!entry) return [h('p', { class: 'empty' }, `${this.#at ? 'The entry was deleted' : 'There is no value at this path'}${this.#under.text}.`)]
    const facts = h('p', { class: 'facts' },
      h('span', {}, h('b', {}, entry.value.type ?? 'application/json')),
      h('span', {}, h('b', {}, bytes(entry.value.bytes.length))),
      h('span', {}, 'revision ', h('b', { id: 'entry-rev' }, count(entry.rev))),
      this.#age)
    return [facts, pretty(entry.value)]
  }

  /**
   * Counts what is under the path. No mirror reports that, so it is counted again while the tree
   * changes and the page is visible. This is done seldom, because the broker walks through
   * everything that it counts.
   */
  async #countUnder() {
    const [under, { rev }] = [this.#under, this.#link]
    if (this.entry || this.#state === 'loading' || under.rev === rev || performance.now() < under.next) return
    if (document.hidden || !this.#host.checkVisibility()) return
    under.next = Infinity
    let pause = AGAIN_MS
    try {
      const { entries, more } = await this.#link.list({ path: this.path, depth: 'tree', limit: MOST, values: false })
      const many = `${count(entries.length)}${more ? ' or more' : ''}`
      under.text = entries.length === 0 ? '' : `; under it ${entries.length === 1 && !more ? 'is 1 entry' : `are ${many} entries`}`
      under.rev = rev
      if (more) pause = MORE_AGAIN_MS
      if (under === this.#under && !this.entry) this.#show()
    } catch {
      // It is asked again later.
    } finally {
      under.next = performance.now() + pause
    }
  }

  #tick() {
    void this.#countUnder()
    if (!this.entry) return
    const before = Math.max(0, this.#link.rev - this.entry.rev)
    const revisions = before === 0 ? 'the latest of all' : `${count(before)} ${before === 1 ? 'revision' : 'revisions'} ago`
    const text = this.#at ? `changed ${span(Date.now() - this.#at)} ago, ${revisions}` : revisions
    say(this.#age, text)
  }
}
