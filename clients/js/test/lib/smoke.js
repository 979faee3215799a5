// One application for each JavaScript runtime: `node|deno run|bun smoke.js URL json|msgpack FILE`. It follows a tree,
// writes, loses its broker and has it back. It prints `ready` when the broker may be killed, and `right` when all was
// right.

import { connect } from '../../src/index.js';
import { json } from '../../src/json.js';
import { keepInFile } from '../../src/keep-file.js';
import { msgpack } from '../../src/msgpack.js';

const [url, name, file] = (globalThis.Deno?.args ?? globalThis.process.argv.slice(2));

function must(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

const client = await connect(url, { codec: name === 'json' ? json : msgpack, backoffMs: [20, 200] });
const top = `/smoke/${name}`;
const mirror = client.mirror('/smoke', { keep: keepInFile(file) });
const copy = new Map();
mirror.onEvent(({ changes = [] }) => {
  for (const { path, new: now } of changes) now ? copy.set(path, now) : copy.delete(path);
});
await client.put(`${top}/a`, { text: 'ä\u{10000}' });
await client.put(`${top}/bytes`, Uint8Array.of(0, 255));
const { rev, paths } = await client.append(`${top}/log`, 'one');
await mirror.at(rev);
must(mirror.get(`${top}/a`).value.json.text === 'ä\u{10000}', 'JSON is what was put');
must(mirror.get(`${top}/bytes`).value.bytes[1] === 255, 'bytes are what was put');
must(mirror.get(paths[0]).value.json === 'one', 'the log has its entry');
must((await mirror.verify()).verdict === 'same', 'the mirror is the tree');
console.log('ready');
await client.until('offline');
// Requested while there is no broker: done once there is one.
const later = client.append(`${top}/log`, 'two');
await client.until('online');
await mirror.at((await later).rev);
must(Array.from(mirror.under(`${top}/log`), ({ value }) => value.json).join() === 'one,two', 'each append happened once');
must((await mirror.verify()).verdict === 'same', 'the mirror is the tree again');
await new Promise((resolve) => setTimeout(resolve, 50));
must(Array.from(mirror.entries(), ({ path }) => path).join() === [...copy.keys()].sort().join(), 'who applied the changes has it');
const { cookie, size } = mirror;
await mirror.close();
await client.close();
const kept = await keepInFile(file).load();
must(kept.cookie.rev === cookie.rev && kept.entries.length === size, 'what was kept is the mirror');
console.log('right');
