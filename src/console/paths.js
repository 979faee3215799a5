// Paths, and the order of names.

/** The parent of a path: `/a/b` of `/a/b/c`; `/` of `/a`; nothing of `/`. */
export function parent(path) {
  if (path === '/') return undefined
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

/** The last segment; `/` for the root. */
export const nameOf = (path) => (path === '/' ? '/' : path.slice(path.lastIndexOf('/') + 1))

/** The path of a child. */
export const join = (path, name) => (path === '/' ? `/${name}` : `${path}/${name}`)

/** All paths from the root down to this one. */
export function downTo(path) {
  const found = ['/']
  if (path !== '/') for (const name of path.slice(1).split('/')) found.push(join(found.at(-1), name))
  return found
}

/** Whether `path` is `top` or lies under it. */
export const contains = (top, path) => top === '/' || path === top || path.startsWith(`${top}/`)

/** Whether a name has the form of a log key. */
export const isLogKey = (name) => /^[0-9a-f]{18}$/.test(name)

const size = (text) => new TextEncoder().encode(text).length

/** Returns what is wrong with a path, or nothing. */
export function faultOf(path) {
  if (path === '/') return undefined
  if (!path.startsWith('/')) return 'A path begins with /'
  const names = path.slice(1).split('/')
  if (names.some((name) => name === '')) return 'A path has no empty segment, and no / at its end'
  if (names.some((name) => name === '.' || name === '..')) return 'A segment is not . or ..'
  if (/[\u0000-\u001f\u007f-\u009f]/.test(path)) return 'A path has no control characters'
  if (/\p{Surrogate}/u.test(path)) return 'A path has no lone surrogates'
  if (names.length > 32) return 'A path has at most 32 segments'
  if (names.some((name) => size(name) > 255)) return 'A segment has at most 255 bytes'
  if (size(path) > 1024) return 'A path has at most 1,024 bytes'
  return undefined
}

/**
 * Returns why no path can contain a text, or nothing. The ends of the text may be parts of
 * segments.
 */
export function faultWithin(text) {
  const whole = text.startsWith('/')
  const names = text.slice(whole ? 1 : 0).split('/')
  const isPart = (at) => (at === 0 && !whole) || at === names.length - 1
  return faultOf(names.map((name, at) => `/${isPart(at) && /^\.{0,2}$/.test(name) ? 'x' : name}`).join(''))
}

/** Compares two names as the tree does: by their bytes in UTF-8. */
export function compareNames(a, b) {
  const end = Math.min(a.length, b.length)
  for (let at = 0; at < end; at++) {
    const [one, other] = [a.charCodeAt(at), b.charCodeAt(at)]
    if (one !== other) return lift(one) - lift(other)
  }
  return a.length - b.length
}

// UTF-16 sorts surrogates, which stand for characters above U+FFFF, below U+E000; UTF-8 bytes sort
// those characters last.
const lift = (unit) => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit)
