// Does what it is told, a line at a time: the JavaScript client's adapter of `spec/scenarios`. It judges nothing; the
// runner does.

import { createInterface } from 'node:readline';
import { OnetreeError, VERSION, start } from '../src/index.js';
import { entryText, json, readCookie, readEntry, valueFields } from '../src/json.js';
import { msgpack } from '../src/msgpack.js';

/** @type {any} */
let client;
let asked = 0;
const mirrors = new Map();

const wrong = (message) => new OnetreeError('adapter', message);
const line = (entry) => JSON.parse(entryText(entry));
const page = ({ rev, entries, more }, name) => ({ rev, [name]: entries.map(line), more });

/** An entry's value: what its JSON says, else its text or the base64 of its bytes. */
function plain(entry) {
  const fields = line(entry);
  return fields.json ?? fields.text ?? fields.bytes ?? null;
}

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

function told(event) {
  const { type, changes, value, retryInMs, error, ...rest } = event;
  const fields = { event: type, ...rest };
  if (changes) {
    fields.changes = changes.map((change) => ({
      path: change.path, rev: change.rev, ...(change.old && { old: line(change.old) }), ...(change.new && { new: line(change.new) }),
    }));
  }
  if (value) Object.assign(fields, JSON.parse(valueFields(value)));
  if (retryInMs !== undefined) fields.retry_ms = Math.round(retryInMs);
  if (type === 'ended' && error) fields.code = codeOf(error);
  return fields;
}

async function transact({ made }, { program, path, paths }) {
  let runs = 0;
  const take = (at) => (tx) => {
    const entry = tx.get(at);
    if (!entry) return tx.retry();
    tx.delete(at);
    return plain(entry);
  };
  const programs = {
    increment: (tx) => {
      const entry = tx.get(path);
      const n = (entry ? plain(entry) : 0) + 1;
      tx.put(path, n);
      return n;
    },
    take: (tx) => take(path)(tx),
    'take-either': (tx) => tx.orElse(take(paths[0]), take(paths[1])),
    move: (tx) => {
      const entry = [...tx.under(paths[0])].find((one) => one.path !== paths[0]);
      if (!entry) return tx.retry();
      tx.delete(entry.path);
      tx.put(paths[1] + entry.path.slice(entry.path.lastIndexOf('/')), entry.value);
      return plain(entry);
    },
    fail: (tx) => {
      tx.put(path, 1);
      throw new Error('the application throws');
    },
  };
  const { result, done } = await made.transact((tx) => {
    runs += 1;
    return programs[program](tx);
  });
  return { result, rev: done?.rev, runs };
}

async function perform(command) {
  const { do: what } = command;
  if (what === 'about') return { language: 'javascript', version: VERSION, can: ['keep', 'transact', 'token-hook', 'earlier', 'old-and-new'] };
  if (what === 'connect') return connect(command);
  if (!client) throw wrong('connect first');
  switch (what) {
    case 'status': {
      if (command.wait) await client.until(command.wait);
      return { status: client.status, asked };
    }
    case 'put': case 'append': case 'delete': case 'drop': case 'trim': case 'txn': {
      const { rev, paths } = await client.write(frame(what, command));
      return paths.length > 0 ? { rev, names: paths } : { rev };
    }
    case 'signal': {
      const { path, value } = frame(what, command);
      await client.signal(path, value);
      return {};
    }
    case 'get': return page(await client.getMany(command.paths), 'changes');
    case 'list': {
      const { op, id, path, ...options } = frame(what, command);
      return page(await client.list(path, options), 'changes');
    }
    case 'mirror': return mirror(command);
    case 'close': case 'leave':
      await client[what]();
      return {};
    default:
  }
  const known = mirrors.get(command.mirror);
  if (!known) throw wrong(`no mirror of that name, or no command ${what}`);
  const { made, changes } = known;
  switch (what) {
    case 'fresh': case 'resync': return { rev: await made[what]() };
    case 'at': return { rev: await made.at(command.rev) };
    case 'verify': return { verdict: await made.verify() };
    case 'dump': {
      const now = made.snapshot();
      return { rev: now.rev, cookie: now.cookie ?? null, entries: [...now.entries()].map(line) };
    }
    case 'events': {
      const events = [];
      for (let event = changes.nextNow(); event; event = changes.nextNow()) events.push(told(event));
      return events;
    }
    case 'earlier': return page(await made.earlier(command.log, command.limit, command.before), 'entries');
    case 'transact': return transact(known, command);
    default: throw wrong(`no command ${what}`);
  }
}

/** A client that has ended by itself says why. */
function codeOf(error) {
  if (!(error instanceof OnetreeError)) return 'application';
  return error.code === 'ended' && error.cause instanceof OnetreeError ? error.cause.code : error.code;
}

const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
input.on('line', async (text) => {
  const command = JSON.parse(text);
  let answer;
  try {
    answer = { ok: await perform(command) };
  } catch (error) {
    answer = { error: { code: codeOf(error), message: String(error?.message ?? error) } };
    if (!(error instanceof OnetreeError) && error?.message !== 'the application throws') console.error(error);
  }
  process.stdout.write(`${JSON.stringify({ id: command.id, ...answer })}\n`);
});
input.on('close', () => process.exit());
