// A broker for simulations: the tree is a map, the history a list, and nothing is fast. It takes and gives frames.

import { digestOf } from '../../src/protocol/digests.js';
import { logKey } from '../../src/protocol/log-keys.js';
import { below, comparePaths, contains } from '../../src/protocol/paths.js';
import { fingerprint, sees, viewOf } from '../../src/protocol/views.js';

const EPOCH = 'e'.repeat(32);
const LIMITS = { frame_bytes: 1 << 20, value_bytes: 1 << 16, subscriptions: 16, in_flight: 8 };

export class Broker {
  constructor() {
    this.tree = new Map();
    this.rev = 0;
    this.history = [];
    /** Each write that was executed: its client name, and its number. */
    this.executed = [];
    this.last = new Map();
    this.answers = new Map();
    this.starts = 0;
    this.epoch = EPOCH;
    /** Whether a client that comes back finds its session. */
    this.resumes = false;
  }

  /** The broker has forgotten the answers, but not the numbers. */
  restart() {
    this.answers.clear();
    this.starts += 1;
  }

  get key() {
    return this.starts.toString(16).padStart(32, '0');
  }

  seen(view) {
    return [...this.tree.values()].filter(({ path }) => sees(view, path));
  }

  digest(view) {
    return digestOf(this.key, this.seen(view));
  }
}

const put = ({ path, rev, value }) => ({ path, rev, act: 'put', value });

/** What a broker sends on one connection. */
export class Connection {
  constructor(broker) {
    this.broker = broker;
    this.subs = new Map();
    this.client = '';
    this.at = broker.rev;
  }

  /** Returns the frames that answer a frame. */
  handle(frame) {
    const { broker } = this;
    const { id } = frame;
    switch (frame.op) {
      case 'hello': {
        this.client = frame.client;
        const resumed = broker.resumes && frame.session !== undefined;
        const welcome = { op: 'welcome', id, session: 's', resumed, epoch: broker.epoch, rev: broker.rev, heartbeat_ms: 1000, digest_key: broker.key, limits: LIMITS };
        return [welcome, ...(frame.subs ?? []).flatMap((sub) => this.subscribe(sub, sub.id))];
      }
      case 'sub': return this.subscribe(frame, id);
      case 'resync': return this.subscribe({ ...this.subs.get(frame.sub), sub: frame.sub, cookie: undefined }, id);
      case 'unsub':
        this.subs.delete(frame.sub);
        return [{ op: 'ok', id }];
      case 'sync': return [...this.deltas(), this.sync(id)];
      case 'signal': case 'bye': return [{ op: 'ok', id }];
      case 'list': return [this.list(frame)];
      default: return this.write(frame);
    }
  }

  /** Returns a page of the children: two at most, if the request leaves the number to the broker. */
  list({ id, path, after, before, limit, reverse }) {
    const under = below(path);
    const { tree, rev } = this.broker;
    const paths = [...tree.keys()].filter((at) => contains(path, at))
      .map((at) => (at === path ? at : under + at.slice(under.length).split('/')[0]));
    const inside = [...new Set(paths)].sort(comparePaths)
      .filter((at) => (after === undefined || comparePaths(at, after) > 0) && (before === undefined || comparePaths(at, before) < 0));
    if (reverse) inside.reverse();
    const most = limit || 2;
    const entries = inside.slice(0, most).map((at) => put(tree.get(at) ?? { path: at, rev: 0 }));
    return { op: 'found', id, rev, entries, more: inside.length > most };
  }

  sync(id) {
    return { op: 'sync', id, rev: this.broker.rev, digests: Array.from(this.subs, ([n, sub]) => [n, this.broker.digest(viewOf(sub))]) };
  }

