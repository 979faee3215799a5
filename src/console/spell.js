// Shows paths so that no character is invisible, and none moves the text beside it.

import { h } from './dom.js'

// A path whose characters are all visible and in order.
const PLAIN = /^[!-~]*$/
// Within a segment: characters that are invisible, change the direction of writing, or look like
// one space.
const UNSEEN = /[\p{Cc}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800]|(?! )\p{Zs}|^ +| +$| {2,}/gu

/** Writes invisible characters as the command line does. */
const visible = (text) => text.replace(/./gsu, (one) => (one === ' ' ? '␣' : `\\u{${one.codePointAt().toString(16)}}`))

/** Returns a path as text, for places that cannot contain elements. */
export const spelling = (path) => path.split('/').map((name) => name.replace(UNSEEN, visible)).join('/')

/** Shows a path in an element, if it differs from the one before. */
export function spell(element, path) {
  if (spelt.get(element) === path) return
  spelt.set(element, path)
  element.replaceChildren(onward(spelled(path)))
}
const spelt = new WeakMap()

/** Makes a path run from left to right even if its front is cut off. */
export const onward = (parts) => h('bdi', { dir: 'ltr' }, parts)

/** Returns the parts that show a path. Its characters from `from` up to `to` are marked. */
export function spelled(path, from = 0, to = 0) {
  if (PLAIN.test(path)) return pieces(path, from, to)
  let at = 0
  return path.split(/(\/)/).flatMap((name) => {
    const found = pieces(name, from - at, to - at)
    at += name.length
    // The segments stay in order, whatever the direction of the letters in this one is.
    return PLAIN.test(name) ? found : h('bdi', {}, found)
  })
}

function pieces(name, from, to) {
  const found = []
  let at = 0
  const put = (end, kind) => {
    for (const cut of [from, to, end]) {
      if (cut <= at || cut > end) continue
      const text = name.slice(at, cut)
      const piece = kind ? h('span', { class: kind }, visible(text)) : text
      found.push(from <= at && at < to ? h('mark', {}, piece) : piece)
      at = cut
    }
  }
  for (const { 0: text, index } of name.matchAll(UNSEEN)) {
    put(index)
    put(index + text.length, 'unseen')
  }
  put(name.length)
  return found
}
