// How fast a mirror is filled and followed, against a real broker:
//
//     ONETREE_BIN=target/release/onetree npm run bench
//
// Prints, for each codec:
//
// - a refresh of a number of entries, from the request until the mirror is fresh
// - changes written by another process: how many a second as they are written (the writer and the broker share the
//   machine), and how many for each second of CPU time of this process, which is what it could take
//
// Puts are written by this client in a process of its own. Appends are written by `onetree append --lines`, which is
// faster than a mirror, so that the mirror is what is measured. Beside that is the floor: the CPU time that JSON.parse
// alone takes for the same messages.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect, json } from '../src/index.js';
import { msgpack } from '../src/msgpack.js';

const ENTRIES = 100_000;
const CHANGES = 100_000;
const BINARY = process.env.ONETREE_BIN;

const path = (n) => `/load/${String(n % 100).padStart(2, '0')}/entry-${n}`;
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Writes values, `each` of them in a commit, with `together` commits on their way at once. */
async function write(url, each, count, make, together = 64) {
  const client = await connect(url, { codec: msgpack });
  const answers = [];
  for (let n = 0; n < count; n += each) {
    const steps = Array.from({ length: each }, (_, k) => ({ do: 'put', path: path(n + k), value: make(n + k) }));
    answers.push(each === 1 ? client.put(steps[0].path, steps[0].value) : client.txn({ do: steps }));
    if (answers.length === together) await Promise.all(answers.splice(0));
  }
  await Promise.all(answers);
  await client.close();
}

/** Starts the writer of puts, with `each` of them in a commit. */
const puts = (each) => (url) => spawn(process.execPath, [fileURLToPath(import.meta.url), '--write', url, String(each)], { stdio: ['ignore', 'inherit', 'inherit'] });

/** Starts the writer of appends, each in a commit of its own. */
function appends(url) {
  const writer = spawn(BINARY, ['append', '/log', '--lines', '--type', 'application/json', '--url', url], { stdio: ['pipe', 'ignore', 'inherit'] });
  writer.stdin.end(Array.from({ length: CHANGES }, (_, n) => `${JSON.stringify({ n: -n, name: `entry ${n}` })}\n`).join(''));
  return writer;
}

/** A codec that counts the messages that it reads, and keeps one in ten. To keep all would burden the garbage collector. */
function counted(codec) {
  const read = { count: 0, /** @type {any[]} */ some: [] };
  return [read, { ...codec, decodeServer: (message) => {
    read.count += 1;
    if (read.count % 10 === 0) read.some.push(message);
    return codec.decodeServer(message);
  } }];
}

/** Returns the seconds of CPU time that the bare parser takes for as many messages. */
function floor({ count, some }) {
  const began = cpu();
  for (const message of some) JSON.parse(message);
  return (cpu() - began) * (count / some.length);
}

async function refresh(url, name, codec) {
  const client = await connect(url, { codec });
  const [began, spent] = [performance.now(), cpu()];
  const mirror = client.mirror('/load');
  await mirror.fresh();
  const [took, used] = [(performance.now() - began) / 1000, cpu() - spent];
  if (mirror.size !== ENTRIES) throw new Error(`${mirror.size} entries`);
  if ((await mirror.verify()).verdict !== 'same') throw new Error('the mirror is wrong');
  await client.close();
  let bare = '';
  if (codec === json) {
    const [read, counting] = counted(codec);
    const second = await connect(url, { codec: counting });
    await second.mirror('/load').fresh();
    await second.close();
    bare = `; JSON.parse alone: ${floor(read).toFixed(2)} s`;
  }
  console.log(`${name}: refresh of ${ENTRIES} entries: ${took.toFixed(2)} s (CPU ${used.toFixed(2)} s${bare})`);
}

async function follow(url, name, codec, what, commits, start) {
  const [read, counting] = counted(codec);
  const client = await connect(url, { codec: counting });
  const mirror = client.mirror('/');
  const rev = await mirror.fresh();
  let seen = 0;
  mirror.onEvent((event) => {
    if (event.type === 'delta') seen += event.changes.length;
  });
  read.count = read.some.length = 0;
  const writer = start(url);
  await mirror.until((now) => now.rev > rev);
  const [began, spent] = [performance.now(), cpu()];
  await mirror.until((now) => now.rev >= rev + commits);
  const [took, used] = [(performance.now() - began) / 1000, cpu() - spent];
  const came = read.count;
  if (writer.exitCode === null) await new Promise((resolve) => writer.on('exit', resolve));
  if ((await mirror.verify()).verdict !== 'same') throw new Error('the mirror is wrong');
  if (seen !== CHANGES) throw new Error(`${seen} changes were told`);
  await client.close();
  const bare = codec === json ? `; JSON.parse alone: ${Math.round(CHANGES / floor(read))}` : '';
  console.log(`${name}: ${CHANGES} ${what}, in ${came} messages: ${Math.round(CHANGES / took)} a second as written, `
    + `${Math.round(CHANGES / used)} a second of CPU time (${took.toFixed(2)} s, CPU ${used.toFixed(2)} s${bare})`);
}

async function main() {
  if (!BINARY) throw new Error('ONETREE_BIN says where the broker is: target/release/onetree, say');
  const broker = spawn(BINARY, ['serve', '--memory', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const url = await new Promise((resolve) => {
      createInterface({ input: broker.stdout }).once('line', (line) => resolve(line.split(' ').at(-1)));
    });
    await write(url, 500, ENTRIES, (n) => ({ n, name: `entry ${n}`, on: true }), 4);
    for (const [name, codec] of [['json', json], ['msgpack', msgpack]]) {
      await refresh(url, name, codec);
      await follow(url, name, codec, 'puts, 100 a commit', CHANGES / 100, puts(100));
      await follow(url, name, codec, 'puts, 1 a commit', CHANGES, puts(1));
      await follow(url, name, codec, 'appends, 1 a commit', CHANGES, appends);
    }
  } finally {
    broker.kill('SIGTERM');
  }
}

if (process.argv[2] === '--write') {
  await write(process.argv[3], Number(process.argv[4]), CHANGES, (n) => ({ n: -n, name: `entry ${n}` }));
} else {
  await main();
}
