// The one dialog.

import { byId, h } from './dom.js'

/**
 * Opens the dialog with a title, fields and buttons; resolves when it is closed. Each button is
 * `{text, kind?, work?}`: `work` may fail, then what it says is shown and the dialog stays.
 */
export function ask(title, content, buttons) {
  const dialog = byId('dialog')
  const fault = h('p', { class: 'error', role: 'alert', hidden: true })
  return new Promise((resolve) => {
    const press = async (work) => {
      for (const button of foot.children) button.disabled = true
      fault.hidden = true
      try {
        await work?.()
        dialog.close()
      } catch (error) {
        fault.textContent = error.message
        fault.hidden = false
      }
      for (const button of foot.children) button.disabled = false
    }
    const [main, ...others] = buttons.toReversed()
    const foot = h('div', { class: 'foot' },
      h('button', { type: 'button', onclick: () => dialog.close() }, main ? 'Cancel' : 'Close'),
      others.toReversed().map(({ text, kind, work }) => h('button', { type: 'button', class: kind, onclick: () => press(work) }, text)),
      main && h('button', { type: 'submit', class: main.kind ?? 'main' }, main.text))
    const form = h('form', { method: 'dialog', 'aria-label': title, onsubmit: (event) => {
      event.preventDefault()
      if (main) press(main.work)
    } }, h('h2', {}, title), content, fault, foot)
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
    })
    dialog.replaceChildren(form)
    dialog.onclose = () => {
      dialog.replaceChildren()
      resolve()
    }
    dialog.showModal()
    form.querySelector('[data-first]')?.focus()
  })
}

/** A field with a name. */
export const field = (name, input) => h('label', { class: 'field' }, h('span', {}, name), input)
