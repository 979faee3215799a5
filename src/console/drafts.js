// Keeps what was typed into a dialog that was closed before its work was done.

import { h } from './dom.js'

const FIELDS = 'textarea, select, input:not([type="file"], [type="checkbox"])'

/**
 * Keeps what is typed until its work is done. A user who opens the same dialog for the same place
 * again finds the text there.
 */
export class Drafts {
  #kept = new Map()

  /**
   * Fills the fields in `content` with what was typed at `place`, and keeps what will be typed.
   * Returns a note for the user if there was a draft.
   */
  open(place, content) {
    const fields = content.flatMap((part) => (part ? [...part.querySelectorAll(FIELDS)] : []))
    const values = () => fields.map((field) => field.value)
    const before = values()
    const set = (texts) => fields.forEach((field, at) => {
      field.value = texts[at]
      // A choice that was possible then may not be possible now.
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

  /** Forgets the draft: its work is done, or the user does not want it. */
  done(place) {
    this.#kept.delete(place)
  }
}
