// One opened topic: its children, kept up to date.

import { compareNames, join, nameOf } from './paths.js'
import { inPieces } from './turn.js'

// Topics without a value of their own are no entries, so no mirror reports them. The children are
// therefore listed again while the tree changes, after the longer of LIST_AGAIN_MS and LIST_SHARE
// times what the last listing took.
const LIST_AGAIN_MS = 1500
const LIST_SHARE = 40
// For more than this many children, one walk along all is cheaper than inserting each in its place.
const MANY = 200

/**
 * A child: `{name, path, rev, entry, bare, below, at}`. `entry`: it has a value, at revision `rev`.
 * `bare`: it has none, but something below it has, as far as the last listing showed. `below`:
 * whether something lies under it; `undefined` if that was not asked yet. `at`: when this page saw
 * it change, if it did.
 */
export class Branch {
  kids = []
  #byName = new Map()
  /** Opened children, by their names. */
  open = new Map()
  /** Whether the mirror has delivered the children once. */
  whole = false
  /** The entry at the topic itself. */
  own
  #link
  #mirror
  #changed
  #list = { running: false, rev: -1, ended: 0, took: 0 }
  #closed = false
  /** What the mirror has delivered and is not shown yet, and whether it is being shown. */
  #told = []
  #telling = false
  #waiting = []

  /** `changed` is called when anything in this branch has changed. */
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

  /** Resolves when the children are there, including those without a value. */
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

  /** How many rows the branch has: its children, and the rows of opened children. */
  get size() {
    let size = this.kids.length
    for (const [name, branch] of this.open) if (this.#byName.has(name)) size += branch.size
    return size
  }

  /** The child in this row, and its depth. */
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

  /** The row of the child at the end of these names, or of the deepest one that exists. */
  indexOf(names) {
    const [first, ...rest] = names
    const place = this.place(first)
    let index = place
    for (const [other, branch] of this.#opened()) if (other < place) index += branch.size
    const branch = this.open.get(first)
    return rest.length > 0 && branch ? index + 1 + branch.indexOf(rest) : index
  }

  #opened() {
    // A child that was opened by its path may not have been delivered yet.
    const there = [...this.open].filter(([name]) => this.#byName.has(name))
    const found = there.map(([name, branch]) => [this.place(name), branch])
    return found.sort(([one], [other]) => one - other)
  }

  /** The index at which a child of this name is, or would be. */
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
    // Take all entries now, although they are shown later: changes that come meanwhile are queued
    // behind. Everything queued before is contained in them.
    if (event.type === 'fresh') this.#told = [{ all: this.#mirror.entries() }]
    else if (event.type === 'delta' && event.changes.length > 0) this.#told.push(event)
    this.#tell()
  }

  async #tell() {
    if (this.#telling) return
    this.#telling = true
    try {
      while (this.#told.length > 0 && !this.#closed) {
        const { all, changes } = this.#told.shift()
        if (all) await this.#whole(all)
        else this.#apply(changes)
        this.#changed()
      }
    } finally {
      this.#telling = false
    }
  }

  /** Replaces all children. The old ones are shown until all new ones are ready. */
  async #whole(entries) {
    const kids = []
    const byName = new Map()
    let own
    // The mirror has the entries in order already.
    await inPieces(entries, ({ path, rev }) => {
      if (path === this.path) {
        own = { path, rev }
        return
      }
      const name = nameOf(path)
      const old = this.#byName.get(name)
      const kid = { name, path, rev, entry: true, bare: false, below: old?.below, at: old?.rev === rev ? old.at : undefined }
      byName.set(name, kid)
      kids.push(kid)
    }, () => this.#closed)
    if (this.#closed) return
    const bare = []
    for (const kid of this.kids) if (kid.bare && !byName.has(kid.name)) bare.push({ ...kid, entry: false, rev: 0 })
    Object.assign(this, { kids, own })
    this.#byName = byName
    this.#put(bare)
    this.whole = true
    this.look(true)
  }

  /** Inserts these children in their places. */
  #put(kids) {
    for (const kid of kids) this.#byName.set(kid.name, kid)
    if (kids.length > MANY) this.#walk(kids)
    else for (const kid of kids) this.kids.splice(this.place(kid.name), 0, kid)
  }

  /** Removes these children. */
  #take(kids) {
    const places = kids.length <= MANY
    for (const kid of kids) {
      if (places) this.kids.splice(this.place(kid.name), 1)
      this.#byName.delete(kid.name)
      this.toggle(kid.name, false)
    }
    if (!places) this.#walk([])
  }

  /** Rebuilds the list in one walk: leaves out the children that are gone, and adds `more`. */
  #walk(more) {
    more.sort((one, other) => compareNames(one.name, other.name))
    const kids = []
    let next = 0
    for (const kid of this.kids) {
      while (next < more.length && compareNames(more[next].name, kid.name) < 0) kids.push(more[next++])
      if (this.#byName.get(kid.name) === kid) kids.push(kid)
    }
    while (next < more.length) kids.push(more[next++])
    this.kids = kids
  }

  #apply(changes) {
    const now = Date.now()
    // By name, because one event may add and remove the same child.
    const [come, gone] = [new Map(), new Map()]
    for (const { path, rev, new: entry } of changes) {
      if (path === this.path) {
        this.own = entry && { path, rev: entry.rev, at: now }
        continue
      }
      const name = nameOf(path)
      const kid = come.get(name) ?? this.#byName.get(name)
      if (entry) {
        gone.delete(name)
        if (kid) Object.assign(kid, { rev: entry.rev, entry: true, at: now })
        else come.set(name, { name, path, rev: entry.rev, entry: true, bare: false, below: undefined, at: now })
      } else if (kid) {
        // The topic stays, because something may lie below it; the next listing shows whether that
        // is so.
        if (kid.below || this.open.has(name)) Object.assign(kid, { rev: 0, entry: false, bare: true, at: rev && now })
        else if (!come.delete(name)) gone.set(name, kid)
      }
    }
    this.#take([...gone.values()])
    this.#put([...come.values()])
  }

  /** Lists the children again if it is time, or at once if the user has changed something. */
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
      // The connection was lost. When it is back, the mirror becomes fresh, and everything is
      // listed again.
    }
    const end = performance.now()
    Object.assign(this.#list, { running: false, ended: end, took: end - began })
    this.#settle()
  }

  #merge(found) {
    const come = []
    let different = false
    for (const name of found) {
      const kid = this.#byName.get(name)
      if (kid) {
        different ||= kid.below !== true
        Object.assign(kid, { bare: !kid.entry, below: true })
      } else {
        come.push({ name, path: join(this.path, name), rev: 0, entry: false, bare: true, below: true, at: undefined })
      }
    }
    const gone = this.kids.filter((kid) => !kid.entry && !found.has(kid.name))
    this.#take(gone)
    this.#put(come)
    if (different || come.length + gone.length > 0) this.#changed()
  }
}
