// Answers to an attempt to connect that do not come from a broker.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, start } from '../src/index.js';
import { targetOf } from '../src/transport.js';

const UPGRADED = 'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';
const ANSWERS = {
  unreachable: [status(503), status(429)],
  lost: [() => undefined, () => '', () => 'HT', () => 'HTTP/1.1 200', () => 'HTTP/1.1 101 Switching\r\nUpgra'],
  unauthorized: [status(401)],
  'not-a-broker': [
    status(404), status(200), () => 'hello\r\n\r\n', () => 'SSH-2.0-x\r\n', () => '\x15\x03\x01\0\x02\x02F',
    () => `${UPGRADED}Sec-WebSocket-Accept: x\r\n\r\n`,
    (accept) => `${UPGRADED}Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    (accept) => `${UPGRADED}Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: other\r\n\r\n`,
  ],
};
const ACTIONS = { unreachable: 'retry', lost: 'retry', unauthorized: 'reauth', 'not-a-broker': 'fix' };

function status(code) {
  return () => `HTTP/1.1 ${code} X\r\nContent-Length: 3\r\nConnection: close\r\n\r\nwhy`;
}

test('the address of a broker is one of WebSockets', (t) => {
  for (const url of ['ws://h:1', ' WS://h:1/ ', new URL('ws://h:1#x')]) assert.equal(targetOf(url), 'ws://h:1/v1/sync');
  assert.equal(targetOf('wss://h/x?y'), 'wss://h/x?y');
  const wrong = ['http://h:1', 'https://h', 'h:1', 'ftp://h', '', '/v1/sync', 7];
  for (const url of wrong) assert.throws(() => start(url), { code: 'url', action: 'fix' }, String(url));
  for (const url of ['127.0.0.1:7400', 'localhost:7400', 'http://h:1', '']) {
    assert.throws(() => start(url), { message: `url: '${url}' is no address of a broker: that is ws://HOST:PORT, or wss://…` });
  }
  // In a page, a URL without a scheme is relative to the page.
  const pages = { 'http://h:1/chat/': 'ws://h:1', 'https://h/': 'wss://h' };
  t.after(() => delete globalThis.location);
  for (const [href, host] of Object.entries(pages)) {
    globalThis.location = { href };
    assert.deepEqual(['/', '/v1/sync', '/x'].map(targetOf), ['/v1/sync', '/v1/sync', '/x'].map((path) => host + path));
    for (const url of ['http://h:1', 'ftp://h']) assert.throws(() => targetOf(url), { code: 'url' });
  }
});

test('in a page, which is not told why, it is said what else it may be', async (t) => {
  const before = globalThis.WebSocket;
  globalThis.WebSocket = class {
    constructor() {
      setTimeout(() => this.onclose?.({ code: 1006, reason: '' }));
    }

    close() {}
  };
  t.after(() => {
    globalThis.WebSocket = before;
    delete globalThis.location;
  });
  const told = () => connect('ws://h:1', { reconnect: 'never' }).catch(({ message }) => message);
  assert.equal(await told(), 'unreachable: cannot reach ws://h:1/v1/sync');
  globalThis.location = { href: 'http://page:8080/x', origin: 'http://page:8080' };
  assert.equal(await told(), 'unreachable: cannot reach ws://h:1/v1/sync, or it takes no pages of http://page:8080, which its log names then');
});

/** Answers each connection with `answer`, and closes it. Returns the URL. */
async function answering(t, answer) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const [, key] = /sec-websocket-key: (.*)\r/i.exec(String(request));
      const said = answer(createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64'));
      if (said === undefined) socket.destroy();
      else socket.end(said);
    });
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return `ws://127.0.0.1:${server.address().port}`;
}

/** Returns the code and the action with which a client ends that does not reconnect. */
const ended = (url) => connect(url, { reconnect: 'never' }).then(() => 'connected', ({ code, action }) => [code, action]);

test('what answers and is no broker is told from what may be one later', async (t) => {
  for (const [code, answers] of Object.entries(ANSWERS)) {
    for (const answer of answers) assert.deepEqual(await ended(await answering(t, answer)), [code, ACTIONS[code]], String(answer('…')));
  }
});

test('it is said of whom', async (t) => {
  for (const [answer, word, said] of [['hello', 'not-a-broker', 'is no broker: '], ['', 'lost', 'closed it during the handshake: ']]) {
    const url = await answering(t, () => answer);
    const begins = `${word}: ${url}/v1/sync ${said}`;
    await assert.rejects(connect(url, { reconnect: 'never' }), ({ message }) => assert.equal(message.slice(0, begins.length), begins) === undefined);
  }
});

test('in Node that is so as well where there is a WebSocket of its own, which cannot tell', async (t) => {
  const urls = [];
  for (const answer of [status(401), status(404), status(503)]) urls.push(await answering(t, answer));
  const script = `
    import { connect } from ${JSON.stringify(new URL('../src/index.js', import.meta.url).href)};
    const told = [typeof WebSocket];
    for (const url of process.argv.slice(1)) await connect(url, { reconnect: 'never' }).catch(({ code }) => told.push(code));
    console.log(told.join());`;
  const child = spawn(process.execPath, ['--experimental-websocket', '--no-warnings', '--input-type=module', '-e', script, ...urls], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  for await (const piece of child.stdout) said += piece;
  assert.equal(said, 'function,unauthorized,not-a-broker,unreachable\n');
});

test('where npm has only linked to this package, and ws is not found from there, it is said what helps', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onetree-'));
  try {
    const src = join(folder, 'src');
    cpSync(fileURLToPath(new URL('../src', import.meta.url)), src, { recursive: true });
    const program = `delete globalThis.WebSocket;
      const { connect } = await import(${JSON.stringify(join(src, 'index.js'))});
      await connect('ws://127.0.0.1:1').catch(({ code, action, message }) => console.log(code, action, message));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
    assert.match(stdout, /^no-websocket fix .*install-links=true.*npm ci/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
