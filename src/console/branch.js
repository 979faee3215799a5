// One opened topic: its children, as they are now.

import { compareNames, join, nameOf } from './paths.js'

// Children without a value are no entries, so no mirror tells of them: they are listed again while
// the tree changes, after so long, and after so many times what the listing took.
const LIST_AGAIN_MS = 1500
const LIST_SHARE = 40
// From so many on, one sort is cheaper than to put each in its place.
const MANY = 200

/**
 * A child: `{name, path, rev, entry, bare, below, at}`. `entry`: it holds a value, at `rev`. `bare`:
 * something below it does, as far as the last listing told. `below`: whether something lies under
 * it, `undefined` when nobody has asked. `at`: when this page saw it change, if it did.
 */
export class Branch {
  kids = []
  #byName = new Map()
  /** Opened children, by their names. */
  open = new Map()
  /** Whether the children have been told once. */
  whole = false
  /** The entry at the topic itself. */
  own
  #link
  #mirror
  #changed
  #list = { running: false, rev: -1, ended: 0, took: 0 }
  #closed = false
  #waiting = []

  /** `changed` is called when something of it is different. */
  constructor(link, path, changed) {
    this.path = path
    this.#link = link
    this.#changed = changed
    const view = { path, depth: 'children', values: false }
    this.#mirror = link.mirror(view, {}, (event) => this.#handle(event))
  }

  close() {
    this.#closed = true
    this.#mirror.close()
    for (const branch of this.open.values()) branch.close()
    this.#settle()
  }

  /** Resolves when its children are there, those without a value too. */
  ready() {
    if (this.#closed || (this.whole && this.#list.rev >= 0)) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #settle() {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  get(name) {
    return this.#byName.get(name)
  }

  /** How many rows it has: its children and what is opened under them. */
  get size() {
    let size = this.kids.length
    for (const [name, branch] of this.open) if (this.#byName.has(name)) size += branch.size
    return size
  }

  /** The child and its depth in this row. */
  row(index, depth = 1) {
    let before = 0
    for (const [place, branch] of this.#opened()) {
      if (index <= place + before) break
      const size = branch.size
      if (index <= place + before + size) return branch.row(index - place - before - 1, depth + 1)
      before += size
    }
    const kid = this.kids[index - before]
    return kid && { kid, depth, branch: this, place: index - before }
  }

  /** The row of the child at the end of these names; of the deepest that is there. */
  indexOf(names) {
    const [first, ...rest] = names
    const place = this.place(first)
    let index = place
    for (const [other, branch] of this.#opened()) if (other < place) index += branch.size
    const branch = this.open.get(first)
    return rest.length > 0 && branch ? index + 1 + branch.indexOf(rest) : index
  }

  #opened() {
    // One that was opened by its path may not have been told of yet.
    const there = [...this.open].filter(([name]) => this.#byName.has(name))
    const found = there.map(([name, branch]) => [this.place(name), branch])
    return found.sort(([one], [other]) => one - other)
  }

  /** Where a child of this name stands, or would. */
  place(name) {
    let [low, high] = [0, this.kids.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareNames(this.kids[middle].name, name) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  toggle(name, opened) {
    const branch = this.open.get(name)
    if (opened && !branch) {
      this.open.set(name, new Branch(this.#link, join(this.path, name), this.#changed))
    } else if (!opened && branch) {
      branch.close()
      this.open.delete(name)
    }
    return this.open.get(name)
  }

  #handle(event) {
    if (this.#closed) return
    if (event.type === 'fresh') this.#whole()
    else if (event.type === 'delta' && event.changes.length > 0) this.#apply(event.changes)
    else return
    this.#changed()
  }

  /** All children anew. */
  #whole() {
    const before = this.#byName
    this.#byName = new Map()
    this.own = undefined
    // The mirror has them in order already.
    this.kids = []
    for (const { path, rev } of this.#mirror.entries()) {
      if (path === this.path) {
        this.own = { path, rev }
        continue
      }
      const name = nameOf(path)
      const old = before.get(name)
      const kid = { name, path, rev, entry: true, bare: false, below: old?.below, at: old?.rev === rev ? old.at : undefined }
      this.#byName.set(name, kid)
      this.kids.push(kid)
    }
    const bare = [...before.values()].filter(({ name, bare }) => bare && !this.#byName.has(name))
    for (const kid of bare) this.#add({ ...kid, entry: false, rev: 0 }, bare.length > MANY)
    if (bare.length > MANY) this.#order()
    this.whole = true
    this.look(true)
  }

  #order() {
    this.kids = [...this.#byName.values()].sort((one, other) => compareNames(one.name, other.name))
  }

  #apply(changes) {
    const now = Date.now()
    const many = changes.length > MANY
    for (const { path, rev, new: entry } of changes) {
      if (path === this.path) {
        this.own = entry && { path, rev: entry.rev, at: now }
        continue
      }
      const name = nameOf(path)
      const kid = this.#byName.get(name)
      if (entry) {
        if (kid) Object.assign(kid, { rev: entry.rev, entry: true, at: now })
        else this.#add({ name, path, rev: entry.rev, entry: true, bare: false, below: undefined, at: now }, many)
      } else if (kid) {
        // What may lie below it goes on; the next listing tells.
        if (kid.below || this.open.has(name)) Object.assign(kid, { rev: 0, entry: false, bare: true, at: rev && now })
        else this.#remove(kid, many)
      }
    }
    if (many) this.#order()
  }

  #add(kid, later) {
    this.#byName.set(kid.name, kid)
    if (!later) this.kids.splice(this.place(kid.name), 0, kid)
  }

  #remove(kid, later) {
    this.#byName.delete(kid.name)
    if (!later) this.kids.splice(this.place(kid.name), 1)
    this.toggle(kid.name, false)
  }

  /** Lists the children again, when it is time or somebody has changed something by hand. */
  async look(now = false) {
    const { running, rev, ended, took } = this.#list
    const due = performance.now() - ended > Math.max(LIST_AGAIN_MS, LIST_SHARE * took)
    if (running || this.#closed || !this.whole || !this.#link.online) return
    if (!now && (!due || rev === this.#link.rev)) return
    const began = performance.now()
    this.#list.running = true
    try {
      const found = new Set()
      let first
      let after
      do {
        const page = await this.#link.list({ path: this.path, depth: 'children', values: false, after })
        first ??= page.rev
        for (const { path, rev } of page.entries) if (rev === 0) found.add(nameOf(path))
        after = page.more ? page.entries.at(-1).path : undefined
      } while (after !== undefined && !this.#closed)
      this.#merge(found)
      this.#list.rev = first
    } catch {
      // The connection went: when it is back the mirror is fresh again, and all is listed again.
    }
    const end = performance.now()
    Object.assign(this.#list, { running: false, ended: end, took: end - began })
    this.#settle()
  }

  #merge(found) {
    let different = false
    for (const name of found) {
      const kid = this.#byName.get(name)
      if (kid) {
        different ||= kid.below !== true
        Object.assign(kid, { bare: !kid.entry, below: true })
      } else {
        this.#add({ name, path: join(this.path, name), rev: 0, entry: false, bare: true, below: true, at: undefined }, found.size > MANY)
        different = true
      }
    }
    for (const kid of [...this.kids]) {
      if (!kid.entry && !found.has(kid.name)) {
        this.#remove(kid, false)
        different = true
      }
    }
    if (found.size > MANY) this.#order()
    if (different) this.#changed()
  }
}
