"""Runs the story: `python3 examples/cache/run.py`. README.md says what it shows."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stage"))

import stage

FLAWS = {
    "barrier": "serves whatever the token says",
    "fill": "stamps what was read behind the read",
    "lease": "serves without a connection",
}
TRIES = 3
"""How often a flaw is looked for, at most."""


def main() -> int:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args.add_argument("--broken", choices=FLAWS, help="only this: a rule is left out; must fail")
    given = args.parse_args()
    stage.enter()
    from story import play, table

    program = stage.binary()
    print(f"seed {given.seed}", flush=True)
    right = True
    if given.broken is None:
        seen, wrong = asyncio.run(play(program, given.seed, "none"))
        print(table(seen))
        print(f"{'ok' if not wrong else 'WRONG'}: all rules kept{': ' + wrong if wrong else ''}")
        right = not wrong
    for flaw in FLAWS if given.broken is None else [given.broken]:
        # A flaw shows only in a race, which may not happen on a busy machine.
        tries = (asyncio.run(play(program, given.seed, flaw))[1] for _ in range(TRIES))
        wrong = next(filter(None, tries), "")
        verdict = f"ok, it is noticed: {wrong}" if wrong else "WRONG: nothing was noticed"
        print(f"without the {flaw} rule ({FLAWS[flaw]}): {verdict}", flush=True)
        right &= bool(wrong)
    return 0 if right else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
