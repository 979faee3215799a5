"""The chat in a terminal: what is typed is said, what others say is printed.

`/join CHANNEL` goes to another channel, and `/who` prints who is here. `/quit` (or the end of the
input) leaves, once everything that was said has been taken. What is said without a connection
waits, and is said once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import re
import sys
import threading
import time
import uuid
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import onetree
from onetree import Delta, Fresh, Offline, Online, Signal

TAIL = 20
WAITING = 1000
"""How many messages may be on their way. With more, no more of the input is read."""
NAME = re.compile(r"[\w-]{1,24}")
CONTROL = re.compile(r"\x03\d{0,2}(?:,\d{1,2})?|[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Removes what a terminal would take for a command."""
    return CONTROL.sub("", text)


def clean_lines(text: str) -> str:
    """Cleans several lines. Those after the first are indented, so that they do not look like
    messages."""
    return "\n       ".join(map(clean, text.splitlines()))


class Room:
    """One channel, from coming in to going out."""

    def __init__(self, client: onetree.Client, channel: str, name: str) -> None:
        self.client = client
        self.channel = channel
        self.name = name
        self.mine: set[str] = set()
        self.typing: dict[str, float] = {}
        self.mirror = client.mirror(f"/chat/{channel}", tail=TAIL, signals=True)
        self.is_lost = isinstance(client.status, Offline)
        self.task = asyncio.create_task(self.follow())

    @property
    def here(self) -> str:
        return f"/chat/{self.channel}/here/{self.name}"

    async def follow(self) -> None:
        """Prints what happens."""
        began = False
        async for event in self.mirror.changes():
            match event:
                case Online():
                    # Also if this person was away while much was said, and only this is left of it.
                    self.is_lost = False
                    note("connected again")
                    # Entries of a lost session are gone with it.
                    if not event.resumed:
                        self.come()
                case Offline() if not self.is_lost:
                    # Once, however many attempts there are.
                    self.is_lost = True
                    note("no connection; what you say waits")
                case Fresh() | Delta():
                    if event.gaps and began:
                        note(f"more was said than the last {TAIL} messages; a page shows the rest")
                    for change in event.changes:
                        self.show(change, began)
                    began = began or isinstance(event, Fresh)
                case Signal():
                    self.types(event.path)

    def show(self, change: onetree.Difference, began: bool) -> None:
        what, _, key = change.path.removeprefix(f"/chat/{self.channel}/").partition("/")
        if what == "log" and key and change.new and not change.old:
            self.say(change.new.value)
        elif what == "here" and began and key != self.name:
            if change.new and not change.old:
                note(f"{clean(key)} is here")
            elif change.old and not change.new:
                note(f"{clean(key)} has left")

    def say(self, value: onetree.Value | None) -> None:
        said = value.get() if value else None
        fields: dict[str, Any] = said if isinstance(said, dict) else {"text": said}
        # Anybody may say anything: it need not be a text.
        message_id = str(fields.get("id"))
        if message_id in self.mine:
            # It is on the screen already, as it was typed.
            self.mine.discard(message_id)
            return
        try:
            at = datetime.fromtimestamp(fields["at"] / 1000).strftime("%H:%M")
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            at = "--:--"
        sender = clean(str(fields.get("from") or "*"))
        print(f"{at} {sender}: {clean_lines(str(fields.get('text', said)))}", flush=True)

    def types(self, path: str) -> None:
        what, _, name = path.removeprefix(f"/chat/{self.channel}/").partition("/")
        now = time.monotonic()
        if what == "typing" and name != self.name and now - self.typing.get(name, -10) > 10:
            note(f"{clean(name)} is typing")
            self.typing[name] = now

    def come(self) -> None:
        """Shows this person as here until the session is over. Nobody waits for that: there may be
        no connection."""
        value = {"since": int(time.time() * 1000)}
        start(self.client.put(self.here, value, ephemeral=True))

    async def append(self, text: str) -> bool:
        """Says a text. Returns whether it was taken; otherwise prints why not."""
        message_id = str(uuid.uuid4())
        self.mine.add(message_id)
        message = {
            "id": message_id,
            "from": self.name,
            "text": text,
            "at": int(time.time() * 1000),
        }
        try:
            await self.client.append(f"/chat/{self.channel}/log", message)
        except onetree.OnetreeError as error:
            note(f"not sent: {text!r}: {error}")
            return False
        return True

    def who(self) -> None:
        top = f"/chat/{self.channel}/here"
        names = [entry.path.rpartition("/")[2] for entry in self.mirror.under(top)]
        note(f"here: {', '.join(map(clean, names))}")

    async def go(self) -> None:
        self.mirror.close()
        await self.task
        start(self.client.delete(self.here))


