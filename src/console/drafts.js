// What was typed into a dialog that was closed before it was done.

import { h } from './dom.js'

const FIELDS = 'textarea, select, input:not([type="file"], [type="checkbox"])'

/** Keeps what is typed, until it is done: who opens the same dialog at the same place again has it there. */
export class Drafts {
  #kept = new Map()

  /** Gives the fields in `content` what was typed at `place`, and keeps what will be. Of what there was, the words that say so. */
  open(place, content) {
    const fields = content.flatMap((part) => (part ? [...part.querySelectorAll(FIELDS)] : []))
    const values = () => fields.map((field) => field.value)
    const before = values()
    const set = (texts) => fields.forEach((field, at) => {
      field.value = texts[at]
      // What could be chosen then and cannot be now.
      if (field.value !== texts[at]) field.value = before[at]
      field.dispatchEvent(new Event('change'))
    })
    for (const field of fields) {
      field.addEventListener('input', () => {
        const now = values()
        if (now.some((text, at) => text !== before[at])) this.#kept.set(place, now)
        else this.done(place)
      })
    }
    const kept = this.#kept.get(place)
    const anew = () => {
      this.done(place)
      set(before)
      note.hidden = true
      fields[0].focus()
    }
    const note = h('p', { class: 'draft' },
      h('span', {}, 'What you typed is here again, not what there is now.'), h('button', { type: 'button', onclick: anew }, 'Begin anew'))
    if (kept) set(kept)
    return kept && note
  }

  /** It was done, or is not wanted. */
  done(place) {
    this.#kept.delete(place)
  }
}
