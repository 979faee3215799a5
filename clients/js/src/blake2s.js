// BLAKE2s (RFC 7693), as digests and fingerprints need it: short messages, up to 32 bytes of result, and a keyed
// state that is computed once. About 0.5 µs for a block.

const IV = Int32Array.of(
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);

const SIGMA = Uint8Array.from([
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
  11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
  7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
  9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
  2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
  12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
  13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
  6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
  10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
]);

const M = new Int32Array(16);

/**
 * Takes the block in `M` into the state `h`.
 * @param {Int32Array} h
 * @param {number} t bytes so far, this block included; below 2^32
 * @param {boolean} last
 */
function compress(h, t, last) {
  const S = SIGMA;
  let a = 0;
  let v0 = /** @type {number} */ (h[0]);
  let v1 = /** @type {number} */ (h[1]);
  let v2 = /** @type {number} */ (h[2]);
  let v3 = /** @type {number} */ (h[3]);
  let v4 = /** @type {number} */ (h[4]);
  let v5 = /** @type {number} */ (h[5]);
  let v6 = /** @type {number} */ (h[6]);
  let v7 = /** @type {number} */ (h[7]);
  let v8 = /** @type {number} */ (IV[0]);
  let v9 = /** @type {number} */ (IV[1]);
  let v10 = /** @type {number} */ (IV[2]);
  let v11 = /** @type {number} */ (IV[3]);
  let v12 = /** @type {number} */ (IV[4]) ^ t;
  let v13 = /** @type {number} */ (IV[5]);
  let v14 = /** @type {number} */ (IV[6]);
  let v15 = /** @type {number} */ (IV[7]);
  if (last) v14 = ~v14;
  for (let r = 0; r < 160; r += 16) {
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 0])]) | 0; v0 = (v0 + v4 + a) | 0; v12 ^= v0; v12 = (v12 >>> 16) | (v12 << 16);
    v8 = (v8 + v12) | 0; v4 ^= v8; v4 = (v4 >>> 12) | (v4 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 1])]) | 0; v0 = (v0 + v4 + a) | 0; v12 ^= v0; v12 = (v12 >>> 8) | (v12 << 24);
    v8 = (v8 + v12) | 0; v4 ^= v8; v4 = (v4 >>> 7) | (v4 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 2])]) | 0; v1 = (v1 + v5 + a) | 0; v13 ^= v1; v13 = (v13 >>> 16) | (v13 << 16);
    v9 = (v9 + v13) | 0; v5 ^= v9; v5 = (v5 >>> 12) | (v5 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 3])]) | 0; v1 = (v1 + v5 + a) | 0; v13 ^= v1; v13 = (v13 >>> 8) | (v13 << 24);
    v9 = (v9 + v13) | 0; v5 ^= v9; v5 = (v5 >>> 7) | (v5 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 4])]) | 0; v2 = (v2 + v6 + a) | 0; v14 ^= v2; v14 = (v14 >>> 16) | (v14 << 16);
    v10 = (v10 + v14) | 0; v6 ^= v10; v6 = (v6 >>> 12) | (v6 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 5])]) | 0; v2 = (v2 + v6 + a) | 0; v14 ^= v2; v14 = (v14 >>> 8) | (v14 << 24);
    v10 = (v10 + v14) | 0; v6 ^= v10; v6 = (v6 >>> 7) | (v6 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 6])]) | 0; v3 = (v3 + v7 + a) | 0; v15 ^= v3; v15 = (v15 >>> 16) | (v15 << 16);
    v11 = (v11 + v15) | 0; v7 ^= v11; v7 = (v7 >>> 12) | (v7 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 7])]) | 0; v3 = (v3 + v7 + a) | 0; v15 ^= v3; v15 = (v15 >>> 8) | (v15 << 24);
    v11 = (v11 + v15) | 0; v7 ^= v11; v7 = (v7 >>> 7) | (v7 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 8])]) | 0; v0 = (v0 + v5 + a) | 0; v15 ^= v0; v15 = (v15 >>> 16) | (v15 << 16);
    v10 = (v10 + v15) | 0; v5 ^= v10; v5 = (v5 >>> 12) | (v5 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 9])]) | 0; v0 = (v0 + v5 + a) | 0; v15 ^= v0; v15 = (v15 >>> 8) | (v15 << 24);
    v10 = (v10 + v15) | 0; v5 ^= v10; v5 = (v5 >>> 7) | (v5 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 10])]) | 0; v1 = (v1 + v6 + a) | 0; v12 ^= v1; v12 = (v12 >>> 16) | (v12 << 16);
    v11 = (v11 + v12) | 0; v6 ^= v11; v6 = (v6 >>> 12) | (v6 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 11])]) | 0; v1 = (v1 + v6 + a) | 0; v12 ^= v1; v12 = (v12 >>> 8) | (v12 << 24);
    v11 = (v11 + v12) | 0; v6 ^= v11; v6 = (v6 >>> 7) | (v6 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 12])]) | 0; v2 = (v2 + v7 + a) | 0; v13 ^= v2; v13 = (v13 >>> 16) | (v13 << 16);
    v8 = (v8 + v13) | 0; v7 ^= v8; v7 = (v7 >>> 12) | (v7 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 13])]) | 0; v2 = (v2 + v7 + a) | 0; v13 ^= v2; v13 = (v13 >>> 8) | (v13 << 24);
    v8 = (v8 + v13) | 0; v7 ^= v8; v7 = (v7 >>> 7) | (v7 << 25);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 14])]) | 0; v3 = (v3 + v4 + a) | 0; v14 ^= v3; v14 = (v14 >>> 16) | (v14 << 16);
    v9 = (v9 + v14) | 0; v4 ^= v9; v4 = (v4 >>> 12) | (v4 << 20);
    a = /** @type {number} */ (M[/** @type {number} */ (S[r + 15])]) | 0; v3 = (v3 + v4 + a) | 0; v14 ^= v3; v14 = (v14 >>> 8) | (v14 << 24);
    v9 = (v9 + v14) | 0; v4 ^= v9; v4 = (v4 >>> 7) | (v4 << 25);
  }
  h[0] = /** @type {number} */ (h[0]) ^ v0 ^ v8;
  h[1] = /** @type {number} */ (h[1]) ^ v1 ^ v9;
  h[2] = /** @type {number} */ (h[2]) ^ v2 ^ v10;
  h[3] = /** @type {number} */ (h[3]) ^ v3 ^ v11;
  h[4] = /** @type {number} */ (h[4]) ^ v4 ^ v12;
  h[5] = /** @type {number} */ (h[5]) ^ v5 ^ v13;
  h[6] = /** @type {number} */ (h[6]) ^ v6 ^ v14;
  h[7] = /** @type {number} */ (h[7]) ^ v7 ^ v15;
}

