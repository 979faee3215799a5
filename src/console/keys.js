// Keys that work anywhere on the page.

import { ask } from './dialog.js'
import { h } from './dom.js'

const HELP = [
  ['↑ ↓', 'Go through the tree; Page and Home, End too'], ['→ ←', 'Open and close; into and out of a topic'], ['Enter', 'To the entry'],
  ['/', 'Find a path'], ['e', 'Edit the value, or put one'], ['a', 'Append to a log'], ['d', 'Delete'], ['f', 'Follow the topic'],
  ['n', 'A new entry'], ['1 – 4', 'Entry, changes, sessions, health'], ['t', 'Dark or light'], ['Esc', 'Back to the tree'],
]

/** Calls `work[key]` when a key is pressed outside of fields and dialogs. */
export function keys(work) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
    // A dialog's button that was disabled while it was busy has lost the focus to the page, but its
    // keys still belong to the dialog.
    if (event.target.closest('input, textarea, select, dialog') || document.querySelector('dialog[open]')) return
    const handle = work[event.key]
    if (!handle) return
    event.preventDefault()
    handle()
  })
}

/** Shows the list of keys. */
export function help() {
  return ask('Keys', h('div', { class: 'keys' }, HELP.flatMap(([key, text]) => [h('kbd', {}, key), h('span', {}, text)])))
}
