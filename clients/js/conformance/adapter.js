// Does what it is told, a line at a time: the JavaScript client's adapter of `spec/scenarios`. It judges nothing; the
// runner does.

import { createInterface } from 'node:readline';
import { OnetreeError, start } from '../src/index.js';
import { json, readCookie, readEntry } from '../src/json.js';
import { msgpack } from '../src/msgpack.js';
import { programs } from './programs.js';
import { codeOf, eventOf, line, page } from './told.js';

/** @type {any} */
let client;
let asked = 0;
const mirrors = new Map();

/** The frame that a command's fields are those of; `do` of a `txn` stands in `steps`. */
function frame(op, command) {
  return json.decodeClient(JSON.stringify({ ...command, op, id: 0, sub: 0, do: command.steps, from: undefined }));
}

function connect({ url, codec, label, token, tokens, reconnect, queue_bytes, request_timeout_ms, backoff_ms }) {
  const hook = () => tokens[Math.min(asked++, tokens.length - 1)];
  const options = {
    codec: codec === 'json' ? json : msgpack, label, token: tokens ? hook : token, reconnect,
    queueBytes: queue_bytes, requestTimeoutMs: request_timeout_ms, backoffMs: backoff_ms,
  };
  for (const name of Object.keys(options)) if (options[name] === undefined) delete options[name];
  client = start(url, options);
  return {};
}

async function write(command) {
  const { rev, paths } = await client.write(frame(command.do, command));
  return { rev, names: paths.length > 0 ? paths : undefined };
}

async function mirror(command) {
  const { path, depth, match, tail, values, signals, every_ms: everyMs, mode } = frame('sub', command);
  const options = { signals, everyMs: everyMs ?? 0, once: mode === 'once' };
  if (command.from) {
    const entries = command.from.entries.map((entry) => readEntry(JSON.stringify(entry)));
    options.from = { cookie: readCookie(JSON.stringify(command.from.cookie)), entries };
  }
  if (command.keep) {
    const { keepInFile } = await import('../src/keep-file.js');
    options.keep = keepInFile(command.keep);
  }
  const made = client.mirror({ path, depth, match, tail, values }, options);
  mirrors.set(command.mirror, { made, changes: made.changes() });
  return {};
}

async function transact(made, command) {
  let runs = 0;
  const { result, done } = await made.transact((tx) => {
    runs += 1;
    return programs[command.program](tx, command);
  });
  return { result, rev: done?.rev, runs };
}

const ofClient = {
  put: write, append: write, delete: write, drop: write, trim: write, txn: write,
  mirror,
  async status({ wait }) {
    if (wait) await client.until(wait);
    return { status: client.status, asked };
  },
  async signal(command) {
    const { path, value } = frame('signal', command);
    await client.signal(path, value);
    return {};
  },
  get: async ({ paths }) => page(await client.getMany(paths)),
  async list(command) {
    const { op, id, path, ...options } = frame('list', command);
    return page(await client.list(path, options));
  },
  async close() {
    await client.close();
    return {};
  },
  async leave() {
    await client.leave();
    return {};
  },
};

const ofMirror = {
  fresh: async ({ made }) => ({ rev: await made.fresh() }),
  resync: async ({ made }) => ({ rev: await made.resync() }),
  at: async ({ made }, { rev }) => ({ rev: await made.at(rev) }),
  verify: async ({ made }) => ({ verdict: await made.verify() }),
  dump({ made }) {
    const now = made.snapshot();
    return { rev: now.rev, cookie: now.cookie ?? null, entries: [...now.entries()].map(line) };
  },
  events({ changes }) {
    const events = [];
    for (let event = changes.nextNow(); event; event = changes.nextNow()) events.push(eventOf(event));
    return events;
  },
  earlier: async ({ made }, { log, limit, before }) => page(await made.earlier(log, limit, before)),
  transact: ({ made }, command) => transact(made, command),
};

async function perform(command) {
  if (command.do === 'connect') return connect(command);
  if (!client) throw new OnetreeError('adapter', 'connect first');
  if (command.do in ofClient) return ofClient[command.do](command);
  const known = mirrors.get(command.mirror);
  if (!known) throw new OnetreeError('adapter', 'no mirror of that name');
  return ofMirror[command.do](known, command);
}

const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
input.on('line', async (text) => {
  const command = JSON.parse(text);
  let answer;
  try {
    answer = { ok: await perform(command) };
  } catch (error) {
    answer = { error: { code: codeOf(error), message: String(error?.message ?? error) } };
    if (!(error instanceof OnetreeError) && command.program !== 'fail') console.error(error);
  }
  process.stdout.write(`${JSON.stringify({ id: command.id, ...answer })}\n`);
});
input.on('close', () => process.exit());
