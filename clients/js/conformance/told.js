// How entries and events are told. What is undefined is left out.

import { entryText } from '../src/json.js';

/** An entry, as `export` prints it. */
export const line = (entry) => JSON.parse(entryText(entry));

/** An entry's value: what its JSON says, else its text or the base64 of its bytes. */
export function plain(entry) {
  const fields = entry.value?.toJSON() ?? {};
  return fields.json ?? fields.text ?? fields.bytes ?? null;
}

export function eventOf({ type, changes, value, retryInMs, ...rest }) {
  const change = ({ old, new: now, ...where }) => ({ ...where, old: old && line(old), new: now && line(now) });
  return { event: type, ...rest, ...value?.toJSON(), changes: changes?.map(change), retry_ms: retryInMs };
}
