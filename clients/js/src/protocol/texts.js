// Conversions between texts and bytes: UTF-8, hexadecimal, base64.

import { refuse } from '../errors.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the UTF-8 bytes of a text. @param {string} text */
export const bytesOf = (text) => encoder.encode(text);

/** @param {string} text */
export const byteLength = (text) => bytesOf(text).length;

/** Returns the text of UTF-8 bytes; `undefined` if they are not UTF-8. @param {Uint8Array} bytes */
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** As {@link textOf}, but fails with `bad-frame` if the bytes are not UTF-8. @param {Uint8Array} bytes */
export const utf8 = (bytes) => textOf(bytes) ?? refuse('bad-frame', 'a text is not UTF-8');

/** Whether a text has no lone surrogate. @param {string} text */
export function wellFormed(text) {
  return !/[\ud800-\udfff]/.test(text) || !/\p{Surrogate}/u.test(text);
}

/**
 * Returns a text that JavaScript's comparison of strings orders as the UTF-8 bytes of `text` are ordered: UTF-16 units
 * are moved so that those of four-byte characters come last. A plain text costs one test.
 * @param {string} text
 * @returns {string}
 */
export const byteKey = (text) => (/[\ud800-\uffff]/.test(text) ? text.replace(/[\ud800-\uffff]/g, shift) : text);

/** @param {string} char */
function shift(char) {
  const unit = char.charCodeAt(0);
  return String.fromCharCode(unit < 0xe000 ? unit + 0x2000 : unit - 0x800);
}

/** @param {Uint8Array} bytes */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {string} hex */
export const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
}
