// Values for reading.

import { h } from './dom.js'
import { bytes } from './format.js'

// Longer values are cut when they are shown: a megabyte of coloured text takes seconds to lay out.
const SHOWN = 100_000
// And JSON after so many words, numbers and signs, each of which may be an element: 38,000 took 0.9 s.
const WORDS = 10_000
const HEX_BYTES = 4096
// A line is cut after so many letters.
const LINE = 200
// An array of words and numbers stands in one line when it has at most so many letters.
const INLINE = 64

// A string that is cut has no end. It is one all the same: otherwise each quote in it would be looked at as a beginning.
const TOKEN = /"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g

/** A value in an element: JSON indented and coloured, text as it is, anything else as bytes. */
export function pretty(value) {
  const element = h('pre', { class: 'value', tabindex: '0' })
  const text = textOf(value)
  let cut = (text ?? '').length > SHOWN
  if (text === undefined) {
    element.append(hex(value.bytes))
    cut = value.bytes.length > HEX_BYTES
  } else if (isJson(value.type)) {
    const words = wordsOf(text.slice(0, SHOWN))
    element.append(...pieces(words.slice(0, WORDS)).map(({ kind, text }) => h('span', { class: kind }, text)))
    cut ||= words.length > WORDS
  } else {
    element.append(text.slice(0, SHOWN))
  }
  if (cut) element.append(h('span', { class: 'p' }, `\n… cut: it has ${bytes(value.bytes.length)}`))
  return element
}

/** A value in one line, which may be remembered without the value. */
export function oneLine(value) {
  const text = textOf(value)
  if (text === undefined) return `${value.type} · ${bytes(value.bytes.length)}`
  return own(text.length > LINE ? `${text.slice(0, LINE)}…` : text)
}

/**
 * The same text, to be remembered: what is cut off a text, as a path or a value off a frame, is a view into it, and all of
 * it lives as long. A view into what is put together is one into that.
 */
export const own = (text) => ` ${text}`.slice(1)

/** The text of a value that is JSON or text; nothing for what is only bytes. */
export function textOf(value) {
  if (!isText(value.type)) return undefined
  try {
    return value.text
  } catch {
    return undefined
  }
}

export const isJson = (type) => type === undefined || type === 'application/json'

/** Whether what is of this type is to be read. */
export const isText = (type) => isJson(type) || type.startsWith('text/')

/**
 * JSON with a line for each member. Its tokens stay as they were written: a number of twenty digits
 * is not made a double of, and the order of members is theirs.
 */
export function indented(text) {
  return pieces(wordsOf(text)).reduce((lines, { text }) => lines + text, '')
}

const wordsOf = (text) => text.match(TOKEN) ?? []

/** What stands in the lines, in pieces of one kind. */
function pieces(all) {
  const found = []
  let [depth, inline] = [0, 0]
  const put = (kind, text) => {
    const last = found.at(-1)
    if (last?.kind === kind) last.text += text
    else found.push({ kind, text })
  }
  const line = () => put('p', `\n${'  '.repeat(depth)}`)
  const space = () => put('p', ' ')
  all.forEach((token, at) => {
    const [before, next] = [all[at - 1], all[at + 1]]
    const opens = token === '{' || token === '['
    if (token === '}' || token === ']') {
      depth = Math.max(0, depth - 1)
      if (inline > 0) inline -= 1
      else if (before !== '{' && before !== '[') line()
    }
    put(kindOf(token, next), token)
    if (token === ':') space()
    if (opens) {
      depth += 1
      if (inline > 0 || isShort(all, at)) inline += 1
      else if (next !== '}' && next !== ']') line()
    }
    if (token === ',') inline > 0 ? space() : line()
  })
  return found
}

/** Whether the array that begins here is flat and short enough to stand in one line. */
function isShort(all, at) {
  if (all[at] !== '[') return false
  for (let [end, width] = [at + 1, 0]; end < all.length && width <= INLINE; end++) {
    if (all[end] === ']') return true
    if (all[end] === '[' || all[end] === '{') return false
    width += all[end].length + 1
  }
  return false
}

function kindOf(token, next) {
  if (token[0] === '"') return next === ':' ? 'k' : 's'
  if (/[-\d]/.test(token[0])) return 'n'
  return /[a-z]/.test(token[0]) ? 'w' : 'p'
}

function hex(all) {
  const lines = []
  for (let at = 0; at < Math.min(all.length, HEX_BYTES); at += 16) {
    const part = all.subarray(at, at + 16)
    const numbers = Array.from(part, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const letters = Array.from(part, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·')).join('')
    lines.push(`${at.toString(16).padStart(8, '0')}  ${numbers.padEnd(47)}  ${letters}`)
  }
  return lines.join('\n') || '(empty)'
}
