// Finds paths.

import { attribute, h, say } from './dom.js'
import { count } from './format.js'
import { faultOf, faultWithin } from './paths.js'
import { Rows } from './rows.js'
import { onward, spelled } from './spell.js'

// The most paths that are found, and the entries in one page.
const MOST = 2000
const PAGE = 5000

/**
 * Searches while the user types. A path goes there on Enter; a pattern or a text lists the matching
 * paths.
 */
export class Search {
  #link
  #input
  #found
  #tree
  #pick
  #turn = 0
  #hits = []
  #mirror
  #text = ''
  #picked = 0
  #told = h('span', { role: 'status' })
  #why = h('p', { class: 'empty', hidden: true }, 'Only paths that hold a value are found: of a log its entries, as LOG/*.')
  #list = h('div', { class: 'found-rows', id: 'found-rows', role: 'listbox', tabindex: '0', 'aria-label': 'Paths that fit' })
  #rows

  constructor(link, { form, input, found, tree, pick }) {
    this.#link = link
    this.#input = input
    this.#found = found
    this.#tree = tree
    this.#pick = pick
    const close = h('button', { type: 'button', class: 'quiet', onclick: () => this.close() }, 'Close')
    found.append(h('div', { class: 'found-head' }, this.#told, close), this.#why, this.#list)
    this.#rows = new Rows(this.#list, (element, index) => this.#fill(element, index), () => this.#mark())
    let timer
    input.addEventListener('input', () => {
      clearTimeout(timer)
      timer = setTimeout(() => this.#search(input.value.trim()), 180)
    })
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      clearTimeout(timer)
      const text = input.value.trim()
      if (text.startsWith('/') && !text.includes('*')) this.#goTo(text)
      else if (this.#hits.length > 0 && text === this.#text) this.#go(this.#hits[this.#picked])
      else this.#search(text)
    })
    input.addEventListener('keydown', (event) => this.#key(event))
    this.#list.addEventListener('keydown', (event) => this.#key(event))
    this.#list.addEventListener('click', (event) => {
      const path = event.target.closest('.row')?.dataset.path
      if (path) this.#go(path)
    })
  }

  focus() {
    this.#input.focus()
    this.#input.select()
  }

  close() {
    this.#turn += 1
    this.#mirror?.close()
    this.#mirror = undefined
    this.#hits = []
    this.#found.hidden = true
    this.#tree.hidden = false
    this.#input.ariaExpanded = 'false'
    this.#input.removeAttribute('aria-activedescendant')
  }

  /** Goes to the path that was typed, if it is a valid path. */
  #goTo(text) {
    const path = text.replace(/(?!^)\/$/, '')
    const fault = faultOf(path)
    if (!fault) return this.#go(path)
    this.#open(text)
    this.#fault(fault)
  }

  /** Shows why nothing can be found. */
  #fault(text) {
    this.#rows.length = 0
    this.#why.hidden = true
    say(this.#told, text)
  }

  #go(path) {
    this.close()
    this.#input.value = ''
    // The next key is about what was found.
    this.#tree.focus()
    this.#pick(path)
  }

  #key(event) {
    if (event.key === 'Escape') {
      this.#input.value = ''
      this.close()
      this.#tree.focus()
      return
    }
    if (event.key === 'Enter' && event.currentTarget === this.#list && this.#hits[this.#picked]) this.#go(this.#hits[this.#picked])
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: this.#rows.page, PageUp: -this.#rows.page }[event.key]
    if (!step || this.#hits.length === 0) return
    event.preventDefault()
    this.#picked = Math.min(Math.max(0, this.#picked + step), this.#hits.length - 1)
    this.#rows.reveal(this.#picked)
  }

  /** Opens the list for the results of this text. */
  #open(text) {
    this.close()
    this.#text = text
    this.#picked = 0
    if (text === '') return
    this.#found.hidden = false
    this.#why.hidden = true
    this.#tree.hidden = true
    this.#input.ariaExpanded = 'true'
    this.#list.scrollTop = 0
  }

  async #search(text) {
    this.#open(text)
    if (text === '') return
    const turn = this.#turn
    // A path may have such a segment, but a pattern cannot.
    const glob = text.split('/').find((name) => /[^*]\*|\*[^*]|\*{3}/.test(name))
    try {
      if (text.includes('*') && !glob) return this.#match(text)
      const fault = faultWithin(text)
      if (fault) return this.#fault(fault)
      await this.#scan(text, turn)
      if (turn === this.#turn && glob && this.#hits.length === 0) {
        this.#fault(`0 paths: * stands for a whole segment, which ${glob} is not. Without * all paths are found that contain a text.`)
      }
    } catch (error) {
      if (turn === this.#turn) say(this.#told, error.message)
    }
  }

  /** Searches for a pattern: the broker matches it. */
  #match(text) {
    const turn = this.#turn
    say(this.#told, 'searching…')
    const view = { path: '/', match: [text.replace(/^\//, '')], values: false }
    this.#mirror = this.#link.mirror(view, { once: true }, (event, mirror) => {
      if (turn !== this.#turn) return
      if (event.type === 'fresh') {
        for (const { path } of mirror.entries()) {
          if (this.#hits.length >= MOST) break
          this.#hits.push(path)
        }
        this.#say(mirror.size, true)
      } else if (event.type === 'ended' && event.error) {
        this.#fault(event.error.message)
      }
    })
  }

  /** Searches for a text: reads all paths, page by page, until enough are found. */
  async #scan(text, turn) {
    const small = text.toLowerCase()
    let [after, seen] = [undefined, 0]
    do {
      const page = await this.#link.list({ path: '/', depth: 'tree', limit: PAGE, after, values: false })
      if (turn !== this.#turn) return
      for (const { path } of page.entries) if (path.toLowerCase().includes(small)) this.#hits.push(path)
      seen += page.entries.length
      after = page.more ? page.entries.at(-1).path : undefined
      this.#say(seen, after === undefined || this.#hits.length >= MOST)
    } while (after !== undefined && this.#hits.length < MOST)
  }

  #say(seen, done) {
    const many = this.#hits.length
    const found = many >= MOST ? `the first ${count(MOST)}` : `${count(many)} ${many === 1 ? 'path' : 'paths'}`
    say(this.#told, done ? found : `${found} of ${count(seen)} so far…`)
    this.#why.hidden = !done || many > 0
    this.#rows.length = Math.min(many, MOST)
  }

  /**
   * Sets the picked row on both the field and the list, because either of them may have the focus.
   */
  #mark() {
    const picked = this.#list.querySelector('[aria-selected="true"]:not([hidden])')
    for (const element of [this.#input, this.#list]) attribute(element, 'aria-activedescendant', picked?.id)
  }

  #fill(element, index) {
    const path = this.#hits[index]
    element.hidden = path === undefined
    if (path === undefined || (element.dataset.path === path && element.dataset.for === this.#text && element.ariaSelected === String(index === this.#picked))) return
    element.id = `found-${index}`
    Object.assign(element.dataset, { path, for: this.#text })
    element.setAttribute('role', 'option')
    element.ariaSelected = String(index === this.#picked)
    const at = path.toLowerCase().indexOf(this.#text.toLowerCase())
    element.replaceChildren(h('span', { class: 'path' }, onward(at < 0 ? spelled(path) : spelled(path, at, at + this.#text.length))))
  }
}
