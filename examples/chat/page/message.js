// What a log entry says. Anybody may write anything there: whatever is no message of the chat is shown as its text.

/** Formatting codes of IRC, and control characters that cannot be read. */
// eslint-disable-next-line no-control-regex
const CODES = /\u0003\d{0,2}(?:,\d{1,2})?|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/**
 * @param {{path: string, value: import('./onetree/protocol/values.js').Value}} entry
 * @returns {{key: string, from: string, text: string, at: number, id?: string}}
 */
export function messageOf({ path, value }) {
  let said;
  try {
    said = value.content;
  } catch {
    said = '(not readable)';
  }
  const fields = said !== null && typeof said === 'object' ? said : { text: said };
  const { from, text, at, id } = fields;
  return {
    key: path,
    from: typeof from === 'string' ? clean(from).slice(0, 64) : '',
    text: typeof text === 'string' ? clean(text) : clean(JSON.stringify(said) ?? ''),
    at: Number.isFinite(at) && Math.abs(at) < 8e15 ? at : 0,
    ...(typeof id === 'string' ? { id } : {}),
  };
}

const clean = (text) => text.replace(CODES, '');
