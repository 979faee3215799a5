// The codes of errors and of closed connections: the table of spec/codes.json. A test checks that both are equal.

/** @typedef {'retry' | 'resync' | 'reauth' | 'fix' | 'stop'} Action what to do after a code */
/** @typedef {{action: Action, close: number | null}} CodeInfo */

/** @type {Readonly<Record<string, CodeInfo>>} */
export const CODES = Object.freeze({
  'bad-frame': { action: 'fix', close: 4400 },
  'unknown-op': { action: 'fix', close: null },
  'frame-too-large': { action: 'fix', close: 4413 },
  'hello-expected': { action: 'fix', close: 4401 },
  'hello-timeout': { action: 'retry', close: 4408 },
  'silent': { action: 'retry', close: 4409 },
  'bad-path': { action: 'fix', close: null },
  'bad-pattern': { action: 'fix', close: null },
  'bad-field': { action: 'fix', close: null },
  'bad-value': { action: 'fix', close: null },
  'value-too-large': { action: 'fix', close: null },
  'conflict': { action: 'retry', close: null },
  'log-key': { action: 'fix', close: null },
  'too-many-changes': { action: 'fix', close: null },
  'too-many-subscriptions': { action: 'fix', close: null },
  'sub-in-use': { action: 'fix', close: null },
  'no-such-sub': { action: 'fix', close: null },
  'too-many-in-flight': { action: 'retry', close: null },
  'too-many-connections': { action: 'retry', close: 4429 },
  'too-many-sessions': { action: 'retry', close: 4430 },
  'tree-full': { action: 'retry', close: null },
  'outcome-unknown': { action: 'stop', close: null },
  'seq-gap': { action: 'fix', close: null },
  'resync-required': { action: 'resync', close: null },
  'unsupported': { action: 'stop', close: null },
  'unauthorized': { action: 'reauth', close: 4403 },
  'unavailable': { action: 'retry', close: null },
  'read-only': { action: 'retry', close: null },
  'session-taken': { action: 'stop', close: 4410 },
  'shutting-down': { action: 'retry', close: 4503 },
  'internal': { action: 'retry', close: 4500 },
});

const BY_CLOSE = new Map(Object.entries(CODES).filter(([, i]) => i.close !== null).map(([code, i]) => [i.close, code]));

/**
 * Whether `code` is a word of the protocol's table.
 * @param {unknown} code
 * @returns {boolean}
 */
export function isCode(code) {
  return typeof code === 'string' && Object.hasOwn(CODES, code);
}

/**
 * Returns what to do after a code; `stop` for what is no code.
 * @param {string} code
 * @returns {Action}
 */
export function actionOf(code) {
  return isCode(code) ? /** @type {CodeInfo} */ (CODES[code]).action : 'stop';
}

/**
 * Returns the code of a WebSocket close code, if it has one.
 * @param {number} close
 * @returns {string | undefined}
 */
export function codeOfClose(close) {
  return BY_CLOSE.get(close);
}
