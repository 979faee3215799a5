// The banner: shows what is wrong with the connection, where nobody can miss it.

import { byId, h, say } from './dom.js'
import { count } from './format.js'

// A connection that is back within this time is not reported, ms.
const GRACE_MS = 400
// How long an error is shown, ms.
const FAULT_MS = 8000

const WHY = {
  outrun: 'it fell too far behind', epoch: 'the broker has another history', horizon: 'it was away for too long',
  view: 'its view is another', future: 'the broker has an older tree', resync: 'its copy was wrong', 'no-cookie': '',
}

/** Shows the state of the connection and of the mirrors. */
export class Banner {
  #link
  #host = byId('banner')
  #state = byId('state')
  #text = byId('state-text')
  #since
  #retryAt
  #refreshing = new Map()
  #fault

  constructor(link) {
    this.#link = link
    link.onStatus((status) => this.#status(status))
    link.onRevision(() => this.#say())
    setInterval(() => this.#say(), 250)
  }

  /**
   * Notes that a mirror that was complete is brought to the present again, or is complete again.
   */
  mirror(key, event) {
    if (event.type === 'refreshing' && event.why !== 'no-cookie') this.#refreshing.set(key, { why: event.why, since: performance.now() })
    else if (['fresh', 'ended', 'offline'].includes(event.type)) this.#refreshing.delete(key)
  }

  /** Shows that something the user asked for has failed. */
  fault(error) {
    this.#fault = { text: error.message, until: performance.now() + FAULT_MS }
    this.#say()
  }

  #status({ status, retryInMs }) {
    const online = status === 'online'
    this.#since = online ? undefined : (this.#since ?? performance.now())
    this.#retryAt = retryInMs === undefined ? undefined : performance.now() + retryInMs
    this.#say()
  }

  #say() {
    const { status, error } = this.#link.status
    const online = status === 'online'
    this.#state.dataset.state = status
    say(this.#text, online ? `revision ${count(this.#link.rev)}` : { connecting: 'connecting', offline: 'disconnected', ended: 'ended' }[status])
    const now = performance.now()
    const lost = !online && now - (this.#since ?? now) >= GRACE_MS
    const fault = this.#fault?.until > now && this.#fault.text
    document.body.classList.toggle('stale', lost)
    const slow = [...this.#refreshing.values()].find(({ since }) => now - since >= GRACE_MS)
    if (lost) this.#show('lost', ...this.#lost(status, error, now), fault ? `That did not work: ${fault}` : '')
    else if (online && slow) this.#show('resync', 'Resyncing.', `What is shown is brought to the present${WHY[slow.why] ? `: ${WHY[slow.why]}` : ''}.`)
    else if (fault) this.#show('fault', 'That did not work.', fault)
    else this.#host.hidden = true
  }

  #lost(status, error, now) {
    const at = this.#link.rev > 0 ? `What is shown is from revision ${count(this.#link.rev)}.` : ''
    if (status === 'ended') return ['The connection has ended.', `${error?.message ?? ''} Load the page again.`]
    const wait = Math.ceil(((this.#retryAt ?? now) - now) / 1000)
    return ['Disconnected.', `${at} ${wait > 0 ? `Trying again in ${wait} s.` : 'Trying again…'} What you write now is sent when the broker is back.`]
  }

  #show(kind, head, ...parts) {
    const rest = parts.join(' ').trim()
    const text = `${head} ${rest}`.trim()
    this.#host.dataset.kind = kind
    this.#host.hidden = false
    if (this.#host.textContent === text) return
    this.#host.replaceChildren(`${head} `, h('small', {}, rest))
  }
}