  subscribe(sub, id) {
    const { broker } = this;
    const view = viewOf(sub);
    const said = [...this.deltas(), { op: 'ok', id }];
    this.subs.set(sub.sub, sub);
    const since = sub.cookie?.epoch === broker.epoch ? sub.cookie.rev : undefined;
    said.push(since === undefined ? { op: 'refresh', sub: sub.sub, kind: 'full', why: 'no-cookie' }
      : { op: 'refresh', sub: sub.sub, kind: 'delta', why: 'cookie', from: since });
    const changes = since === undefined ? broker.seen(view).map(put) : broker.history.filter(({ rev }) => rev > since);
    const half = changes.length >> 1;
    said.push({ op: 'entries', sub: sub.sub, changes: changes.slice(0, half) }, { op: 'entries', sub: sub.sub, changes: changes.slice(half) });
    return [...said, { op: 'fresh', sub: sub.sub, rev: broker.rev, view: fingerprint(view), digest: broker.digest(view) }];
  }

  /** Returns what was committed since the last call: a frame for each commit, some of them in parts. */
  deltas() {
    const news = this.broker.history.filter(({ rev }) => rev > this.at);
    this.at = this.broker.rev;
    return [...new Set(news.map(({ rev }) => rev))].flatMap((rev) => {
      const changes = news.filter((change) => change.rev === rev);
      if (changes.length === 1) return [{ op: 'delta', rev, changes }];
      return [{ op: 'delta', rev, part: true, changes: changes.slice(0, 1) }, { op: 'delta', rev, changes: changes.slice(1) }];
    });
  }

  write(frame) {
    const { broker } = this;
    const { id, seq } = frame;
    const error = (code) => [{ op: 'error', id, code, message: code }];
    const number = Number(seq);
    const last = broker.last.get(this.client) ?? 0;
    const known = broker.answers.get(`${this.client} ${number}`);
    if (known) return [{ ...known, id }];
    if (number <= last || (last === 0 && number > 1 && !broker.last.has(this.client))) return error('outcome-unknown');
    if (number > last + 1) return error('seq-gap');
    if (frame.path === '/refused') return error('unavailable');
    if (frame.path === '/no-json') return [{ op: 'error', code: 'bad-frame', message: 'it is no JSON' }];
    broker.last.set(this.client, number);
    broker.executed.push(`${this.client} ${number}`);
    const answer = this.execute(frame);
    broker.answers.set(`${this.client} ${number}`, answer);
    return [...this.deltas(), { ...answer, id }];
  }

  execute(frame) {
    const { broker } = this;
    broker.rev += 1;
    const { rev } = broker;
    for (const { path, tree, rev: at } of frame.if && Array.isArray(frame.if) ? frame.if : []) {
      const under = () => Math.max(0, ...broker.history.filter((c) => contains(tree, c.path)).map((c) => c.rev));
      const there = path === undefined ? under() : (broker.tree.get(path)?.rev ?? 0);
      if (path === undefined ? there > at : there !== at) return { op: 'error', code: 'conflict', message: 'not so', path: path ?? tree, rev: there };
    }
    const steps = frame.op === 'txn' ? frame.do : [{ ...frame, do: frame.op }];
    const paths = [];
    for (const [index, { do: what, path: at, value, to }] of steps.entries()) {
      let path = at;
      if (what === 'append') {
        path = `${at}/${logKey(rev, index)}`;
        paths.push(path);
      }
      if (what === 'put' || what === 'append') {
        broker.tree.set(path, { path, rev, value });
        broker.history.push({ path, rev, act: 'put', value });
        continue;
      }
      for (const other of [...broker.tree.keys()]) {
        const key = other.slice(path.length + 1).split('/')[0];
        const logged = what === 'trim' && other.startsWith(`${path}/`) && /^[01][0-9a-f]{17}$/.test(key) && key <= to;
        if (other === path ? what !== 'trim' : logged || (what === 'drop' && contains(path, other))) broker.tree.delete(other);
      }
      broker.history.push({ path, rev, act: what, ...(to && { to }) });
    }
    return { op: 'done', rev, durable: false, paths };
  }
}
