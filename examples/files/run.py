"""Runs the story: `python3 examples/files/run.py`. README.md says what it shows."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stage"))

import stage


def main() -> int:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args.add_argument("--files", type=int, default=2000, help="so many, at most")
    args.add_argument("--broken", action="store_true", help="only: a conflict clobbers; must fail")
    given = args.parse_args()
    stage.enter()
    from story import play, table

    program = stage.binary()
    print(f"seed {given.seed}", flush=True)
    right = True
    if not given.broken:
        seen = asyncio.run(play(program, given.seed, given.files))
        print(table(seen))
        right = not seen.wrong
        print("ok: both folders are the same, nothing is lost" if right else f"WRONG: {seen.wrong}")
    seen = asyncio.run(play(program, given.seed, 100, clobbers=True))
    lost = [what for what in seen.wrong if what.startswith("lost")]
    verdict = f"ok, it is noticed: {len(lost)} contents lost" if lost else "WRONG: not noticed"
    print(f"with conflicts that clobber: {verdict}", flush=True)
    return 0 if right and lost else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
