// The tree on the screen, with its mouse and keyboard input.

import { attribute, h, say } from './dom.js'
import { count, span } from './format.js'
import { downTo, isLogKey, parent } from './paths.js'
import { Previews } from './previews.js'
import { Rows } from './rows.js'
import { spell } from './spell.js'
import { Twigs } from './twigs.js'

/**
 * Shows a tree. Calls `pick(path)` when a row is chosen, and `act(letter, path)` for keys that do
 * something and for a click on an entry.
 */
export class TreeView {
  selected = '/'
  #tree
  #link
  #host
  #rows
  #previews
  #twigs
  #pick
  #act
  #flashed = new WeakMap()

  constructor(host, tree, link, { pick, act }) {
    this.#host = host
    this.#tree = tree
    this.#link = link
    this.#pick = pick
    this.#act = act
    this.#previews = new Previews(link, () => this.#rows.refresh())
    this.#twigs = new Twigs(link, () => this.#rows.refresh())
    this.#rows = new Rows(host, (element, index) => this.#fill(element, index), () => this.#mark())
    this.#rows.length = tree.size
    link.onEpoch(() => this.#previews.forget())
    tree.onChange(() => (this.#rows.length = tree.size))
    host.addEventListener('keydown', (event) => this.#key(event))
    host.addEventListener('click', (event) => this.#click(event))
    host.addEventListener('dblclick', (event) => this.#open(event.target.closest('.row')?.dataset.path))
    // Ages grow, and the visible rows need their values.
    setInterval(() => !document.hidden && this.#rows.refresh(), 1000)
    host.addEventListener('scroll', () => this.#ask(), { passive: true })
    setInterval(() => !document.hidden && this.#ask(), 250)
  }

  /** Chooses a path, opens everything above it, and makes it visible. */
  async show(path) {
    this.#choose(path)
    await this.#tree.reveal(path)
    // The path is chosen already. Choosing it again would set the page's address back, which may
    // have changed by now.
    if (this.selected === path) this.#rows.reveal(this.#tree.indexOf(path))
  }

  focus() {
    this.#host.focus()
  }

  #choose(path) {
    this.selected = path
    this.#rows.reveal(this.#tree.indexOf(path))
    this.#pick(path)
  }

  #ask() {
    const [from, to] = this.#rows.sight
    const kids = []
    for (let index = from; index < to; index++) {
      const row = this.#tree.row(index)
      if (row?.kid) kids.push(row.kid)
    }
    this.#previews.want(kids)
    this.#twigs.want(kids)
  }

  #fill(element, index) {
    const row = this.#tree.row(index)
    if (!row?.kid) {
      element.hidden = true
      return
    }
    element.hidden = false
    const { kid, depth, branch, place } = row
    if (!element.firstChild) {
      element.append(
        h('span', { class: 'twist', 'aria-hidden': 'true' }), h('span', { class: 'name' }), h('span', { class: 'value' }),
        h('span', { class: 'rev' }), h('span', { class: 'age' }),
      )
      element.setAttribute('role', 'treeitem')
    }
    const [twist, name, value, rev, age] = element.children
    const opened = kid.path === '/' ? this.#tree.root : branch?.open.get(kid.name)
    element.id = `row-${index}`
    element.dataset.path = kid.path
    attribute(element, 'aria-level', depth + 1)
    attribute(element, 'aria-setsize', branch ? branch.kids.length : 1)
    attribute(element, 'aria-posinset', place + 1)
    attribute(element, 'aria-selected', kid.path === this.selected)
    attribute(element, 'aria-expanded', opened ? true : kid.below ? false : undefined)
    attribute(element, 'aria-busy', opened && !opened.whole ? true : undefined)
    element.style.paddingLeft = `${6 + depth * 16}px`
    say(twist, '')
    spell(name, kid.name)
    name.className = kid.bare ? 'name bare' : isLogKey(kid.name) ? 'name key' : 'name'
    say(value, kid.entry ? this.#previews.text(kid) : '')
    say(rev, kid.entry ? `r${count(kid.rev)}` : '')
    rev.title = kid.entry ? `revision ${count(kid.rev)}, ${count(Math.max(0, this.#link.rev - kid.rev))} before the present one` : ''
    // A revision is not a time: only an entry that this page has seen change has an age.
    say(age, kid.at ? span(Math.max(0, Date.now() - kid.at)) : '')
    this.#flash(element, kid)
  }

  /**
   * Tells screen readers which row is active, if it is visible: the id of another row may belong to
   * no element, or to a different row.
   */
  #mark() {
    const index = this.#tree.indexOf(this.selected)
    const [from, to] = this.#rows.sight
    const seen = from <= index && index < to && this.#tree.row(index)?.kid?.path === this.selected
    attribute(this.#host, 'aria-activedescendant', seen ? `row-${index}` : undefined)
  }

  #flash(element, kid) {
    const fresh = kid.at && Date.now() - kid.at < 1400
    const shown = this.#flashed.get(element)
    const key = fresh ? `${kid.path} ${kid.at}` : ''
    if (shown === key) return
    this.#flashed.set(element, key)
    element.classList.remove('flash')
    if (!fresh) return
    // The animation starts again only if the class was absent for a frame.
    requestAnimationFrame(() => element.classList.add('flash'))
  }

  #click(event) {
    const row = event.target.closest('.row')
    if (!row) return
    const { path } = row.dataset
    const twist = event.target.closest('.twist')
    if (twist) this.#toggle(path)
    this.#choose(path)
    if (!twist && this.#tree.kid(path)?.entry) this.#act('click', path)
  }

  #open(path) {
    if (path) this.#toggle(path)
  }

  #isOpen(path) {
    return path === '/' || this.#tree.branch(path) !== undefined
  }

  #toggle(path, opened = !this.#isOpen(path)) {
    if (opened && this.#tree.kid(path)?.below === false) return
    this.#tree.toggle(path, opened)
    if (!opened && this.selected !== path && this.selected.startsWith(`${path}/`)) this.#choose(path)
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const index = this.#tree.indexOf(this.selected)
    const to = (index) => {
      const row = this.#tree.row(Math.min(Math.max(0, index), this.#tree.size - 1))
      if (row?.kid) this.#choose(row.kid.path)
    }
    const keys = {
      ArrowDown: () => to(index + 1),
      ArrowUp: () => to(index - 1),
      PageDown: () => to(index + this.#rows.page),
      PageUp: () => to(index - this.#rows.page),
      Home: () => to(0),
      End: () => to(this.#tree.size - 1),
      ArrowRight: () => (this.#isOpen(this.selected) ? this.#tree.branch(this.selected)?.kids.length && to(index + 1) : this.#toggle(this.selected, true)),
      ArrowLeft: () => {
        if (this.selected !== '/' && this.#isOpen(this.selected)) this.#toggle(this.selected, false)
        else if (this.selected !== '/') this.#choose(downTo(this.selected).at(-2) ?? parent(this.selected))
      },
      Enter: () => this.#act('Enter', this.selected),
      ' ': () => this.#toggle(this.selected),
      Delete: () => this.#act('d', this.selected),
    }
    const work = keys[event.key]
    if (!work) return
    event.preventDefault()
    work()
  }
}
