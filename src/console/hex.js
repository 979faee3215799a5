// Bytes in hexadecimal, as a user types them.

/** Formats bytes as two digits each, sixteen to a line. */
export function toHex(bytes) {
  const lines = []
  for (let at = 0; at < bytes.length; at += 16) {
    lines.push(Array.from(bytes.subarray(at, at + 16), (byte) => byte.toString(16).padStart(2, '0')).join(' '))
  }
  return lines.join('\n')
}

/** Parses bytes. Spaces and line breaks are allowed anywhere, but not within a byte. */
export function fromHex(text) {
  const bytes = []
  for (const word of text.split(/\s+/)) {
    const wrong = /[^0-9a-fA-F]/.exec(word)
    if (wrong) throw new Error(`That is not hexadecimal: ${wrong[0]}`)
    if (word.length % 2) throw new Error(`A byte has two digits: ${word.length > 20 ? `${word.slice(0, 20)}…` : word}`)
    for (let at = 0; at < word.length; at += 2) bytes.push(parseInt(word.slice(at, at + 2), 16))
  }
  return Uint8Array.from(bytes)
}
