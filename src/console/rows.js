// Rows of equal height, of which only the visible ones are in the document.

import { h } from './dom.js'

// Browsers allow no element higher than about 33 million pixels; above this height, positions are
// scaled.
const HIGHEST = 16_000_000
// Rows beyond the edges that are kept ready, so that a quick scroll shows no gap.
const SPARE = 8

/**
 * A list of any length. `host` scrolls. `fill(element, index)` makes an element show a row; it is
 * called for each visible row whenever something may have changed, and then `shown()` is called.
 * The cost depends only on the visible rows.
 */
export class Rows {
  #host
  #space = h('div', { class: 'rows-space' })
  #fill
  #shown
  #elements = []
  #asked = false
  #height = 24
  count = 0

  constructor(host, fill, shown = () => {}) {
    this.#host = host
    this.#fill = fill
    this.#shown = shown
    host.append(this.#space)
    host.addEventListener('scroll', () => this.refresh(), { passive: true })
    new ResizeObserver(() => this.refresh()).observe(host)
  }

  /** Sets the number of rows. */
  set length(count) {
    this.count = count
    this.refresh()
  }

  /** Shows the present state in the next frame. */
  refresh() {
    if (this.#asked) return
    this.#asked = true
    requestAnimationFrame(() => {
      this.#asked = false
      this.#show()
    })
  }

  /** The visible rows: the first, and the one behind the last. */
  get sight() {
    const top = this.#host.scrollTop * this.#scale
    const first = Math.floor(top / this.#height)
    return [first, Math.min(this.count, Math.ceil((top + this.#host.clientHeight) / this.#height))]
  }

  /** How many rows fit, at least one. */
  get page() {
    return Math.max(1, Math.floor(this.#host.clientHeight / this.#height) - 1)
  }

  /** Scrolls as little as needed to make this row visible. */
  reveal(index) {
    const [top, tall] = [index * this.#height, this.#host.clientHeight]
    const now = this.#host.scrollTop * this.#scale
    if (top < now) this.#host.scrollTop = top / this.#scale
    else if (top + this.#height > now + tall) this.#host.scrollTop = (top + this.#height - tall) / this.#scale
    this.refresh()
  }

  get #scale() {
    const full = this.count * this.#height
    return full <= HIGHEST ? 1 : (full - this.#host.clientHeight) / (HIGHEST - this.#host.clientHeight)
  }

  #show() {
    this.#height = parseFloat(getComputedStyle(this.#host).getPropertyValue('--row')) || 24
    this.#space.style.height = `${Math.min(HIGHEST, this.count * this.#height)}px`
    if (this.#host.clientHeight === 0) return
    const [from, to] = this.sight
    const first = Math.max(0, from - SPARE)
    const last = Math.min(this.count, to + SPARE)
    const shift = this.#host.scrollTop * (1 - this.#scale)
    while (this.#elements.length < last - first) {
      const element = h('div', { class: 'row' })
      this.#elements.push(element)
      this.#host.append(element)
    }
    while (this.#elements.length > last - first) this.#elements.pop().remove()
    this.#elements.forEach((_, at) => {
      // A row keeps its element while it is visible.
      const index = first + ((at - (first % this.#elements.length) + this.#elements.length) % this.#elements.length)
      const element = this.#elements[at]
      element.style.transform = `translateY(${index * this.#height + shift}px)`
      this.#fill(element, index)
    })
    this.#shown()
  }
}
