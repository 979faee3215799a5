// The programs that take part: the example, and the chat in a terminal.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Returns what the test needs and does not find, and how to get it. @returns {string | undefined} */
export function missing() {
  const chromium = chromiumPath();
  if (!existsSync(chromium)) return `there is no ${chromium}: install Chromium, or say where it is with CHROMIUM`;
  if (!existsSync(new URL('node_modules/playwright-core', import.meta.url))) return 'playwright-core is missing: run npm ci in examples/chat/test';
  try {
    execFileSync(pythonPath(), ['-c', 'import websockets, msgpack'], { stdio: 'ignore' });
  } catch {
    return `${pythonPath()} has no websockets and msgpack: say with PYTHON which has, for example that of a virtual environment `
      + 'with `pip install ./clients/python`';
  }
  return undefined;
}

export const chromiumPath = () => process.env.CHROMIUM ?? '/usr/bin/chromium';
const pythonPath = () => process.env.PYTHON ?? (existsSync(`${ROOT}target/chat-venv/bin/python`) ? `${ROOT}target/chat-venv/bin/python` : 'python3');

/** A program whose lines are read. */
class Program {
  constructor(command, args, options) {
    this.output = '';
    this.waiting = new Set();
    this.child = spawn(command, args, { cwd: ROOT, ...options });
    const read = (data) => {
      this.output += data;
      for (const look of this.waiting) look();
    };
    this.child.stdout.on('data', read);
    this.child.stderr.on('data', read);
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
    this.child.on('error', read);
  }

  /** Waits until the output matches. @param {RegExp} wanted */
  says(wanted, timeout = 20_000) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => done(reject, new Error(`no ${wanted} in: ${this.output}`)), timeout);
      const done = (how, what) => {
        clearTimeout(timer);
        this.waiting.delete(look);
        how(what);
      };
      const look = () => {
        const found = wanted.exec(this.output);
        if (found) done(resolve, found);
      };
      this.waiting.add(look);
      this.ended.then(() => done(reject, new Error(`it ended without ${wanted}: ${this.output}`)));
      look();
    });
  }

  async stop(signal = 'SIGINT') {
    this.child.kill(signal);
    await this.ended;
  }
}

/**
 * Builds the example unless its path is given, and starts it. @param {string[]} args @param {{page: string, broker:
 * string}} [ports]
 */
export async function startExample(args, ports = { page: '0', broker: '0' }) {
  let program = process.env.CHAT_BIN;
  if (!program) {
    execFileSync('cargo', ['build', '--locked', '--example', 'chat'], { cwd: ROOT, stdio: 'inherit' });
    program = `${process.env.CARGO_TARGET_DIR ?? `${ROOT}target`}/debug/examples/chat`;
  }
  const example = new Program(program, ['--port', ports.page, '--broker-port', ports.broker, ...args]);
  const [, page] = await example.says(/open (http:\S+)/);
  const [, broker] = await example.says(/the broker is (ws:[^\s;]+)/);
  return { example, page, broker };
}

/** @param {string} broker @param {string} name @param {string} channel @param {number | 'pipe'} stdin a file that is open, or a pipe */
export function startTerminal(broker, name, channel, stdin = 'pipe') {
  const env = { ...process.env, PYTHONPATH: `${ROOT}clients/python/src` };
  return new Program(pythonPath(), ['examples/chat/terminal.py', name, '--broker', broker, '--channel', channel], { env, stdio: [stdin, 'pipe', 'pipe'] });
}
