// How fast a mirror is filled and followed, against a real broker:
//
//     ONETREE_BIN=target/release/onetree npm run bench
//
// Prints, for each codec: a refresh of so many entries, from the request until it is fresh; and changes, written by another
// process: how many a second as they are written (the writer and the broker share the machine), and for each second of CPU time
// that this process spends, which is what it could take. The floor stands beside it: what JSON.parse alone takes for the same
// messages, as CPU time.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect, json } from '../src/index.js';
import { msgpack } from '../src/msgpack.js';

const ENTRIES = 100_000;
const CHANGES = 100_000;

const path = (n) => `/load/${String(n % 100).padStart(2, '0')}/entry-${n}`;
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Writes values, `each` a commit, so many commits on their way at once. */
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

/** A codec that keeps the messages that it reads. */
function counted(codec) {
  const messages = [];
  return [messages, { ...codec, decodeServer: (message) => {
    messages.push(message);
    return codec.decodeServer(message);
  } }];
}

/** Seconds of CPU time that the bare parser takes for the same messages. */
function floor(messages) {
  const began = cpu();
  for (const message of messages) JSON.parse(message);
  return cpu() - began;
}

async function refresh(url, name, codec) {
  const client = await connect(url, { codec });
  const [began, spent] = [performance.now(), cpu()];
  const mirror = client.mirror('/load');
  await mirror.fresh();
  const [took, used] = [(performance.now() - began) / 1000, cpu() - spent];
  if (mirror.size !== ENTRIES) throw new Error(`${mirror.size} entries`);
  if (await mirror.verify() !== 'same') throw new Error('the mirror is wrong');
  await client.close();
  let bare = '';
  if (codec === json) {
    const [messages, counting] = counted(codec);
    const second = await connect(url, { codec: counting });
    await second.mirror('/load').fresh();
    await second.close();
    bare = `; JSON.parse alone: ${floor(messages).toFixed(2)} s`;
  }
  console.log(`${name}: refresh of ${ENTRIES} entries: ${took.toFixed(2)} s (CPU ${used.toFixed(2)} s${bare})`);
}

async function follow(url, name, codec, each) {
  const [messages, counting] = counted(codec);
  const client = await connect(url, { codec: counting });
  const mirror = client.mirror('/load');
  const start = await mirror.fresh();
  let seen = 0;
  mirror.onEvent((event) => {
    if (event.type === 'delta') seen += event.changes.length;
  });
  messages.length = 0;
  const writer = spawn(process.execPath, [fileURLToPath(import.meta.url), '--write', url, String(each)], { stdio: ['ignore', 'inherit', 'inherit'] });
  await mirror.until((now) => now.rev > start);
  const [began, spent] = [performance.now(), cpu()];
  await mirror.at(start + CHANGES / each);
  const [took, used] = [(performance.now() - began) / 1000, cpu() - spent];
  await new Promise((resolve) => writer.on('exit', resolve));
  if (await mirror.verify() !== 'same') throw new Error('the mirror is wrong');
  await client.close();
  const bare = codec === json ? `; JSON.parse alone: ${Math.round(CHANGES / floor(messages))}` : '';
  console.log(`${name}: ${CHANGES} changes, ${each} a commit: ${Math.round(CHANGES / took)} a second as written, `
    + `${Math.round(CHANGES / used)} a second of CPU time (in ${messages.length} messages, ${seen} told${bare})`);
}

async function main() {
  const binary = process.env.ONETREE_BIN;
  if (!binary) throw new Error('ONETREE_BIN says where the broker is: target/release/onetree, say');
  const broker = spawn(binary, ['serve', '--memory', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const url = await new Promise((resolve) => {
      createInterface({ input: broker.stdout }).once('line', (line) => resolve(line.split(' ').at(-1)));
    });
    await write(url, 500, ENTRIES, (n) => ({ n, name: `entry ${n}`, on: true }), 4);
    for (const [name, codec] of [['json', json], ['msgpack', msgpack]]) {
      await refresh(url, name, codec);
      await follow(url, name, codec, 100);
      await follow(url, name, codec, 1);
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
