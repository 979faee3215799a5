// Formats values for reading.

import { h } from './dom.js'
import { bytes } from './format.js'

// Longer values are cut when they are shown: laying out a megabyte of coloured text takes seconds.
const SHOWN = 100_000
// JSON is also cut after this many tokens, each of which may become an element: 38,000 took 0.9 s.
const WORDS = 10_000
const HEX_BYTES = 4096
// A line is cut after this many characters.
const LINE = 200
// A flat array is written on one line if it has at most this many characters.
const INLINE = 64

// A string that is cut has no closing quote, but still counts as one string: otherwise each quote
// in it would be tried as the beginning of another.
const TOKEN = /"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g

/**
 * Shows a value in an element: JSON indented and coloured, text unchanged, anything else as bytes.
 */
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

/** Returns a value on one line. The text can be kept without keeping the value. */
export function oneLine(value) {
  const text = textOf(value)
  if (text === undefined) return `${value.type} · ${bytes(value.bytes.length)}`
  return own(text.length > LINE ? `${text.slice(0, LINE)}…` : text)
}

/**
 * Returns a copy of a text that can be kept. A substring, such as a path or a value of a frame, may
 * be a view into the whole text, and then keeps all of it in memory. A substring of a new
 * concatenation keeps only that.
 */
export const own = (text) => ` ${text}`.slice(1)

/** Returns the text of a value that is JSON or text; nothing for bytes. */
export function textOf(value) {
  if (!isText(value.type)) return undefined
  try {
    return value.text
  } catch {
    return undefined
  }
}

export const isJson = (type) => type === undefined || type === 'application/json'

/** Whether values of this type are text. */
export const isText = (type) => isJson(type) || type.startsWith('text/')

/**
 * Formats JSON with a line for each member. Its tokens stay as they were written: a number of
 * twenty digits does not become a double, and the members keep their order.
 */
export function indented(text) {
  return pieces(wordsOf(text)).reduce((lines, { text }) => lines + text, '')
}

const wordsOf = (text) => text.match(TOKEN) ?? []

/** Returns the formatted text, in pieces of one kind each. */
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

/** Whether the array that begins here is flat and short enough for one line. */
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
