// The JavaScript client's adapter of `spec/scenarios`. It carries out the runner's commands, one line at a time. It
// judges nothing; the runner does.

import { createInterface } from 'node:readline';
import { OnetreeError, start } from '../src/index.js';
import { json, readEntry } from '../src/json.js';
import { keepInFile } from '../src/keep-file.js';
import { msgpack } from '../src/msgpack.js';
import { programs } from './programs.js';
import { eventOf, line } from './told.js';

/** @type {any} */
let client;
let asked = 0;
const mirrors = new Map();

/** Converts the names of fields to those of JavaScript, such as `backoffMs`. */
function options(fields) {
  const camel = (name) => name.replace(/_./g, (letter) => letter.slice(1).toUpperCase());
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name), value]));
}

function connect({ id, op, url, codec, tokens, ...fields }) {
  const token = tokens ? () => tokens[Math.min(asked++, tokens.length - 1)] : fields.token;
  client = start(url, { ...options(fields), codec: codec === 'json' ? json : msgpack, token });
}

const found = ({ rev, entries, more }) => ({ rev, entries: entries.map(line), more });

/** Commands of the client. All other commands are writes: frames. */
const ofClient = {
  async status({ wait }) {
    if (wait) await client.until(wait);
    return { status: client.status, asked };
  },
  sub({ mirror, path, depth, match, tail, values, signals, every_ms: everyMs, mode, from, keep, late }) {
    const saved = from && { ...from, entries: from.entries.map((entry) => readEntry(JSON.stringify(entry))) };
    const kept = keep && keepInFile(keep);
    const made = client.mirror({ path, depth, match, tail, values },
      { signals, everyMs, once: mode === 'once', from: saved, keep: kept });
    mirrors.set(mirror, { made, changes: late ? undefined : made.changes() });
  },
  signal(_, text) {
    const { path, value } = json.decodeClient(text);
    return client.signal(path, value);
  },
  get: async ({ paths }) => found(await client.getMany(paths)),
  list: async ({ id, op, path, ...fields }) => found(await client.list(path, fields)),
  close: () => client.close(),
  leave: () => client.leave(),
};

const ofMirror = {
  fresh: async ({ made }) => ({ rev: await made.fresh() }),
  resync: async ({ made }) => ({ rev: await made.resync() }),
  at: async ({ made }, { rev }) => ({ rev: await made.at(rev) }),
  verify: ({ made }) => made.verify(),
  dump({ made }) {
    const now = made.snapshot();
    return { rev: now.rev, cookie: now.cookie, entries: [...now.entries()].map(line) };
  },
  events(of) {
    const changes = (of.changes ??= of.made.changes());
    const events = [];
    for (let event = changes.nextNow(); event; event = changes.nextNow()) events.push(eventOf(event));
    return events;
  },
  earlier: async ({ made }, { log, limit, before }) => found(await made.earlier(log, limit, before)),
  async transact({ made }, command) {
    const { result, done, runs } = await made.transact((tx) => programs[command.program](tx, command));
    return { result, rev: done?.rev, runs };
  },
};

async function perform(command, text) {
  const { op, mirror } = command;
  if (op === 'connect') return connect(command);
  if (!client) throw new OnetreeError('adapter', 'connect first');
  if (op in ofClient) return ofClient[op](command, text);
  if (!(op in ofMirror)) return client.write(json.decodeClient(text));
  if (!mirrors.has(mirror)) throw new OnetreeError('adapter', 'no mirror of that name');
  return ofMirror[op](mirrors.get(mirror), command);
}

const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
input.on('line', async (text) => {
  const command = JSON.parse(text);
  let answer;
  try {
    answer = { ok: (await perform(command, text)) ?? {} };
  } catch (error) {
    const known = error instanceof OnetreeError;
    answer = { error: known ? error : { code: 'application', message: String(error?.message ?? error) } };
    if (!known && command.program !== 'fail') console.error(error);
  }
  process.stdout.write(`${JSON.stringify({ id: command.id, ...answer })}\n`);
});
input.on('close', () => process.exit());