started: set[asyncio.Task[None]] = set()


def start(request: Coroutine[object, object, object]) -> None:
    """Asks the broker for something, once there is a connection."""

    async def ask() -> None:
        try:
            await request
        except onetree.Closed:
            pass  # We leave.
        except onetree.OnetreeError as error:
            note(f"who is here: {error}")

    task = asyncio.create_task(ask())
    started.add(task)  # Else it might be thrown away before it is done.
    task.add_done_callback(started.discard)


def note(text: str) -> None:
    print(f"-- {text}", flush=True)


def lines() -> asyncio.Queue[str | None]:
    """Yields the lines of the standard input, and `None` at its end. A thread reads them: there is
    no other way to wait for a file, and a terminal whose input is non-blocking has non-blocking
    output, too."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        # A line ends with LF, CR or both: pasted lines keep the ends of their source.
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            with contextlib.suppress(OSError):  # The terminal has gone.
                with open(0, encoding="utf-8", errors="replace", closefd=False) as opened:
                    for line in opened:
                        loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    # Nobody waits for the thread: it may be waiting for a line when the program leaves.
    threading.Thread(target=read, daemon=True).start()
    return queue


async def chat(broker: str, name: str, channel: str) -> bool:
    """Runs until the end. Returns whether everything that was said has been taken."""
    # What is said waits for a connection for a day.
    client = await onetree.connect(broker, label="terminal", request_timeout=86_400.0)
    sending: set[asyncio.Task[bool]] = set()
    free = asyncio.Semaphore(WAITING)
    lost = 0

    def settled(task: asyncio.Task[bool]) -> None:
        nonlocal lost
        sending.discard(task)
        free.release()
        lost += not (task.cancelled() or task.result())

    try:
        room = enter(client, channel, name)
        typed = lines()
        while (line := await typed.get()) is not None:
            text = line.strip()
            word, _, rest = text.partition(" ")
            target = rest.strip().lstrip("#").lower()
            if word == "/quit":
                break
            elif word == "/who":
                room.who()
            elif word == "/join" and NAME.fullmatch(target):
                await room.go()
                room = enter(client, target, name)
            elif text.startswith("/"):
                note("/join CHANNEL, /who, /quit")
            elif text:
                # In the order in which they were typed: the client keeps it.
                await free.acquire()
                task = asyncio.create_task(room.append(text))
                sending.add(task)
                task.add_done_callback(settled)
        # However much it is, as long as messages are being taken.
        while sending:
            done, _ = await asyncio.wait(sending, timeout=10, return_when="FIRST_COMPLETED")
            if not done:
                note(f"{len(sending)} messages were not sent")
                return False
        return not lost
    finally:
        # The session ends, and others see at once that this person has gone.
        await client.close()


def enter(client: onetree.Client, channel: str, name: str) -> Room:
    note(f"#{channel}, as {name}; /join CHANNEL, /who, /quit")
    room = Room(client, channel, name)
    room.come()
    return room


def main() -> int:
    parser = argparse.ArgumentParser(description="The chat in a terminal.")
    parser.add_argument("name", nargs="?", default=getpass.getuser(), help="what others call you")
    parser.add_argument("--channel", default="lobby")
    parser.add_argument("--broker", default="ws://127.0.0.1:7400")
    options = parser.parse_args()
    if not NAME.fullmatch(options.name) or not NAME.fullmatch(options.channel):
        parser.error("names are 1 to 24 letters, digits, _ and -")
    try:
        return 0 if asyncio.run(chat(options.broker, options.name, options.channel)) else 1
    except KeyboardInterrupt:
        pass
    except onetree.OnetreeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
