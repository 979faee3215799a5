// Dialogs.

import { h, say } from './dom.js'

// A write that is answered within this time needs no message, ms.
const GRACE_MS = 250

/**
 * Opens a dialog with a title, fields and a button `{text, kind?, work, waits}`. Resolves when the
 * dialog is closed, with the result of `work`. If `work` fails, its error is shown and the dialog
 * stays open. While it runs, `waits()` returns the message to show.
 *
 * If the user closes the dialog meanwhile, the promise resolves without a result, or rejects if
 * `work` fails.
 */
export async function ask(title, content, button) {
  // One dialog at a time: a dialog that comes late, because its fields had to be read first, is not
  // put over another.
  if (document.querySelector('dialog[open]')) return
  let [running, done] = []
  const told = h('p', { role: 'alert', hidden: true })
  const tell = (kind, text) => {
    told.className = kind
    told.hidden = text === ''
    say(told, text)
  }
  // The first element with `autofocus` gets the focus: if no field has it, the button that changes
  // nothing.
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
      // The button lost the focus when it was disabled.
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
  // Each dialog has its own element: a late result of a closed dialog does not affect the next one.
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
