// Formats numbers and times for people.

const whole = new Intl.NumberFormat('en-US')

/** `12,345` */
export const count = (number) => whole.format(number)

/** A number for a narrow place: `12.3k`. */
export function short(number) {
  if (number < 1000) return number < 10 && number % 1 ? number.toFixed(1) : String(Math.round(number))
  const steps = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]
  const [size, letter] = steps.find(([size]) => number >= size)
  const value = number / size
  return `${value < 100 ? value.toFixed(1) : Math.round(value)}${letter}`
}

/** Bytes: `1.2 MB`. */
export function bytes(number) {
  if (number < 1000) return `${number} B`
  const [size, name] = [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']].find(([size]) => number >= size)
  const value = number / size
  return `${value < 100 ? value.toFixed(1) : Math.round(value)} ${name}`
}

/** Microseconds: `850 µs`, `1.2 ms`. */
export function micros(us) {
  if (us < 1000) return `${Math.round(us)} µs`
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e5 ? 1 : 0)} ms`
  return `${(us / 1e6).toFixed(1)} s`
}

/** A duration in one unit: `45 s`, `3 min`, `2 h`, `5 d`. */
export function span(ms) {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86400)} d`
}

/** The time of day: `14:03:22.120`. */
export function clock(ms) {
  const date = new Date(ms)
  const two = (number) => String(number).padStart(2, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`
}
