// The client of Onetree: what applications import. For TypeScript, the types: `import type { Entry } from 'onetree'`.

/**
 * @typedef {import('./client.js').MirrorOptions} MirrorOptions
 * @typedef {import('./client.js').Options} Options
 * @typedef {import('./session/effects.js').Connection} Connection
 * @typedef {import('./session/effects.js').Limits} Limits
 * @typedef {import('./session/effects.js').Status} Status
 * @typedef {import('./session/effects.js').Verdict} Verdict
 * @typedef {import('./live.js').Keep} Keep
 * @typedef {import('./changes.js').MirrorEvent} MirrorEvent
 * @typedef {import('./snapshot.js').Difference} Difference
 * @typedef {import('./request.js').AppendOptions} AppendOptions
 * @typedef {import('./request.js').Condition} Condition
 * @typedef {import('./request.js').Done} Done
 * @typedef {import('./request.js').Found} Found
 * @typedef {import('./request.js').IfOptions} IfOptions
 * @typedef {import('./request.js').ListOptions} ListOptions
 * @typedef {import('./request.js').PutOptions} PutOptions
 * @typedef {import('./request.js').Step} Step
 * @typedef {import('./request.js').Txn} Txn
 * @typedef {import('./protocol/frames.js').Cookie} Cookie
 * @typedef {import('./protocol/views.js').Depth} Depth
 * @typedef {import('./protocol/frames.js').Entry} Entry
 * @typedef {import('./protocol/views.js').View} View
 * @typedef {import('./protocol/views.js').ViewOptions} ViewOptions
 * @typedef {import('./codes.js').Action} Action
 * @typedef {import('./json.js').Codec} Codec
 */
/**
 * @template T
 * @typedef {import('./transact.js').Committed<T>} Committed
 */

export { connect, start, Client, VERSION } from './client.js';
export { Mirror } from './live.js';
export { Changes } from './changes.js';
export { Snapshot } from './snapshot.js';
export { Transaction } from './transact.js';
export { OnetreeError } from './errors.js';
export { CODES, actionOf } from './codes.js';
export { json } from './json.js';
export { logKey, parseLogKey } from './protocol/log-keys.js';
export { comparePaths } from './protocol/paths.js';
export { Value } from './protocol/values.js';
