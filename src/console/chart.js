// Small live charts.

const SVG = 'http://www.w3.org/2000/svg'
// The number of points in a chart: two minutes, one point per second.
export const POINTS = 120

/**
 * A chart of the last two minutes, with one line, or two on one scale. `push(values)` adds a point;
 * `undefined` is a gap.
 */
export class Chart {
  element = make('svg', { viewBox: `0 0 ${POINTS} 100`, preserveAspectRatio: 'none', 'aria-hidden': 'true' })
  #lines
  #area = make('path', { class: 'area' })
  #points = []
  highest = 0

  constructor(lines = 1) {
    this.#lines = Array.from({ length: lines }, (_, at) => make('path', { class: at === 0 ? 'line' : 'line second' }))
    this.element.append(make('path', { class: 'base', d: `M0 99.5H${POINTS}` }), this.#area, ...this.#lines)
  }

  push(values) {
    this.#points.push(values)
    if (this.#points.length > POINTS) this.#points.shift()
    this.highest = Math.max(0, ...this.#points.flat().filter((value) => value !== undefined))
    const first = POINTS - this.#points.length
    const scale = 92 / (this.highest || 1)
    this.#lines.forEach((line, which) => {
      let [path, pen] = ['', false]
      this.#points.forEach((point, at) => {
        const value = point[which]
        if (value !== undefined) path += `${pen ? 'L' : 'M'}${first + at + 1} ${(99 - value * scale).toFixed(1)}`
        pen = value !== undefined
      })
      line.setAttribute('d', path)
      // No area under a line with gaps: it would cover the gaps.
      if (which === 0) this.#area.setAttribute('d', path.lastIndexOf('M') === 0 && path !== '' ? `${path}V99H${first + 1}Z` : '')
    })
  }
}

function make(tag, props) {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, value)
  return element
}
