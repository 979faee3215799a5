"""What the Python stories share: a virtual environment, a broker, a connection that can fail.

It uses only the standard library, because it runs before the environment exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
"""The project's folder."""
PLACE = ROOT / "target" / "examples-python"
"""The virtual environment. It is kept for the next run."""


def missing(what: str) -> NoReturn:
    """Ends the program, because something that it needs is missing."""
    sys.exit(f"missing: {what}")


def enter() -> None:
    """Continues inside the virtual environment. If it does not exist, makes it with the Python
    client in it. Starts this program again with its Python."""
    if sys.version_info < (3, 11):
        missing(f"Python 3.11 or later; this is {sys.version.split()[0]}")
    if Path(sys.prefix) == PLACE:
        return
    python = PLACE / "bin" / "python"
    client = ROOT / "clients" / "python"
    # Installed in place, so that only other dependencies need another installation.
    wanted = (client / "pyproject.toml").read_text()
    done = PLACE / "installed"
    if not python.exists() or not done.exists() or done.read_text() != wanted:
        print(f"making {PLACE.relative_to(ROOT)}", flush=True)
        _run("Python's venv (Debian: apt install python3-venv)",
             [sys.executable, "-m", "venv", str(PLACE)])  # fmt: skip
        _run("what clients/python/pyproject.toml asks for (is the package index reachable?)",
             [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              "--editable", str(client)])  # fmt: skip
        done.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def binary() -> Path:
    """Returns the broker: the program that ONETREE_BIN names, or one that is compiled now."""
    given = os.environ.get("ONETREE_BIN")
    if given is not None:
        if not os.access(given, os.X_OK):
            missing(f"a program at {given}, which ONETREE_BIN names")
        return Path(given).resolve()
    print("compiling the broker (ONETREE_BIN may name one that is there)", flush=True)
    _run("Rust's cargo, to compile the broker, or a broker that ONETREE_BIN names",
         ["cargo", "build", "--release", "--locked", "--quiet",
          "--manifest-path", str(ROOT / "Cargo.toml")])  # fmt: skip
    return ROOT / "target" / "release" / "onetree"


def _run(what: str, command: list[str]) -> None:
    try:
        status = subprocess.run(command).returncode
    except FileNotFoundError:
        status = 127
    if status:
        missing(f"{what}; `{' '.join(command[:4])} …` ended with {status}")


@contextlib.contextmanager
def broker(program: Path, *more: str) -> Iterator[str]:
    """Starts a broker in memory, on a free port of loopback. Returns its URL. The broker ends with
    this program."""
    command = [str(program), "serve", "--memory", "--listen", "127.0.0.1:0", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline().split()
        if not first:
            missing(f"a broker that starts: `{' '.join(command)}` ended at once")
        yield first[-1]
    finally:
        process.kill()
        process.wait()


class Proxy:
    """A TCP proxy of one address. It can be cut (connections end, new ones are refused) and stalled
    (connections stay, but nothing gets through)."""

    def __init__(self, url: str) -> None:
        """A proxy in front of a broker's URL."""
        self.aim(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self.url = ""
        """The URL of the proxy."""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()

    def aim(self, url: str) -> None:
        """Leads new connections to this broker."""
        self._to = url.removeprefix("ws://").rstrip("/").rsplit(":", 1)

    def cut(self) -> None:
        """Ends all connections without a close, and accepts none until `mend`."""
        self._is_cut = True
        self._flows.set()
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Holds everything back, both ways, until `mend`."""
        self._flows.clear()

    def mend(self) -> None:
        """Ends `cut` and `stall`."""
        self._is_cut = False
        self._flows.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._to[0], int(self._to[1]))
        except OSError:
            writer.transport.abort()
            return
        for one in (self._pump(reader, back), self._pump(there, writer)):
            task = asyncio.get_running_loop().create_task(one)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if self._is_cut else writer.close()


if __name__ == "__main__":
    # Only makes the environment.
    enter()
