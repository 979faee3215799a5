// Entries and events in the form of the scenarios. What is undefined is left out.

import { entryText } from '../src/json.js';

/** Returns an entry, as `export` prints it. */
export const line = (entry) => JSON.parse(entryText(entry));

/** Returns an entry's value: the value of its JSON, else its text or the base64 of its bytes. */
export function plain(entry) {
  const fields = entry.value?.toJSON() ?? {};
  return fields.json ?? fields.text ?? fields.bytes ?? null;
}

export function eventOf({ type, changes, value, retryInMs, ...rest }) {
  const change = ({ old, new: now, ...where }) => ({ ...where, old: old && line(old), new: now && line(now) });
  return { event: type, ...rest, ...value?.toJSON(), changes: changes?.map(change), retry_ms: retryInMs };
}
