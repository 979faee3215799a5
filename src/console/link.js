// The only module that connects to the broker: with the JavaScript client, and with two JSON
// requests over HTTP.

import { Value, start } from './onetree/index.js'

/** A connection that reconnects by itself. Requests made while it is lost wait for it. */
export class Link {
  /** The highest revision that is known. */
  rev = 0
  /** How many histories the broker has had. Revisions of different histories cannot be compared. */
  histories = 1
  #client
  #listeners = new Set()
  #seen = new Set()
  #watching = new Set()
  #forgetting = new Set()
  /** `{status, error?, retryInMs?}` */
  status = { status: 'connecting' }

  constructor() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    // A console that is left open connects by itself, whatever went wrong at its first attempt.
    this.#client = start(`${scheme}://${location.host}`, { agent: 'onetree console', reconnect: 'always' })
    this.#client.onStatus((status) => {
      this.status = status
      for (const listener of this.#listeners) listener(this.status)
    })
  }

  /** Calls `listener` now and whenever the state of the connection changes. */
  onStatus(listener) {
    this.#listeners.add(listener)
    listener(this.status)
  }

  /** Calls `listener(mirror, event)` with each event of any mirror. */
  onMirror(listener) {
    this.#watching.add(listener)
  }

  /** Calls `listener` with each revision that is higher than all before. */
  onRevision(listener) {
    this.#seen.add(listener)
  }

  /** Calls `listener` when the broker has another history: known revisions are then useless. */
  onEpoch(listener) {
    this.#forgetting.add(listener)
  }

  #forget() {
    this.rev = 0
    this.histories += 1
    for (const listener of this.#forgetting) listener()
  }

  see(rev) {
    if (!(rev > this.rev)) return
    this.rev = rev
    for (const listener of this.#seen) listener(rev)
  }

  get online() {
    return this.status.status === 'online'
  }

  async put(path, value, options) {
    return this.#wrote(await this.#client.put(path, value, options))
  }

  async append(path, value, options) {
    return this.#wrote(await this.#client.append(path, value, options))
  }

  async remove(path, options) {
    return this.#wrote(await this.#client.delete(path, options))
  }

  async drop(path, options) {
    return this.#wrote(await this.#client.dropTree(path, options))
  }

  #wrote(done) {
    this.see(done.rev)
    return done
  }

  /** Reads the entry at a path, if there is one. */
  get(path) {
    return this.#client.get(path)
  }

  /** Reads entries at one revision: `{rev, entries}`. */
  getMany(paths) {
    return this.#client.getMany(paths)
  }

  /** Reads a page: `{rev, entries, more}`. */
  list({ path, ...options }) {
    return this.#client.list(path, defined(options))
  }

  /**
   * Opens a live copy of a view. `on(event, mirror)` is called with each event; `close()` ends the
   * mirror.
   */
  mirror(view, options, on) {
    const mirror = this.#client.mirror(view, options)
    mirror.onEvent((event) => {
      if (event.type === 'refreshing' && event.why === 'epoch') this.#forget()
      if (event.rev) this.see(event.rev)
      for (const listener of this.#watching) listener(mirror, event)
      on(event, mirror)
    })
    return {
      get: (path) => mirror.get(path),
      entries: () => mirror.entries(),
      close: () => mirror.close(),
    }
  }

  /** Requests one of the broker's JSON documents at `/v1/…`. */
  async ask(path) {
    const answer = await fetch(path, { cache: 'no-store' })
    if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`)
    return answer.json()
  }
}

/** Makes a value of text as the user typed it. JSON stays as it is written, down to each digit. */
export const typed = (type, text) => Value.of(type, new TextEncoder().encode(text))

/** Makes a value of bytes. */
export const raw = (type, bytes) => Value.of(type, bytes)

const defined = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
