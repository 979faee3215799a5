// What can be a value: everything that has JSON, and bytes. Nothing is stored as less than it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnetreeError, Value } from '../src/index.js';
import { entryText, json, readEntry, valueFields } from '../src/json.js';
import { makeValue } from '../src/protocol/values.js';

const OCTETS = 'application/octet-stream';
const bad = (make, message = /^bad-value: (?!bad-)/) => assert.throws(make, (error) => (
  error instanceof OnetreeError && error.code === 'bad-value' && message.test(error.message)) || assert.fail(`${make}: ${error}`));

test('what JSON would make something else of is refused, wherever it stands', () => {
  const cyclic = { a: [] };
  cyclic.a.push(cyclic);
  const wrong = [NaN, Infinity, -Infinity, 1n, new Map([[1, 2]]), new Set([1]), new WeakMap(), Promise.resolve(1), /x/, new Error('x'), cyclic,
    new URLSearchParams('a=1'), new Blob(['x']), new SharedArrayBuffer(2)];
  for (const one of wrong) for (const value of [one, [one], { a: { b: [1, one] } }]) bad(() => Value.from(value), /^bad-value: /);
  // Inside of something, bytes have no JSON. Alone they are bytes.
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

test('bytes that are given as they are may be used again at once', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const made = [bytes, bytes.buffer, new DataView(bytes.buffer)].map((content) => Value.from(content));
  const same = Value.of(OCTETS, bytes);
  bytes.fill(9);
  for (const value of made) assert.deepEqual([...value.bytes], [1, 2, 3]);
  // The documentation says that the bytes are not copied.
  assert.deepEqual([...same.bytes], [9, 9, 9]);
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

test('who reads JSON where there is none is told what there is', () => {
  bad(() => Value.text('x').json, /^bad-value: the value is text\/plain, not application\/json: it is in `text`/);
  bad(() => Value.of('text/plain', Uint8Array.of(255)).json, /it is in `bytes`/);
  bad(() => Value.of('image/png', Uint8Array.of(1)).json, /it is in `bytes`/);
});

test('whole numbers beyond 2^53 lose digits in json, and have them in text', () => {
  const value = Value.jsonText('{"n":9007199254740993}');
  assert.equal(value.json.n, 9007199254740992);
  assert.equal(value.text, '{"n":9007199254740993}');
});

test('what JSON gives is shared, so nobody can change it', () => {
  const value = Value.json({ stars: 1, tags: ['a', { b: [] }], none: null });
  const { json } = value;
  for (const change of [() => (json.stars += 1), () => json.tags.push('c'), () => (json.tags[1].b[0] = 1), () => delete json.none]) assert.throws(change, TypeError);
  assert.equal(value.json, json);
  assert.deepEqual(structuredClone(json), { stars: 1, tags: ['a', { b: [] }], none: null });
  // A broker may accept deeper nesting than this client writes.
  const depth = 100_000;
  let deep = makeValue(undefined, `${'['.repeat(depth)}${']'.repeat(depth)}`).json;
  for (; deep !== undefined; [deep] = deep) assert.ok(Object.isFrozen(deep));
});

test('however a value is made, it is one', () => {
  let deep = '1';
  for (let n = 0; n < 200; n += 1) deep = `[${deep}]`;
  const wrong = ['{oops', '1,"ttl_ms":60000', '{"a":1,"a":2}', '"\\ud800"', '"\ud800"', '1e999', '1'.repeat(400), 'NaN', 'Infinity', '', '1 2', deep, '{"a":1}}', '"a'];
  for (const text of wrong) {
    for (const raw of [text, new TextEncoder().encode(text === '"\ud800"' ? '"' : text)]) {
      bad(() => new Value('application/json', raw));
      bad(() => Value.of('application/json', typeof raw === 'string' ? Buffer.from(raw, 'utf8').subarray(text === '"\ud800"' ? 1 : 0) : raw));
    }
    bad(() => Value.jsonText(text));
  }
  bad(() => new Value('application/json', 5));
  bad(() => new Value('application/json', Uint8Array.of(0xff)));
  bad(() => new Value('text/plain', '\ud800'));
  bad(() => new Value('image/png', 5));
  assert.throws(() => new Value('x', 'y'), { name: 'OnetreeError', code: 'bad-field' });
  assert.equal(new Value('application/json', ' {"a": 1}\n').text, '{"a": 1}');
  assert.equal(new Value('application/json', Buffer.from(' [1] ')).text, '[1]');
  assert.equal(new Value('text/plain', 'ä').text, 'ä');
  assert.deepEqual([...new Value('image/png', new Uint8Array([1, 2]).buffer).bytes], [1, 2]);
});

test('space around a JSON value of a frame is none of it', () => {
  for (const [text, value] of [['{"json": 1 }', '1'], ['{ "json"\t:\r\n{"a" : [ 1 ]}\n}', '{"a" : [ 1 ]}'], ['{"json": "x" }', '"x"'], ['{"json": null\t}', 'null']]) {
    const fields = text.slice(1, -1);
    const [delta] = [json.decodeServer(`{"op":"delta","rev":2,"changes":[{"path":"/a","rev":2,${fields}}, {"path":"/b","rev":2,${fields},"x":1}]}`)];
    assert.deepEqual(delta.changes.map((change) => change.value.text), [value, value]);
    assert.equal(json.decodeClient(`{"op":"put","id":1,"path":"/a",${fields}}`).value.text, value);
    assert.equal(readEntry(`{"path":"/a","rev":2,${fields}}`).value.text, value);
  }
});

test('what a client gives can be told as JSON, in the words of the protocol', () => {
  const told = (what) => JSON.parse(JSON.stringify(what));
  for (const value of [Value.json({ x: [1, 'ä'] }), Value.text('ä\n'), Value.text('a', 'text/csv'), Value.of('image/png', Uint8Array.of(0, 255)),
    Value.of('text/plain', Uint8Array.of(255))]) {
    assert.deepEqual(told(value), JSON.parse(valueFields(value)));
    const { path, rev, ...fields } = JSON.parse(entryText({ path: '/a', rev: 1, value }));
    assert.deepEqual(told({ path, rev, value }), { path, rev, value: fields });
  }
  const error = new OnetreeError('conflict', 'it is at 7', { path: '/a', rev: 7 });
  const fields = { code: 'conflict', message: 'it is at 7', path: '/a', rev: 7 };
  assert.deepEqual(told({ event: 'ended', error }), { event: 'ended', error: fields });
});
