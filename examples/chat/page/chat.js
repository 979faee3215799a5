// The chat without its looks: one client, one mirror of all channels, what was said and is on its way, who is here, who
// types.

import { start } from './onetree/index.js';
import { messageOf } from './message.js';
import { hereOf, logOf, partsOf, saidOf, typingOf } from './names.js';
import { Outbox } from './outbox.js';
import { Timeline } from './timeline.js';

/** How many messages of each channel are loaded at first. */
const TAIL = 100;
/** How many entries the mirror may have. With more, it starts again from its tails. */
const ENTRIES = 5_000;
/** How long what was said waits for a connection, in ms: a day. */
const PATIENCE = 86_400_000;
/**
 * How long it is known that something was said, in ms: as long as the last life of the page that sends it may wait, and
 * an hour.
 */
const MARKED_FOR = 2 * PATIENCE + 3_600_000;
/** Typing is reported this often while it goes on, and is shown for this long, in ms. */
const TYPING_EVERY = 2_000;
const TYPING_FOR = 5_000;

export class Chat {
  /**
   * @param {{broker: string, name: string, channel: string, changed: () => void, isFollowing: () => boolean, keep?:
   *   import('./onetree/live.js').Keep}} options `changed` is called whenever there may be something to draw
   */
  constructor({ broker, name, channel, changed, isFollowing, keep }) {
    this.name = name;
    this.channel = channel;
    this.changed = changed;
    this.isFollowing = isFollowing;
    this.outbox = new Outbox();
    /** @type {Map<string, number>} when each typing is over, by path */
    this.typing = new Map();
    this.lastTyping = 0;
    /** @type {{epoch?: string, [channel: string]: string}} the last message read, by channel */
    this.read = JSON.parse(localStorage.getItem('chat.read') ?? '{}');
    this.client = start(broker, { label: 'chat', reconnect: 'always', requestTimeoutMs: PATIENCE, backoffMs: [100, 3_000] });
    this.client.onStatus(({ status }) => {
      // Entries of a lost session are gone with it, and only this page knows that its person is still here.
      if (status === 'online' && !this.client.connection?.resumed) this.sayHere();
      changed();
    });
    this.mirror = this.client.mirror({ path: '/chat', tail: TAIL }, { signals: true, ...(keep ? { keep: this.told(keep) } : {}) });
    this.timeline = new Timeline(this, channel);
    this.mirror.onEvent((event) => this.handle(event));
    this.settled = this.settle();
  }

  get isOnline() {
    return this.client.status === 'online';
  }

  /** @private What was kept shows before there is a connection. @param {import('./onetree/live.js').Keep} keep */
  told(keep) {
    return {
      load: async () => {
        const saved = await keep.load();
        setTimeout(() => {
          this.timeline.newest();
          this.changed();
        });
        return saved;
      },
      save: (snapshot) => keep.save(snapshot),
      close: async () => keep.close?.(),
    };
  }

  /** @private @param {import('./onetree/changes.js').MirrorEvent} event */
  handle(event) {
    switch (event.type) {
      case 'fresh':
        this.begin();
        this.follow(event.changes);
        break;
      case 'delta': this.follow(event.changes); break;
      case 'signal': this.hear(event.path); break;
      default:
    }
    this.changed();
  }

  /**
   * @private The mirror is whole: for the first time, or again, or in another history because the broker has forgotten
   *   the former one.
   */
  begin() {
    const epoch = this.mirror.cookie?.epoch;
    if (this.read.epoch !== epoch) {
      this.read = { epoch };
      // In a tree that was never seen, what is there already counts as old. If another tree was shown until now, it
      // counts as new.
      for (const { path } of this.begun ? [] : this.mirror.entries()) {
        const [channel, what, key] = partsOf(path);
        if (what === 'log' && key) this.read[`#${channel}`] = key;
      }
    }
    this.begun = true;
  }

  /** @private @param {import('./onetree/snapshot.js').Difference[]} changes */
  follow(changes) {
    this.timeline.handle(changes, this.isFollowing());
    let here = true;
    for (const change of changes) {
      const [channel, what, name] = partsOf(change.path);
      if (what === 'log' && change.new) {
        const { id, from } = messageOf(change.new);
        if (id && from === this.name) this.outbox.remove(id);
        this.typing.delete(typingOf(channel, from));
      } else if (what === 'here' && !change.new) {
        this.typing.delete(typingOf(channel, name));
        if (change.path === hereOf(this.channel, this.name)) here = false;
      }
    }
    // Another window with the same name has gone.
    if (!here && this.mirror.isFresh) this.sayHere();
    if (this.mirror.size > ENTRIES) this.mirror.resync().catch(() => {});
  }

  // Channels.

  /** Goes to another channel. @param {string} channel */
  enter(channel) {
    if (channel === this.channel) return;
    const before = this.channel;
    this.channel = channel;
    this.timeline = new Timeline(this, channel);
    this.sayHere(before);
    this.changed();
  }

