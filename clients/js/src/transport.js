// A WebSocket with its codec: the host's own WebSocket, or in Node the one of `ws`.

import { codeOfClose } from './codes.js';
import { OnetreeError, refuse, wordsOf } from './errors.js';

/**
 * The host's own WebSocket. One that the application has put in its place before the import cannot be told from it; see
 * the README.
 */
const OWN = globalThis.WebSocket;
/**
 * Node's own WebSocket does not tell 401 from 404, nor either of them from a host that does not answer. Deno and Bun
 * also say that they are Node, and have no other WebSocket.
 */
const prefersWs = typeof process === 'object' && !!process.versions?.node && !('Deno' in globalThis) && !('Bun' in globalThis);

/** What to do if `ws` is not found. */
const WS = "in Node it is that of 'ws', which is looked for from this package, not from the program: where npm has only linked "
  + "to its folder, install it again with install-links=true in .npmrc, or run 'npm ci' there; a bundler is to leave 'ws' out";

/**
 * Returns the address of a broker: `ws://host:port` or `wss://…`. If the URL has no path, the path is `/v1/sync`. In a
 * page, a URL without a scheme is relative to the page.
 * @param {string | URL} url
 * @returns {string}
 */
export function targetOf(url) {
  let target;
  try {
    target = whole(url) ?? fromPage(url);
  } catch {
    // The URL is relative, and there is no page.
  }
  if (target?.protocol !== 'ws:' && target?.protocol !== 'wss:') {
    return refuse('url', `'${url}' is no address of a broker: that is ws://HOST:PORT, or wss://…`);
  }
  if (target.pathname === '/' || target.pathname === '') target.pathname = '/v1/sync';
  target.hash = '';
  return target.href;
}

/** @param {string | URL} url */
function whole(url) {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}

/** @param {string | URL} url */
function fromPage(url) {
  const target = new URL(url, globalThis.location?.href);
  target.protocol = target.protocol.replace('http', 'ws');
  return target;
}

/**
 * @typedef {{open(): void, heard(): void, message(data: string | Uint8Array): void, closed(error: OnetreeError): void}} Events
 * `closed` comes once, and last
 */

/** @param {string} reason */
function retryOf(reason) {
  const found = /(?:^|\s)retry_ms=([0-9]{1,10})(?:\s|$)/.exec(reason);
  return found ? Number(found[1]) : undefined;
}

/**
 * Returns the error for a connection that was closed.
 * @param {number} close
 * @param {string} reason
 */
export function closeError(close, reason) {
  const code = codeOfClose(close);
  const retryInMs = retryOf(reason);
  if (code) return new OnetreeError(code, reason || 'the broker closed the connection', { ...(retryInMs === undefined ? {} : { retryInMs }) });
  return new OnetreeError('lost', `the connection was lost: ${close}${reason ? ` ${reason}` : ''}`);
}

/** One connection. */
export class Link {
  /**
   * Begins to connect.
   * @param {string} target
   * @param {import('./json.js').Codec} codec
   * @param {number} timeout until it is open, ms
   * @param {Events} events
   */
  constructor(target, codec, timeout, events) {
    this.codec = codec;
    /** @private @type {Events | undefined} */
    this.events = events;
    /** @private @type {WebSocket | undefined} */
    this.socket = undefined;
    /** @private */
    this.timer = setTimeout(() => {
      this.end(new OnetreeError('unreachable', `no connection to ${target} within ${Math.round(timeout)} ms`));
    }, timeout);
    if (typeof WebSocket === 'function' && !(prefersWs && WebSocket === OWN)) this.openOwn(target);
    else this.openWs(target);
  }

  /** @private @param {string} target */
  openOwn(target) {
    try {
      this.open(new WebSocket(target, this.codec.subprotocol), target);
    } catch (cause) {
      // For example, a page of https must not use ws://. The caller must have this Link before it gets the error.
      queueMicrotask(() => this.end(new OnetreeError('unreachable', `cannot reach ${target}: ${cause}`, { cause })));
    }
  }

