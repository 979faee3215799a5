"""The README's programs, as they stand there."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server import SOURCE, naive, run

README = (Path(__file__).parents[1] / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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
                # What is there, and the first event.
                said = running.stdout.readline() + running.stdout.readline()
                # Until it waits for what comes.
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


def test_there_are_two() -> None:
    assert len(PROGRAMS) == 2