/**
 * Puts up to 64 bytes from `at` into `M`, and zeros behind them.
 * @param {Uint8Array} bytes
 * @param {number} at
 */
function load(bytes, at) {
  for (let i = 0; i < 16; i += 1, at += 4) {
    M[i] = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
  }
}

/**
 * Takes a message to the end.
 * @param {Int32Array} h
 * @param {number} t bytes before
 * @param {Uint8Array} message whose end is the end; not empty unless t is 0
 */
function finish(h, t, message) {
  let at = 0;
  for (; message.length - at > 64; at += 64) {
    load(message, at);
    compress(h, t + at + 64, false);
  }
  load(message, at);
  compress(h, t + message.length, true);
}

/**
 * @param {number} size
 * @param {number} keyed
 */
function start(size, keyed) {
  const h = Int32Array.from(IV);
  h[0] = /** @type {number} */ (h[0]) ^ 0x01010000 ^ (keyed << 8) ^ size;
  return h;
}

/**
 * BLAKE2s of a message.
 * @param {Uint8Array} message
 * @param {number} size bytes of the result, 1 to 32
 * @param {Uint8Array} [key] up to 32 bytes
 * @returns {Uint8Array}
 */
export function blake2s(message, size, key = new Uint8Array(0)) {
  const h = start(size, key.length);
  if (key.length > 0 && message.length > 0) {
    load(key, 0);
    compress(h, 64, false);
    finish(h, 64, message);
  } else if (key.length > 0) {
    const block = new Uint8Array(64);
    block.set(key);
    finish(h, 0, block);
  } else {
    finish(h, 0, message);
  }
  const result = new Uint8Array(32);
  const view = new DataView(result.buffer);
  h.forEach((word, i) => view.setInt32(4 * i, word, true));
  return result.slice(0, size);
}

const encoder = new TextEncoder();

/** The hashes of entries under one digest key: BLAKE2s with 16 bytes of key and of result. */
export class EntryHasher {
  /** @param {Uint8Array} key 16 bytes */
  constructor(key) {
    this.middle = start(16, key.length);
    load(key, 0);
    compress(this.middle, 64, false);
    this.state = new Int32Array(8);
    this.bytes = new Uint8Array(8 + 3 * 1024);
    /** The last hash, a big-endian number of four 32-bit words. */
    this.words = new Uint32Array(4);
  }

  /**
   * The hash of an entry, in {@link EntryHasher#words} until the next one.
   * @param {string} path
   * @param {number} rev
   */
  hash(path, rev) {
    const { bytes, state, words } = this;
    const high = Math.floor(rev / 0x100000000);
    const low = rev >>> 0;
    bytes[0] = high >>> 24; bytes[1] = high >>> 16; bytes[2] = high >>> 8; bytes[3] = high;
    bytes[4] = low >>> 24; bytes[5] = low >>> 16; bytes[6] = low >>> 8; bytes[7] = low;
    let end = 8;
    const length = path.length;
    for (let i = 0; i < length; i += 1) {
      const unit = path.charCodeAt(i);
      if (unit > 0x7f) {
        end = 8 + encoder.encodeInto(path, bytes.subarray(8)).written;
        break;
      }
      bytes[end] = unit;
      end += 1;
    }
    state.set(this.middle);
    let at = 0;
    for (; end - at > 64; at += 64) {
      load(bytes, at);
      compress(state, 64 + at + 64, false);
    }
    // What lies behind the end is of an earlier, longer path.
    bytes.fill(0, end, at + 64);
    load(bytes, at);
    compress(state, 64 + end, true);
    for (let i = 0; i < 4; i += 1) {
      const w = /** @type {number} */ (state[i]);
      words[i] = (w << 24) | ((w & 0xff00) << 8) | ((w >>> 8) & 0xff00) | (w >>> 24);
    }
  }
}
