// Follows a subtree and shows its changes as they happen.

import { h, say } from './dom.js'
import { clock, count } from './format.js'
import { Rows } from './rows.js'
import { oneLine, own } from './pretty.js'
import { spell, spelling } from './spell.js'

// The number of changes that are kept: enough to look back a while, and 20,000 changes a second do
// not fill the memory.
const KEPT = 5000
// A mirror first delivers what is there. Of each log that is only this many entries, and a tree
// larger than LARGE_BYTES is followed without its values.
const TAIL = 1
const LARGE_BYTES = 32_000_000

/** Follows one subtree. The newest change is on top. */
export class ChangesPage {
  path
  #link
  #size
  #pick
  #kept = []
  #total = 0
  #shown = []
  #mirror
  #paused = false
  #whole = false
  #what = h('span', { class: 'path mono' })
  #told = h('span', { class: 'muted' })
  #pause = h('button', { type: 'button', onclick: () => this.#setPaused(!this.#paused) }, 'Pause')
  #signals = h('input', { type: 'checkbox', onchange: () => this.path && this.follow(this.path) })
  #roll = h('div', { class: 'roll', tabindex: '0', role: 'log', 'aria-label': 'Changes' })
  #empty = h('p', { class: 'empty' })
  #rows

  /**
   * `size()` returns the bytes of the tree, as far as they are known; `pick(path)` is called when a
   * change is chosen.
   */
  constructor(host, link, { size, pick }) {
    this.#link = link
    this.#size = size
    this.#pick = pick
    const clear = h('button', { type: 'button', onclick: () => this.#clear() }, 'Clear')
    const stop = h('button', { type: 'button', onclick: () => this.stop() }, 'Stop')
    host.append(
      h('div', { class: 'bar' }, this.#what, this.#told, h('label', {}, this.#signals, 'Signals'), this.#pause, clear, stop),
      this.#empty, this.#roll)
    this.#rows = new Rows(this.#roll, (element, index) => this.#fill(element, index))
    this.#roll.addEventListener('click', (event) => {
      const path = event.target.closest('.row')?.dataset.path
      if (path) this.#pick(path)
    })
    this.stop()
  }

  follow(path) {
    this.stop()
    this.path = path
    const values = this.#size() < LARGE_BYTES
    const view = { path, depth: 'tree', tail: TAIL, values }
    this.#mirror = this.#link.mirror(view, { signals: this.#signals.checked }, (event) => this.#handle(path, event))
    this.#setPaused(false)
    this.#say()
  }

  stop() {
    this.#mirror?.close()
    this.#mirror = undefined
    this.path = undefined
    this.#whole = false
    this.#clear()
  }

  #handle(path, event) {
    if (path !== this.path) return
    const at = Date.now()
    if (event.type === 'fresh' && !this.#whole) {
      this.#whole = true
    } else if (event.type === 'fresh' || event.type === 'delta') {
      for (const change of event.changes) {
        this.#add({ at, path: own(change.path), rev: event.rev, what: !change.new ? 'gone' : change.old ? 'changed' : 'new', line: lineOf(change.new) })
      }
    } else if (event.type === 'signal') {
      this.#add({ at, path: own(event.path), rev: undefined, what: 'signal', line: lineOf(event) })
    } else {
      return
    }
    this.#say()
  }

  #add(change) {
    this.#total += 1
    this.#kept.push(change)
    if (this.#kept.length > 2 * KEPT) this.#kept.splice(0, KEPT)
  }

  #setPaused(paused) {
    this.#paused = paused
    if (paused) this.#shown = [...this.#kept]
    say(this.#pause, paused ? 'Go on' : 'Pause')
    this.#say()
  }

  #clear() {
    this.#kept = []
    this.#total = 0
    this.#say()
  }

  #say() {
    if (!this.#paused) this.#shown = this.#kept
    this.#pause.disabled = !this.path
    spell(this.#what, this.path ?? 'Nothing is followed')
    this.#what.title = spelling(this.path ?? '')
    say(this.#told, !this.path ? '' : this.#whole ? `${count(this.#total)} ${this.#total === 1 ? 'change' : 'changes'}` : 'reading…')
    say(this.#empty, this.path ? 'What changes from now on comes here.' : 'Choose a topic in the tree, and follow it and everything under it: with the button Follow, or the key f.')
    this.#empty.hidden = this.#shown.length > 0
    this.#roll.hidden = this.#shown.length === 0
    this.#rows.length = Math.min(KEPT, this.#shown.length)
  }

  #fill(element, index) {
    const change = this.#shown[this.#shown.length - 1 - index]
    element.hidden = !change
    if (!change) return
    if (!element.firstChild) {
      element.append(h('span', { class: 'at' }), h('span', { class: 'what' }), h('span', { class: 'path' }), h('span', { class: 'value' }), h('span', { class: 'rev' }))
    }
    const [at, what, path, value, rev] = element.children
    element.dataset.path = change.path
    say(at, clock(change.at))
    say(what, { gone: 'gone', changed: 'put', new: 'new', signal: 'signal' }[change.what])
    what.className = `what ${change.what}`
    spell(path, this.path === '/' ? change.path : change.path.slice(this.path?.length) || '(itself)')
    path.title = spelling(change.path)
    say(value, change.line)
    say(rev, change.rev ? `r${count(change.rev)}` : '')
  }
}

/**
 * The text of an entry or a signal: keeping the values of thousands of changes would take too much
 * memory.
 */
const lineOf = (shown) => (shown?.value ? oneLine(shown.value) : '')
