// The client of Onetree: what applications import.

export { connect, start, Client, VERSION } from './client.js';
export { Mirror } from './live.js';
export { Changes } from './changes.js';
export { Snapshot } from './snapshot.js';
export { Transaction } from './transact.js';
export { OnetreeError } from './errors.js';
export { CODES, actionOf } from './codes.js';
export { json } from './json.js';
export { Value, comparePaths, logKey, parseLogKey } from './protocol.js';
