// What was said and is not known to be in the log yet. It survives a reload of the page, in the tab in which it was
// said.

const KEY = 'chat.outbox';

/**
 * @typedef {{id: string, channel: string, from: string, text: string, at: number,
 *   failed?: string}} Said `failed`: why it was refused
 */
export class Outbox {
  constructor() {
    /** @type {Said[]} */
    this.all = JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
  }

  /** @param {Said} said */
  add(said) {
    this.all.push(said);
    this.save();
  }

  /** @param {string} id */
  remove(id) {
    const left = this.all.filter((said) => said.id !== id);
    if (left.length === this.all.length) return;
    this.all = left;
    this.save();
  }

  /** The message was refused for good. @param {string} id @param {string} why */
  fail(id, why) {
    for (const said of this.all) if (said.id === id) said.failed = why;
    this.save();
  }

  /** @param {string} channel */
  of(channel) {
    return this.all.filter((said) => said.channel === channel);
  }

  /** @private What was refused is not tried again after a reload. */
  save() {
    sessionStorage.setItem(KEY, JSON.stringify(this.all.filter(({ failed }) => failed === undefined)));
  }
}
