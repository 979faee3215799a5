// The messages on the screen. Elements stay as long as what they show, and the reader's place stays where it is.

/** After this silence, a message shows again who speaks, in ms. */
const SILENCE = 300_000;

export class Pane {
  /** @param {HTMLElement} scroller @param {HTMLElement} list */
  constructor(scroller, list) {
    this.scroller = scroller;
    this.list = list;
    /** @type {Map<string, HTMLElement>} */
    this.elements = new Map();
    /** Whether what is shown ends with the newest message. */
    this.isNewest = true;
    /** Whether the reader is at the end: then whatever comes is shown. */
    this.following = true;
    scroller.addEventListener('scroll', () => {
      this.following = this.isNewest && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    });
    // A keyboard that appears takes room from the messages.
    new ResizeObserver(() => this.following && this.toEnd()).observe(scroller);
  }

  toEnd() {
    this.following = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** Forgets what is shown, because another channel comes. */
  clear() {
    this.elements.clear();
    this.list.replaceChildren();
    this.following = true;
  }

  /** @param {ReturnType<import('./chat.js').Chat['messages']>} messages @param {string} me @param {boolean} isNewest */
  draw(messages, me, isNewest) {
    this.isNewest = isNewest;
    this.following &&= isNewest;
    const anchor = this.following ? undefined : this.anchor();
    /** @type {HTMLElement[]} */
    const wanted = [];
    const keys = new Set();
    let before;
    for (const message of messages) {
      const day = dayOf(message.at);
      if (day && day !== (before && dayOf(before.at))) {
        const key = `day:${message.key}`;
        keys.add(key);
        wanted.push(this.element(key, () => dayElement(day)));
      }
      keys.add(message.key);
      // A message that was waiting and is in the log now keeps its element.
      const waiting = message.id && message.from === me ? `waiting:${message.id}` : '';
      const moved = waiting && waiting !== message.key ? this.elements.get(waiting) : undefined;
      if (moved && !this.elements.has(message.key)) {
        this.elements.delete(waiting);
        this.elements.set(message.key, moved);
      }
      const element = this.element(message.key, () => messageElement(message));
      const head = !before || before.from !== message.from || message.at - before.at > SILENCE || wanted.at(-1)?.className === 'day';
      mark(element, message, head, me);
      wanted.push(element);
      before = message;
    }
    for (const [key, element] of this.elements) {
      if (keys.has(key)) continue;
      this.elements.delete(key);
      element.remove();
    }
    let next = this.list.firstChild;
    for (const element of wanted) {
      if (element === next) next = next.nextSibling;
      else this.list.insertBefore(element, next);
    }
    if (anchor?.element.isConnected) this.scroller.scrollTop += anchor.element.offsetTop - anchor.top;
    else if (this.following) this.toEnd();
  }

  /** @private Returns the first message that can be seen, and its place on the screen. */
  anchor() {
    const top = this.scroller.scrollTop + this.list.offsetTop - this.scroller.offsetTop;
    for (const element of /** @type {Iterable<HTMLElement>} */ (this.list.children)) {
      if (element.dataset.key && element.offsetTop + element.offsetHeight > top) return { element, top: element.offsetTop };
    }
    return undefined;
  }

  /** @private @param {string} key @param {() => HTMLElement} make */
  element(key, make) {
    let element = this.elements.get(key);
    if (!element) {
      element = make();
      this.elements.set(key, element);
    }
    return element;
  }
}

/** @param {HTMLElement} element @param {any} message @param {boolean} head @param {string} me */
function mark(element, message, head, me) {
  element.dataset.key = message.key;
  const words = [head && 'head', message.from === '' && 'notice', message.from === me && 'mine', message.state];
  element.className = words.filter(Boolean).join(' ');
  element.firstElementChild.hidden = !head || message.from === '';
  element.title = message.failed ?? '';
}

/** @param {{from: string, text: string, at: number, id?: string}} message */
function messageElement({ from, text, at, id }) {
  const element = document.createElement('li');
  if (id) element.dataset.id = id;
  const [by, who, when, said] = ['div', 'b', 'time', 'div'].map((tag) => document.createElement(tag));
  by.className = 'by';
  who.textContent = from;
  if (at) {
    when.textContent = new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    when.dateTime = new Date(at).toISOString();
  }
  said.className = 'text';
  said.textContent = text;
  by.append(who, when);
  element.append(by, said);
  return element;
}

/** @param {string} day */
function dayElement(day) {
  const element = document.createElement('li');
  element.className = 'day';
  element.textContent = day;
  return element;
}

const days = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long' });
/** @param {number} at */
const dayOf = (at) => (at ? days.format(at) : '');
