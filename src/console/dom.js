// Makes elements in one line.

/**
 * Makes an element: `h('p', {class: 'soft', onclick: fn}, 'text', other)`. Properties whose names
 * begin with `on` are listeners; `true` gives an attribute without a value, `false` and `undefined`
 * give none. Text stays text: nothing is ever parsed as markup.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== false && value !== undefined) element.setAttribute(name, value)
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false))
  return element
}

/** Returns the element with this id. */
export const byId = (id) => document.getElementById(id)

/** Sets text only if it differs, so that unchanged elements are not laid out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** Sets an attribute only if it differs; `undefined` removes it. */
export function attribute(element, name, value) {
  const text = value === undefined ? undefined : String(value)
  if ((element.getAttribute(name) ?? undefined) === text) return
  if (text === undefined) element.removeAttribute(name)
  else element.setAttribute(name, text)
}
