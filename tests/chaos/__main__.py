"""Runs rounds of chaos and says what they came to.

    .venv/bin/python -m tests.chaos [--store redis|sentinel] [--rounds N] [--first SEED]

Ends with status 1 where anything was found that must not be.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import asdict

from tests.chaos.campaign import run_rounds, total
from tests.chaos.checker import Findings
from tests.chaos.rounds import FAULTS, Round


def _tell(planned: Round, found: Findings) -> None:
    faults = ", ".join(
        f"{event.fault} at {event.begins:.1f} for {event.lasts:.1f} s" for event in planned.events
    )
    said = f"{found.answers} answers, {found.acknowledged} of {found.reports} reports acknowledged"
    moves = f"{found.decisions} decisions, {found.by_hand} by hand"
    times = f"followed {found.followed_seconds:.2f} s, recovered {found.recovery_seconds:.2f} s"
    print(f"round {planned.seed}: {said}; {moves}; {times}; {faults}", flush=True)
    for sentence in found.wrong:
        print(f"  WRONG: {sentence}", flush=True)


async def main() -> int:
    """Run the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", choices=sorted(FAULTS), default="redis")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.rounds)
    whole = total(await run_rounds(options.store, seeds, _tell))
    print({**asdict(whole), "wrong": len(whole.wrong)})
    return int(bool(whole.wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
