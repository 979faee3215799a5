// Options of the application: one that does not exist, or has an impossible value, is refused when it is given.

import { refuse } from './errors.js';
import { wellFormed } from './protocol/texts.js';

/**
 * @typedef {readonly [is: (value: any) => boolean, what: string]} Rule whether a value is allowed, and a text that says
 *   what is
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

/** A revision, or a time that the broker counts. */
export const U53 = whole(53);
/** The longest time that a timer of the host takes: with more it would fire at once. */
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

/** The members of a view. `viewOf` checks each. @type {Rules} */
export const VIEW = Object.freeze({ path: ANY, depth: ANY, match: ANY, tail: ANY, values: ANY });

/** @type {Rules} */
export const MIRROR = Object.freeze({
  from: [(from) => typeof from === 'object' && from !== null, 'a snapshot, or a cookie and its entries'],
  keep: [(keep) => typeof keep?.load === 'function' && typeof keep.save === 'function', 'where a mirror is kept: load() and save()'],
  signals: BOOLEAN, everyMs: whole(32), once: BOOLEAN,
});

/**
 * Returns the value if the rule allows it, and otherwise refuses it with `bad-field`.
 * @template T
 * @param {Rule} rule
 * @param {string} name
 * @param {T} value
 */
export function must([is, what], name, value) {
  return is(value) ? value : refuse('bad-field', `${name} is ${what}`);
}

/**
 * Returns the options if each has a rule and the rule allows it. A member that is undefined counts as absent. An
 * unknown name is refused: it may be a misspelt condition.
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
