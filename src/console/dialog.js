// Dialogs.

import { h, say } from './dom.js'

// A write that is answered within this needs no word, ms.
const GRACE_MS = 250

/**
 * Opens a dialog with a title, fields and a button `{text, kind?, work, waits}`; resolves when it is closed, with what
 * `work` gave. It may fail, then what it says is shown and the dialog stays. While it goes on, `waits()` says what for.
 * Who closes the dialog meanwhile gets nothing, and how it failed, if it did.
 */
export async function ask(title, content, button) {
  // One at a time: what comes late, as its fields had to be read first, is not laid over another.
  if (document.querySelector('dialog[open]')) return
  let [running, done] = []
  const told = h('p', { role: 'alert', hidden: true })
  const tell = (kind, text) => {
    told.className = kind
    told.hidden = text === ''
    say(told, text)
  }
  // The first with `autofocus` has the keys at the beginning: where no field has it, the button that changes nothing.
  const cancel = h('button', { type: 'button', autofocus: true, onclick: () => dialog.close() }, button ? 'Cancel' : 'Close')
  const main = button && h('button', { type: 'submit', class: button.kind ?? 'main' }, button.text)
  const press = async () => {
    if (!button || running) return
    main.disabled = true
    tell('muted', '')
    const timer = setInterval(() => tell('muted', button.waits()), GRACE_MS)
    try {
      running = button.work()
      done = await running
      dialog.close()
    } catch (error) {
      running = undefined
      main.disabled = false
      // It lost the keys when it was disabled.
      if (!dialog.contains(document.activeElement)) main.focus()
      tell('error', error.message)
    }
    clearInterval(timer)
  }
  const form = h('form', { method: 'dialog' },
    h('h2', { id: 'title' }, title), h('div', { class: 'body' }, content), h('div', { class: 'foot' }, told, cancel, main))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    press()
  })
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
  })
  // Each has its own element: what comes late, of one that is closed, is nothing to the next.
  const dialog = h('dialog', { 'aria-labelledby': 'title' }, form)
  const closed = new Promise((resolve) => dialog.addEventListener('close', resolve))
  document.body.append(dialog)
  dialog.showModal()
  await closed
  dialog.remove()
  if (done !== undefined) return done
  await running?.catch((error) => {
    throw new Error(`${title}, which was closed before its end: ${error.message}`)
  })
}

/** A field with a name. */
export const field = (name, input) => h('label', { class: 'field' }, h('span', {}, name), input)