  /** Returns the channels, with how many messages of others have not been read. */
  channels() {
    /** @type {Map<string, number>} */
    const unread = new Map([[this.channel, 0]]);
    for (const { path, value } of this.mirror.entries()) {
      const [channel, what, key] = partsOf(path);
      if (!channel || !key) continue;
      if (!unread.has(channel)) unread.set(channel, 0);
      if (what !== 'log' || key <= (this.read[`#${channel}`] ?? '')) continue;
      if (messageOf({ path, value }).from !== this.name) unread.set(channel, unread.get(channel) + 1);
    }
    return [...unread].map(([name, count]) => ({ name, unread: count })).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Notes that the reader has seen the end of the channel. */
  haveRead() {
    const last = this.timeline.entries.at(-1);
    const key = last && partsOf(last.path)[2];
    if (!this.begun || !key || this.read[`#${this.channel}`] === key) return;
    this.read[`#${this.channel}`] = key;
    localStorage.setItem('chat.read', JSON.stringify(this.read));
  }

  // Messages.

  /** Returns what there is to show: what is in the log, and after it what is on its way. */
  messages() {
    const { entries, epoch } = this.timeline;
    // In another history the same path is another message.
    const messages = entries.map((entry) => ({ ...messageOf(entry), key: `${epoch}${entry.path}` }));
    if (!this.timeline.atEnd) return messages;
    const waiting = this.outbox.of(this.channel).map((said) => ({
      ...said, key: `waiting:${said.id}`, state: said.failed === undefined ? 'pending' : 'failed',
    }));
    return [...messages, ...waiting];
  }

  /** Says something in the channel. It shows at once. @param {string} text */
  say(text) {
    const said = { id: crypto.randomUUID(), channel: this.channel, from: this.name, text, at: Date.now() };
    this.outbox.add(said);
    this.lastTyping = 0;
    this.settled.then(() => this.write(said));
    this.changed();
  }

  /**
   * @private The client sends a message until it has an answer, and the broker takes it once. A page has a new client
   *   in each of its lives, so it leaves a mark with each message that was taken, and writes a message only if there is
   *   no mark: then it is there once.
   * @param {import('./outbox.js').Said} said
   */
  async write(said) {
    const [log, mark] = [logOf(said.channel), saidOf(said.id)];
    // If the message is there already, its commit is not known: any revision will do.
    let rev = 0;
    try {
      ({ rev } = await this.client.txn({
        if: [{ path: mark, rev: 0 }],
        do: [{ do: 'append', path: log, value: valueOf(said) }, { do: 'put', path: mark, value: true, ttlMs: MARKED_FOR }],
      }));
    } catch (error) {
      // There was no answer when the client ended: the message stays in the outbox.
      if (error.code === 'closed') return;
      if (error.code !== 'conflict') {
        this.outbox.fail(said.id, error.message);
        this.changed();
        return;
      }
    }
    // If it does not come with the mirror, so many messages came after it that it is not among the newest.
    this.mirror.at(rev).catch(() => {}).then(() => {
      this.outbox.remove(said.id);
      this.changed();
    });
  }

  /** @private Sends what an earlier life of this page said, and may or may not have got into the log. */
  async settle() {
    for (const said of [...this.outbox.all]) {
      // Later its mark might be gone, and the message would be there twice.
      if (Date.now() - said.at < PATIENCE) await this.write(said);
      else this.outbox.fail(said.id, 'It waited for more than a day.');
    }
  }

  // Others.

  /** Returns who is in the channel. @returns {string[]} */
  here() {
    return [...this.mirror.under(hereOf(this.channel))].map(({ path }) => partsOf(path)[2]).filter(Boolean);
  }

  /**
   * @private Says that this person is in the channel. The entry lasts as long as the session. @param {string} [before]
   *   another channel
   */
  sayHere(before) {
    // Only with a connection: what waits for one might no longer be true.
    if (!this.isOnline) return;
    /** @type {import('./onetree/request.js').Step[]} */
    const steps = [{ do: 'put', path: hereOf(this.channel, this.name), value: { since: Date.now() }, ephemeral: true }];
    if (before !== undefined) steps.push({ do: 'delete', path: hereOf(before, this.name) });
    this.client.txn({ do: steps }).catch((error) => {
      if (error.code !== 'closed') console.warn('presence:', error.message);
    });
  }

  /** Returns who types in the channel. @returns {string[]} */
  typists() {
    const now = Date.now();
    const names = [];
    for (const [path, until] of this.typing) {
      const [channel, , name] = partsOf(path);
      if (until <= now) this.typing.delete(path);
      else if (channel === this.channel) names.push(name);
    }
    return names;
  }

  /** @private @param {string} path */
  hear(path) {
    const [, what, name] = partsOf(path);
    if (what !== 'typing' || !name || name === this.name) return;
    this.typing.set(path, Date.now() + TYPING_FOR);
    setTimeout(() => this.changed(), TYPING_FOR + 10);
  }

  /** Reports that this person types. Nobody hears of it if there is no connection. */
  type() {
    const now = Date.now();
    if (!this.isOnline || now - this.lastTyping < TYPING_EVERY) return;
    this.lastTyping = now;
    this.client.signal(typingOf(this.channel, this.name), true).catch(() => {});
  }

  /** The page goes: others see it at once. */
  leave() {
    void this.client.close();
  }
}

/** @param {import('./outbox.js').Said} said */
const valueOf = ({ id, from, text, at }) => ({ id, from, text, at });
