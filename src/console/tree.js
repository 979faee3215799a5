// The opened part of the tree.

import { Branch } from './branch.js'
import { contains, downTo, nameOf, parent } from './paths.js'

// How often opened topics are checked for whether they must be listed again, ms.
const LOOK_MS = 500

/** The rows of the tree: the root, and under it everything that is opened. */
export class Tree {
  #link
  #changed = () => {}
  #timer

  constructor(link) {
    this.#link = link
    this.root = new Branch(link, '/', () => this.#changed())
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  /** Calls `listener` when rows have changed. */
  onChange(listener) {
    this.#changed = listener
  }

  get size() {
    return 1 + this.root.size
  }

  /** Returns the content of a row: `{kid, depth, branch?, place}`. */
  row(index) {
    if (index > 0) return this.root.row(index - 1)
    const { own } = this.root
    const kid = { name: '/', path: '/', rev: own?.rev ?? 0, entry: own !== undefined, bare: own === undefined, below: true, at: own?.at }
    return { kid, depth: 0, place: 0 }
  }

  /** The row of a path, or of the deepest opened topic above it. */
  indexOf(path) {
    return path === '/' ? 0 : 1 + this.root.indexOf(path.slice(1).split('/'))
  }

  /** The opened topic at a path. */
  branch(path) {
    let branch = this.root
    if (path !== '/') for (const name of path.slice(1).split('/')) branch = branch?.open.get(name)
    return branch
  }

  /** The child at a path, if its parent is opened. */
  kid(path) {
    return path === '/' ? this.row(0).kid : this.branch(parent(path))?.get(nameOf(path))
  }

  toggle(path, opened) {
    if (path === '/') return
    this.branch(parent(path))?.toggle(nameOf(path), opened)
    this.#changed()
  }

  /** Opens everything above a path, and waits until it is there. */
  async reveal(path) {
    for (const above of downTo(path).slice(0, -1)) {
      if (above !== '/') this.toggle(above, true)
      const branch = this.branch(above)
      if (!branch) return
      await branch.ready()
    }
  }

  /** Called when the user has changed something: opened topics above it are listed now. */
  touch(path) {
    this.#each((branch) => contains(branch.path, path) && branch.look(true))
  }

  #look() {
    if (!document.hidden) this.#each((branch) => branch.look())
  }

  #each(work, branch = this.root) {
    work(branch)
    for (const below of branch.open.values()) this.#each(work, below)
  }
}
