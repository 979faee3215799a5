// A line behaves as an array does, however its members come and go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Line } from '../src/line.js';

test('a line is an array whose first leaves at no cost', () => {
  const line = new Line([0, 1, 2]);
  let [all, next] = [[0, 1, 2], 3];
  for (let n = 0; n < 20_000; n += 1) {
    const growing = n % 8_000 < 4_000;
    if (growing || all.length === 0) for (let i = 0; i < 2; i += 1, next += 1) line.push(all[all.push(next) - 1]);
    if (n % 97 === 0) {
      const wanted = all[n % all.length];
      assert.equal(line.take((one) => one === wanted), wanted);
      all = all.filter((one) => one !== wanted);
    } else if (all.length > 0) {
      assert.equal(line.first, all.shift());
      line.shift();
    }
    assert.equal(line.isEmpty, all.length === 0);
  }
  assert.equal(line.take((one) => one === -1), undefined);
  assert.deepEqual(line.clear(), all);
  assert.ok(line.isEmpty && line.first === undefined);
});

test('those who have left are not walked past again', () => {
  let steps = 0;
  const counted = new Proxy(Array.from({ length: 2_000 }, (_, n) => n), { get(all, key) {
    steps += 1;
    return Reflect.get(all, key);
  } });
  const line = new Line(counted);
  for (let n = 0; n < 1_000; n += 1) assert.equal(line.take((one) => one === n), n);
  assert.ok(steps < 20_000, `${steps} steps`);
});

test('who has left is not kept', () => {
  const line = new Line();
  const held = [];
  for (let n = 0; n < 100; n += 1) line.push({ n });
  for (let n = 0; n < 99; n += 1) line.shift();
  for (const one of Object.values(line).flat()) if (one?.n !== undefined) held.push(one.n);
  assert.deepEqual(held, [99]);
});