  /** @private @param {string} target */
  async openWs(target) {
    try {
      const { WebSocket: Ws } = await import('ws');
      if (!this.events) return;
      const socket = new Ws(target, codec(this.codec), { perMessageDeflate: false, maxPayload: 0 });
      socket.on('ping', () => this.events?.heard());
      socket.on('unexpected-response', (_, response) => {
        const status = response.statusCode ?? 0;
        const seconds = Number(response.headers['retry-after']);
        const word = status === 401 ? 'unauthorized' : status === 408 || status === 425 || status === 429 || status >= 500
          ? 'unreachable' : 'not-a-broker';
        const retryInMs = Number.isFinite(seconds) && seconds > 0 ? { retryInMs: seconds * 1000 } : {};
        response.resume();
        this.end(new OnetreeError(word, `${target} answers ${status}`, retryInMs));
      });
      this.open(/** @type {any} */ (socket), target, wordOf);
      // Messages as they are, without an event around each: to copy a small message costs more than to read it.
      socket.binaryType = 'nodebuffer';
      socket.onmessage = null;
      socket.on('message', (data, binary) => this.events?.message(/** @type {any} */ (binary ? data : String(data))));
    } catch (error) {
      if (!this.events) return;
      if (typeof WebSocket === 'function') this.openOwn(target);
      else this.end(new OnetreeError('no-websocket', `there is none here: ${wordsOf(error)}; ${WS}`, { cause: error }));
    }
  }

  /** @private @param {WebSocket} socket @param {string} target @param {(error: any) => string} [word] of what happens before it is open */
  open(socket, target, word = () => 'unreachable') {
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    let opened = false;
    socket.onopen = () => {
      clearTimeout(this.timer);
      opened = true;
      if (socket.protocol !== this.codec.subprotocol) {
        this.end(new OnetreeError('not-a-broker', `${target} does not speak ${this.codec.subprotocol}`));
      } else {
        this.events?.open();
      }
    };
    socket.onmessage = ({ data }) => {
      this.events?.message(typeof data === 'string' ? data : new Uint8Array(data));
    };
    let [code, why] = ['unreachable', ''];
    socket.onerror = (event) => {
      const { message = '', error } = /** @type {any} */ (event);
      [code, why] = [word(error), message];
    };
    socket.onclose = ({ code: close, reason }) => {
      if (opened) this.end(closeError(close, reason));
      else this.end(new OnetreeError(code, `${notOpen(code, target)}${why ? `: ${why}` : ''}`));
    };
  }

  /** @param {string | Uint8Array} message */
  send(message) {
    this.socket?.send(/** @type {any} */ (message));
  }

  /** How many bytes were sent and have not left yet. */
  get buffered() {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** @private @param {OnetreeError} error */
  end(error) {
    const { events } = this;
    this.close();
    events?.closed(error);
  }

  /** Closes the connection. No further event comes. */
  close() {
    this.events = undefined;
    clearTimeout(this.timer);
    const { socket } = this;
    if (!socket) return;
    this.socket = undefined;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // An error that `ws` emits because it is closed before it is open has no reader.
    socket.onerror = () => {};
    socket.close(1000);
    const { terminate } = /** @type {any} */ (socket);
    if (typeof terminate === 'function' && socket.readyState !== 3) {
      const timer = setTimeout(() => terminate.call(socket), 2_000);
      socket.onclose = () => clearTimeout(timer);
    }
  }
}

/** @param {import('./json.js').Codec} codec */
const codec = ({ subprotocol }) => subprotocol;

/** Returns why there was no WebSocket. @param {string} code @param {string} target */
function notOpen(code, target) {
  const page = globalThis.location?.origin;
  // Browsers do not tell the two apart.
  if (code === 'unreachable') return `cannot reach ${target}${page ? `, or it takes no pages of ${page}, which its log names then` : ''}`;
  return code === 'lost' ? `${target} closed it during the handshake` : `${target} is no broker`;
}

/**
 * Returns the word for an error of `ws`. An error without a code, or with one of the HTTP parser, is about a wrong
 * answer. An error of a connection that existed says how it ended. All others are about reaching the host.
 * @param {{code?: string, syscall?: string} | undefined} error
 */
function wordOf(error) {
  if (!error) return 'unreachable';
  const { code, syscall } = error;
  if (code === undefined || code.startsWith('HPE_')) return 'not-a-broker';
  return (code === 'ECONNRESET' || code === 'EPIPE') && syscall !== 'connect' ? 'lost' : 'unreachable';
}
