"""What rounds of chaos came to: faults under load, then everything acknowledged compared with what is there.

    .venv/bin/python -m benchmarks.chaos [--store redis|sentinel] [--rounds N] [--first SEED] [--anew]

Each round follows from its seed and store (`tests/chaos/rounds.py`). Adds the rounds to those in
benchmarks/results/chaos.json, unless `--anew`, and writes benchmarks/results/chaos.md from all of them. Ends
with status 1 where a round found something that must not be.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import platform
import sys
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from benchmarks.pages import save_page
from tests.chaos.campaign import run_rounds, total
from tests.chaos.checker import Findings
from tests.chaos.rounds import FAULTS, Round, round_of

RESULTS: Final = Path(__file__).parent / "results"
_ROWS: Final = {
    "rounds": lambda rounds, _: len(rounds),
    "answers": lambda _, found: found.answers,
    "requests that a running gateway did not answer with 200": lambda _, found: _starting("no answer", found),
    "reports sent": lambda _, found: found.reports,
    "of these acknowledged as counted": lambda _, found: found.acknowledged,
    "acknowledged and lost": lambda _, found: found.lost,
    "counted twice": lambda _, found: found.doubled,
    "decisions of planners": lambda _, found: found.decisions,
    "moves by hand": lambda _, found: found.by_hand,
    "moves made twice, or from a state that allows none": lambda _, found: _moves(found),
    "plans or decisions of a planner after its successor's": lambda _, found: _starting("a planner", found),
    "logs that `llmpo verify` does not confirm": lambda _, found: _starting("verification", found),
    "pairs of answers for a guardrail": lambda _, found: found.guarded,
    "of these not counted, because a killed gateway had not sent them yet": lambda _, found: found.unguarded,
    "rounds in which more of them were lost than that, or any was counted twice": lambda _, found: _starting(
        "guardrails", found
    ),
    "rounds in which replicas noticed that the store went back": lambda rounds, _: _held(rounds),
    "rounds after which replicas differ": lambda _, found: _starting("replicas", found),
    "rounds in which a connected replica took longer than 1 s to follow a move": lambda rounds, _: sum(
        each["found"]["followed_seconds"] > 1.0 for each in rounds
    ),
    "longest until a connected replica followed a move, s": lambda _, found: f"{found.followed_seconds:.2f}",
    "longest until one followed after it was cut off, s": lambda _, found: (
        f"{found.followed_late_seconds:.2f}"
    ),
    "longest until the store was up for all, after the last fault, s": lambda _, found: (
        f"{found.recovery_seconds:.2f}"
    ),
    "other faults": lambda _, found: _others(found),
}
_KNOWN: Final = ("no answer", "a planner", "verification", "replicas", "acknowledged", "guardrails")


def _findings(found: dict[str, Any]) -> Findings:
    """What a round came to, without what earlier versions of this campaign recorded."""
    known = {part.name for part in fields(Findings)}
    return Findings(**{name: value for name, value in found.items() if name in known})


def _starting(word: str, found: Findings) -> int:
    return sum(sentence.startswith(word) for sentence in found.wrong)


def _moves(found: Findings) -> int:
    return sum(" from " in each or " times" in each for each in found.wrong if not each.startswith(_KNOWN))


def _others(found: Findings) -> int:
    return len(found.wrong) - _moves(found) - sum(_starting(word, found) for word in _KNOWN)


def _held(rounds: list[dict[str, Any]]) -> int | str:
    """In how many rounds they did; earlier rounds did not record it."""
    told = [each["found"]["held"] for each in rounds if "held" in each["found"]]
    return sum(told) if told else "-"


def page(kept: dict[str, dict[str, Any]]) -> str:
    """The results as a table."""
    rounds = {store: [each for each in kept.values() if each["store"] == store] for store in FAULTS}
    commands = [
        f"`python -m benchmarks.chaos --store {store} --rounds {len(each)}`"
        for store, each in rounds.items()
        if each
    ]
    about = (
        f"{' and '.join(commands)}, {dt.datetime.now(dt.UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"{platform.machine()}, two cores with other work on them. Three gateways (`llmpo serve`), each a "
        "process, share a store: one `redis-server` with `appendfsync always` behind a proxy for each "
        "gateway, or a primary and a replica under three Sentinels with `min-replicas-to-write 1`, where "
        "the replica confirms what is acknowledged (`LLMPO_STORE_CONFIRMING_REPLICAS=1`). In each round "
        "four users ask and rate without pause, the evidence comes to a decision, and in four rounds "
        "of ten two operators pause, resume, promote, roll back and stop at the same time, while one to "
        "three faults happen at random moments. Then everything is healed, every report is sent again, and "
        "counts, log, moves, the counts of a guardrail and the answers of all replicas are compared "
        "(`tests/chaos/checker.py`). A round "
        "that is run again replaces its earlier result."
    )
    lines = ["# Chaos", "", about, "", f"| | {' | '.join(rounds)} |", f"|---|{'---|' * len(rounds)}"]
    wholes = {store: total(_findings(each["found"]) for each in several) for store, several in rounds.items()}
    for name, value in _ROWS.items():
        cells = (str(value(rounds[store], wholes[store])) for store in rounds)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Faults, by how often they happened:", "", "| fault | redis | sentinel |", "|---|---|---|"]
    counts = {
        store: Counter(fault for each in several for fault in each["faults"])
        for store, several in rounds.items()
    }
    for fault in sorted({fault for each in counts.values() for fault in each}):
        lines.append(f"| {fault} | {' | '.join(str(counts[store][fault]) for store in rounds)} |")
    return "\n".join(lines) + "\n"


async def main() -> int:
    """Run the rounds, and keep what they came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", choices=sorted(FAULTS), default="redis")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--anew", action="store_true")
    options = parser.parse_args()
    file = RESULTS / "chaos.json"
    kept = json.loads(file.read_text()) if file.exists() and not options.anew else {}
    wrong = 0

    def keep(planned: Round, found: Findings) -> None:
        nonlocal wrong
        wrong += bool(found.wrong)
        kept[f"{options.store} {planned.seed}"] = {
            "store": options.store,
            "faults": [event.fault.value for event in round_of(planned.seed, options.store).events],
            "found": asdict(found),
        }
        print(planned.seed, *found.wrong, sep="\n  ", flush=True)

    await run_rounds(options.store, range(options.first, options.first + options.rounds), keep)
    file.write_text(json.dumps(kept, indent=0) + "\n")
    save_page(RESULTS / "chaos.md", page(kept))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
