// Texts, and bytes as texts: UTF-8, hex, base64.

import { refuse } from '../errors.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes of a text, in UTF-8. @param {string} text */
export const bytesOf = (text) => encoder.encode(text);

/** @param {string} text */
export const byteLength = (text) => bytesOf(text).length;

/** The text that bytes are; `undefined` when they are not UTF-8. @param {Uint8Array} bytes */
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** As {@link textOf}; `bad-frame` when they are not UTF-8. @param {Uint8Array} bytes */
export const utf8 = (bytes) => textOf(bytes) ?? refuse('bad-frame', 'a text is not UTF-8');

/** Whether no surrogate is alone in it. @param {string} text */
export function wellFormed(text) {
  return !/[\ud800-\udfff]/.test(text) || !/\p{Surrogate}/u.test(text);
}

/**
 * What is ordered as the bytes of texts are when compared as JavaScript compares texts: UTF-16 units moved so that those of
 * four-byte characters come last. A plain text costs one look.
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
