// What may be a value: all that has JSON, and bytes; nothing is stored as less than it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnetreeError, Value } from '../src/index.js';

const OCTETS = 'application/octet-stream';
const bad = (make, message = /^bad-value: (?!bad-)/) => assert.throws(make, (error) => (
  error instanceof OnetreeError && error.code === 'bad-value' && message.test(error.message)) || assert.fail(`${make}: ${error}`));

test('what JSON would make something else of is refused, wherever it stands', () => {
  const cyclic = { a: [] };
  cyclic.a.push(cyclic);
  const wrong = [NaN, Infinity, -Infinity, 1n, new Map([[1, 2]]), new Set([1]), new WeakMap(), Promise.resolve(1), /x/, new Error('x'), cyclic,
    new URLSearchParams('a=1'), new Blob(['x']), new SharedArrayBuffer(2)];
  for (const one of wrong) for (const value of [one, [one], { a: { b: [1, one] } }]) bad(() => Value.from(value), /^bad-value: /);
  // Inside of something, bytes have no JSON; alone they are bytes.
  for (const one of [Uint8Array.of(1), new Uint8Array(), new Float64Array(2), new ArrayBuffer(2), new DataView(new ArrayBuffer(2))]) {
    bad(() => Value.from({ a: one }), /^bad-value: /);
    bad(() => Value.json(one), /^bad-value: /);
  }
  for (const one of [undefined, () => {}, Symbol('x')]) bad(() => Value.from(one));
  let deep = [];
  for (let n = 0; n < 5_000; n += 1) deep = [deep];
  bad(() => Value.from(deep), /^bad-value: /);
  for (let n = 0; n < 100_000; n += 1) deep = [deep];
  bad(() => Value.from(deep), /^bad-value: /);
});

test('what looks like it is taken', () => {
  class Point {
    constructor() { this.x = 1; }
  }
  for (const [value, text] of [
    [null, 'null'], [[null, {}], '[null,{}]'], ['null{}{"0":', '"null{}{\\"0\\":"'], [{ 0: 1 }, '{"0":1}'], [-0, '0'], [[-0], '[0]'],
    [{ a: undefined, b: () => {} }, '{}'], [[undefined], '[null]'], [new Date(0), '"1970-01-01T00:00:00.000Z"'], [new Point(), '{"x":1}'],
    [Object.create(null), '{}'], [[new Number(1), new String(''), new Boolean(false), null], '[1,"",false,null]'],
    [{ toJSON: () => [{}] }, '[{}]'], [new (class Empty {})(), '{}'],
  ]) assert.equal(Value.from(value).text, text);
});

test('what is bytes is taken as its bytes', () => {
  const buffer = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7).buffer;
  for (const [value, bytes] of [
    [buffer, [0, 1, 2, 3, 4, 5, 6, 7]], [new DataView(buffer, 1, 2), [1, 2]], [new Uint16Array(buffer, 2, 1), [2, 3]], [new Uint8ClampedArray(buffer, 7), [7]],
    [Buffer.from([9]), [9]], [new Uint8Array(buffer, 3, 1), [3]],
  ]) {
    for (const made of [Value.from(value), Value.of(OCTETS, value)]) {
      assert.deepEqual([made.type, [...made.bytes], made.size], [OCTETS, bytes, bytes.length]);
    }
  }
  assert.equal(Value.of('application/json', Buffer.from('[1]')).text, '[1]');
});

test('an error of a value has one code, and the error of its own code as the cause', () => {
  bad(() => Value.json('\ud800'), /^bad-value: not JSON: a lone surrogate$/);
  bad(() => Value.jsonText('[1'));
  bad(() => Value.jsonText('1 2'));
  bad(() => Value.of('application/json', Uint8Array.of(0xff)));
  for (const wrong of [5, null, undefined, {}]) for (const make of [() => Value.text(wrong), () => Value.jsonText(wrong), () => Value.of('image/png', wrong)]) bad(make);
  for (const type of [undefined, 5, null, 'x']) {
    assert.throws(() => Value.of(type, Uint8Array.of(1)), { name: 'OnetreeError', code: 'bad-field' });
  }
  assert.throws(() => Value.text('x', 'image/png'), { name: 'OnetreeError', code: 'bad-field' });
  const mine = new RangeError('mine');
  const fail = () => { throw mine; };
  for (const value of [{ toJSON: fail }, { get a() { return fail(); } }]) assert.throws(() => Value.from(value), { code: 'bad-value', cause: mine });
});

test('whole numbers beyond 2^53 lose digits in json, and have them in text', () => {
  const value = Value.jsonText('{"n":9007199254740993}');
  assert.equal(value.json.n, 9007199254740992);
  assert.equal(value.text, '{"n":9007199254740993}');
});
