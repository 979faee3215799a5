// Where things are in the tree, and what may be called how.

/** Letters, digits, `_` and `-`: a name is one segment of a path. */
const NAME = /^[\p{L}\p{N}_-]{1,24}$/u;
const CHANNEL = /^[\p{L}\p{N}_-]{1,40}$/u;

export const logOf = (channel) => `/chat/${channel}/log`;
export const hereOf = (channel, name = '') => `/chat/${channel}/here${name && `/${name}`}`;
/** That something was said: outside of what is followed. */
export const saidOf = (id) => `/chat-said/${id}`;
export const typingOf = (channel, name) => `/chat/${channel}/typing/${name}`;

/** What is wrong with a name; empty: nothing. */
export const nameFault = (name) => (NAME.test(name) ? '' : 'Letters, digits, _ and -, at most 24 of them.');

/** A channel as it is written in paths; `undefined` when the text names none. */
export function channelOf(text) {
  const channel = text.trim().replace(/^#/, '').toLowerCase();
  return CHANNEL.test(channel) ? channel : undefined;
}

/** The channel that an address names, behind its `#`; `undefined` when it names none. */
export function channelIn(hash) {
  try {
    return channelOf(decodeURIComponent(hash.replace(/^#\/?/, '')));
  } catch {
    // Anybody may have written it by hand: `#/100%`.
    return undefined;
  }
}

/** The segments below `/chat`: channel, what (`log`, `here`, `typing`), and which. */
export const partsOf = (path) => path.split('/').slice(2);
