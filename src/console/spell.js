// Paths to be read: nothing in them is unseen, and nothing moves what stands beside it.

import { h } from './dom.js'

// A path of which each character is seen, and in its place.
const PLAIN = /^[!-~]*$/
// What has no shape of its own, turns the direction of writing, or looks like one space: of a segment.
const UNSEEN = /[\p{Cc}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800]|(?! )\p{Zs}|^ +| +$| {2,}/gu

/** What stands for the unseen, as the command line writes it. */
const visible = (text) => text.replace(/./gsu, (one) => (one === ' ' ? '␣' : `\\u{${one.codePointAt().toString(16)}}`))

/** A path as text, where there can be no elements. */
export const spelling = (path) => path.split('/').map((name) => name.replace(UNSEEN, visible)).join('/')

/** Shows a path in an element, where it is another than before. */
export function spell(element, path) {
  if (spelt.get(element) === path) return
  spelt.set(element, path)
  element.replaceChildren(onward(spelled(path)))
}
const spelt = new WeakMap()

/** A path that goes from left to right also where it is cut at its front. */
export const onward = (parts) => h('bdi', { dir: 'ltr' }, parts)

/** What shows a path; its characters from `from` up to `to` are marked. */
export function spelled(path, from = 0, to = 0) {
  if (PLAIN.test(path)) return pieces(path, from, to)
  let at = 0
  return path.split(/(\/)/).flatMap((name) => {
    const found = pieces(name, from - at, to - at)
    at += name.length
    // Whichever way the letters of a segment go, the segments stand in their order.
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
