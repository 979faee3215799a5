// How entries, events and errors are told. What is undefined is left out.

import { OnetreeError } from '../src/index.js';
import { entryText, valueFields } from '../src/json.js';

/** An entry, as `export` prints it. */
export const line = (entry) => JSON.parse(entryText(entry));

/** An entry's value: what its JSON says, else its text or the base64 of its bytes. */
export function plain(entry) {
  const fields = line(entry);
  return fields.json ?? fields.text ?? fields.bytes ?? null;
}

export const page = ({ rev, entries, more }) => ({ rev, changes: entries.map(line), more });

export function eventOf({ type, changes, value, retryInMs, error, ...rest }) {
  const change = ({ path, rev, old, new: now }) => ({ path, rev, old: old && line(old), new: now && line(now) });
  return {
    event: type,
    ...rest,
    ...(value && JSON.parse(valueFields(value))),
    changes: changes?.map(change),
    retry_ms: retryInMs && Math.round(retryInMs),
    code: type === 'ended' && error ? codeOf(error) : undefined,
  };
}

/** A client that has ended by itself says why. */
export function codeOf(error) {
  if (!(error instanceof OnetreeError)) return 'application';
  return error.code === 'ended' && error.cause instanceof OnetreeError ? error.cause.code : error.code;
}
