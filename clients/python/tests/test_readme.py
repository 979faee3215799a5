"""The README's programs, as they are there."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import pytest

import onetree
from server import SOURCE, naive, run

README = (Path(__file__).parents[1] / "README.md").read_text()
*PROGRAMS, FOLLOW = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_shows_what_happens_until_ctrl_c_and_ends_quietly(program: str) -> None:
    def until_ctrl_c(url: str) -> tuple[int, str]:
        code = program.replace("ws://127.0.0.1:7400", url)
        assert code != program
        with subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            env=SOURCE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            try:
                assert running.stdout is not None
                # The line of the entry, and that of the first event.
                said = running.stdout.readline() + running.stdout.readline()
                # By then the program waits for what comes.
                time.sleep(0.5)
                running.send_signal(signal.SIGINT)
                said += running.stdout.read()
                return running.wait(10), said
            finally:
                running.kill()

    async def story() -> None:
        async with naive() as server:
            code, said = await asyncio.to_thread(until_ctrl_c, server.url)
            assert code == 0 and said and "Traceback" not in said, said

    run(story())


def test_a_store_that_is_ahead_of_what_was_kept_follows_the_mirror() -> None:
    defined: dict[str, Any] = {}
    exec(FOLLOW, defined)

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            before = client.mirror("/")
            await before.at((await client.put("/a", 1)).rev)
            kept = before.snapshot()
            await before.at((await client.put("/gone", 1)).rev)
            store = dict(before.snapshot())
            await client.delete("/gone")
            mirror = client.mirror("/", from_=kept)
            following = asyncio.create_task(defined["follow"](mirror, store))
            await mirror.fresh()
            await client.put("/b", 1)
            await mirror.at((await client.delete("/a")).rev)
            mirror.close()
            await following
            assert store == dict(mirror.snapshot()) and [*store] == ["/b"]

    run(story())


def test_what_it_names_is_there() -> None:
    words = README.split("## Words")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", words, re.MULTILINE)
    named = [name for row, _ in rows for name in re.findall(r"`(\w+)[(`]", row)]
    assert {"connect", "put", "status", "earlier", "as_json", "closed", "leave"} <= {*named}
    places = (onetree, onetree.Client, onetree.Mirror)
    assert not [name for name in named if not any(hasattr(place, name) for place in places)]
    kinds = {*re.findall(r"`(?:onetree\.)?([A-Z]\w+)", README)} - {"None", "ValueError"}
    kinds -= {name for name in kinds if name.isupper() and name.startswith("ONETREE")}
    events = {event.__name__ for event in get_args(onetree.Event)}
    assert events | {"Connecting", "Done", "Options", "CODES", "Refused"} <= kinds
    assert kinds <= {*onetree.__all__}, kinds - {*onetree.__all__}
    # The classes of events and statuses, as their module defines them.
    for kind in {*get_args(onetree.Event), *get_args(onetree.Status)}:
        assert getattr(onetree, kind.__name__) is kind


def test_there_are_two() -> None:
    assert len(PROGRAMS) == 2
