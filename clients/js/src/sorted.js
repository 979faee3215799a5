// An ordered map whose copies are cheap: a B+ tree whose copies share what they have in common. A copy costs O(1). A
// change costs O(log n), and copies the nodes on its way that another copy shares.

const MOST = 16;

/**
 * @template V
 * @typedef {{owner: object, keys: string[], items: V[] | undefined, kids: Node<V>[] | undefined}} Node
 * a leaf has items; another node has kids, and as keys the lowest key that each had when it was made
 */

/**
 * Returns the place of the last key at or below `key`; -1 if there is none.
 * @param {string[]} keys
 * @param {string} key
 */
function place(keys, key) {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (/** @type {string} */ (keys[middle]) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Keys in the order of JavaScript's comparison of strings, each with an item.
 * @template V
 */
export class Sorted {
  constructor() {
    /** @private @type {Node<V> | undefined} */
    this.root = undefined;
    /** @private The nodes with this owner may be changed in place. Others are shared. */
    this.owner = {};
    /** The number of items. */
    this.size = 0;
  }

  /** Returns a copy. O(1). Later changes of one do not affect the other. */
  copy() {
    /** @type {Sorted<V>} */
    const copy = new Sorted();
    copy.root = this.root;
    copy.size = this.size;
    this.owner = {};
    return copy;
  }

  /**
   * @param {string} key
   * @returns {V | undefined}
   */
  get(key) {
    let node = this.root;
    if (node === undefined) return undefined;
    while (node.kids !== undefined) node = /** @type {Node<V>} */ (node.kids[Math.max(place(node.keys, key), 0)]);
    const at = place(node.keys, key);
    return at >= 0 && node.keys[at] === key ? /** @type {V[]} */ (node.items)[at] : undefined;
  }

  /**
   * Sets an item, and returns the one that was there before.
   * @param {string} key
   * @param {V} item
   * @returns {V | undefined}
   */
  set(key, item) {
    if (this.root === undefined) this.root = { owner: this.owner, keys: [], items: [], kids: undefined };
    this.old = undefined;
    this.root = this.own(this.root);
    const right = this.insert(this.root, key, item);
    if (right !== undefined) {
      const keys = [/** @type {string} */ (this.root.keys[0]), /** @type {string} */ (right.keys[0])];
      this.root = { owner: this.owner, keys, items: undefined, kids: [this.root, right] };
    }
    const { old } = this;
    this.old = undefined;
    return old;
  }

  /**
   * @private
   * @param {Node<V>} node
   */
  own(node) {
    if (node.owner === this.owner) return node;
    return { owner: this.owner, keys: node.keys.slice(), items: node.items?.slice(), kids: node.kids?.slice() };
  }

  /**
   * @private
   * @param {Node<V>} node a node with this owner
   * @param {string} key
   * @param {V} item
   * @returns {Node<V> | undefined} a new node to its right
   */
  insert(node, key, item) {
    const { keys, items, kids } = node;
    const at = place(keys, key);
    if (items !== undefined) {
      if (at >= 0 && keys[at] === key) {
        this.old = items[at];
        items[at] = item;
        return undefined;
      }
      if (at + 1 === keys.length) {
        keys.push(key);
        items.push(item);
      } else {
        keys.splice(at + 1, 0, key);
        items.splice(at + 1, 0, item);
      }
      this.size += 1;
    } else if (kids !== undefined) {
      const to = Math.max(at, 0);
      if (at < 0) keys[0] = key;
      const kid = this.own(/** @type {Node<V>} */ (kids[to]));
      kids[to] = kid;
      const right = this.insert(kid, key, item);
      if (right === undefined) return undefined;
      keys.splice(to + 1, 0, /** @type {string} */ (right.keys[0]));
      kids.splice(to + 1, 0, right);
    }
    if (keys.length <= MOST) return undefined;
    // Keys that come in order fill nodes up. Other splits are in the middle.
    const cut = keys[keys.length - 1] === key ? MOST : MOST >> 1;
    return { owner: this.owner, keys: keys.splice(cut), items: items?.splice(cut), kids: kids?.splice(cut) };
  }

  /**
   * Removes an item, and returns it.
   * @param {string} key
   * @returns {V | undefined}
   */
  delete(key) {
    const item = this.get(key);
    if (item === undefined || this.root === undefined) return undefined;
    this.size -= 1;
    this.root = this.own(this.root);
    this.remove(this.root, key);
    while (this.root.kids !== undefined && this.root.kids.length === 1) this.root = /** @type {Node<V>} */ (this.root.kids[0]);
    if (this.root.keys.length === 0) this.root = undefined;
    return item;
  }

  /**
   * @private
   * @param {Node<V>} node a node with this owner
   * @param {string} key
   */
  remove(node, key) {
    const at = Math.max(place(node.keys, key), 0);
    if (node.kids === undefined) {
      node.keys.splice(at, 1);
      node.items?.splice(at, 1);
      return;
    }
    const kid = this.own(/** @type {Node<V>} */ (node.kids[at]));
    node.kids[at] = kid;
    this.remove(kid, key);
    if (kid.keys.length >= MOST >> 2) return;
    // A small node is joined with its neighbour if both fit into one.
    const left = at > 0 ? at - 1 : at;
    const [a, b] = [node.kids[left], node.kids[left + 1]];
    if (a !== undefined && b !== undefined && a.keys.length + b.keys.length <= MOST) {
      const joined = this.own(a);
      joined.keys.push(...b.keys);
      joined.items?.push(.../** @type {V[]} */ (b.items));
      joined.kids?.push(.../** @type {Node<V>[]} */ (b.kids));
      node.kids.splice(left, 2, joined);
      node.keys.splice(left + 1, 1);
    } else if (kid.keys.length === 0) {
      node.kids.splice(at, 1);
      node.keys.splice(at, 1);
    }
  }

  /** Removes everything. */
  clear() {
    this.root = undefined;
    this.size = 0;
  }

  /**
   * Returns all items from `from` on, in order. The map must not change meanwhile: to be safe, iterate over a copy.
   * @param {string} [from]
   * @returns {Generator<V, void, undefined>}
   */
  *from(from) {
    if (this.root === undefined) return;
    for (const { keys, items } of leaves(this.root, from)) {
      const first = from === undefined ? 0 : firstOf(keys, from);
      for (let at = first; at < keys.length; at += 1) yield /** @type {V} */ (/** @type {V[]} */ (items)[at]);
      from = undefined;
    }
  }

  /** Returns all items from the last to the first. @returns {Generator<V, void, undefined>} */
  *reversed() {
    if (this.root !== undefined) yield* back(this.root);
  }

  /**
   * Returns what differs from an earlier copy, in order: the key, the item before, the item now. Nodes that both share
   * are skipped, so the cost is about that of what differs.
   * @param {Sorted<V>} before
   * @returns {[string, V | undefined, V | undefined][]}
   */
  since(before) {
    /** @type {[string, V | undefined, V | undefined][]} */
    const found = [];
    const [a, b] = [new Cursor(before.root), new Cursor(this.root)];
    for (;;) {
      a.align(b);
      if (a.done && b.done) return found;
      const [x, y] = [a.key, b.key];
      if (b.done || (!a.done && x < y)) {
        found.push([x, a.item, undefined]);
        a.next();
      } else if (a.done || y < x) {
        found.push([y, undefined, b.item]);
        b.next();
      } else {
        if (a.item !== b.item) found.push([x, a.item, b.item]);
        a.next();
        b.next();
      }
    }
  }
}

/**
 * Returns the nodes that hold items, from the one that `from` would be in. Each level of generators that passes a value
 * on costs as much as the first yield: so nodes are passed on, and not items.
 * @template V
 * @param {Node<V>} node
 * @param {string | undefined} from
 * @returns {Generator<Node<V>, void, undefined>}
 */
function* leaves(node, from) {
  if (node.kids === undefined) {
    yield node;
    return;
  }
  for (let at = from === undefined ? 0 : Math.max(place(node.keys, from), 0); at < node.kids.length; at += 1) {
    yield* leaves(/** @type {Node<V>} */ (node.kids[at]), from);
    from = undefined;
  }
}

/** Returns the place of the first key at or after `from`. @param {string[]} keys @param {string} from */
function firstOf(keys, from) {
  const at = place(keys, from);
  return at >= 0 && keys[at] === from ? at : at + 1;
}

/**
 * @template V
 * @param {Node<V>} node
 * @returns {Generator<V, void, undefined>}
 */
function* back(node) {
  for (let at = node.keys.length - 1; at >= 0; at -= 1) {
    if (node.kids !== undefined) yield* back(/** @type {Node<V>} */ (node.kids[at]));
    else yield /** @type {V} */ (/** @type {V[]} */ (node.items)[at]);
  }
}

/**
 * A place in a tree: at an item, or before a whole node.
 * @template V
 */
class Cursor {
  /** @param {Node<V> | undefined} root */
  constructor(root) {
    /** @type {{node: Node<V>, at: number}[]} */
    this.stack = root === undefined ? [] : [{ node: root, at: -1 }];
    /** Whether the top of the stack is a node that was not entered yet. */
    this.whole = root !== undefined;
  }

  get done() {
    return this.stack.length === 0;
  }

  /** @private */
  get top() {
    return /** @type {{node: Node<V>, at: number}} */ (this.stack[this.stack.length - 1]);
  }

  get key() {
    if (this.done) return '';
    return /** @type {string} */ (this.top.node.keys[this.top.at]);
  }

  get item() {
    return /** @type {V[]} */ (this.top.node.items)[this.top.at];
  }

  /** Goes one level down into a node that was not entered yet. */
  enter() {
    const { top } = this;
    top.at = 0;
    if (top.node.kids === undefined) this.whole = false;
    else this.stack.push({ node: /** @type {Node<V>} */ (top.node.kids[0]), at: -1 });
  }

  /** Moves past the item or the whole node at which it is. */
  next() {
    if (this.whole) this.stack.pop();
    this.whole = false;
    while (this.stack.length > 0) {
      const { top } = this;
      top.at += 1;
      if (top.at < top.node.keys.length) {
        if (top.node.kids === undefined) return;
        this.stack.push({ node: /** @type {Node<V>} */ (top.node.kids[top.at]), at: -1 });
        this.whole = true;
        return;
      }
      this.stack.pop();
    }
  }

  /**
   * Skips what both cursors share, as far as both are before it. Then both are at items.
   * @param {Cursor<V>} other
   */
  align(other) {
    for (;;) {
      if (this.whole && other.whole && this.top.node === other.top.node) {
        this.next();
        other.next();
      } else if (this.whole && other.whole) {
        // The bigger node is entered first, so that both meet at the same level.
        const [x, y] = [height(this.top.node), height(other.top.node)];
        if (x >= y) this.enter();
        if (y >= x) other.enter();
      } else if (this.whole) {
        this.enter();
      } else if (other.whole) {
        other.enter();
      } else {
        return;
      }
    }
  }
}

/**
 * @template V
 * @param {Node<V>} node
 */
function height(node) {
  let levels = 0;
  for (let at = node; at.kids !== undefined; at = /** @type {Node<V>} */ (at.kids[0])) levels += 1;
  return levels;
}
