// The values of the visible rows, on one line each.

import { oneLine } from './pretty.js'

// The number of paths in one request, and of values that are kept.
const TOGETHER = 24
const KEPT = 3000
// The pause between two requests, ms: a tree that changes all the time must not be read all the
// time.
const REST_MS = 60

/** Fetches only the values that are visible: a topic may have a hundred thousand children. */
export class Previews {
  #link
  #changed
  #kept = new Map()
  #wanted = new Map()
  #running = false

  constructor(link, changed) {
    this.#link = link
    this.#changed = changed
  }

  /** Returns the value of an entry on one line, as it was last seen. */
  text(kid) {
    return this.#kept.get(kid.path)?.text ?? ''
  }

  /** Sets the rows that are visible. */
  want(kids) {
    this.#wanted.clear()
    for (const { path, rev, entry } of kids) {
      if (entry && (this.#kept.get(path)?.rev ?? -1) < rev) this.#wanted.set(path, rev)
    }
    this.#fetch()
  }

  /** Forgets everything, because the broker has another history. */
  forget() {
    this.#kept.clear()
  }

  async #fetch() {
    if (this.#running || this.#wanted.size === 0 || !this.#link.online) return
    this.#running = true
    const asked = [...this.#wanted].slice(0, TOGETHER)
    for (const [path] of asked) this.#wanted.delete(path)
    try {
      for (const [path, known] of await this.#read(asked)) this.#keep(path, known)
      this.#changed()
    } catch {
      // The connection was lost: what is visible is asked for again when it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, REST_MS))
    this.#running = false
    this.#fetch()
  }

  async #read(asked) {
    try {
      const { rev, entries } = await this.#link.getMany(asked.map(([path]) => path))
      const found = new Map(entries.map((entry) => [entry.path, { rev: entry.rev, text: oneLine(entry.value) }]))
      // An entry that is gone is shown without a value until its mirror reports that.
      return asked.map(([path]) => [path, found.get(path) ?? { rev, text: '' }])
    } catch (error) {
      if (error.code !== 'frame-too-large') throw error
      if (asked.length === 1) return [[asked[0][0], { rev: asked[0][1], text: '(large)' }]]
      const middle = asked.length >> 1
      return [...(await this.#read(asked.slice(0, middle))), ...(await this.#read(asked.slice(middle)))]
    }
  }

  #keep(path, known) {
    this.#kept.delete(path)
    this.#kept.set(path, known)
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value)
  }
}
