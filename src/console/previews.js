// Values of the rows in sight, in one line each.

import { oneLine } from './pretty.js'

// Paths of one request, and values that are remembered.
const TOGETHER = 24
const KEPT = 3000
// Between two requests, ms: a tree that changes all the time is not read all the time.
const REST_MS = 60

/** Fetches what is in sight and nothing else: a topic may have a hundred thousand children. */
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

  /** The value of an entry in one line, as it was last seen. */
  text(kid) {
    return this.#kept.get(kid.path)?.text ?? ''
  }

  /** These rows are in sight. */
  want(kids) {
    this.#wanted.clear()
    for (const { path, rev, entry } of kids) {
      if (entry && (this.#kept.get(path)?.rev ?? -1) < rev) this.#wanted.set(path, rev)
    }
    this.#fetch()
  }

  /** Another history: what is known is of no use. */
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
      // The connection went: what is in sight is asked for again when it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, REST_MS))
    this.#running = false
    this.#fetch()
  }

  async #read(asked) {
    try {
      const { rev, entries } = await this.#link.getMany(asked.map(([path]) => path))
      const found = new Map(entries.map((entry) => [entry.path, { rev: entry.rev, text: oneLine(entry.value) }]))
      // What is gone stays as it was shown until its mirror says so.
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
