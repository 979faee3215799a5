"""The rules of a session, as pure code: commands, frames and the time go in; frames and effects
come out.

A session decides when to connect, what to send, what an answer means, and what to do if there is
none. It has no socket and no clock: `onetree.client` drives it with asyncio, and a simulation can
drive it with anything. Times are seconds since some moment, the same for all calls.

- `session`: the life of the connection, and what is sent on it
- `mirrors`: what is sent for mirrors, and what each frame does to them; `subs`: one subscription
- `requests`: requests, their numbers and their retries; `asked`: what waits for an answer
- `effects`: what a session asks its driver to do
- what a frame does to the copy of a mirror is in `onetree.mirror`
"""

from .session import Session

__all__ = ["Session"]
