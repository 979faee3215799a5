// What the application may say: an option that is none, or is not what it must be, is refused when it is given.

import { refuse } from './errors.js';
import { wellFormed } from './protocol/texts.js';

/**
 * @typedef {readonly [is: (value: any) => boolean, what: string]} Rule whether a value may be so, and what it is then
 * @typedef {Readonly<Record<string, Rule>>} Rules by the name of the option
 */

/** @type {Rule} */
export const ANY = [() => true, 'anything'];
/** @type {Rule} */
export const BOOLEAN = [(value) => typeof value === 'boolean', 'true or false'];
/** @type {Rule} */
export const FUNCTION = [(value) => typeof value === 'function', 'a function'];
/** @type {Rule} */
export const LIST = [Array.isArray, 'a list'];
/** @type {Rule} */
export const TEXT = [(value) => typeof value === 'string' && wellFormed(value), 'a text without lone surrogates'];

/** @param {number} bits @returns {Rule} */
export const whole = (bits) => [
  (value) => Number.isInteger(value) && value >= 0 && value < 2 ** bits, `a whole number, 0 or more and below 2^${bits}`];

/** @param {...string} words @returns {Rule} */
export const oneOf = (...words) => [(value) => words.includes(value), `one of ${words.join(', ')}`];

/** A revision, or as much time as the broker counts. */
export const U53 = whole(53);
/** As much time as a timer of the host takes: with more it would go off at once. */
const TIMER = whole(31);

/** @type {Rules} */
export const NONE = Object.freeze({});

/** @type {Rules} */
export const CLIENT = Object.freeze({
  codec: [(codec) => typeof codec?.encodeClient === 'function' && typeof codec.decodeServer === 'function',
    '`json`, or `msgpack` of onetree/msgpack'],
  label: [(label) => typeof label === 'string' && /^[A-Za-z0-9_-]{1,31}$/.test(label), '1 to 31 of A-Z a-z 0-9 _ -'],
  token: [(token) => FUNCTION[0](token) || TEXT[0](token), 'a text, or a function that gives one'],
  agent: TEXT, reconnect: oneOf('never', 'after-first', 'always'),
  requestTimeoutMs: TIMER, connectTimeoutMs: TIMER, queueBytes: U53,
  backoffMs: [(waits) => Array.isArray(waits) && waits.length === 2 && waits.every(TIMER[0]),
    'two whole numbers, the first wait and the longest'],
});

/** What a view is made of; `viewOf` looks at each. @type {Rules} */
export const VIEW = Object.freeze({ path: ANY, depth: ANY, match: ANY, tail: ANY, values: ANY });

/** @type {Rules} */
export const MIRROR = Object.freeze({
  from: [(from) => typeof from === 'object' && from !== null, 'a snapshot, or a cookie and its entries'],
  keep: [(keep) => typeof keep?.load === 'function' && typeof keep.save === 'function', 'where a mirror is kept: load() and save()'],
  signals: BOOLEAN, everyMs: whole(32), once: BOOLEAN,
});

/**
 * The value itself, when it is what it must be.
 * @template T
 * @param {Rule} rule
 * @param {string} name
 * @param {T} value
 */
export function must([is, what], name, value) {
  return is(value) ? value : refuse('bad-field', `${name} is ${what}`);
}

/**
 * The options themselves, of which each has a rule and keeps to it; what is undefined is not said. Another name is refused: it
 * may be a condition that somebody has misspelt.
 * @template {object} T
 * @param {T} options
 * @param {Rules} rules
 */
export function known(options, rules) {
  const names = () => Object.keys(rules).join(', ');
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    return refuse('bad-field', `an object is expected here, with some of ${names() || 'nothing'}`);
  }
  for (const [name, value] of Object.entries(options)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) return refuse('bad-field', `no option '${name}'; ${names() ? `there are ${names()}` : 'there is none'}`);
    if (value !== undefined) must(rule, name, value);
  }
  return options;
}
