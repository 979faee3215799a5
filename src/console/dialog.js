// Dialogs.

import { h } from './dom.js'

/**
 * Opens a dialog with a title, fields and a button `{text, kind?, work}`; resolves when it is closed,
 * with what `work` gave. It may fail, then what it says is shown and the dialog stays.
 */
export async function ask(title, content, button) {
  let [running, done] = [false]
  const fault = h('p', { class: 'error', role: 'alert', hidden: true })
  // The first of these is where the keys are at the beginning: without a field it is the button that changes nothing.
  const cancel = h('button', { type: 'button', autofocus: true, onclick: () => dialog.close() }, button ? 'Cancel' : 'Close')
  const main = button && h('button', { type: 'submit', class: button.kind ?? 'main' }, button.text)
  const press = async () => {
    if (!button || running) return
    running = true
    main.disabled = cancel.disabled = true
    fault.hidden = true
    try {
      done = await button.work()
      dialog.close()
    } catch (error) {
      fault.textContent = error.message
      fault.hidden = false
    }
    running = false
    main.disabled = cancel.disabled = false
  }
  const form = h('form', { method: 'dialog', onsubmit: (event) => {
    event.preventDefault()
    press()
  } }, h('h2', { id: 'title' }, title), h('div', { class: 'body' }, content), h('div', { class: 'foot' }, fault, cancel, main))
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
  return done
}

/** A field with a name. */
export const field = (name, input) => h('label', { class: 'field' }, h('span', {}, name), input)
