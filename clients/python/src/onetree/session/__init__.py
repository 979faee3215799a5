"""The session's rules, pure: commands, frames and the time in; frames and effects out.

It decides when to connect, what to say, what an answer means and what to do when there is none. It
has no socket and no clock: `onetree.client` drives it with asyncio, and a simulation can drive it
with anything. Times are seconds since some moment, the same for all calls.

- `session`: the life of a connection, and what is said on it
- `mirrors`: what mirrors have to say, and what each frame does to them; `subs`: the place of one
- `requests`: what is asked, numbered, retried; `asked`: what waits for its answer
- `effects`: what a session wants done
- what a frame does to a copy is in `onetree.mirror`
"""

from .session import Session

__all__ = ["Session"]
