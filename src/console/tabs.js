// Tabs: which page is shown beside the tree; on a phone the tree is a page too.

import { byId, h } from './dom.js'

const NAMES = { tree: 'Tree', entry: 'Entry', changes: 'Changes', sessions: 'Sessions', health: 'Health' }

/** The tabs. `opened(name)` is called when one is opened. */
export class Tabs {
  #host
  #opened
  now = 'entry'

  constructor(host, opened) {
    this.#host = host
    this.#opened = opened
    for (const [name, text] of Object.entries(NAMES)) {
      host.append(h('button', {
        type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': name === 'tree' ? 'pane-tree' : `page-${name}`, onclick: () => this.open(name),
      }, text))
    }
    host.addEventListener('keydown', (event) => this.#key(event))
    this.open('entry')
  }

  open(name) {
    this.now = name
    document.body.dataset.tab = name
    for (const other of Object.keys(NAMES)) {
      const tab = byId(`tab-${other}`)
      tab.setAttribute('aria-selected', String(other === name))
      tab.tabIndex = other === name ? 0 : -1
      // A wide window always shows the tree, and a page beside it.
      if (other !== 'tree' && name !== 'tree') byId(`page-${other}`).hidden = other !== name
    }
    this.#opened(name)
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!step) return
    const there = [...this.#host.children].filter((tab) => tab.offsetParent !== null)
    const at = there.findIndex((tab) => tab.getAttribute('aria-selected') === 'true')
    const next = there[(at + step + there.length) % there.length]
    next.focus()
    next.click()
  }
}
