// The part of one log that is on the screen: without holes, and bounded. It follows the end of the log until the reader
// has gone so far back that the newest messages must go. Then it comes back page by page, or at once.

import { logOf } from './names.js';
import { isLogKey } from './onetree/protocol/log-keys.js';

/** How many messages may be on the screen. */
export const MOST = 300;
/** How many messages a page has. */
const PAGE = 100;

export class Timeline {
  /** @param {import('./chat.js').Chat} chat @param {string} channel */
  constructor(chat, channel) {
    this.chat = chat;
    this.log = logOf(channel);
    this.loading = false;
    this.newest();
  }

  /** Shows what the mirror has: the end of the log. */
  newest() {
    /** @type {import('./onetree/protocol/frames.js').Entry[]} */
    this.entries = this.mirrored().slice(-PAGE);
    /** The history of the entries. */
    this.epoch = this.chat.mirror.cookie?.epoch;
    this.atEnd = true;
    this.atStart = false;
  }

  /** @private */
  mirrored() {
    return [...this.chat.mirror.under(this.log)].filter(({ path }) => this.has(path));
  }

  /** @private */
  firstMirrored() {
    for (const entry of this.chat.mirror.under(this.log)) if (this.has(entry.path)) return entry;
    return undefined;
  }

  /** @private Returns whether a path is one of the log's entries. @param {string} path */
  has(path) {
    return path.startsWith(`${this.log}/`) && isLogKey(path.slice(this.log.length + 1));
  }

  /**
   * Takes changes of the mirror.
   * @param {import('./onetree/snapshot.js').Difference[]} changes
   * @param {boolean} following whether the reader is at the end
   */
  handle(changes, following) {
    // Paths of two histories cannot be compared.
    if (this.epoch !== this.chat.mirror.cookie?.epoch) return this.newest();
    const first = this.firstMirrored();
    const last = this.entries.at(-1);
    // So much was missed that the mirror begins after what is shown: there would be a hole.
    if (this.atEnd && last && first && last.path < first.path) return this.newest();
    for (const { path, old, new: now } of changes) {
      if (!this.has(path)) continue;
      const at = this.entries.findLastIndex((entry) => entry.path <= path);
      const known = this.entries[at]?.path === path;
      if (now === undefined) {
        // What left the mirror at its beginning is still in the log.
        if (known && old && first && path > first.path) this.entries.splice(at, 1);
      } else if (known) {
        this.entries[at] = now;
      } else if (at === this.entries.length - 1 && this.atEnd) {
        this.entries.push(now);
      }
    }
    if (this.entries.length <= MOST) return undefined;
    if (following) {
      this.entries = this.entries.slice(-MOST);
      this.atStart = false;
    } else {
      this.entries = this.entries.slice(0, MOST);
      this.atEnd = false;
    }
    return undefined;
  }

  /** Loads the page before. Resolves to whether something came. */
  earlier() {
    const [first] = this.entries;
    if (this.atStart || !first) return Promise.resolve(false);
    return this.load(async () => {
      const { entries, more } = await this.chat.mirror.earlier(this.log, PAGE, first.path);
      if (this.entries[0] !== first) return;
      this.entries = [...entries, ...this.entries];
      this.atStart = !more;
      if (this.entries.length > MOST) {
        this.entries = this.entries.slice(0, MOST);
        this.atEnd = false;
      }
    });
  }

  /** Loads the page after. Resolves to whether something came. */
  later() {
    const last = this.entries.at(-1);
    if (this.atEnd || !last) return Promise.resolve(false);
    return this.load(async () => {
      const options = { depth: /** @type {const} */ ('children'), after: last.path, limit: PAGE };
      const { entries, more } = await this.chat.client.list(this.log, options);
      if (this.entries.at(-1) !== last) return;
      this.entries.push(...entries.filter(({ path }) => this.has(path)));
      if (!more) {
        // The mirror may be ahead of the page by now.
        const end = this.entries.at(-1)?.path ?? '';
        this.entries.push(...this.mirrored().filter(({ path }) => path > end));
        this.atEnd = true;
      }
      if (this.entries.length > MOST) {
        this.entries = this.entries.slice(-MOST);
        this.atStart = false;
      }
    });
  }

  /** @private Loads one page at a time, and none without a connection. @param {() => Promise<void>} page */
  async load(page) {
    if (this.loading || !this.chat.isOnline) return false;
    this.loading = true;
    try {
      await page();
      return true;
    } catch {
      // The connection was lost. Whoever scrolls again asks again.
      return false;
    } finally {
      this.loading = false;
    }
  }
}
