// Where things are in the tree, and which names are allowed.

/** Letters, digits, `_` and `-`: a name is one segment of a path. */
const NAME = /^[\p{L}\p{N}_-]{1,24}$/u;
const CHANNEL = /^[\p{L}\p{N}_-]{1,40}$/u;

export const logOf = (channel) => `/chat/${channel}/log`;
export const hereOf = (channel, name = '') => `/chat/${channel}/here${name && `/${name}`}`;
/** The mark that something was said. It is outside of what the mirror follows. */
export const saidOf = (id) => `/chat-said/${id}`;
export const typingOf = (channel, name) => `/chat/${channel}/typing/${name}`;

/** Returns what is wrong with a name; empty: nothing. */
export const nameFault = (name) => (NAME.test(name) ? '' : 'Letters, digits, _ and -, at most 24 of them.');

/** Returns a channel as it is written in paths; `undefined` if the text names none. */
export function channelOf(text) {
  const channel = text.trim().replace(/^#/, '').toLowerCase();
  return CHANNEL.test(channel) ? channel : undefined;
}

/** Returns the channel that an address names after its `#`; `undefined` if it names none. */
export function channelIn(hash) {
  try {
    return channelOf(decodeURIComponent(hash.replace(/^#\/?/, '')));
  } catch {
    // Somebody may have written it by hand: `#/100%`.
    return undefined;
  }
}

/** Returns the segments below `/chat`: the channel, the kind (`log`, `here`, `typing`), and the name. */
export const partsOf = (path) => path.split('/').slice(2);
