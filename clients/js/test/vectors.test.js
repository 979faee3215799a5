// spec/vectors: what is right and what is wrong, in both codecs and both directions.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EntryHasher, blake2s } from '../src/blake2s.js';
import { CODES } from '../src/codes.js';
import * as j from '../src/json.js';
import * as m from '../src/msgpack.js';
import { digestOf, isDigest } from '../src/protocol/digests.js';
import { logKey, parseLogKey } from '../src/protocol/log-keys.js';
import { checkPath, comparePaths, segmentsOf } from '../src/protocol/paths.js';
import { checkPattern, matches as matched } from '../src/protocol/patterns.js';
import { Value } from '../src/protocol/values.js';
import { fingerprint as fingerprintOf, viewOf } from '../src/protocol/views.js';

const spec = new URL('../../../spec/', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, spec), 'utf8'));
const vectors = (name) => read(`vectors/v1/${name}.json`);
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (array) => Buffer.from(array).toString('hex');
const refused = (what, fn) => assert.throws(fn, (e) => typeof e.code === 'string', `read: ${what.why} ${JSON.stringify(what).slice(0, 200)}`);

/** Removes what makes two equal values differ. */
function plain(x) {
  if (x instanceof Value) return { type: x.type, bytes: hex(x.bytes) };
  if (Array.isArray(x)) return x.map(plain);
  if (x && typeof x === 'object') return Object.fromEntries(Object.entries(x).filter(([, v]) => v !== undefined).map(([k, v]) => [k, plain(v)]));
  return x;
}

/** A value is checked by whoever takes it. */
const taken = (x) => (x instanceof Value ? Value.of(x.type, x.bytes) : x);

test('codes are those of codes.json', () => {
  const told = Object.fromEntries(read('codes.json').codes.map(({ code, action, close }) => [code, { action, close }]));
  assert.deepEqual({ ...CODES }, told);
});

test('BLAKE2s is that of RFC 7693', () => {
  assert.equal(hex(blake2s(Buffer.from('abc'), 32)), '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982');
});

test('paths', () => {
  const { valid, invalid, order } = vectors('paths');
  for (const { text, segments } of valid) assert.deepEqual(segmentsOf(checkPath(text)), segments);
  for (const v of invalid) refused(v, () => checkPath(v.text));
  for (let i = 1; i < order.length; i += 1) assert.ok(comparePaths(order[i - 1], order[i]) < 0, order[i]);
});

test('patterns', () => {
  const { valid, invalid } = vectors('patterns');
  const segments = (text) => (text === '' ? [] : text.split('/'));
  for (const { text, matches, differs } of valid) {
    checkPattern(text);
    for (const t of matches) assert.ok(matched(text, segments(t)), `${text} ${t}`);
    for (const t of differs) assert.ok(!matched(text, segments(t)), `${text} ${t}`);
  }
  for (const v of invalid) refused(v, () => checkPattern(v.text));
});

test('log keys', () => {
  const { valid, invalid } = vectors('log_keys');
  for (const { text, rev, index } of valid) {
    assert.deepEqual(parseLogKey(text), { rev, index });
    assert.equal(logKey(rev, index), text);
  }
  for (const v of invalid) refused(v, () => parseLogKey(v.text));
});

test('digests', () => {
  const { valid, invalid } = vectors('digests');
  for (const { digest_key: key, entries, digest } of valid) {
    const hasher = new EntryHasher(bytes(key));
    for (const { path, rev, hash } of entries) {
      hasher.hash(path, rev);
      assert.equal(Array.from(hasher.words, (w) => w.toString(16).padStart(8, '0')).join(''), hash);
    }
    assert.equal(digestOf(key, entries), digest);
  }
  for (const v of invalid) assert.ok(!isDigest(v.text), v.why);
});

test('fingerprints', () => {
  for (const { view, fingerprint } of vectors('fingerprints').valid) assert.equal(fingerprintOf(viewOf(view)), fingerprint);
});

test('cookies and values', () => {
  const kinds = [['cookies', j.readCookie, j.cookieText, m.readCookie, m.cookieBytes], ['values', j.readValueText, j.valueFields, m.readValueBytes, m.valueBytes]];
  for (const [name, fromJson, toJson, fromPack, toPack] of kinds) {
    const { valid, invalid } = vectors(name);
    for (const v of valid) {
      const want = plain(fromJson(v.json));
      if (name === 'values') for (const x of [want, plain(Value.of(v.type, bytes(v.bytes)))]) assert.deepEqual(x, { type: v.type, bytes: v.bytes });
      for (const text of [v.json, ...(v.also_json ?? [])]) assert.deepEqual(plain(fromJson(toJson(fromJson(text)))), want);
      for (const h of [v.msgpack, ...(v.also_msgpack ?? [])]) assert.deepEqual(plain(fromPack(toPack(fromPack(bytes(h))))), want);
      assert.equal(hex(toPack(fromPack(bytes(v.msgpack)))), v.msgpack);
    }
    for (const v of invalid) refused(v, () => taken(v.json !== undefined ? fromJson(v.json) : fromPack(bytes(v.msgpack))));
  }
});

for (const [name, side] of [['client_frames', 'Client'], ['server_frames', 'Server']]) {
  test(name, () => {
    const { valid, invalid } = vectors(name);
    for (const v of valid) {
      const want = plain(j.json[`decode${side}`](v.json));
      const loose = (f) => plain(j.json[`decode${side}`](j.json[`encode${side}`](f)));
      for (const text of [v.json, ...(v.also_json ?? [])]) assert.deepEqual(loose(j.json[`decode${side}`](text)), loose(j.json[`decode${side}`](v.json)), v.name);
      for (const h of [v.msgpack, ...(v.also_msgpack ?? [])]) assert.deepEqual(loose(m.msgpack[`decode${side}`](bytes(h))), loose(j.json[`decode${side}`](v.json)), v.name);
      assert.deepEqual(plain(m.msgpack[`decode${side}`](m.msgpack[`encode${side}`](j.json[`decode${side}`](v.json)))), want, v.name);
      assert.equal(hex(m.msgpack[`encode${side}`](m.msgpack[`decode${side}`](bytes(v.msgpack)))), v.msgpack, v.name);
    }
    for (const v of invalid) {
      refused(v, () => taken((v.msgpack !== undefined ? m.msgpack[`decode${side}`](bytes(v.msgpack))
        : j.json[`decode${side}`](v.json ?? bytes(v.json_hex))).value));
    }
  });
}

test('what a broker took as a media type is shown', () => {
  for (const type of ['', '-', 'text/', 'ä/b', 'x'.repeat(200)]) {
    const frame = { op: 'signal', path: '/a', value: m.readValueBytes(m.valueBytes({ isJson: false, type, bytes: Uint8Array.of(1) })) };
    for (const codec of [j.json, m.msgpack]) {
      const { value } = codec.decodeServer(codec.encodeServer(frame));
      assert.deepEqual([value.type, [...value.bytes]], [type, [1]]);
    }
  }
});

test('a value does not hold the message that it came in', () => {
  const frame = { op: 'signal', path: '/a', value: Value.of('image/png', Uint8Array.of(1, 2)) };
  const { value } = m.msgpack.decodeServer(Buffer.from(m.msgpack.encodeServer(frame)));
  assert.deepEqual([value.bytes, value.bytes.buffer.byteLength], [Uint8Array.of(1, 2), 2]);
});
